//! What one plan does is bounded, and comes to the same in the end as if it were not.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::world::{World, place};
use crate::command::Change;
use crate::id::ServiceId;
use crate::model::node::Availability;
use crate::model::service::{EndpointSpec, PortConfig, ServiceMode, UpdateConfig, UpdateOrder};
use crate::model::task::{Task, TaskState};
use crate::plan::{Limits, Planner};

/// More than any memory holds.
const MANY: u64 = 1_000_000_000_000;

/// Largest log entry that a plan may become.
const ENTRY_BYTES_MAX: usize = 8 << 20;

fn made(changes: &[Change]) -> usize {
    changes.iter().filter(|change| matches!(change, Change::CreateTask(_))).count()
}

fn check_bounds(world: &mut World, planner: &mut Planner, expect: usize) {
    let plans = world.plan_within(planner);
    let limits = Limits::default();
    for changes in &plans {
        assert!(made(changes) <= limits.tasks_per_plan, "{} tasks", made(changes));
        let bytes = rmp_serde::to_vec_named(changes).expect("a plan can be written").len();
        assert!(bytes < ENTRY_BYTES_MAX, "{bytes} bytes for {} tasks", made(changes));
    }
    assert_eq!(plans.iter().map(|changes| made(changes)).sum::<usize>(), expect);
}

#[test]
fn tasks_are_made_a_little_ahead_of_those_that_run() {
    for mode in [
        ServiceMode::Replicated { replicas: MANY },
        ServiceMode::Replicated { replicas: i64::MAX.unsigned_abs() },
        ServiceMode::ReplicatedJob { max_concurrent: MANY, total_completions: u64::MAX },
    ] {
        let mut world = World::new(2);
        let mut planner = Planner::default();
        world.service("web", mode, |_, _| {});
        check_bounds(&mut world, &mut planner, 1_200);
        // What does not come to run is not added to.
        check_bounds(&mut world, &mut planner, 0);
        assert!(world.advance());
        check_bounds(&mut world, &mut planner, 1_200);
    }
}

#[test]
fn a_service_with_too_many_replicas_is_scaled_down_again() {
    let mut world = World::new(1);
    let mut planner = Planner::default();
    let web = world.service("web", ServiceMode::Replicated { replicas: MANY }, |_, _| {});
    world.plan_within(&mut planner);
    world.update(&web, |spec, _| spec.mode = ServiceMode::Replicated { replicas: 3 });
    world.plan_within(&mut planner);
    assert_eq!(wanted(&world), 3);
}

#[test]
fn what_tasks_take_along_is_bounded() {
    let mut world = World::new(1);
    let mut planner = Planner::default();
    let port = |number| PortConfig { target: number, published: number, ..PortConfig::default() };
    world.service("web", ServiceMode::Replicated { replicas: 60 }, |spec, _| {
        let ports = (1..2_000).map(port).collect();
        spec.endpoint = Some(EndpointSpec { ports, ..EndpointSpec::default() });
    });
    check_bounds(&mut world, &mut planner, 60);
    let assigned = |task: &Arc<Task>| task.status.state == TaskState::Assigned;
    assert_eq!(world.state.tasks().values().filter(|task| assigned(task)).count(), 60);
}

fn wanted(world: &World) -> usize {
    world.state.tasks().values().filter(|task| task.desired <= TaskState::Complete).count()
}

/// Something that happens to all tasks of a service, or to all of some slots.
#[derive(Debug, Clone, Copy)]
enum Event {
    Scale(u64),
    Force,
    Availability(Availability),
    /// Every task goes as far as it should.
    Advance,
    /// The tasks of one slot in so many fail.
    Fail(u64),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let availability = vec![Availability::Active, Availability::Pause, Availability::Drain];
    prop_oneof![
        2 => (0..9_u64).prop_map(Event::Scale),
        1 => Just(Event::Force),
        1 => prop::sample::select(availability).prop_map(Event::Availability),
        4 => Just(Event::Advance),
        2 => (1..4_u64).prop_map(Event::Fail),
        2 => (1..6000_u64).prop_map(Event::Pass),
    ]
}

fn happen(world: &mut World, services: &[ServiceId], event: Event) {
    match event {
        Event::Scale(replicas) => {
            let mode = ServiceMode::Replicated { replicas };
            world.update(&services[0], |spec, _| spec.mode = mode);
        }
        Event::Force => {
            for service in services {
                world.update(service, |_, task| task.force_update += 1);
            }
        }
        Event::Availability(availability) => world.availability(1, availability),
        Event::Advance => {
            world.advance();
        }
        Event::Fail(share) => fail(world, share),
        Event::Pass(millis) => world.pass(Duration::from_millis(millis)),
    }
}

/// Lets tasks fail by their slots, as their ids differ from run to run.
fn fail(world: &mut World, share: u64) {
    let mut tasks: Vec<Arc<Task>> = world.state.tasks().values().cloned().collect();
    tasks.sort_by_key(|task| (place(task), task.meta.created_version));
    let runs = |task: &Arc<Task>| {
        task.desired <= TaskState::Complete && task.status.state == TaskState::Running
    };
    for (number, task) in (0_u64..).zip(tasks.into_iter().filter(runs)) {
        if number % share == 0 {
            world.report_of(&task, TaskState::Failed);
        }
    }
}

/// Lists tasks by what users see of them.
fn seen(world: &World) -> Vec<(String, TaskState, TaskState)> {
    let see = |task: &Arc<Task>| (place(task), task.desired, task.status.state);
    let mut seen: Vec<_> = world.state.tasks().values().map(see).collect();
    seen.sort();
    seen
}

fn live(
    limits: Limits,
    order: UpdateOrder,
    events: &[Event],
) -> Vec<(String, TaskState, TaskState)> {
    // On one node: of two that are equal, which one a task goes to depends on the order of planning.
    let mut world = World::new(1);
    let mut planner = Planner::new(limits);
    let config = UpdateConfig { order, ..UpdateConfig::default() };
    let mut make =
        |name: &str, mode| world.service(name, mode, |spec, _| spec.update = Some(config));
    let services = [
        make("web", ServiceMode::Replicated { replicas: 4 }),
        make("all", ServiceMode::Global),
        make("other", ServiceMode::Replicated { replicas: 3 }),
    ];
    world.plan_within(&mut planner);
    for event in events {
        happen(&mut world, &services, *event);
        world.plan_within(&mut planner);
    }
    seen(&world)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn limits_change_nothing_in_the_end(
        tasks_per_plan in 1..4_usize,
        changes_per_plan in 1..20_usize,
        start_first in any::<bool>(),
        events in prop::collection::vec(event(), 1..20),
    ) {
        let order = if start_first { UpdateOrder::StartFirst } else { UpdateOrder::StopFirst };
        let limits = Limits { tasks_per_plan, changes_per_plan, ..Limits::default() };
        prop_assert_eq!(live(limits, order, &events), live(Limits::default(), order, &events));
    }
}
