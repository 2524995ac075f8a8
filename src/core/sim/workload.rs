//! What users ask for: commands of all kinds, sensible and less so.

use std::sync::Arc;
use std::time::Duration;

use super::Settings;
use super::engine::{CRASHING, MISSING, ONE_SHOT, SICK, STEADY};
use super::random::Random;
use crate::command::{AuthFrom, Command};
use crate::id::{ConfigId, NetworkId, SecretId, ServiceId};
use crate::model::container::{ConfigReference, ContainerSpec, Healthcheck, SecretReference};
use crate::model::network::{IpamConfig, IpamOptions, NetworkSpec};
use crate::model::node::{Availability, Resources, Role};
use crate::model::secret::{ConfigSpec, SecretSpec};
use crate::model::service::{
    EndpointSpec, FailureAction, NetworkAttachment, Placement, PortConfig, PublishMode,
    ResolutionMode, ResourceRequirements, RestartCondition, RestartPolicy, Runtime, Service,
    ServiceMode, ServiceSpec, TaskSpec, UpdateConfig, UpdateOrder, UpdateState,
};
use crate::model::{Annotations, Sensitive};
use crate::state::State;

/// Services at once at the most, so that a lifetime stays short.
const SERVICES_MAX: usize = 5;

/// Returns something that a user asks for.
pub(super) fn command(random: &mut Random, state: &State, settings: Settings) -> Option<Command> {
    if settings.managers > 1 && random.percent(8) {
        return change_role(random, state);
    }
    match random.below(100) {
        0..25 if state.services().len() < SERVICES_MAX => Some(create_service(random, state)),
        0..60 => update_service(random, state),
        60..68 => roll_back(random, state),
        68..75 => remove_service(random, state),
        75..79 => Some(create_secret(random)),
        79..81 => remove_secret(random, state),
        81..84 => Some(create_config(random)),
        84..86 => remove_config(random, state),
        86..90 => Some(create_network(random)),
        90..92 => remove_network(random, state),
        _ => update_node(random, state),
    }
}

fn named(kind: &str, random: &mut Random, count: u64) -> Annotations {
    Annotations { name: format!("{kind}{}", random.below(count)), ..Annotations::default() }
}

fn entropy(random: &mut Random) -> u128 {
    (u128::from(random.next()) << 64) | u128::from(random.next())
}

fn create_service(random: &mut Random, state: &State) -> Command {
    let mode = match random.below(10) {
        0..6 => ServiceMode::Replicated { replicas: random.below(5) },
        6..8 => ServiceMode::Global,
        8 => ServiceMode::ReplicatedJob {
            max_concurrent: random.below(3),
            total_completions: random.below(4),
        },
        _ => ServiceMode::GlobalJob,
    };
    let mut spec =
        ServiceSpec { annotations: named("service", random, 8), mode, ..ServiceSpec::default() };
    let mut task = TaskSpec::default();
    set_image(random, mode, &mut task);
    set_restart(random, &mut task);
    if random.percent(40) {
        set_endpoint(random, &mut spec);
    }
    if random.percent(40) {
        set_networks(random, state, &mut task);
    }
    if random.percent(30) {
        set_placement(random, &mut task);
    }
    if random.percent(30) {
        set_payloads(random, state, &mut task);
    }
    if !mode.is_job() {
        spec.update = random.percent(80).then(|| update_config(random));
        spec.rollback = random.percent(50).then(|| update_config(random));
    }
    spec.task = Arc::new(task);
    Command::CreateService { id: ServiceId::from_entropy(entropy(random)), spec: Box::new(spec) }
}

fn container(task: &mut TaskSpec, edit: impl FnOnce(&mut ContainerSpec)) {
    if let Runtime::Container(container) = &mut task.runtime {
        edit(container);
    }
}

fn set_image(random: &mut Random, mode: ServiceMode, task: &mut TaskSpec) {
    let images = if mode.is_job() {
        [ONE_SHOT, ONE_SHOT, ONE_SHOT, ONE_SHOT, CRASHING, MISSING]
    } else {
        [STEADY, STEADY, STEADY, CRASHING, SICK, MISSING]
    };
    let image = random.pick(&images).unwrap_or(STEADY);
    let checked = image == SICK || random.percent(20);
    container(task, |container| {
        container.image = image.to_owned();
        container.healthcheck = checked.then(Healthcheck::default);
    });
}

fn set_restart(random: &mut Random, task: &mut TaskSpec) {
    use RestartCondition::{Any, None as Never, OnFailure};
    task.restart = random.percent(80).then(|| RestartPolicy {
        condition: random.pick(&[Any, Any, Any, OnFailure, OnFailure, Never]).unwrap_or(Any),
        delay: random.percent(80).then(|| random.millis(3000)),
        max_attempts: if random.percent(70) { 0 } else { random.below(4) },
        window: random.percent(30).then(|| random.millis(10_000)),
    });
}

