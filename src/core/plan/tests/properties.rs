//! Properties that hold for any course of events. `World::plan` checks after each event that planning twice is planning
//! once, that a wake-up lies ahead, and that the state passes its audit.

use std::time::Duration;

use proptest::prelude::*;

use super::world::World;
use crate::id::ServiceId;
use crate::model::node::{Availability, NodeState};
use crate::model::service::{
    FailureAction, RestartPolicy, ServiceMode, ServiceSpec, UpdateConfig, UpdateOrder,
};
use crate::model::task::{Task, TaskState};

/// Something that happens to a service.
#[derive(Debug, Clone, Copy)]
enum Event {
    Scale(u64),
    Force,
    /// One of its tasks reports a state.
    Report(usize, TaskState),
    Pass(u64),
}

/// Something that happens to a node.
#[derive(Debug, Clone, Copy)]
enum NodeEvent {
    Availability(Availability),
    State(NodeState),
}

fn event() -> impl Strategy<Value = Event> {
    let end = prop::sample::select(vec![
        TaskState::Ready,
        TaskState::Running,
        TaskState::Running,
        TaskState::Failed,
        TaskState::Rejected,
        TaskState::Complete,
        TaskState::Shutdown,
    ]);
    prop_oneof![
        1 => (0..5_u64).prop_map(Event::Scale),
        1 => Just(Event::Force),
        6 => (0..16_usize, end).prop_map(|(task, state)| Event::Report(task, state)),
        3 => (1..6000_u64).prop_map(Event::Pass),
    ]
}

fn node_event() -> impl Strategy<Value = NodeEvent> {
    use Availability::{Active, Drain, Pause};
    prop_oneof![
        prop::sample::select(vec![Active, Pause, Drain]).prop_map(NodeEvent::Availability),
        prop::sample::select(vec![NodeState::Ready, NodeState::Down]).prop_map(NodeEvent::State),
    ]
}

fn update_config() -> impl Strategy<Value = UpdateConfig> {
    use FailureAction::{Continue, Pause, Rollback};
    let action = prop::sample::select(vec![Pause, Continue, Rollback]);
    let order = prop::sample::select(vec![UpdateOrder::StopFirst, UpdateOrder::StartFirst]);
    (0..3_u64, 0..2000_u64, action, order).prop_map(
        |(parallelism, delay, failure_action, order)| {
            let delay = Duration::from_millis(delay);
            UpdateConfig { parallelism, delay, failure_action, order, ..UpdateConfig::default() }
        },
    )
}

fn mode() -> impl Strategy<Value = ServiceMode> {
    prop_oneof![
        4 => (0..5_u64).prop_map(|replicas| ServiceMode::Replicated { replicas }),
        1 => Just(ServiceMode::Global),
        1 => (0..3_u64, 0..4_u64).prop_map(|(max_concurrent, total_completions)| {
            ServiceMode::ReplicatedJob { max_concurrent, total_completions }
        }),
        1 => Just(ServiceMode::GlobalJob),
    ]
}

fn happen(world: &mut World, service: &ServiceId, event: Event) {
    match event {
        Event::Scale(replicas) => world.update(service, |spec, _| {
            if let ServiceMode::Replicated { .. } = spec.mode {
                spec.mode = ServiceMode::Replicated { replicas };
            }
        }),
        Event::Force => world.update(service, |_, task| task.force_update += 1),
        Event::Report(place, state) => {
            let label = world.bound_tasks(service).into_iter().cycle().nth(place);
            if let Some(label) = label {
                world.report(&label, state);
            }
        }
        Event::Pass(millis) => world.pass(Duration::from_millis(millis)),
    }
}

fn happen_to_node(world: &mut World, number: u64, event: NodeEvent) {
    match event {
        NodeEvent::Availability(availability) => world.availability(number, availability),
        NodeEvent::State(state) => world.node_state(number, state),
    }
}

fn configure(spec: &mut ServiceSpec, config: UpdateConfig) {
    if !spec.mode.is_job() {
        spec.update = Some(config);
        spec.rollback = Some(config);
    }
}

