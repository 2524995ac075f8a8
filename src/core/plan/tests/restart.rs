//! Replacements: when, how often, after which delay.

use std::time::Duration;

use super::world::World;
use crate::model::node::{Availability, NodeState};
use crate::model::service::{RestartCondition, RestartPolicy, ServiceMode};
use crate::model::task::TaskState;

const ONE: ServiceMode = ServiceMode::Replicated { replicas: 1 };

fn policy(condition: RestartCondition, delay_secs: u64, max_attempts: u64) -> RestartPolicy {
    let delay = Some(Duration::from_secs(delay_secs));
    RestartPolicy { condition, delay, max_attempts, window: None }
}

fn running(policy: Option<RestartPolicy>) -> World {
    let mut world = World::new(1);
    world.service("web", ONE, |_, task| task.restart = policy);
    world.settle();
    world
}

#[test]
fn a_dead_task_is_replaced_after_the_default_delay() {
    let mut world = running(None);
    world.report("web.1a", TaskState::Failed);
    world.expect(&["web.1a -> shutdown", "web.1b new ready held"]);
    world.report("web.1b", TaskState::Ready);
    world.pass(Duration::from_millis(4999));
    world.expect(&[]);
    world.pass(Duration::from_millis(1));
    world.expect(&["web.1b -> running"]);
    assert_eq!(world.task("web.1b").hold, None);
}

#[test]
fn a_replacement_does_not_wait_for_a_clock_that_was_set_back() {
    let mut world = running(None);
    world.report("web.1a", TaskState::Failed);
    world.expect(&["web.1a -> shutdown", "web.1b new ready held"]);
    world.report("web.1b", TaskState::Ready);
    world.set_back(Duration::from_secs(3600));
    world.expect(&["web.1b -> running"]);
}

#[test]
fn conditions_decide_which_ends_count() {
    use RestartCondition::{Any, None as Never, OnFailure};
    for (condition, end, replaced) in [
        (Any, TaskState::Complete, true),
        (Any, TaskState::Failed, true),
        (Any, TaskState::Rejected, true),
        (OnFailure, TaskState::Complete, false),
        (OnFailure, TaskState::Failed, true),
        (Never, TaskState::Failed, false),
        (Never, TaskState::Complete, false),
    ] {
        let mut world = running(Some(policy(condition, 1, 0)));
        world.report("web.1a", end);
        if replaced {
            world.expect(&["web.1a -> shutdown", "web.1b new ready held"]);
        } else {
            world.expect(&["web.1a -> shutdown"]);
        }
    }
}

#[test]
fn a_slot_that_ended_for_good_stays_satisfied_until_it_is_outdated() {
    let mut world = running(Some(policy(RestartCondition::None, 1, 0)));
    let web = world.task("web.1a").service.clone().expect("a task of a service");
    world.report("web.1a", TaskState::Complete);
    world.plan();
    world.update(&web, |spec, _| spec.mode = ServiceMode::Replicated { replicas: 2 });
    world.expect(&["web.2a new running"]);
    world.update(&web, |_, task| task.force_update = 1);
    world.expect(&["web.1b new running", "web: update in progress"]);
}

#[test]
fn no_delay_means_at_once() {
    let mut world = running(Some(policy(RestartCondition::Any, 0, 0)));
    world.report("web.1a", TaskState::Failed);
    world.expect(&["web.1a -> shutdown", "web.1b new running"]);
}

