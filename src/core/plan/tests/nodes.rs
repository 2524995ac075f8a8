//! Nodes that never came, that are down, that lost their tasks, and what stock engines cannot run.

use std::time::Duration;

use super::world::{World, node_id};
use crate::command::Command;
use crate::model::node::{Availability, NodeAgent, NodeState, Role};
use crate::model::service::{EndpointSpec, PortConfig, PublishMode, ServiceMode, ServiceSpec};
use crate::model::task::TaskState;

const TWO: ServiceMode = ServiceMode::Replicated { replicas: 2 };

fn admit(world: &mut World, number: u64) {
    world.run(Command::AdmitNode {
        id: node_id(number),
        role: Role::Worker,
        availability: Availability::Active,
        request: b"request".to_vec(),
    });
}

/// Makes the node of that number a stock engine that has just started.
fn start_engine(world: &mut World, number: u64) {
    let description = world.state.nodes()[&node_id(number)].description.clone();
    world.run(Command::RegisterNode {
        id: node_id(number),
        description: Box::new(description),
        addr: String::new(),
        agent: NodeAgent::Engine,
        restarted: true,
    });
}

fn publish(spec: &mut ServiceSpec) {
    let mode = PublishMode::Ingress;
    let port = PortConfig { target: 80, published: 80, mode, ..PortConfig::default() };
    spec.endpoint = Some(EndpointSpec { ports: vec![port], ..EndpointSpec::default() });
}

#[test]
fn a_node_that_never_came_is_forgotten_after_an_hour() {
    let mut world = World::new(1);
    admit(&mut world, 2);
    world.plan();
    world.pass(Duration::from_secs(3599));
    world.plan();
    assert!(world.state.nodes().contains_key(&node_id(2)));
    world.pass(Duration::from_secs(1));
    world.plan();
    assert!(!world.state.nodes().contains_key(&node_id(2)));
    admit(&mut world, 3);
    start_engine(&mut world, 3);
    world.pass(Duration::from_secs(7200));
    world.plan();
    assert!(world.state.nodes().contains_key(&node_id(3)));
}

#[test]
fn tasks_of_a_node_that_falls_down_are_replaced_at_once() {
    let mut world = World::new(2);
    world.service("web", TWO, |_, _| {});
    world.settle();
    let node = world.task("web.1a").node.clone().expect("it runs");
    for state in [NodeState::Disconnected, NodeState::Unknown] {
        let verdicts = vec![(node.clone(), state, String::new())];
        world.run(Command::JudgeNodes { verdicts });
        world.expect(&[]);
    }
    world.run(Command::JudgeNodes {
        verdicts: vec![(node.clone(), NodeState::Down, String::new())],
    });
    world.plan();
    let replacement = world.task("web.1b");
    assert_eq!((replacement.desired, &replacement.hold), (TaskState::Running, &None));
    assert_ne!(replacement.node, Some(node.clone()));
    let old = world.task("web.1a");
    assert_eq!((old.desired, old.status.state), (TaskState::Shutdown, TaskState::Running));
    // Back again it is told to stop what was replaced, and nothing moves back.
    world.run(Command::JudgeNodes { verdicts: vec![(node, NodeState::Ready, String::new())] });
    world.expect(&[]);
}

#[test]
fn what_an_engine_lost_when_it_started_anew_is_replaced_at_once() {
    let mut world = World::new(1);
    world.service("web", ServiceMode::Replicated { replicas: 1 }, |_, _| {});
    world.settle();
    start_engine(&mut world, 1);
    world.plan();
    assert_eq!(world.task("web.1a").status.state, TaskState::Orphaned);
    let replacement = world.task("web.1b");
    assert_eq!((replacement.desired, &replacement.hold), (TaskState::Running, &None));
}

#[test]
fn overlay_networks_keep_tasks_off_stock_engines() {
    let mut world = World::new(2);
    start_engine(&mut world, 2);
    world.service("web", TWO, |spec, _| publish(spec));
    world.service("plain", TWO, |_, _| {});
    world.plan();
    for task in ["web.1a", "web.2a"] {
        assert_eq!(world.task(task).node, Some(node_id(1)));
    }
    let nodes = ["plain.1a", "plain.2a"].map(|task| world.task(task).node.clone());
    assert!(nodes.contains(&Some(node_id(2))), "{nodes:?}");
    world.availability(1, Availability::Pause);
    world.service("more", ServiceMode::Replicated { replicas: 1 }, |spec, _| {
        publish(spec);
        spec.endpoint
            .iter_mut()
            .flat_map(|end| &mut end.ports)
            .for_each(|port| port.published = 81);
    });
    world.plan();
    assert_eq!(
        world.task("more.1a").status.error,
        "no suitable node (1 node not available for new tasks; \
         overlay networks and image mounts need skep on the node, 1 node runs a Docker Engine alone)"
    );
}

#[test]
fn a_global_service_on_an_overlay_leaves_stock_engines_out() {
    let mut world = World::new(2);
    start_engine(&mut world, 2);
    world.service("web", ServiceMode::Global, |spec, _| publish(spec));
    world.service("plain", ServiceMode::Global, |_, _| {});
    world.plan();
    let count = |name: &str| {
        let named = |task: &&std::sync::Arc<crate::model::task::Task>| {
            task.service_annotations.name == name
        };
        world.state.tasks().values().filter(named).count()
    };
    assert_eq!((count("web"), count("plain")), (1, 2));
}