/// Returns the slots whose outdated task was told to stop and whose new task has not come up.
fn slots_under_way(world: &World, service: &ServiceId) -> usize {
    let current = world.get(service).spec_version;
    let coming = |task: &&std::sync::Arc<Task>| {
        task.spec_version == current
            && task.desired <= TaskState::Running
            && task.status.state < TaskState::Running
    };
    world.state.service_tasks(service).filter(coming).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn planning_twice_is_planning_once(
        mode in mode(),
        config in update_config(),
        max_attempts in 0..3_u64,
        events in prop::collection::vec(
            prop_oneof![5 => event().prop_map(Ok), 1 => (1..3_u64, node_event()).prop_map(Err)],
            1..40,
        ),
    ) {
        let mut world = World::new(2);
        let service = world.service("web", mode, |spec, task| {
            configure(spec, config);
            task.restart = Some(RestartPolicy { max_attempts, ..RestartPolicy::default() });
        });
        world.plan();
        for event in events {
            match event {
                Ok(event) => happen(&mut world, &service, event),
                Err((number, event)) => happen_to_node(&mut world, number, event),
            }
            world.plan();
        }
    }

    #[test]
    fn the_order_of_what_happens_to_unrelated_services_does_not_matter(
        one in prop::collection::vec(event(), 1..12),
        other in prop::collection::vec(event(), 1..12),
        config in update_config(),
    ) {
        let timeless = |event: &&Event| !matches!(event, Event::Pass(_));
        // Two events at a time, one of each service, in either order; then time passes for both.
        let live = |swap: bool| {
            let mut world = World::new(1);
            let make = |world: &mut World, name: &str| {
                world.service(name, ServiceMode::Replicated { replicas: 2 }, |spec, _| {
                    configure(spec, config);
                })
            };
            let services = [make(&mut world, "one"), make(&mut world, "other")];
            world.plan();
            for place in 0..one.len().max(other.len()) {
                world.pass(Duration::from_millis(400));
                // What time alone brings about comes first in both courses.
                world.plan();
                let mut pair = [(&services[0], one.get(place)), (&services[1], other.get(place))];
                if swap {
                    pair.reverse();
                }
                for (service, event) in pair {
                    if let Some(event) = event.filter(timeless) {
                        happen(&mut world, service, *event);
                        world.plan();
                    }
                }
            }
            world.show()
        };
        prop_assert_eq!(live(false), live(true));
    }

    #[test]
    fn an_update_keeps_to_its_parallelism(
        replicas in 1..6_u64,
        parallelism in 1..4_u64,
        reports in prop::collection::vec((0..16_usize, any::<bool>()), 1..60),
    ) {
        let mut world = World::new(1);
        let service = world.service("web", ServiceMode::Replicated { replicas }, |spec, _| {
            let failure_action = FailureAction::Continue;
            let config = UpdateConfig { parallelism, failure_action, ..UpdateConfig::default() };
            spec.update = Some(config);
        });
        world.settle();
        happen(&mut world, &service, Event::Force);
        for (place, up) in reports {
            world.plan();
            prop_assert!(slots_under_way(&world, &service) as u64 <= parallelism);
            let state = if up { TaskState::Running } else { TaskState::Shutdown };
            let tasks = world.bound_tasks(&service);
            let Some(label) = tasks.into_iter().cycle().nth(place) else { continue };
            let task = world.task(&label);
            // Only what its desired state allows.
            let desired = task.desired;
            let allowed =
                if up { desired == TaskState::Running } else { desired > TaskState::Complete };
            if allowed {
                world.report(&label, state);
            }
        }
    }
}

#[test]
fn an_idle_state_needs_nothing() {
    let mut world = World::new(1);
    for name in ["a", "b", "c"] {
        world.service(name, ServiceMode::Replicated { replicas: 40 }, |_, _| {});
    }
    world.settle();
    world.pass(Duration::from_secs(3600));
    let plan = world.plan();
    assert_eq!((plan.changes, plan.wake_at, plan.reasons), (vec![], None, vec![]));
}
