//! Slots of replicated services: filled, given up.

use super::world::World;
use crate::command::Command;
use crate::model::service::ServiceMode;
use crate::model::task::TaskState;

fn replicas(replicas: u64) -> ServiceMode {
    ServiceMode::Replicated { replicas }
}

#[test]
fn one_plan_takes_a_service_to_assigned_tasks() {
    let mut world = World::new(1);
    world.service("web", replicas(2), |_, _| {});
    world.expect(&["web.1a new running", "web.2a new running"]);
    for label in ["web.1a", "web.2a"] {
        let task = world.task(label);
        assert_eq!(task.status.state, TaskState::Assigned);
        assert_eq!(task.status.message, "scheduler assigned task to node");
        assert!(task.endpoint.is_some(), "{label}");
    }
    world.expect(&[]);
}

#[test]
fn scaling_up_takes_the_lowest_free_slots() {
    let mut world = World::new(1);
    let web = world.service("web", replicas(1), |_, _| {});
    world.settle();
    world.update(&web, |spec, _| spec.mode = replicas(3));
    world.expect(&["web.2a new running", "web.3a new running"]);
}

#[test]
fn scaling_down_gives_up_what_does_not_run_then_the_highest_slot() {
    let mut world = World::new(1);
    let web = world.service("web", replicas(4), |_, _| {});
    world.plan();
    for label in ["web.1a", "web.3a", "web.4a"] {
        world.report(label, TaskState::Running);
    }
    world.update(&web, |spec, _| spec.mode = replicas(2));
    world.expect(&["web.2a -> remove", "web.4a -> remove"]);
    // The slots that were given up are free again.
    world.update(&web, |spec, _| spec.mode = replicas(3));
    world.expect(&["web.2b new running"]);
}

#[test]
fn scaling_down_relieves_the_fullest_node_first() {
    let mut world = World::new(2);
    let web = world.service("web", replicas(4), |_, _| {});
    world.settle();
    world.update(&web, |spec, _| spec.mode = replicas(2));
    world.plan();
    let nodes: std::collections::BTreeSet<_> = world
        .state
        .service_tasks(&web)
        .filter(|task| task.desired == TaskState::Running)
        .map(|task| task.node.clone())
        .collect();
    assert_eq!(nodes.len(), 2, "{}", world.show());
}

#[test]
fn a_removed_service_takes_its_tasks_along_once_they_could_be_seen() {
    let mut world = World::new(1);
    let web = world.service("web", replicas(1), |_, _| {});
    world.settle();
    world.run(Command::RemoveService { id: web });
    world.expect(&[]);
    world.report("web.1a", TaskState::Shutdown);
    let plan = world.plan();
    assert_eq!(plan.changes, []);
    world.now = plan.wake_at.expect("the task is to be forgotten");
    world.expect(&["web.1a forgotten"]);
}

#[test]
fn zero_replicas_are_no_work() {
    let mut world = World::new(1);
    world.service("web", replicas(0), |_, _| {});
    world.expect(&[]);
}