#[test]
fn attempts_are_counted_for_a_slot_and_a_spec() {
    let mut world = running(Some(policy(RestartCondition::Any, 0, 2)));
    let web = world.task("web.1a").service.clone().expect("a task of a service");
    for (old, new) in [("web.1a", "web.1b"), ("web.1b", "web.1c")] {
        world.pass(Duration::from_secs(1));
        world.report(old, TaskState::Failed);
        world.expect(&[&format!("{old} -> shutdown"), &format!("{new} new running")]);
    }
    world.pass(Duration::from_secs(1));
    world.report("web.1c", TaskState::Failed);
    world.expect(&["web.1c -> shutdown"]);
    // Another spec starts counting anew.
    world.pass(Duration::from_secs(1));
    world.update(&web, |_, task| task.force_update = 1);
    world.expect(&["web.1a forgotten", "web.1d new running", "web: update in progress"]);
    world.pass(Duration::from_secs(1));
    world.report("web.1d", TaskState::Running);
    world.pass(Duration::from_secs(10));
    world.report("web.1d", TaskState::Failed);
    world.plan();
    assert_eq!(world.task("web.1e").desired, TaskState::Running);
}

#[test]
fn only_attempts_inside_the_window_count() {
    let window = Some(Duration::from_secs(10));
    let policy = RestartPolicy { window, ..policy(RestartCondition::Any, 0, 1) };
    let mut world = running(Some(policy));
    world.pass(Duration::from_secs(1));
    world.report("web.1a", TaskState::Failed);
    world.expect(&["web.1a -> shutdown", "web.1b new running"]);
    world.pass(Duration::from_secs(11));
    world.report("web.1b", TaskState::Failed);
    world.expect(&["web.1a forgotten", "web.1b -> shutdown", "web.1c new running"]);
    world.pass(Duration::from_secs(5));
    world.report("web.1c", TaskState::Failed);
    world.expect(&["web.1c -> shutdown"]);
    // The verdict does not change with time.
    world.pass(Duration::from_secs(3600));
    world.expect(&[]);
}

#[test]
fn a_replacement_that_is_rejected_while_held_waits_for_its_time() {
    let mut world = running(None);
    world.report("web.1a", TaskState::Failed);
    world.plan();
    world.pass(Duration::from_secs(1));
    world.report("web.1b", TaskState::Rejected);
    world.expect(&[]);
    world.pass(Duration::from_secs(4));
    world.expect(&["web.1b -> shutdown", "web.1c new ready held"]);
}

#[test]
fn drained_nodes_lose_their_tasks_without_delay_but_one_after_the_other() {
    let mut world = World::new(2);
    world.service("web", ONE, |_, _| {});
    world.settle();
    let number = if world.task("web.1a").node == Some(super::world::node_id(1)) { 1 } else { 2 };
    world.availability(number, Availability::Drain);
    world.expect(&["web.1a -> shutdown", "web.1b new ready held"]);
    world.report("web.1b", TaskState::Ready);
    world.expect(&[]);
    world.report("web.1a", TaskState::Shutdown);
    world.expect(&["web.1b -> running"]);
    assert_ne!(world.task("web.1a").node, world.task("web.1b").node);
}

#[test]
fn a_task_that_does_not_stop_is_waited_for_one_minute() {
    let mut world = World::new(2);
    world.service("web", ONE, |_, _| {});
    world.settle();
    let number = if world.task("web.1a").node == Some(super::world::node_id(1)) { 1 } else { 2 };
    world.availability(number, Availability::Drain);
    world.plan();
    world.pass(Duration::from_secs(60));
    world.expect(&["web.1b -> running"]);
}

#[test]
fn tasks_of_a_node_that_is_down_are_replaced_at_once_and_lost_after_a_day() {
    let mut world = World::new(2);
    world.service("web", ONE, |_, _| {});
    world.settle();
    let number = if world.task("web.1a").node == Some(super::world::node_id(1)) { 1 } else { 2 };
    world.node_state(number, NodeState::Down);
    world.expect(&["web.1a -> shutdown", "web.1b new running"]);
    assert_eq!(world.task("web.1a").status.state, TaskState::Running);
    world.pass(Duration::from_secs(24 * 3600));
    world.expect(&["web.1a is orphaned"]);
}

#[test]
fn pause_leaves_tasks_alone() {
    let mut world = running(None);
    world.availability(1, Availability::Pause);
    world.expect(&[]);
}
