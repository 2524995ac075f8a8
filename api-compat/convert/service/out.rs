//! Services and their specs from the core's form to the API's.

use skep_core::model::node::GenericResource;
use skep_core::model::service as core;
use skep_core::model::service::{Runtime, Service};

use crate::convert::container::{self, nanos};
use crate::wire::Version;
use crate::wire::container as wire_container;
use crate::wire::service as wire;
use crate::wire::time::Time;

const DEFAULT_DELAY: i64 = 5_000_000_000;
const DEFAULT_GRACE_PERIOD: i64 = 10_000_000_000;

/// Writes a service; with `insert_defaults` its current spec shows what holds where nothing was given.
pub fn service(service: &Service, insert_defaults: bool) -> wire::Service {
    let mut spec = service_spec(&service.spec);
    if insert_defaults {
        fill_defaults(&mut spec);
    }
    wire::Service {
        id: service.id.to_string(),
        version: Version { index: service.meta.version },
        created_at: Time(service.meta.created_at),
        updated_at: Time(service.meta.updated_at),
        spec,
        previous_spec: service.previous_spec.as_deref().map(service_spec),
        endpoint: endpoint(service),
        update_status: service.update_status.as_ref().map(update_status),
        service_status: None,
        job_status: service.job.as_ref().map(|job| wire::JobStatus {
            job_iteration: Version { index: job.iteration },
            last_execution: Time(job.last_execution),
        }),
    }
}

/// Writes a spec as it is, so that clients can send it back unchanged.
pub fn service_spec(spec: &core::ServiceSpec) -> wire::ServiceSpec {
    let mut task_template = task_spec(&spec.task);
    if matches!(spec.task.runtime, Runtime::Container(_)) {
        "container".clone_into(&mut task_template.runtime);
    }
    wire::ServiceSpec {
        name: spec.annotations.name.clone(),
        labels: spec.annotations.labels.clone(),
        task_template,
        mode: mode(spec.mode),
        update_config: spec.update.as_ref().map(update_config),
        rollback_config: spec.rollback.as_ref().map(update_config),
        networks: Vec::new(),
        endpoint_spec: spec.endpoint.as_ref().map(endpoint_spec),
    }
}

/// Writes a task spec; only service specs name the runtime of containers.
pub(crate) fn task_spec(spec: &core::TaskSpec) -> wire::TaskSpec {
    let (container_spec, attachment) = match &spec.runtime {
        Runtime::Container(held) => (Some(container::from_core(held)), None),
        Runtime::Attachment { container_id } => {
            (None, Some(wire::NetworkAttachmentSpec { container_id: container_id.clone() }))
        }
    };
    wire::TaskSpec {
        container_spec,
        plugin_spec: None,
        runtime: if attachment.is_some() { "attachment".to_owned() } else { String::new() },
        network_attachment_spec: attachment,
        resources: spec.resources.as_ref().map(resources),
        restart_policy: spec.restart.as_ref().map(restart_policy),
        placement: spec.placement.as_ref().map(placement),
        networks: spec
            .networks
            .iter()
            .map(|network| wire::NetworkAttachmentConfig {
                target: network.target.to_string(),
                aliases: network.aliases.clone(),
                driver_opts: network.driver_options.clone(),
            })
            .collect(),
        log_driver: spec.log_driver.clone().map(Into::into),
        force_update: spec.force_update,
    }
}

/// Writes a port.
pub(crate) fn port(port: &core::PortConfig) -> wire::PortConfig {
    let protocol = match port.protocol {
        core::PortProtocol::Tcp => "tcp",
        core::PortProtocol::Udp => "udp",
        core::PortProtocol::Sctp => "sctp",
    };
    let publish_mode = match port.mode {
        core::PublishMode::Ingress => "ingress",
        core::PublishMode::Host => "host",
    };
    wire::PortConfig {
        name: port.name.clone(),
        protocol: protocol.to_owned(),
        target_port: port.target.into(),
        published_port: port.published.into(),
        publish_mode: publish_mode.to_owned(),
    }
}

