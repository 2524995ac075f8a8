//! History: how much of it stays.

use std::time::Duration;

use super::world::World;
use crate::model::service::{RestartPolicy, ServiceMode};
use crate::model::task::TaskState;

const ONE: ServiceMode = ServiceMode::Replicated { replicas: 1 };

fn crash_often(policy: Option<RestartPolicy>) -> World {
    let mut world = World::new(1);
    world.service("web", ONE, |_, task| task.restart = policy);
    for letter in 'a'..'j' {
        world.settle();
        world.pass(Duration::from_secs(1));
        world.report(&format!("web.1{letter}"), TaskState::Failed);
        world.plan();
        world.pass(Duration::from_secs(10));
    }
    world.settle();
    world
}

#[test]
fn five_tasks_of_a_slot_stay() {
    let world = crash_often(None);
    assert_eq!(world.state.tasks().len(), 5, "{}", world.show());
    assert_eq!(world.task("web.1j").desired, TaskState::Running);
}

#[test]
fn limited_attempts_keep_as_many_tasks_and_one() {
    let window = Some(Duration::from_secs(3));
    let policy = RestartPolicy { max_attempts: 2, window, ..RestartPolicy::default() };
    let world = crash_often(Some(policy));
    assert_eq!(world.state.tasks().len(), 3, "{}", world.show());
}

#[test]
fn an_ended_task_can_be_seen_for_a_while() {
    let mut world = World::new(1);
    let web = world.service("web", ONE, |_, _| {});
    world.settle();
    world.update(&web, |spec, _| spec.mode = ServiceMode::Replicated { replicas: 0 });
    world.expect(&["web.1a -> remove"]);
    world.report("web.1a", TaskState::Shutdown);
    world.expect(&[]);
    world.pass(Duration::from_millis(249));
    world.expect(&[]);
    world.pass(Duration::from_millis(1));
    world.expect(&["web.1a forgotten"]);
}
