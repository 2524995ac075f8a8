//! Nodes that join, come, renew and go.

use std::time::Duration;

use super::fixture::{World, node_id, replicated, service_id, task_id};
use crate::command::{Change, Command};
use crate::id::NodeId;
use crate::model::node::{Availability, NodeAgent, NodeDescription, NodeSpec, NodeState, Role};
use crate::model::task::TaskState;
use crate::state::{Rejected, State};
use crate::time::Timestamp;

fn admit(number: u64, request: &[u8]) -> Command {
    Command::AdmitNode {
        id: node_id(number),
        role: Role::Worker,
        availability: Availability::Pause,
        request: request.to_vec(),
    }
}

fn register(number: u64, agent: NodeAgent, restarted: bool) -> Command {
    let description =
        Box::new(NodeDescription { hostname: "host".to_owned(), ..NodeDescription::default() });
    let addr = "192.0.2.1".to_owned();
    Command::RegisterNode { id: node_id(number), description, addr, agent, restarted }
}

#[test]
fn a_repeated_request_makes_one_node_until_that_has_come() {
    let mut world = World::new();
    world.must(admit(1, b"r"));
    world.must(admit(2, b"r"));
    let node = world.state.admitted(Role::Worker, b"r").expect("it was admitted").clone();
    assert_eq!(node.id, node_id(1));
    assert_eq!(
        (node.spec.availability, node.status.state),
        (Availability::Pause, NodeState::Unknown)
    );
    assert!(!world.state.nodes().contains_key(&node_id(2)));
    assert_eq!(world.state.admitted(Role::Manager, b"r"), None);
    world.must(register(1, NodeAgent::Engine, true));
    let node = &world.state.nodes()[&node_id(1)];
    assert_eq!((node.status.state, node.status.addr.as_str()), (NodeState::Ready, "192.0.2.1"));
    // A copy of the request later is another machine's.
    world.must(admit(2, b"r"));
    assert!(world.state.nodes().contains_key(&node_id(2)));
    world.must(Command::RenewNode { id: node_id(1), request: b"s".to_vec() });
    assert_eq!(world.state.nodes()[&node_id(1)].certificate.request, b"s");
}

#[test]
fn an_engine_is_never_promoted() {
    let mut world = World::new();
    world.must(admit(1, b"r"));
    let promote = |world: &World| Command::UpdateNode {
        id: node_id(1),
        version: world.state.nodes()[&node_id(1)].meta.version,
        spec: NodeSpec { role: Role::Manager, ..NodeSpec::default() },
    };
    world.must(register(1, NodeAgent::Engine, true));
    let refused = Err(Rejected::EngineStaysWorker { id: node_id(1).to_string() });
    assert_eq!(world.apply(promote(&world)), refused);
    world.must(register(1, NodeAgent::Skep { version: "1".to_owned() }, true));
    world.must(promote(&world));
}

#[test]
fn an_engine_that_started_anew_has_lost_what_it_ran() {
    for (agent, restarted, lost) in [
        (NodeAgent::Engine, true, true),
        (NodeAgent::Engine, false, false),
        (NodeAgent::Skep { version: "1".to_owned() }, true, false),
    ] {
        let mut world = World::new();
        world.create_service(0, replicated("web", 2)).expect("free");
        for (task, state) in [(1, TaskState::Running), (2, TaskState::Assigned)] {
            world.create_task(task, 0);
            world.place(task, state);
        }
        world.must(register(0, agent.clone(), restarted));
        let states: Vec<_> =
            [1, 2].map(|task| world.state.tasks()[&task_id(task)].status.state).into();
        let first = if lost { TaskState::Orphaned } else { TaskState::Running };
        assert_eq!(states, [first, TaskState::Assigned], "{agent:?} restarted: {restarted}");
        assert_eq!(world.state.service_tasks(&service_id(0)).count(), 2);
    }
}

#[test]
fn verdicts_change_the_state_alone() {
    let mut world = World::new();
    world.must(admit(1, b"r"));
    world.must(register(1, NodeAgent::Engine, true));
    let verdict = |number| (node_id(number), NodeState::Down, "heartbeat failure".to_owned());
    let applied = world.must(Command::JudgeNodes { verdicts: vec![verdict(1), verdict(9)] });
    assert_eq!(applied.events[0].attributes["state.new"], "down");
    let status = &world.state.nodes()[&node_id(1)].status;
    assert_eq!((status.message.as_str(), status.addr.as_str()), ("heartbeat failure", "192.0.2.1"));
}

#[test]
fn a_removed_node_is_remembered_while_its_certificate_may_be_valid() {
    let mut world = World::new();
    let is_removed = |state: &State, number| state.is_removed(&node_id(number));
    world.must(admit(1, b"r"));
    world.must(Command::RemoveNode { id: node_id(1), force: false });
    assert!(is_removed(&world.state, 1));
    assert_eq!(world.apply(admit(1, b"r")), Err(Rejected::Malformed("the id is taken")));
    world.must(admit(2, b"s"));
    world.plan(vec![Change::ForgetNode(node_id(2))]).expect("it never came");
    assert!(is_removed(&world.state, 2));
    world.must(admit(3, b"t"));
    world.must(register(3, NodeAgent::Engine, true));
    assert!(world.plan(vec![Change::ForgetNode(node_id(3))]).is_err());
    // What is long past goes with the next removal.
    let later = Timestamp::default().after(Duration::from_secs(200 * 24 * 3600));
    let index = world.state.index() + 1;
    let command = Command::RemoveNode { id: node_id(3), force: true };
    let proposal = crate::command::Proposal { at: later, command };
    world.state.apply(index, &proposal).expect("the node is there");
    let removed: Vec<&NodeId> = world.state.removed.keys().collect();
    assert_eq!(removed, [&node_id(3)]);
}