/// Writes a generic resource.
pub(crate) fn generic_resource(resource: &GenericResource) -> wire::GenericResource {
    match resource {
        GenericResource::Discrete { kind, value } => wire::GenericResource {
            named_resource_spec: None,
            discrete_resource_spec: Some(wire::DiscreteResource {
                kind: kind.clone(),
                value: *value,
            }),
        },
        GenericResource::Named { kind, value } => wire::GenericResource {
            named_resource_spec: Some(wire::NamedResource {
                kind: kind.clone(),
                value: value.clone(),
            }),
            discrete_resource_spec: None,
        },
    }
}

/// Puts in place of what was not given the values that hold then.
fn fill_defaults(spec: &mut wire::ServiceSpec) {
    let task = &mut spec.task_template;
    if let Some(container) = &mut task.container_spec {
        container.stop_grace_period.get_or_insert(DEFAULT_GRACE_PERIOD);
        container.dns.get_or_insert_with(wire_container::DnsConfig::default);
    }
    task.resources.get_or_insert_with(wire::ResourceRequirements::default);
    let restart = task.restart_policy.get_or_insert_with(|| wire::RestartPolicy {
        condition: "any".to_owned(),
        max_attempts: Some(0),
        ..wire::RestartPolicy::default()
    });
    restart.delay.get_or_insert(DEFAULT_DELAY);
    task.placement.get_or_insert_with(wire::Placement::default);
    for config in [&mut spec.update_config, &mut spec.rollback_config] {
        let config = config.get_or_insert_with(|| wire::UpdateConfig {
            parallelism: 1,
            failure_action: "pause".to_owned(),
            order: "stop-first".to_owned(),
            ..wire::UpdateConfig::default()
        });
        if config.monitor == 0 {
            config.monitor = DEFAULT_DELAY;
        }
    }
}

fn mode(mode: core::ServiceMode) -> wire::ServiceMode {
    let mut written = wire::ServiceMode::default();
    match mode {
        core::ServiceMode::Replicated { replicas } => {
            written.replicated = Some(wire::Replicated { replicas: Some(replicas) });
        }
        core::ServiceMode::Global => written.global = Some(wire::Global {}),
        core::ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            written.replicated_job = Some(wire::ReplicatedJob {
                max_concurrent: Some(max_concurrent),
                total_completions: Some(total_completions),
            });
        }
        core::ServiceMode::GlobalJob => written.global_job = Some(wire::GlobalJob {}),
    }
    written
}

fn update_config(config: &core::UpdateConfig) -> wire::UpdateConfig {
    let failure_action = match config.failure_action {
        core::FailureAction::Pause => "pause",
        core::FailureAction::Continue => "continue",
        core::FailureAction::Rollback => "rollback",
    };
    let order = match config.order {
        core::UpdateOrder::StopFirst => "stop-first",
        core::UpdateOrder::StartFirst => "start-first",
    };
    wire::UpdateConfig {
        parallelism: config.parallelism,
        delay: nanos(config.delay),
        failure_action: failure_action.to_owned(),
        monitor: config.monitor.map_or(0, nanos),
        max_failure_ratio: config.max_failure_ratio,
        order: order.to_owned(),
    }
}

fn endpoint_spec(spec: &core::EndpointSpec) -> wire::EndpointSpec {
    let mode = match spec.mode {
        core::ResolutionMode::VirtualIp => "vip",
        core::ResolutionMode::DnsRoundRobin => "dnsrr",
    };
    wire::EndpointSpec { mode: mode.to_owned(), ports: spec.ports.iter().map(port).collect() }
}

