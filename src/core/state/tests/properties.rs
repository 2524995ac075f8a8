//! Properties of `apply` over arbitrary commands, sensible or not.

use proptest::collection::vec;
use proptest::prelude::*;

use super::fixture::*;
use crate::command::{
    AuthFrom, Change, Command, NetworkPatch, NewTask, Proposal, ServicePatch, TaskPatch,
};
use crate::model::network::{IpamConfig, IpamOptions, NetworkAllocation};
use crate::model::node::{Availability, NodeSpec, NodeState, NodeStatus, Role};
use crate::model::secret::{ConfigSpec, SecretSpec};
use crate::model::service::{
    Endpoint, NetworkAttachment, PortConfig, PublishMode, ServiceMode, ServiceSpec, Slot,
    UpdateState, UpdateStatus, VirtualIp,
};
use crate::model::task::{TaskNetwork, TaskState, TaskStatus};
use crate::model::{Kind, Sensitive};
use crate::state::State;
use crate::state::audit::audit_applied;
use crate::time::Timestamp;

/// What a command is made of besides its kind; small, so that commands meet the same objects.
pub(super) type Dice = (u64, u64, u64, u8);

pub(super) fn dice() -> impl Strategy<Value = Dice> {
    (0..3_u64, 0..6_u64, 0..3_u64, any::<u8>())
}

/// Chooses one of the ids there are; another when there is none.
fn pick<K: Clone + Ord, V>(there: &imbl::OrdMap<K, V>, number: u64, otherwise: K) -> K {
    let number = usize::try_from(number).unwrap_or(0);
    let place = number.checked_rem(there.len());
    place.and_then(|place| there.keys().nth(place)).cloned().unwrap_or(otherwise)
}

/// Chooses a state to ask for, mostly one that may be asked for.
fn desired(bits: u8) -> TaskState {
    use TaskState::{Complete, Ready, Remove, Running, Shutdown};
    match bits & 31 {
        0 => TaskState::ALL[usize::from(bits >> 4) % TaskState::ALL.len()],
        1..=4 => Ready,
        5..=6 => Complete,
        7..=8 => Shutdown,
        9 => Remove,
        _ => Running,
    }
}

fn mode_of(bits: u8) -> PublishMode {
    if bits & 1 == 0 { PublishMode::Ingress } else { PublishMode::Host }
}

fn spec((number, other, third, bits): Dice) -> ServiceSpec {
    let name = format!("s{}", if bits & 128 == 0 { number } else { third });
    let mut spec = match bits & 3 {
        0 => publishing(&name, u16::try_from(other).unwrap_or(0), mode_of(bits >> 2)),
        1 => mounting(&name, secret_id(third), &format!("x{third}")),
        _ => replicated(&name, other),
    };
    if bits & 16 != 0 {
        let target = network_id(third);
        let attachment = NetworkAttachment { target, ..NetworkAttachment::default() };
        std::sync::Arc::make_mut(&mut spec.task).networks = vec![attachment];
    }
    match bits >> 5 & 3 {
        0 => spec.mode = ServiceMode::Global,
        1 => spec.mode = ServiceMode::GlobalJob,
        _ => {}
    }
    spec
}

fn status((_, other, third, bits): Dice) -> TaskStatus {
    let state = TaskState::ALL[usize::from(bits) % TaskState::ALL.len()];
    let message = format!("{other}");
    TaskStatus {
        state,
        message,
        at: Timestamp(i64::try_from(third).unwrap_or(0)),
        ..TaskStatus::default()
    }
}

fn task_patch(state: &State, dice: Dice) -> TaskPatch {
    let (number, other, third, bits) = dice;
    let network = state.networks().get(&network_id(third)).cloned();
    let addr = [10, 0, 0, u8::try_from(other).unwrap_or(0)].into();
    let networks = network.map(|network| {
        vec![TaskNetwork { network, addresses: vec![(addr, 24)], aliases: Vec::new() }]
    });
    TaskPatch {
        id: pick(state.tasks(), other + third, task_id(other)),
        desired: (bits & 1 != 0).then_some(desired(bits >> 2)),
        status: (bits & 2 != 0).then(|| status((number, other, third, bits >> 1))),
        node: (bits & 6 != 0).then(|| pick(state.nodes(), number, node_id(number))),
        networks: networks.filter(|_| bits & 8 != 0),
        ..TaskPatch::default()
    }
}