fn set_endpoint(random: &mut Random, spec: &mut ServiceSpec) {
    let on_mesh = random.percent(60);
    let mut ports = Vec::new();
    for target in 0..=random.below(2) {
        let fixed = random.percent(50);
        let published = match (fixed, on_mesh) {
            (false, _) => 0,
            (true, true) => 8080 + random.below(6),
            (true, false) => 9000 + random.below(3),
        };
        let mode = if on_mesh { PublishMode::Ingress } else { PublishMode::Host };
        let number = |port: u64| u16::try_from(port).unwrap_or(0);
        let (target, published) = (number(80 + target), number(published));
        ports.push(PortConfig { target, published, mode, ..PortConfig::default() });
    }
    ports.dedup_by_key(|port| port.published);
    let round_robin = !on_mesh && random.percent(30);
    let mode = if round_robin { ResolutionMode::DnsRoundRobin } else { ResolutionMode::VirtualIp };
    spec.endpoint = Some(EndpointSpec { mode, ports });
}

fn set_networks(random: &mut Random, state: &State, task: &mut TaskSpec) {
    let usable = state.networks().values().filter(|it| !it.spec.ingress && !it.spec.predefined);
    let usable: Vec<NetworkId> = usable.map(|network| network.id.clone()).collect();
    task.networks.clear();
    for _ in 0..=random.below(2) {
        if let Some(target) = random.pick(&usable)
            && task.networks.iter().all(|joined| joined.target != target)
        {
            task.networks.push(NetworkAttachment { target, ..NetworkAttachment::default() });
        }
    }
}

fn set_placement(random: &mut Random, task: &mut TaskSpec) {
    let mut placement = Placement::default();
    if random.percent(50) {
        let value = if random.percent(70) { "a" } else { "b" };
        placement.constraints.push(format!("node.labels.zone!={value}"));
    }
    if random.percent(30) {
        placement.max_replicas = 1 + random.below(3);
    }
    if random.percent(30) {
        placement.preferences.push("node.labels.zone".to_owned());
    }
    task.placement = Some(placement);
    let nano_cpus = i64::try_from(random.below(3)).unwrap_or(0) * 1_000_000_000;
    let reservations = Some(Resources { nano_cpus, ..Resources::default() });
    task.resources = Some(ResourceRequirements { reservations, ..Default::default() });
}

fn set_payloads(random: &mut Random, state: &State, task: &mut TaskSpec) {
    let secrets: Vec<_> = state.secrets().values().cloned().collect();
    let configs: Vec<_> = state.configs().values().cloned().collect();
    let (secret, config) = (random.pick(&secrets), random.pick(&configs));
    container(task, |container| {
        let secret = secret.map(|it| (it.id.clone(), it.spec.annotations.name.clone()));
        container.secrets =
            secret.into_iter().map(|(id, name)| SecretReference { id, name, file: None }).collect();
        let config = config.map(|it| (it.id.clone(), it.spec.annotations.name.clone()));
        container.configs =
            config.into_iter().map(|(id, name)| ConfigReference { id, name, file: None }).collect();
    });
}

fn update_config(random: &mut Random) -> UpdateConfig {
    use FailureAction::{Continue, Pause, Rollback};
    let start_first = random.percent(30);
    UpdateConfig {
        parallelism: random.below(3),
        delay: if random.percent(50) { Duration::ZERO } else { random.millis(2000) },
        failure_action: random.pick(&[Pause, Continue, Rollback]).unwrap_or(Pause),
        monitor: random.percent(80).then(|| random.millis(3000)),
        max_failure_ratio: if random.percent(70) { 0.0 } else { 0.5 },
        order: if start_first { UpdateOrder::StartFirst } else { UpdateOrder::StopFirst },
    }
}

fn pick_service(random: &mut Random, state: &State) -> Option<Arc<Service>> {
    let services: Vec<Arc<Service>> = state.services().values().cloned().collect();
    random.pick(&services)
}

fn update_service(random: &mut Random, state: &State) -> Option<Command> {
    let service = pick_service(random, state)?;
    let mut spec = ServiceSpec::clone(&service.spec);
    let mut task = TaskSpec::clone(&spec.task);
    match random.below(9) {
        0..2 => {
            if let ServiceMode::Replicated { replicas } = &mut spec.mode {
                *replicas = random.below(6);
            }
        }
        2 => task.force_update += 1,
        3..5 => set_image(random, spec.mode, &mut task),
        5 => set_endpoint(random, &mut spec),
        6 => set_networks(random, state, &mut task),
        7 => set_placement(random, &mut task),
        _ => {
            let label = ("touched".to_owned(), random.below(100).to_string());
            spec.annotations.labels.extend([label]);
        }
    }
    spec.task = Arc::new(task);
    Some(update(&service, spec))
}

/// Makes the command that puts a spec in place of the one just read.
pub(super) fn update(service: &Service, spec: ServiceSpec) -> Command {
    Command::UpdateService {
        id: service.id.clone(),
        version: service.meta.version,
        spec: Box::new(spec),
        rollback: false,
        auth_from: AuthFrom::Spec,
    }
}

