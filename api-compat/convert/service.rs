//! Services and their specs from the API's form to the core's. Checks words and references, not sense.

mod gate;
mod out;

use std::sync::Arc;

use skep_core::id::NetworkId;
use skep_core::labels::{self, Bearer};
use skep_core::model::node::{GenericResource, Resources};
use skep_core::model::service as core;
use skep_core::model::{Annotations, Sensitive};
use skep_core::state::State;

use super::container::{self, duration};
use crate::error::ApiError;
use crate::route::ApiVersion;
use crate::wire::service as wire;

pub(crate) use out::{
    generic_resource as resource_written, port as port_written, task_spec as task_written,
};
pub use out::{service, service_spec as written};

/// Reads a spec as a client of `api_version` means it. Its name must have been filled in before.
///
/// Words are checked in the order and with the texts that clients know; `validate` checks the sense.
pub fn service_spec(
    spec: &wire::ServiceSpec,
    state: &State,
    api_version: ApiVersion,
) -> Result<core::ServiceSpec, ApiError> {
    let mut spec = spec.clone();
    gate::apply(&mut spec, api_version);
    let networks = named_networks(&spec)
        .iter()
        .map(|entry| network(entry, state))
        .collect::<Result<_, _>>()?;
    let task = task_spec(&spec, networks)?;
    labels::check(Bearer::Service, &spec.labels)
        .map_err(|e| ApiError::bad_request(e.to_string()))?;
    Ok(core::ServiceSpec {
        annotations: Annotations { name: spec.name.clone(), labels: spec.labels.clone() },
        task: Arc::new(task),
        update: spec.update_config.as_ref().map(update_config).transpose()?,
        rollback: spec.rollback_config.as_ref().map(update_config).transpose()?,
        endpoint: spec.endpoint_spec.as_ref().map(endpoint_spec).transpose()?,
        mode: mode(&spec.mode)?,
    })
}

/// Returns the networks as they are named, for older clients those named beside the template.
fn named_networks(spec: &wire::ServiceSpec) -> &[wire::NetworkAttachmentConfig] {
    let named = &spec.task_template.networks;
    if named.is_empty() { &spec.networks } else { named }
}

/// Returns what a spec names its networks by.
pub(crate) fn network_targets(spec: &wire::ServiceSpec) -> impl Iterator<Item = &str> {
    named_networks(spec).iter().map(|network| network.target.as_str())
}

/// Resolves a network by id, name or start of an id, in this order.
fn network(
    entry: &wire::NetworkAttachmentConfig,
    state: &State,
) -> Result<core::NetworkAttachment, ApiError> {
    Ok(core::NetworkAttachment {
        target: network_id(&entry.target, state)?,
        aliases: entry.aliases.clone(),
        driver_options: entry.driver_opts.clone(),
        addresses: Vec::new(),
    })
}

fn network_id(target: &str, state: &State) -> Result<NetworkId, ApiError> {
    if let Ok(id) = target.parse::<NetworkId>()
        && state.networks().contains_key(&id)
    {
        return Ok(id);
    }
    let all = || state.networks().values();
    if let Some(found) = all().find(|network| network.spec.annotations.name == target) {
        return Ok(found.id.clone());
    }
    let mut matches = all().filter(|network| network.id.as_str().starts_with(target));
    match (matches.next(), matches.count()) {
        (Some(found), 0) if !target.is_empty() => Ok(found.id.clone()),
        (Some(_), further) if !target.is_empty() => {
            let count = further + 1;
            let text = format!("network {target} is ambiguous ({count} matches found)");
            Err(ApiError::bad_request(text))
        }
        _ if matches!(target, "none" | "default") => Err(ApiError::not_found(format!(
            "could not find the corresponding predefined swarm network: network {target} not found"
        ))),
        _ => Err(ApiError::internal(format!("network {target} not found"))),
    }
}

fn task_spec(
    spec: &wire::ServiceSpec,
    networks: Vec<core::NetworkAttachment>,
) -> Result<core::TaskSpec, ApiError> {
    let task = &spec.task_template;
    let runtime = runtime(spec)?;
    Ok(core::TaskSpec {
        runtime,
        resources: task.resources.as_ref().map(resources),
        restart: task.restart_policy.as_ref().map(restart_policy).transpose()?,
        placement: task.placement.as_ref().map(placement),
        networks,
        log_driver: task.log_driver.clone().map(Into::into),
        force_update: task.force_update,
        registry_auth: Sensitive::default(),
    })
}

fn runtime(spec: &wire::ServiceSpec) -> Result<core::Runtime, ApiError> {
    let task = &spec.task_template;
    let mismatched = || ApiError::bad_request("mismatched Runtime and *Spec fields");
    match task.runtime.as_str() {
        "" | "container" => {
            let spec = task.container_spec.as_ref().ok_or_else(mismatched)?;
            Ok(core::Runtime::Container(Box::new(container::to_core(spec)?)))
        }
        "plugin" if task.plugin_spec.is_none() => Err(mismatched()),
        "plugin" if spec.mode.replicated.is_some() => {
            Err(ApiError::bad_request("plugins must not use replicated mode"))
        }
        "plugin" => {
            Err(ApiError::internal("runtime type \"plugin\" only supported in experimental"))
        }
        "attachment" if task.network_attachment_spec.is_none() => Err(mismatched()),
        _ => Err(ApiError::bad_request("unsupported runtime")),
    }
}