/// Writes how a service is reached: nothing for one that needs neither addresses nor ports.
fn endpoint(service: &Service) -> wire::Endpoint {
    let Some(endpoint) = &service.endpoint else {
        return wire::Endpoint::default();
    };
    let virtual_ips = virtual_ips(service, endpoint);
    let unused = endpoint.ports.is_empty() && virtual_ips.is_empty();
    // What had addresses once is shown how it is reached now.
    let had_addresses = service.previous_spec.as_ref().is_some_and(|spec| {
        let mode = spec.endpoint.as_ref().map_or(core::ResolutionMode::VirtualIp, |end| end.mode);
        mode == core::ResolutionMode::VirtualIp && !spec.task.networks.is_empty()
    });
    let hidden = (unused && !had_addresses) || service.spec.endpoint.is_none();
    wire::Endpoint {
        spec: if hidden { wire::EndpointSpec::default() } else { endpoint_spec(&endpoint.spec) },
        ports: endpoint.ports.iter().map(port).collect(),
        virtual_ips,
    }
}

/// Writes a service's addresses. A network that every node has of its own, such as the host's, is named without one.
fn virtual_ips(service: &Service, endpoint: &core::Endpoint) -> Vec<wire::EndpointVirtualIp> {
    let held = endpoint.virtual_ips.iter().map(|held| wire::EndpointVirtualIp {
        network_id: held.network.to_string(),
        addr: format!("{}/{}", held.addr, held.prefix),
    });
    let has_none = |joined: &&core::NetworkAttachment| {
        endpoint.spec.mode == core::ResolutionMode::VirtualIp
            && endpoint.virtual_ips.iter().all(|held| held.network != joined.target)
    };
    let local = service.spec.task.networks.iter().filter(has_none);
    let local = local.map(|joined| wire::EndpointVirtualIp {
        network_id: joined.target.to_string(),
        addr: String::new(),
    });
    held.chain(local).collect()
}

fn update_status(status: &core::UpdateStatus) -> wire::UpdateStatus {
    let state = match status.state {
        core::UpdateState::Updating => "updating",
        core::UpdateState::Paused => "paused",
        core::UpdateState::Completed => "completed",
        core::UpdateState::RollbackStarted => "rollback_started",
        core::UpdateState::RollbackPaused => "rollback_paused",
        core::UpdateState::RollbackCompleted => "rollback_completed",
    };
    wire::UpdateStatus {
        state: state.to_owned(),
        started_at: status.started_at.filter(|at| !at.is_zero()).map(Time),
        completed_at: status.completed_at.filter(|at| !at.is_zero()).map(Time),
        message: status.message.clone(),
    }
}

fn resources(requirements: &core::ResourceRequirements) -> wire::ResourceRequirements {
    wire::ResourceRequirements {
        limits: requirements.limits.as_ref().map(|limit| wire::Limit {
            nano_cpus: limit.nano_cpus,
            memory_bytes: limit.memory_bytes,
            pids: limit.pids,
        }),
        reservations: requirements.reservations.as_ref().map(|reserved| wire::Resources {
            nano_cpus: reserved.nano_cpus,
            memory_bytes: reserved.memory_bytes,
            generic_resources: reserved.generic.iter().map(generic_resource).collect(),
        }),
        swap_bytes: requirements.swap_bytes,
        memory_swappiness: requirements.memory_swappiness,
    }
}

fn restart_policy(policy: &core::RestartPolicy) -> wire::RestartPolicy {
    let condition = match policy.condition {
        core::RestartCondition::Any => "any",
        core::RestartCondition::OnFailure => "on-failure",
        core::RestartCondition::None => "none",
    };
    wire::RestartPolicy {
        condition: condition.to_owned(),
        delay: policy.delay.map(nanos),
        max_attempts: Some(policy.max_attempts),
        window: policy.window.map(nanos),
    }
}

fn placement(placement: &core::Placement) -> wire::Placement {
    wire::Placement {
        constraints: placement.constraints.clone(),
        preferences: placement
            .preferences
            .iter()
            .map(|descriptor| wire::PlacementPreference {
                spread: Some(wire::SpreadOver { spread_descriptor: descriptor.clone() }),
            })
            .collect(),
        max_replicas: placement.max_replicas,
        platforms: placement
            .platforms
            .iter()
            .map(|platform| wire::Platform {
                architecture: platform.architecture.clone(),
                os: platform.os.clone(),
            })
            .collect(),
    }
}