/// Makes the command after which a service can run everywhere and for ever, and no fault keeps it from that; nothing if it
/// can do so as it is.
pub(super) fn repair(service: &Service) -> Option<Command> {
    let image = if service.spec.mode.is_job() { ONE_SHOT } else { STEADY };
    if is_sound(service, image) {
        return None;
    }
    let mut spec = ServiceSpec::clone(&service.spec);
    let mut task = TaskSpec::default();
    container(&mut task, |container| container.image = image.to_owned());
    task.restart = service.spec.task.restart.clone().map(|policy| RestartPolicy {
        condition: RestartCondition::Any,
        max_attempts: 0,
        ..policy
    });
    spec.task = Arc::new(task);
    spec.endpoint = None;
    Some(update(service, spec))
}

fn is_sound(service: &Service, image: &str) -> bool {
    use UpdateState::{Completed, Paused, RollbackCompleted, RollbackPaused, RollbackStarted};
    let task = &service.spec.task;
    let policy = task.restart.clone().unwrap_or_default();
    let goes_on = match service.update_status.as_ref().map(|status| status.state) {
        None | Some(Completed | RollbackCompleted) => true,
        Some(UpdateState::Updating | Paused | RollbackPaused | RollbackStarted) => false,
    };
    goes_on
        && task.container().is_some_and(|container| container.image == image)
        && policy.condition == RestartCondition::Any
        && policy.max_attempts == 0
        && task.placement.is_none()
        && task.networks.is_empty()
        && service.spec.endpoint.is_none()
}

fn roll_back(random: &mut Random, state: &State) -> Option<Command> {
    let service = pick_service(random, state)?;
    Some(Command::UpdateService {
        id: service.id.clone(),
        version: service.meta.version,
        spec: Box::default(),
        rollback: true,
        auth_from: AuthFrom::Spec,
    })
}

fn remove_service(random: &mut Random, state: &State) -> Option<Command> {
    Some(Command::RemoveService { id: pick_service(random, state)?.id.clone() })
}

fn create_secret(random: &mut Random) -> Command {
    let annotations = named("secret", random, 5);
    let spec = SecretSpec { annotations, data: Sensitive(vec![1]), ..SecretSpec::default() };
    Command::CreateSecret { id: SecretId::from_entropy(entropy(random)), spec: Box::new(spec) }
}

fn remove_secret(random: &mut Random, state: &State) -> Option<Command> {
    let ids: Vec<SecretId> = state.secrets().keys().cloned().collect();
    Some(Command::RemoveSecret { id: random.pick(&ids)? })
}

fn create_config(random: &mut Random) -> Command {
    let annotations = named("config", random, 5);
    let spec = ConfigSpec { annotations, data: Sensitive(vec![1]), ..ConfigSpec::default() };
    Command::CreateConfig { id: ConfigId::from_entropy(entropy(random)), spec: Box::new(spec) }
}

fn remove_config(random: &mut Random, state: &State) -> Option<Command> {
    let ids: Vec<ConfigId> = state.configs().keys().cloned().collect();
    Some(Command::RemoveConfig { id: random.pick(&ids)? })
}

/// Some networks are too small for what joins them. None asks for another's subnet: it would wait for the other to go,
/// and who joins it with it.
fn create_network(random: &mut Random) -> Command {
    let annotations = named("network", random, 5);
    let ipam = random.percent(40).then(|| {
        let number = annotations.name.trim_start_matches(|it: char| !it.is_ascii_digit());
        let subnet = format!("10.77.{number}.0/{}", 27 + random.below(3));
        let config = IpamConfig { subnet, ..IpamConfig::default() };
        IpamOptions { configs: vec![config], ..IpamOptions::default() }
    });
    let spec = NetworkSpec { annotations, ipam, ..NetworkSpec::default() };
    Command::CreateNetwork { id: NetworkId::from_entropy(entropy(random)), spec: Box::new(spec) }
}

fn remove_network(random: &mut Random, state: &State) -> Option<Command> {
    let ids: Vec<NetworkId> =
        state.networks().values().filter(|it| !it.spec.ingress).map(|it| it.id.clone()).collect();
    Some(Command::RemoveNetwork { id: random.pick(&ids)? })
}

fn update_node(random: &mut Random, state: &State) -> Option<Command> {
    let nodes: Vec<_> = state.nodes().values().cloned().collect();
    let node = random.pick(&nodes)?;
    let mut spec = node.spec.clone();
    if random.percent(60) {
        use Availability::{Active, Drain, Pause};
        spec.availability = random.pick(&[Active, Active, Active, Pause, Drain]).unwrap_or(Active);
    } else {
        let zone = if random.percent(50) { "a" } else { "c" };
        spec.annotations.labels.extend([("zone".to_owned(), zone.to_owned())]);
    }
    Some(Command::UpdateNode { id: node.id.clone(), version: node.meta.version, spec })
}

/// Promotes a worker or demotes a manager.
fn change_role(random: &mut Random, state: &State) -> Option<Command> {
    let nodes: Vec<_> = state.nodes().values().cloned().collect();
    let node = random.pick(&nodes)?;
    let mut spec = node.spec.clone();
    spec.role = match spec.role {
        Role::Worker => Role::Manager,
        Role::Manager => Role::Worker,
    };
    Some(Command::UpdateNode { id: node.id.clone(), version: node.meta.version, spec })
}