fn resources(requirements: &wire::ResourceRequirements) -> core::ResourceRequirements {
    core::ResourceRequirements {
        limits: requirements.limits.as_ref().map(|limit| Resources {
            nano_cpus: limit.nano_cpus,
            memory_bytes: limit.memory_bytes,
            pids: limit.pids,
            generic: Vec::new(),
        }),
        reservations: requirements.reservations.as_ref().map(|reserved| Resources {
            nano_cpus: reserved.nano_cpus,
            memory_bytes: reserved.memory_bytes,
            pids: 0,
            generic: reserved.generic_resources.iter().filter_map(generic_resource).collect(),
        }),
        swap_bytes: requirements.swap_bytes,
        memory_swappiness: requirements.memory_swappiness,
    }
}

/// Reads a generic resource; an entry of neither kind is left out.
fn generic_resource(resource: &wire::GenericResource) -> Option<GenericResource> {
    match (&resource.discrete_resource_spec, &resource.named_resource_spec) {
        (Some(discrete), _) => {
            Some(GenericResource::Discrete { kind: discrete.kind.clone(), value: discrete.value })
        }
        (None, Some(named)) => {
            Some(GenericResource::Named { kind: named.kind.clone(), value: named.value.clone() })
        }
        (None, None) => None,
    }
}

fn restart_policy(policy: &wire::RestartPolicy) -> Result<core::RestartPolicy, ApiError> {
    let condition = match policy.condition.as_str() {
        "" | "any" => core::RestartCondition::Any,
        "on-failure" => core::RestartCondition::OnFailure,
        "none" => core::RestartCondition::None,
        word => return Err(ApiError::bad_request(format!("invalid RestartCondition: {word:?}"))),
    };
    Ok(core::RestartPolicy {
        condition,
        delay: policy.delay.map(duration),
        max_attempts: policy.max_attempts.unwrap_or(0),
        window: policy.window.map(duration),
    })
}

fn placement(placement: &wire::Placement) -> core::Placement {
    core::Placement {
        constraints: placement.constraints.clone(),
        preferences: placement
            .preferences
            .iter()
            .filter_map(|preference| preference.spread.as_ref())
            .map(|spread| spread.spread_descriptor.clone())
            .collect(),
        max_replicas: placement.max_replicas,
        platforms: placement
            .platforms
            .iter()
            .map(|platform| core::Platform {
                architecture: platform.architecture.clone(),
                os: platform.os.clone(),
            })
            .collect(),
    }
}

fn update_config(config: &wire::UpdateConfig) -> Result<core::UpdateConfig, ApiError> {
    let failure_action = match config.failure_action.as_str() {
        "" | "pause" => core::FailureAction::Pause,
        "continue" => core::FailureAction::Continue,
        "rollback" => core::FailureAction::Rollback,
        word => {
            let text = format!("unrecognized update failure action {word}");
            return Err(ApiError::bad_request(text));
        }
    };
    let order = match config.order.as_str() {
        "" | "stop-first" => core::UpdateOrder::StopFirst,
        "start-first" => core::UpdateOrder::StartFirst,
        word => return Err(ApiError::bad_request(format!("unrecognized update order {word}"))),
    };
    Ok(core::UpdateConfig {
        parallelism: config.parallelism,
        delay: duration(config.delay),
        failure_action,
        monitor: (config.monitor != 0).then(|| duration(config.monitor)),
        max_failure_ratio: config.max_failure_ratio,
        order,
    })
}

fn endpoint_spec(spec: &wire::EndpointSpec) -> Result<core::EndpointSpec, ApiError> {
    let mode = match spec.mode.as_str() {
        "" | "vip" => core::ResolutionMode::VirtualIp,
        "dnsrr" => core::ResolutionMode::DnsRoundRobin,
        word => return Err(ApiError::bad_request(format!("invalid resolution mode: {word:?}"))),
    };
    let ports = spec.ports.iter().map(port).collect::<Result<_, _>>()?;
    Ok(core::EndpointSpec { mode, ports })
}

/// Reads a port; unknown protocols and modes are the defaults, as ever.
fn port(port: &wire::PortConfig) -> Result<core::PortConfig, ApiError> {
    let number = |value: u32| {
        u16::try_from(value).map_err(|_| {
            ApiError::bad_request(format!(
                "EndpointSpec: invalid port {value}: must be below 65536"
            ))
        })
    };
    Ok(core::PortConfig {
        name: port.name.clone(),
        protocol: match port.protocol.to_ascii_lowercase().as_str() {
            "udp" => core::PortProtocol::Udp,
            "sctp" => core::PortProtocol::Sctp,
            _ => core::PortProtocol::Tcp,
        },
        target: number(port.target_port)?,
        published: number(port.published_port)?,
        mode: if port.publish_mode.eq_ignore_ascii_case("host") {
            core::PublishMode::Host
        } else {
            core::PublishMode::Ingress
        },
    })
}

fn mode(mode: &wire::ServiceMode) -> Result<core::ServiceMode, ApiError> {
    let given = usize::from(mode.replicated.is_some())
        + usize::from(mode.global.is_some())
        + usize::from(mode.replicated_job.is_some())
        + usize::from(mode.global_job.is_some());
    if given > 1 {
        return Err(ApiError::bad_request("must specify only one service mode"));
    }
    if mode.global.is_some() {
        return Ok(core::ServiceMode::Global);
    }
    if mode.global_job.is_some() {
        return Ok(core::ServiceMode::GlobalJob);
    }
    if let Some(job) = &mode.replicated_job {
        let max_concurrent = job.max_concurrent.unwrap_or(1);
        let total_completions = job.total_completions.unwrap_or(max_concurrent);
        return Ok(core::ServiceMode::ReplicatedJob { max_concurrent, total_completions });
    }
    let replicas = mode.replicated.as_ref().and_then(|held| held.replicas).unwrap_or(1);
    Ok(core::ServiceMode::Replicated { replicas })
}
