//! Rolling updates: order, parallelism, delay, failures, rollback.

use std::sync::Arc;
use std::time::Duration;

use super::world::World;
use crate::command::{AuthFrom, Command};
use crate::id::ServiceId;
use crate::model::service::{
    EndpointSpec, FailureAction, Placement, Runtime, ServiceMode, TaskSpec, UpdateConfig,
    UpdateOrder, UpdateState,
};
use crate::model::task::TaskState;
use crate::plan::is_dirty;

fn started(replicas: u64, config: UpdateConfig) -> (World, ServiceId) {
    let mut world = World::new(1);
    let web = world.service("web", ServiceMode::Replicated { replicas }, |spec, _| {
        spec.update = Some(config);
        spec.rollback = Some(config);
    });
    world.settle();
    world.pass(Duration::from_secs(100));
    (world, web)
}

fn one_by_one() -> UpdateConfig {
    UpdateConfig { parallelism: 1, ..UpdateConfig::default() }
}

fn force(world: &mut World, web: &ServiceId) {
    world.update(web, |_, task| task.force_update += 1);
}

fn state(world: &World, web: &ServiceId) -> Option<UpdateState> {
    world.get(web).update_status.as_ref().map(|status| status.state)
}

#[test]
fn the_old_task_stops_before_the_new_one_runs() {
    let (mut world, web) = started(1, one_by_one());
    force(&mut world, &web);
    world.expect(&["web.1a -> shutdown", "web.1b new ready held", "web: update in progress"]);
    world.report("web.1b", TaskState::Ready);
    world.expect(&[]);
    world.report("web.1a", TaskState::Shutdown);
    world.expect(&["web.1b -> running"]);
    world.report("web.1b", TaskState::Running);
    let plan = world.plan();
    assert_eq!(plan.wake_at, Some(world.now.after(Duration::from_secs(5))));
    world.pass(Duration::from_secs(5));
    world.expect(&["web: update completed"]);
    let status = world.get(&web).update_status.clone().expect("updated");
    assert_eq!(status.completed_at, Some(world.now));
    assert_eq!(world.get(&web).progress, None);
    assert_eq!(world.plan().wake_at, None);
}

#[test]
fn the_new_task_may_start_first() {
    let (mut world, web) =
        started(1, UpdateConfig { order: UpdateOrder::StartFirst, ..one_by_one() });
    force(&mut world, &web);
    world.expect(&["web.1b new running", "web: update in progress"]);
    world.report("web.1b", TaskState::Starting);
    world.expect(&[]);
    world.report("web.1b", TaskState::Running);
    world.expect(&["web.1a -> shutdown"]);
}

#[test]
fn so_many_slots_at_once_and_a_delay_after_each() {
    let delay = Duration::from_secs(2);
    let (mut world, web) = started(3, UpdateConfig { parallelism: 2, delay, ..one_by_one() });
    force(&mut world, &web);
    world.expect(&[
        "web.1a -> shutdown",
        "web.1b new ready held",
        "web.2a -> shutdown",
        "web.2b new ready held",
        "web: update in progress",
    ]);
    world.settle();
    // Both are up, but the delay is not over.
    world.expect(&[]);
    world.pass(delay);
    world.expect(&["web.3a -> shutdown", "web.3b new ready held"]);
    world.settle();
    world.pass(delay);
    world.expect(&[]);
    world.pass(Duration::from_secs(5));
    world.expect(&["web: update completed"]);
}

#[test]
fn zero_parallelism_means_all() {
    let (mut world, web) = started(3, UpdateConfig::default());
    force(&mut world, &web);
    world.plan();
    let held = world.state.tasks().values().filter(|task| task.hold.is_some()).count();
    assert_eq!(held, 3);
}

#[test]
fn a_failure_pauses_until_the_next_spec() {
    let (mut world, web) = started(2, one_by_one());
    force(&mut world, &web);
    world.settle();
    // The first slot is done, the second one under way.
    world.report("web.1b", TaskState::Failed);
    let text = world.step();
    assert!(
        text.contains("web: update paused due to failure or early termination of task web.1b"),
        "{text}"
    );
    assert_eq!(state(&world, &web), Some(UpdateState::Paused));
    world.pass(Duration::from_secs(60));
    world.settle();
    assert_eq!(state(&world, &web), Some(UpdateState::Paused));
    force(&mut world, &web);
    world.plan();
    assert_eq!(state(&world, &web), Some(UpdateState::Updating));
}