fn service_patch(state: &State, (number, other, third, bits): Dice) -> ServicePatch {
    let addr = [10, 0, 0, u8::try_from(other).unwrap_or(0)].into();
    let published = u16::try_from(other).unwrap_or(0);
    let port = PortConfig { published, mode: mode_of(bits), ..PortConfig::default() };
    let endpoint = Endpoint {
        ports: vec![port],
        virtual_ips: vec![VirtualIp {
            network: pick(state.networks(), third, network_id(third)),
            addr,
            prefix: 24,
        }],
        ..Endpoint::default()
    };
    let shown = UpdateStatus { state: UpdateState::Paused, ..UpdateStatus::default() };
    ServicePatch {
        id: pick(state.services(), number, service_id(number)),
        endpoint: (bits & 2 != 0).then_some(endpoint),
        update_status: (bits & 4 != 0).then_some(shown),
        roll_back: bits & 56 == 56,
        ..ServicePatch::default()
    }
}

fn network_patch(state: &State, (number, other, third, bits): Dice) -> NetworkPatch {
    let subnet = format!("10.{other}.0.0/24");
    let configs = vec![IpamConfig { subnet, ..IpamConfig::default() }];
    let ipam = IpamOptions { configs, ..IpamOptions::default() };
    let vni = u32::try_from(third).unwrap_or(0);
    let allocation = NetworkAllocation { vni, ipam, ..NetworkAllocation::default() };
    let addr = [10, 0, 0, u8::try_from(other).unwrap_or(0)].into();
    NetworkPatch {
        id: pick(state.networks(), third, network_id(third)),
        allocation: (bits & 1 != 0).then_some(allocation),
        gateways: if bits & 2 == 0 {
            Vec::new()
        } else {
            vec![(pick(state.nodes(), number, node_id(number)), addr)]
        },
        last_address: (bits & 4 != 0).then_some(addr),
    }
}

fn change(state: &State, kind: u8, dice: Dice) -> Change {
    let (number, other, third, bits) = dice;
    let node = pick(state.nodes(), number, node_id(number));
    match kind % 8 {
        0..=2 => Change::CreateTask(NewTask {
            id: task_id(3 * other + third),
            service: pick(state.services(), number, service_id(number)),
            slot: if bits & 1 == 0 { Slot::Number(other) } else { Slot::Node(node) },
            desired: desired(bits >> 1),
            hold: None,
        }),
        3 | 4 => Change::PatchTask(Box::new(task_patch(state, dice))),
        5 => Change::PatchService(Box::new(service_patch(state, dice))),
        6 => Change::PatchNetwork(Box::new(network_patch(state, dice))),
        _ if bits & 3 == 0 => Change::SetRole { id: node, role: Role::Worker },
        _ => Change::RemoveTask(pick(state.tasks(), other, task_id(other))),
    }
}

fn node_command((number, _, third, bits): Dice, version: u64) -> Command {
    let id = node_id(number);
    match third {
        0 => {
            let role = if bits & 1 == 0 { Role::Worker } else { Role::Manager };
            let availability = Availability::Drain;
            let spec = NodeSpec { role, availability, ..NodeSpec::default() };
            Command::UpdateNode { id, version, spec }
        }
        1 => Command::RemoveNode { id, force: bits & 1 == 0 },
        _ => {
            let state = if bits & 1 == 0 { NodeState::Ready } else { NodeState::Down };
            let status = Some(NodeStatus { state, ..NodeStatus::default() });
            Command::ReportNode { id, description: None, status, manager: None }
        }
    }
}

fn payload_command((number, other, third, bits): Dice, version: u64) -> Command {
    let annotations = named(&format!("{}{third}", if bits & 8 == 0 { 'x' } else { 'X' }));
    let data = Sensitive(vec![bits & 1]);
    match other {
        0 | 1 => {
            let spec = Box::new(SecretSpec { annotations, data, ..SecretSpec::default() });
            Command::CreateSecret { id: secret_id(number), spec }
        }
        2 => {
            let spec = Box::new(SecretSpec { annotations, data, ..SecretSpec::default() });
            Command::UpdateSecret { id: secret_id(number), version, spec }
        }
        3 => Command::RemoveSecret { id: secret_id(number) },
        4 => {
            let spec = Box::new(ConfigSpec { annotations, data, ..ConfigSpec::default() });
            Command::CreateConfig { id: config_id(number), spec }
        }
        _ => Command::RemoveConfig { id: config_id(number) },
    }
}

