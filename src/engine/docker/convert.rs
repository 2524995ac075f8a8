//! From bollard's types to ours. Talks to nobody.

use std::collections::BTreeMap;

use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary,
    ContainerSummaryStateEnum, GenericResourcesInner, HealthStatusEnum, PluginsInfo, PortMap,
    SystemInfo, SystemVersion,
};
use skep_api::backend::EngineVersion;
use skep_core::agent::Found;
use skep_core::agent::container::TASK_ID_LABEL;
use skep_core::agent::step::{Container, Health};
use skep_core::model::node::{GenericResource, NodeDescription};
use skep_core::model::service::PortProtocol;

use crate::engine::{ContainerView, EngineError};

/// Answers of the engine are its last word, except that it is busy; anything else is a matter of the connection.
pub(super) fn error(error: Error) -> EngineError {
    if let Error::DockerResponseServerError { status_code, message } = error {
        return if status_code == 503 {
            EngineError::Temporary(message)
        } else {
            EngineError::Fatal { status: status_code, message }
        };
    }
    if let Error::DockerStreamError { error } = error {
        return EngineError::Fatal { status: 500, message: error };
    }
    EngineError::Temporary(error.to_string())
}

pub(super) fn found(summary: ContainerSummary) -> Option<Found> {
    let task = summary.labels.unwrap_or_default().get(TASK_ID_LABEL).and_then(|id| id.parse().ok());
    let running = matches!(
        summary.state,
        Some(
            ContainerSummaryStateEnum::RUNNING
                | ContainerSummaryStateEnum::PAUSED
                | ContainerSummaryStateEnum::RESTARTING
                | ContainerSummaryStateEnum::STOPPING
        )
    );
    Some(Found { container: summary.id?, task, running })
}

/// `None` for a container that is being removed.
pub(super) fn view(found: ContainerInspectResponse) -> Option<ContainerView> {
    let state = found.state.unwrap_or_default();
    let check = found.config.and_then(|config| config.healthcheck);
    let container = container(&state, check.and_then(|check| check.retries))?;
    let running = matches!(container, Container::Running { .. });
    Some(ContainerView {
        id: found.id.unwrap_or_default(),
        state: container,
        pid: state.pid.unwrap_or_default(),
        exit_code: if running { 0 } else { state.exit_code.unwrap_or_default() },
        ports: ports(found.network_settings.and_then(|settings| settings.ports)),
    })
}

/// Failures in a row that make a container unhealthy where its check does not say.
const RETRIES: i64 = 3;

fn container(state: &ContainerState, retries: Option<i64>) -> Option<Container> {
    let health = match state.health.as_ref().and_then(|health| health.status) {
        None | Some(HealthStatusEnum::EMPTY | HealthStatusEnum::NONE) => Health::Unchecked,
        Some(HealthStatusEnum::STARTING) => Health::Starting,
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
    };
    let exited = || Container::Exited {
        code: state.exit_code.unwrap_or_default(),
        error: state.error.clone().unwrap_or_default(),
        health: last_health(state, health, retries),
    };
    match state.status {
        Some(ContainerStateStatusEnum::CREATED) => Some(Container::Created),
        Some(
            ContainerStateStatusEnum::RUNNING
            | ContainerStateStatusEnum::PAUSED
            | ContainerStateStatusEnum::RESTARTING
            | ContainerStateStatusEnum::STOPPING,
        ) => Some(Container::Running { health }),
        Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => Some(exited()),
        Some(ContainerStateStatusEnum::REMOVING) => None,
        None | Some(ContainerStateStatusEnum::EMPTY) => {
            let running = state.running == Some(true);
            Some(if running { Container::Running { health } } else { exited() })
        }
    }
}

/// Returns how a container was when it ended. The engine calls every one unhealthy that has a check and does not run, so
/// the failures that it has counted must tell.
fn last_health(state: &ContainerState, health: Health, retries: Option<i64>) -> Health {
    let failures = state.health.as_ref().and_then(|health| health.failing_streak).unwrap_or(0);
    let allowed = retries.filter(|retries| *retries > 0).unwrap_or(RETRIES);
    match health {
        Health::Unhealthy if failures < allowed => Health::Healthy,
        Health::Unchecked | Health::Starting | Health::Healthy | Health::Unhealthy => health,
    }
}