#[test]
fn an_end_after_the_watch_is_no_failure() {
    let monitor = Some(Duration::from_secs(1));
    let (mut world, web) = started(2, UpdateConfig { monitor, ..one_by_one() });
    force(&mut world, &web);
    world.plan();
    world.report("web.1a", TaskState::Shutdown);
    world.plan();
    world.report("web.1b", TaskState::Running);
    world.plan();
    world.pass(Duration::from_millis(1001));
    world.report("web.1b", TaskState::Failed);
    world.plan();
    assert_eq!(state(&world, &web), Some(UpdateState::Updating));
}

#[test]
fn tolerated_failures_do_not_stop_an_update() {
    let (mut world, web) = started(2, UpdateConfig { max_failure_ratio: 0.5, ..one_by_one() });
    force(&mut world, &web);
    world.plan();
    world.report("web.1b", TaskState::Rejected);
    world.plan();
    assert_eq!(state(&world, &web), Some(UpdateState::Updating));
    world.settle();
    world.report("web.2b", TaskState::Failed);
    world.plan();
    assert_eq!(state(&world, &web), Some(UpdateState::Paused));
}

#[test]
fn failures_can_be_ignored() {
    let failure_action = FailureAction::Continue;
    let (mut world, web) = started(1, UpdateConfig { failure_action, ..one_by_one() });
    force(&mut world, &web);
    world.settle();
    world.report("web.1b", TaskState::Failed);
    world.plan();
    assert_eq!(state(&world, &web), Some(UpdateState::Updating));
    world.pass(Duration::from_secs(5));
    world.settle();
    assert_eq!(state(&world, &web), Some(UpdateState::Completed));
}

#[test]
fn a_failure_can_turn_the_update_back() {
    let failure_action = FailureAction::Rollback;
    let (mut world, web) = started(1, UpdateConfig { failure_action, ..one_by_one() });
    force(&mut world, &web);
    world.settle();
    world.pass(Duration::from_secs(1));
    world.report("web.1b", TaskState::Failed);
    let text = world.step();
    assert!(
        text.contains("web: update rolled back due to failure or early termination of task web.1b"),
        "{text}"
    );
    let service = world.get(&web);
    assert_eq!((service.spec.task.force_update, service.previous_spec.clone()), (0, None));
    world.settle();
    world.pass(Duration::from_secs(5));
    world.settle();
    assert_eq!(state(&world, &web), Some(UpdateState::RollbackCompleted));
    let message = world.get(&web).update_status.clone().map(|status| status.message);
    assert_eq!(message.as_deref(), Some("rollback completed"));
    let running = world.state.service_tasks(&web).find(|task| task.desired == TaskState::Running);
    assert_eq!(running.map(|task| task.spec.force_update), Some(0));
}

#[test]
fn a_rollback_that_fails_pauses() {
    let failure_action = FailureAction::Rollback;
    let (mut world, web) = started(1, UpdateConfig { failure_action, ..one_by_one() });
    force(&mut world, &web);
    world.settle();
    world.pass(Duration::from_secs(60));
    world.settle();
    let version = world.get(&web).meta.version;
    world.run(Command::UpdateService {
        id: web.clone(),
        version,
        spec: Box::default(),
        rollback: true,
        auth_from: AuthFrom::Spec,
    });
    world.expect(&[
        "web.1b -> shutdown",
        "web.1c new ready held",
        "web: manually requested rollback",
    ]);
    assert!(world.get(&web).update_status.clone().expect("rolling back").started_at.is_some());
    world.report("web.1c", TaskState::Rejected);
    let text = world.step();
    assert!(
        text.contains("web: rollback paused due to failure or early termination of task web.1c"),
        "{text}"
    );
    assert_eq!(state(&world, &web), Some(UpdateState::RollbackPaused));
}

