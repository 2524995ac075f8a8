//! What nodes are shown of arbitrary states: enough to do the same as with all of it, sent in parts, and no more.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::fixture::*;
use super::properties::{command, dice, world};
use crate::assign::assigned;
use crate::command::{Command, Proposal};
use crate::id::NodeId;
use crate::model::Sensitive;
use crate::model::cluster::Cluster;
use crate::model::node::{NodeCertificate, Role};
use crate::model::secret::SecretSpec;
use crate::model::service::TaskSpec;
use crate::model::task::{Task, TaskState};
use crate::net::names::{NameTable, Question};
use crate::net::plan::{Host, desired};
use crate::net::{bridges, ports};
use crate::state::State;
use crate::time::Timestamp;
use crate::view::{Incoming, Part, View, may_differ};

/// Sends parts as they go over the wire.
fn send(incoming: &mut Incoming, parts: &[Part], index: u64) -> Arc<State> {
    for part in parts {
        let bytes = rmp_serde::to_vec_named(part).expect("a part can be written");
        incoming.take(rmp_serde::from_slice(&bytes).expect("it can be read"));
    }
    incoming.shown(index)
}

/// Checks that a node does the same with what it is shown as with everything.
fn check(whole: &State, shown: &State, node: &NodeId) -> Result<(), TestCaseError> {
    let (all, seen) = (assigned(whole, node), assigned(shown, node));
    prop_assert_eq!(&all.tasks, &seen.tasks);
    prop_assert_eq!(&all.secrets, &seen.secrets);
    prop_assert_eq!(&all.configs, &seen.configs);
    prop_assert!(all.networks.keys().eq(seen.networks.keys()));
    prop_assert_eq!(bridges::gateways(whole, node), bridges::gateways(shown, node));
    prop_assert_eq!(ports::published(whole, node), ports::published(shown, node));
    let addr = std::net::Ipv4Addr::new(192, 0, 2, 1);
    let host = Host { node: node.clone(), addr };
    prop_assert_eq!(desired(whole, &host), desired(shown, &host));
    let names_of = |state| NameTable::new(state, node, true);
    let (names, few) = (names_of(whole), names_of(shown));
    // Who ended asks nothing; arbitrary commands may have given its address to a task that is not known here yet.
    let live = |task: &&Arc<Task>| !task.status.state.is_terminal();
    let held = |addr: &IpAddr| {
        let joined = whole.node_tasks(node).flat_map(|task| &task.networks);
        joined.flat_map(|joined| &joined.addresses).filter(|(held, _)| held == addr).count()
    };
    let askers = all.tasks.values().filter(live).flat_map(|task| &task.networks);
    for (source, _) in
        askers.flat_map(|joined| &joined.addresses).filter(|(addr, _)| held(addr) == 1)
    {
        for service in whole.services().values() {
            let question = Question::V4(&service.spec.annotations.name);
            prop_assert_eq!(names.ask(*source, question), few.ask(*source, question));
        }
    }
    // Nothing that others need alone.
    let told = shown.cluster().map(|cluster| Cluster { data_path_port: 0, ..(**cluster).clone() });
    prop_assert!(told.is_none_or(|told| told == Cluster::default()));
    let others = || shown.nodes().values().filter(|other| other.id != *node);
    prop_assert!(others().all(|other| other.certificate == NodeCertificate::default()));
    prop_assert!(others().all(|other| other.description.hostname.is_empty()));
    prop_assert!(shown.secrets().len() == seen.secrets.len());
    prop_assert!(shown.configs().len() == seen.configs.len());
    let others = || shown.tasks().values().filter(|task| task.node.as_ref() != Some(node));
    prop_assert!(others().all(|task| *task.spec == TaskSpec::default()));
    let joined = |task: &Task| {
        task.networks.iter().any(|held| shown.networks().contains_key(&held.network.id))
    };
    prop_assert!(others().all(|task| joined(task)));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_node_does_the_same_with_what_it_is_shown(rolls in vec((any::<u8>(), dice()), 1..60)) {
        let mut state = world();
        let nodes = [node_id(0), node_id(1)];
        let mut views = nodes.clone().map(|node| (View::new(node), Incoming::default()));
        for (number, (kind, dice)) in rolls.into_iter().enumerate() {
            let (before, is_first) = (state.clone(), number == 0);
            let command = command(&state, kind, dice);
            let proposal = Proposal { at: Timestamp::from_secs(1), command };
            let _outcome = state.apply(state.index() + 1, &proposal);
            for (node, (view, incoming)) in nodes.iter().zip(&mut views) {
                let parts = view.follow(&state);
                prop_assert!(parts.is_empty() || is_first || may_differ(&before, &state));
                let shown = send(incoming, &parts, state.index());
                prop_assert_eq!(&*shown, view.shown());
                check(&state, &shown, node)?;
            }
        }
        for (node, (view, _)) in nodes.iter().zip(&views) {
            // One who comes late is shown the same.
            let mut late = View::new(node.clone());
            late.follow(&state);
            prop_assert_eq!(late.shown(), view.shown());
        }
    }
}

#[test]
fn what_a_node_reported_itself_comes_back_in_short() {
    let mut world = World::new();
    world.add_node(1, Role::Worker);
    world.must(Command::CreateSecret {
        id: secret_id(3),
        spec: Box::new(SecretSpec {
            annotations: named("x3"),
            data: Sensitive(b"hush".to_vec()),
            ..SecretSpec::default()
        }),
    });
    world.create_service(1, mounting("web", secret_id(3), "x3")).expect("it is made");
    world.create_task(1, 1);
    world.place(1, TaskState::Assigned);
    let (mut view, mut other) = (View::new(node_id(0)), View::new(node_id(1)));
    let kinds = |parts: &[Part]| -> Vec<&'static str> {
        let name = |part: &Part| match part {
            Part::DataPathPort(_) => "port",
            Part::Node(_) => "node",
            Part::Service(_) => "service",
            Part::Task(_) => "task",
            Part::Status(..) => "status",
            Part::Network(_) => "network",
            Part::Secret(_) => "secret",
            Part::Config(_) => "config",
            Part::NoNode(_)
            | Part::NoService(_)
            | Part::NoTask(_)
            | Part::NoNetwork(_)
            | Part::NoSecret(_)
            | Part::NoConfig(_) => "gone",
        };
        parts.iter().map(name).collect()
    };
    assert_eq!(kinds(&view.follow(&world.state)), ["port", "node", "task", "secret"]);
    assert_eq!(kinds(&other.follow(&world.state)), ["port", "node"]);
    world.place(1, TaskState::Running);
    assert_eq!(kinds(&view.follow(&world.state)), ["status"]);
    assert_eq!(kinds(&other.follow(&world.state)), Vec::<&str>::new());
    world.place(1, TaskState::Failed);
    // A task that ended needs its secret no more.
    assert_eq!(kinds(&view.follow(&world.state)), ["gone", "status"]);
}
