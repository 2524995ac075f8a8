//! Checks whether a service spec makes sense, with the words clients know. Needs no state but for networks.

mod container;
mod image;
mod number;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use skep_core::model::service::{PortProtocol, PublishMode, ResolutionMode, ServiceSpec};
use skep_core::plan::constraint;
use skep_core::state::State;

use crate::error::{ApiError, Code};
use crate::wire::service as wire;

const NAME_LEN_MAX: usize = 63;
const NANO_CPUS_MIN: i64 = 1_000_000;
const MEMORY_BYTES_MIN: i64 = 4 * 1024 * 1024;

/// Checks a spec that `convert` has read: `asked` is what came, `spec` what it became.
///
/// The first problem found is the answer; the order is that of the API this one stands in for.
pub fn service_spec(
    asked: &wire::ServiceSpec,
    spec: &ServiceSpec,
    state: &State,
) -> Result<(), ApiError> {
    name(&spec.annotations.name)?;
    task(&asked.task_template, spec)?;
    mode(&asked.mode)?;
    if spec.mode.is_job() {
        if spec.update.is_some() {
            return Err(ApiError::invalid_argument("Jobs may not have an update config"));
        }
    } else if let Some(config) = &asked.update_config {
        update(config)?;
    }
    ports(spec)?;
    networks(spec, state)
}

/// Checks the name of a service.
pub(crate) fn name(name: &str) -> Result<(), ApiError> {
    if name.is_empty() {
        return Err(ApiError::invalid_argument("meta: name must be provided"));
    }
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let valid = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last());
    if !valid {
        return Err(ApiError::invalid_argument("name must be valid as a DNS name component"));
    }
    if name.len() > NAME_LEN_MAX {
        return Err(ApiError::invalid_argument("name must be 63 characters or fewer"));
    }
    Ok(())
}

fn task(asked: &wire::TaskSpec, spec: &ServiceSpec) -> Result<(), ApiError> {
    if let Some(requirements) = &asked.resources {
        resources(requirements)?;
    }
    if let Some(policy) = &asked.restart_policy {
        if policy.delay.is_some_and(i64::is_negative) {
            return Err(ApiError::invalid_argument("TaskSpec: restart-delay cannot be negative"));
        }
        if policy.window.is_some_and(i64::is_negative) {
            return Err(ApiError::invalid_argument("TaskSpec: restart-window cannot be negative"));
        }
    }
    if let Some(placement) = &asked.placement {
        for expression in &placement.constraints {
            constraint::parse(expression)
                .map_err(|problem| ApiError::rpc(Code::Unknown, problem.to_string()))?;
        }
    }
    match (&asked.container_spec, spec.task.container()) {
        (Some(asked), Some(container)) => container::check(asked, container),
        _ => Ok(()),
    }
}

fn resources(requirements: &wire::ResourceRequirements) -> Result<(), ApiError> {
    let limits = requirements.limits.as_ref().map(|held| (held.nano_cpus, held.memory_bytes));
    let reserved =
        requirements.reservations.as_ref().map(|held| (held.nano_cpus, held.memory_bytes));
    for (nano_cpus, memory_bytes) in limits.into_iter().chain(reserved) {
        if nano_cpus != 0 && nano_cpus < NANO_CPUS_MIN {
            let cpus = number::shortest(nano_cpus, 9);
            let text = format!("invalid cpu value {cpus}: Must be at least 0.001");
            return Err(ApiError::invalid_argument(text));
        }
        if memory_bytes != 0 && memory_bytes < MEMORY_BYTES_MIN {
            let text = format!("invalid memory value {memory_bytes}: Must be at least 4MiB");
            return Err(ApiError::invalid_argument(text));
        }
    }
    let limited = limits.is_some_and(|(_, memory_bytes)| memory_bytes != 0);
    if requirements.swap_bytes.is_some_and(|swap| swap != 0) && !limited {
        return Err(ApiError::invalid_argument(
            "memory swap provided, but no memory-limit was set",
        ));
    }
    Ok(())
}

fn mode(mode: &wire::ServiceMode) -> Result<(), ApiError> {
    let too_many = |count: Option<u64>| count.is_some_and(|count| i64::try_from(count).is_err());
    if too_many(mode.replicated.as_ref().and_then(|held| held.replicas)) {
        return Err(ApiError::invalid_argument("Number of replicas must be non-negative"));
    }
    let job = mode.replicated_job.as_ref();
    if too_many(job.and_then(|held| held.max_concurrent)) {
        return Err(ApiError::invalid_argument("Maximum concurrent jobs must not be negative"));
    }
    if too_many(job.and_then(|held| held.total_completions)) {
        return Err(ApiError::invalid_argument("Total completed jobs must not be negative"));
    }
    Ok(())
}

fn update(config: &wire::UpdateConfig) -> Result<(), ApiError> {
    if config.delay < 0 {
        return Err(ApiError::invalid_argument("TaskSpec: update-delay cannot be negative"));
    }
    if config.monitor < 0 {
        return Err(ApiError::invalid_argument("TaskSpec: update-monitor cannot be negative"));
    }
    if !(0.0..=1.0).contains(&config.max_failure_ratio) {
        return Err(ApiError::invalid_argument(
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ));
    }
    Ok(())
}

fn ports(spec: &ServiceSpec) -> Result<(), ApiError> {
    let Some(endpoint) = &spec.endpoint else {
        return Ok(());
    };
    let mut seen: BTreeSet<(u16, PortProtocol)> = BTreeSet::new();
    for port in &endpoint.ports {
        if endpoint.mode == ResolutionMode::DnsRoundRobin && port.mode == PublishMode::Ingress {
            return Err(ApiError::invalid_argument(
                "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
            ));
        }
        if port.published != 0 && !seen.insert((port.published, port.protocol)) {
            return Err(ApiError::invalid_argument(
                "EndpointSpec: duplicate published ports provided",
            ));
        }
    }
    Ok(())
}

fn networks(spec: &ServiceSpec, state: &State) -> Result<(), ApiError> {
    for attachment in &spec.task.networks {
        if let Some(network) = state.networks().get(&attachment.target)
            && network.spec.ingress
        {
            return Err(ApiError::invalid_argument(format!(
                "Service cannot be explicitly attached to the ingress network {:?}",
                network.spec.annotations.name
            )));
        }
    }
    Ok(())
}
