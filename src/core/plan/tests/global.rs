//! Global services: one task on each node that fits.

use super::world::{World, node_id};
use crate::model::node::{Availability, NodeState};
use crate::model::service::{Placement, ServiceMode};
use crate::model::task::TaskState;

fn everywhere(nodes: u64) -> World {
    let mut world = World::new(nodes);
    world.service("web", ServiceMode::Global, |_, _| {});
    world.expect(
        &(1..=nodes)
            .map(|n| format!("web.n{n}a new running"))
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    );
    world.settle();
    world
}

#[test]
fn every_node_gets_a_task() {
    let world = everywhere(2);
    let task = world.task("web.n2a");
    assert_eq!(task.node, Some(node_id(2)));
}

#[test]
fn preassigned_tasks_are_confirmed() {
    let mut world = World::new(1);
    world.service("web", ServiceMode::Global, |_, _| {});
    world.plan();
    let message = world.task("web.n1a").status.message.clone();
    assert_eq!(message, "scheduler confirmed task can run on preassigned node");
}

#[test]
fn a_drained_node_loses_its_task_and_gets_one_again() {
    let mut world = everywhere(2);
    world.availability(2, Availability::Drain);
    world.expect(&["web.n2a -> shutdown"]);
    world.availability(2, Availability::Active);
    // The old one is still stopping.
    world.expect(&["web.n2b new ready held"]);
    world.report("web.n2a", TaskState::Shutdown);
    world.expect(&["web.n2b -> running"]);
}

#[test]
fn a_node_that_is_down_loses_its_task() {
    let mut world = everywhere(2);
    world.node_state(2, NodeState::Down);
    world.expect(&["web.n2a -> shutdown"]);
    world.node_state(2, NodeState::Ready);
    world.expect(&["web.n2b new ready held"]);
}

#[test]
fn a_paused_node_keeps_its_task_and_gets_none() {
    let mut world = everywhere(1);
    world.availability(1, Availability::Pause);
    world.expect(&[]);
    world.service("other", ServiceMode::Global, |_, _| {});
    world.expect(&[]);
}

#[test]
fn constraints_choose_the_nodes_and_follow_labels() {
    let mut world = World::new(2);
    let constraints = vec!["node.labels.run==yes".to_owned()];
    world.service("web", ServiceMode::Global, |_, task| {
        task.placement = Some(Placement { constraints, ..Placement::default() });
    });
    world.expect(&[]);
    let label = |value: &str| ("run".to_owned(), value.to_owned());
    world.edit_node(1, |spec| spec.annotations.labels.extend([label("YES")]));
    world.expect(&["web.n1a new running"]);
    world.settle();
    world.edit_node(1, |spec| spec.annotations.labels.clear());
    world.expect(&["web.n1a -> shutdown"]);
}
