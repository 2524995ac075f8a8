//! Evictions: labels and resources that changed under a task.

use std::sync::Arc;

use super::world::{World, node_id};
use crate::command::Command;
use crate::model::node::Resources;
use crate::model::service::{Placement, ResourceRequirements, ServiceMode};
use crate::model::task::TaskState;

const ONE: ServiceMode = ServiceMode::Replicated { replicas: 1 };

fn on_labelled(world: &mut World) {
    let label = ("run".to_owned(), "yes".to_owned());
    world.edit_node(1, |spec| spec.annotations.labels.extend([label]));
    let constraints = vec!["node.labels.run==yes".to_owned()];
    world.service("web", ONE, |_, task| {
        task.placement = Some(Placement { constraints, ..Placement::default() });
    });
    world.settle();
}

#[test]
fn a_task_whose_node_lost_its_label_is_rejected() {
    let mut world = World::new(2);
    on_labelled(&mut world);
    world.edit_node(1, |spec| spec.annotations.labels.clear());
    world.expect(&[
        "web.1a is rejected",
        "web.1a -> shutdown",
        "web.1b new ready held",
        "web.1b ! no suitable node (scheduling constraints not satisfied on 2 nodes)",
    ]);
    let status = world.task("web.1a").status.clone();
    assert_eq!(status.message, "task rejected by constraint enforcer");
    assert_eq!(status.error, "assigned node no longer meets constraints");
}

#[test]
fn new_constraints_are_left_to_the_update() {
    let mut world = World::new(2);
    let web = world.service("web", ServiceMode::Replicated { replicas: 2 }, |_, _| {});
    world.settle();
    world.update(&web, |_, task| {
        let constraints = vec!["node.hostname==n1".to_owned()];
        task.placement = Some(Placement { constraints, ..Placement::default() });
    });
    world.plan();
    let stopping = |task: &&Arc<_>| {
        let task: &crate::model::task::Task = task;
        task.desired == TaskState::Shutdown
    };
    // One of the two tasks is where it should be; the other one is updated.
    assert_eq!(world.state.service_tasks(&web).filter(stopping).count(), 1);
    assert!(world.get(&web).update_status.is_some());
}

#[test]
fn a_node_that_shrank_gives_up_what_no_longer_fits() {
    let mut world = World::new(1);
    world.service("web", ServiceMode::Replicated { replicas: 2 }, |_, task| {
        let reservations = Some(Resources { nano_cpus: 2_000_000_000, ..Resources::default() });
        task.resources = Some(ResourceRequirements { reservations, ..Default::default() });
    });
    world.settle();
    let mut description = super::world::node(1).description;
    description.nano_cpus = 3_000_000_000;
    let (id, description) = (node_id(1), Some(Box::new(description)));
    world.run(Command::ReportNode { id, description, status: None, manager: None });
    world.plan();
    let rejected = |task: &&Arc<crate::model::task::Task>| task.status.state == TaskState::Rejected;
    assert_eq!(world.state.tasks().values().filter(rejected).count(), 1, "{}", world.show());
}