fn ports(ports: Option<PortMap>) -> BTreeMap<(u16, PortProtocol), Vec<u16>> {
    let mut bound = BTreeMap::new();
    for (key, bindings) in ports.unwrap_or_default() {
        let (port, protocol) = key.split_once('/').unwrap_or((&key, "tcp"));
        let protocol = match protocol {
            "udp" => PortProtocol::Udp,
            "sctp" => PortProtocol::Sctp,
            _ => PortProtocol::Tcp,
        };
        let bindings = bindings.unwrap_or_default();
        let host = bindings.iter().filter_map(|binding| binding.host_port.as_ref()?.parse().ok());
        let host: Vec<u16> = host.collect();
        if let (Ok(port), false) = (port.parse(), host.is_empty()) {
            bound.insert((port, protocol), host);
        }
    }
    bound
}

pub(super) fn version(found: &SystemVersion) -> EngineVersion {
    let parse = |text: &Option<String>, default: (u32, u32)| {
        let (major, minor) = text.as_deref()?.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?)).or(Some(default))
    };
    EngineVersion {
        engine: found.version.clone().unwrap_or_default(),
        api_max: parse(&found.api_version, (1, 41)).unwrap_or((1, 41)),
        api_min: parse(&found.min_api_version, (1, 12)).unwrap_or((1, 12)),
        experimental: found.experimental.unwrap_or_default(),
    }
}

pub(super) fn description(info: SystemInfo) -> NodeDescription {
    let labels = info.labels.unwrap_or_default();
    let labels = labels.iter().map(|label| {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        (key.to_owned(), value.to_owned())
    });
    NodeDescription {
        hostname: info.name.unwrap_or_default(),
        architecture: info.architecture.unwrap_or_default(),
        os: info.os_type.unwrap_or_default(),
        nano_cpus: info.ncpu.unwrap_or_default().saturating_mul(1_000_000_000),
        memory_bytes: info.mem_total.unwrap_or_default(),
        generic_resources: info
            .generic_resources
            .unwrap_or_default()
            .into_iter()
            .filter_map(generic_resource)
            .collect(),
        engine_version: info.server_version.unwrap_or_default(),
        engine_labels: labels.collect(),
        plugins: plugins(info.plugins.unwrap_or_default()),
        ..NodeDescription::default()
    }
}

/// The driver `overlay` is always there: skep makes it.
fn plugins(found: PluginsInfo) -> Vec<(String, String)> {
    let mut networks = found.network.unwrap_or_default();
    networks.push("overlay".to_owned());
    let kinds = [
        ("Authorization", found.authorization.unwrap_or_default()),
        ("Log", found.log.unwrap_or_default()),
        ("Network", networks),
        ("Volume", found.volume.unwrap_or_default()),
    ];
    let mut plugins: Vec<(String, String)> = kinds
        .into_iter()
        .flat_map(|(kind, names)| names.into_iter().map(move |name| (kind.to_owned(), name)))
        .collect();
    plugins.sort();
    plugins.dedup();
    plugins
}

fn generic_resource(found: GenericResourcesInner) -> Option<GenericResource> {
    if let Some(named) = found.named_resource_spec {
        return Some(GenericResource::Named { kind: named.kind?, value: named.value? });
    }
    let counted = found.discrete_resource_spec?;
    Some(GenericResource::Discrete { kind: counted.kind?, value: counted.value? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_container_is_as_healthy_as_it_was() {
        let ended = |failing_streak, retries| {
            let health = bollard::models::Health {
                status: Some(HealthStatusEnum::UNHEALTHY),
                failing_streak: Some(failing_streak),
                ..Default::default()
            };
            let state = ContainerState {
                status: Some(ContainerStateStatusEnum::EXITED),
                health: Some(health),
                ..ContainerState::default()
            };
            match container(&state, retries) {
                Some(Container::Exited { health, .. }) => Some(health),
                Some(Container::Absent | Container::Created | Container::Running { .. }) | None => {
                    None
                }
            }
        };
        assert_eq!(ended(0, None), Some(Health::Healthy));
        assert_eq!(ended(2, Some(0)), Some(Health::Healthy));
        assert_eq!(ended(3, Some(0)), Some(Health::Unhealthy));
        assert_eq!(ended(1, Some(1)), Some(Health::Unhealthy));
    }
}