#[test]
fn a_rollback_with_nothing_to_replace_is_complete_at_once() {
    let (mut world, web) = started(0, one_by_one());
    force(&mut world, &web);
    world.expect(&[]);
    assert_eq!(state(&world, &web), None);
    let version = world.get(&web).meta.version;
    let (id, spec, auth_from) = (web.clone(), Box::default(), AuthFrom::Spec);
    world.run(Command::UpdateService { id, version, spec, rollback: true, auth_from });
    world.expect(&["web: rollback completed"]);
    let status = world.get(&web).update_status.clone().expect("rolled back");
    assert!(status.started_at.is_some() && status.completed_at.is_some());
}

#[test]
fn scaling_goes_on_while_an_update_does() {
    let (mut world, web) = started(2, one_by_one());
    force(&mut world, &web);
    world.plan();
    world.update(&web, |spec, _| spec.mode = ServiceMode::Replicated { replicas: 3 });
    world.plan();
    assert_eq!(world.task("web.3a").desired, TaskState::Running);
    world.settle();
    world.pass(Duration::from_secs(5));
    world.settle();
    assert_eq!(state(&world, &web), Some(UpdateState::Completed));
    let current = world.get(&web).spec_version;
    let clean = |task: &Arc<crate::model::task::Task>| {
        task.desired > TaskState::Running || task.spec.force_update == 1
    };
    assert!(world.state.service_tasks(&web).all(clean), "{current} {}", world.show());
}

#[test]
fn a_new_spec_replaces_an_update_under_way() {
    let (mut world, web) = started(2, one_by_one());
    force(&mut world, &web);
    world.plan();
    force(&mut world, &web);
    let text = world.step();
    // The slot whose task is outdated again, and no second one.
    assert!(text.contains("web.1b -> shutdown") && text.contains("web.1c new"), "{text}");
    assert!(!text.contains("web.2"), "{text}");
    assert!(text.contains("web: update in progress"), "{text}");
}

#[test]
fn global_services_are_updated_node_by_node() {
    let mut world = World::new(2);
    let web = world.service("web", ServiceMode::Global, |_, _| {});
    world.settle();
    force(&mut world, &web);
    world.plan();
    let held = world.state.tasks().values().filter(|task| task.hold.is_some()).count();
    assert_eq!(held, 1, "{}", world.show());
    for _ in 0..4 {
        world.settle();
        world.pass(Duration::from_secs(5));
    }
    world.settle();
    assert_eq!(state(&world, &web), Some(UpdateState::Completed));
}

#[test]
fn only_what_matters_makes_a_task_outdated() {
    let (mut world, web) = started(1, one_by_one());
    let task = world.task("web.1a");
    let node = world.state.nodes().values().next().expect("there is a node").clone();
    let mut check = |edit: &dyn Fn(&mut crate::model::service::ServiceSpec, &mut TaskSpec),
                     expect: bool| {
        world.update(&web, |spec, task| edit(spec, task));
        assert_eq!(is_dirty(&world.get(&web), &task, Some(&node)), expect);
    };
    check(&|spec, _| spec.annotations.labels.extend([("a".to_owned(), "b".to_owned())]), false);
    check(&|spec, _| spec.update = None, false);
    check(&|_, task| task.registry_auth.0.push(1), false);
    check(
        &|_, task| task.resources = Some(crate::model::service::ResourceRequirements::default()),
        false,
    );
    check(&|_, task| task.restart = Some(crate::model::service::RestartPolicy::default()), false);
    check(&|spec, _| spec.endpoint = Some(EndpointSpec::default()), false);
    let constraint =
        |text: &str| Some(Placement { constraints: vec![text.to_owned()], ..Placement::default() });
    check(&|_, task| task.placement = constraint("node.hostname==n1"), false);
    check(&|_, task| task.placement = constraint("node.hostname==n2"), true);
    check(&|_, task| task.placement = None, false);
    check(
        &|_, task| {
            if let Runtime::Container(container) = &mut task.runtime {
                container.dns = Some(crate::model::container::DnsConfig::default());
            }
        },
        false,
    );
    check(
        &|_, task| {
            if let Runtime::Container(container) = &mut task.runtime {
                container.image = "other".to_owned();
            }
        },
        true,
    );
}