/// Makes a command that fits the state more or less.
pub(super) fn command(state: &State, kind: u8, dice: Dice) -> Command {
    let (number, other, third, bits) = dice;
    let id = service_id(number);
    let version = |found: Option<u64>| found.unwrap_or(1) + u64::from(bits & 64 != 0);
    match kind % 16 {
        0 | 1 => Command::CreateService { id, spec: Box::new(spec(dice)) },
        2 | 3 => {
            let id = pick(state.services(), other, id);
            let found = state.services().get(&id);
            let version = version(found.map(|found| found.meta.version));
            let mut spec = Box::new(spec((number, other, number, bits)));
            if let Some(found) = found.filter(|_| third != 0) {
                spec.annotations = found.spec.annotations.clone();
                spec.mode = found.spec.mode;
            }
            let auth_from = AuthFrom::Spec;
            Command::UpdateService { id, version, spec, rollback: bits & 12 == 12, auth_from }
        }
        4 if bits & 1 == 0 => Command::RemoveService { id },
        4 | 5 => payload_command(dice, version(None)),
        6 => {
            let found = state.nodes().get(&node_id(number));
            node_command(dice, version(found.map(|found| found.meta.version)))
        }
        7 => {
            let subnet = format!("10.{other}.0.0/24");
            let subnet = if bits & 1 == 0 { subnet.as_str() } else { "" };
            let mut spec = network_spec(&format!("n{other}"), subnet);
            spec.ingress = bits & 6 == 0;
            Command::CreateNetwork { id: network_id(third), spec: Box::new(spec) }
        }
        8 if bits & 1 == 0 => Command::RemoveNetwork { id: network_id(third) },
        8 | 9 => Command::ReportTasks {
            node: node_id(number),
            statuses: vec![
                (pick(state.tasks(), other, task_id(other)), status(dice)),
                (task_id(third), status(dice)),
            ],
        },
        _ => {
            let based_on = state.index().saturating_sub(u64::from(bits & 15 == 15) * 2);
            let second = (number, third, number, bits.rotate_left(3));
            let mut changes = vec![change(state, kind >> 4, dice)];
            if bits & 96 == 96 {
                changes.push(change(state, bits, second));
            }
            Command::Plan { based_on, changes }
        }
    }
}

pub(super) fn world() -> State {
    let mut world = World::new();
    world.add_node(1, Role::Worker);
    world.add_node(2, Role::Manager);
    world.state
}

/// Tells whether the two states differ in more than their index.
fn differ(before: &State, after: &State) -> bool {
    let mut before = before.clone();
    before.index = after.index;
    before != *after
}

fn bytes(state: &State) -> Vec<u8> {
    rmp_serde::to_vec_named(state).expect("a state can be written")
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn apply_is_total_deterministic_and_sound(rolls in vec((any::<u8>(), dice()), 1..80)) {
        let mut state = world();
        let mut twin = state.clone();
        for (kind, dice) in rolls {
            let index = state.index() + 1;
            let at = Timestamp::from_secs(i64::try_from(index).unwrap_or(0));
            let proposal = Proposal { at, command: command(&state, kind, dice) };
            let before = state.clone();
            let outcome = state.apply(index, &proposal);
            prop_assert_eq!(&outcome, &twin.apply(index, &proposal));
            prop_assert_eq!(bytes(&state), bytes(&twin));
            match outcome {
                Err(why) => prop_assert!(!differ(&before, &state), "{why}: {proposal:?}"),
                Ok(applied) => {
                    prop_assert!(applied.events.iter().all(|event| event.kind != Kind::Task));
                }
            }
            prop_assert_eq!(state.index(), index);
            prop_assert_eq!(audit_applied(&state), Vec::new(), "{:?}", proposal);
            check_history(&before, &state)?;
        }
    }

    #[test]
    fn a_stored_state_is_the_same_state(rolls in vec((any::<u8>(), dice()), 1..60)) {
        let mut state = world();
        for (kind, dice) in rolls {
            let command = command(&state, kind, dice);
            let proposal = Proposal { at: Timestamp::from_secs(1), command };
            let stored = rmp_serde::to_vec_named(&proposal).expect("a proposal can be written");
            let read: Proposal = rmp_serde::from_slice(&stored).expect("it can be read");
            prop_assert_eq!(&read, &proposal);
            // Rejections are part of the point: both outcomes must survive storage.
            let _outcome = state.apply(state.index() + 1, &read);
        }
        let again: State = rmp_serde::from_slice(&bytes(&state)).expect("it can be read");
        prop_assert_eq!(bytes(&again), bytes(&state));
        prop_assert_eq!(again, state);
    }
}

/// Checks what a step may do: tasks only go forward and stay where they are; what changed has the new version.
fn check_history(before: &State, after: &State) -> Result<(), TestCaseError> {
    for (id, task) in after.tasks() {
        let Some(old) = before.tasks().get(id) else { continue };
        // A plan may forget a task and make another by the same id; that is no history.
        if task.meta.created_at != old.meta.created_at {
            continue;
        }
        prop_assert!(task.desired >= old.desired);
        prop_assert!(task.status.state >= old.status.state);
        prop_assert!(old.node.is_none() || task.node == old.node);
        prop_assert!(task == old || task.meta.version == after.index());
    }
    for (id, service) in after.services() {
        let same = before.services().get(id) == Some(service);
        prop_assert!(same || service.meta.version == after.index());
    }
    for (id, network) in after.networks() {
        let same = before.networks().get(id) == Some(network);
        prop_assert!(same || network.meta.version == after.index());
    }
    Ok(())
}
