//! Jobs: so many at once, so many in all, slots from 0, again when updated.

use std::time::Duration;

use super::world::{World, node_id};
use crate::model::node::{Availability, NodeState};
use crate::model::service::{RestartCondition, RestartPolicy, ServiceMode};
use crate::model::task::TaskState;

const JOB: ServiceMode = ServiceMode::ReplicatedJob { max_concurrent: 2, total_completions: 3 };

#[test]
fn a_replicated_job_runs_a_few_at_a_time_then_falls_silent() {
    let mut world = World::new(1);
    world.service("job", JOB, |_, _| {});
    world.expect(&["job.0a new complete", "job.1a new complete"]);
    world.report("job.0a", TaskState::Complete);
    world.expect(&["job.2a new complete"]);
    world.report("job.1a", TaskState::Complete);
    world.expect(&[]);
    world.report("job.2a", TaskState::Complete);
    let plan = world.plan();
    assert_eq!((plan.changes, plan.wake_at), (vec![], None));
}

#[test]
fn a_failed_task_of_a_job_is_replaced_in_its_slot() {
    let mut world = World::new(1);
    world.service("job", JOB, |_, _| {});
    world.plan();
    world.report("job.0a", TaskState::Failed);
    world.expect(&["job.0a -> shutdown", "job.0b new ready held"]);
    world.pass(Duration::from_secs(5));
    world.expect(&["job.0b -> complete"]);
}

#[test]
fn a_place_that_a_lost_task_completed_is_not_filled_again() {
    let mut world = World::new(2);
    let once = ServiceMode::ReplicatedJob { max_concurrent: 1, total_completions: 1 };
    world.service("job", once, |_, _| {});
    world.plan();
    world.report("job.0a", TaskState::Running);
    let number = if world.task("job.0a").node == Some(node_id(1)) { 1 } else { 2 };
    world.node_state(number, NodeState::Down);
    world.expect(&["job.0a -> shutdown", "job.0b new complete"]);
    // It had come to its end before its node was lost, which only now is told.
    world.report("job.0a", TaskState::Complete);
    world.expect(&[]);
    world.report("job.0b", TaskState::Failed);
    world.expect(&["job.0b -> shutdown"]);
}

#[test]
fn a_failure_that_is_not_replaced_leaves_its_slot_behind() {
    let mut world = World::new(1);
    world.service("job", JOB, |_, task| {
        let condition = RestartCondition::None;
        task.restart = Some(RestartPolicy { condition, ..RestartPolicy::default() });
    });
    world.plan();
    world.report("job.0a", TaskState::Failed);
    world.expect(&["job.0a -> shutdown", "job.2a new complete"]);
}

#[test]
fn an_update_starts_the_job_over() {
    let mut world = World::new(1);
    let job = world.service("job", JOB, |_, _| {});
    world.plan();
    world.report("job.0a", TaskState::Complete);
    world.plan();
    world.update(&job, |_, task| task.force_update = 1);
    world.expect(&[
        "job.1a -> remove",
        "job.2a -> remove",
        "job.0b new complete",
        "job.1b new complete",
    ]);
    assert_eq!(world.task("job.0b").job_iteration, Some(1));
    assert_eq!(world.get(&job).update_status, None);
}

#[test]
fn a_global_job_runs_once_on_each_node() {
    let mut world = World::new(2);
    world.service("job", ServiceMode::GlobalJob, |_, _| {});
    world.expect(&["job.n1a new complete", "job.n2a new complete"]);
    world.report("job.n1a", TaskState::Complete);
    world.expect(&[]);
    world.availability(1, Availability::Drain);
    world.expect(&[]);
    world.availability(2, Availability::Drain);
    world.expect(&["job.n2a -> shutdown"]);
    world.report("job.n2a", TaskState::Shutdown);
    world.availability(2, Availability::Active);
    world.expect(&["job.n2b new complete"]);
}

#[test]
fn an_update_of_a_global_job_forgets_what_ended_before() {
    let mut world = World::new(1);
    let job = world.service("job", ServiceMode::GlobalJob, |_, _| {});
    world.plan();
    world.report("job.n1a", TaskState::Complete);
    world.plan();
    world.update(&job, |_, task| task.force_update = 1);
    world.expect(&["job.n1a -> remove", "job.n1b new complete"]);
    world.pass(Duration::from_secs(1));
    world.expect(&["job.n1a forgotten"]);
}

#[test]
fn a_job_with_nothing_to_do_is_silent() {
    let mut world = World::new(1);
    let mode = ServiceMode::ReplicatedJob { max_concurrent: 0, total_completions: 0 };
    world.service("job", mode, |_, _| {});
    world.expect(&[]);
}
