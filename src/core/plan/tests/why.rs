//! The reasoning of `why` against what the planners do.

use std::time::Duration;

use super::world::{World, node_id};
use crate::model::node::{Availability, Resources};
use crate::model::service::{
    EndpointSpec, Placement, PortConfig, PublishMode, ResourceRequirements, RestartPolicy,
    ServiceMode, TaskSpec,
};
use crate::model::task::TaskState;
use crate::plan::why::{Why, why_service, why_task};

fn replicas(replicas: u64) -> ServiceMode {
    ServiceMode::Replicated { replicas }
}

fn reserve(task: &mut TaskSpec, nano_cpus: i64, memory_bytes: i64) {
    let reservations = Some(Resources { nano_cpus, memory_bytes, ..Resources::default() });
    task.resources = Some(ResourceRequirements { reservations, ..Default::default() });
}

fn constrain(task: &mut TaskSpec, constraint: &str) {
    let constraints = vec![constraint.to_owned()];
    task.placement = Some(Placement { constraints, ..Placement::default() });
}

/// Writes the checks that fail, a line each.
fn failures(why: &Why) -> Vec<String> {
    let nodes = why.placement.iter().flat_map(|placement| &placement.nodes);
    nodes
        .flat_map(|node| {
            let failed = node.checks.iter().filter(|check| !check.passes);
            failed.map(|check| format!("{} {}: {}", node.hostname, check.name, check.figures))
        })
        .collect()
}

fn has_fact(why: &Why, text: &str) -> bool {
    let facts = why.service.iter().flat_map(|it| &it.facts);
    facts.chain(why.tasks.iter().flat_map(|task| &task.facts)).any(|fact| fact.text.contains(text))
}

#[test]
fn each_check_shows_its_figures() {
    let mut world = World::new(3);
    world.availability(1, Availability::Drain);
    world
        .edit_node(2, |spec| spec.annotations.labels.extend([("zone".to_owned(), "b".to_owned())]));
    let web = world.service("web", replicas(1), |_, task| {
        constrain(task, "node.labels.zone==a");
        reserve(task, 5_500_000_000, 9 << 30);
    });
    world.plan();
    let why = why_service(&world.state, &web, world.now).expect("the service is there");
    let resources =
        "resources: CPUs: 5.5 wanted, 4 of 4 free; memory: 9 GiB wanted, 8 GiB of 8 GiB free";
    let mut lines = failures(&why);
    lines.sort();
    let mut expected = vec![
        "n1 available: state ready, availability drain".to_owned(),
        "n1 constraints: node.labels.zone==a: not met, the node has no such value".to_owned(),
        "n2 constraints: node.labels.zone==a: not met, the node has \"b\"".to_owned(),
        "n3 constraints: node.labels.zone==a: not met, the node has no such value".to_owned(),
    ];
    expected.extend((1..=3).map(|number| format!("n{number} {resources}")));
    expected.sort();
    assert_eq!(lines, expected);
    assert!(has_fact(&why, "no suitable node"), "{why:?}");
}

#[test]
fn the_holder_of_a_port_is_named() {
    let mut world = World::new(1);
    let publish = |spec: &mut crate::model::service::ServiceSpec, _: &mut TaskSpec| {
        let port = PortConfig {
            target: 80,
            published: 8080,
            mode: PublishMode::Host,
            ..PortConfig::default()
        };
        spec.endpoint = Some(EndpointSpec { ports: vec![port], ..EndpointSpec::default() });
    };
    world.service("one", replicas(1), publish);
    world.plan();
    let two = world.service("two", replicas(1), publish);
    world.plan();
    let why = why_service(&world.state, &two, world.now).expect("the service is there");
    let holder = world.task("one.1a").name();
    assert_eq!(failures(&why), [format!("n1 host ports: 8080/tcp: in use by task {holder}")]);
}

#[test]
fn a_held_task_says_what_it_waits_for_and_how_often_it_failed() {
    let mut world = World::new(1);
    let web = world.service("web", replicas(1), |_, task| {
        let delay = Some(Duration::from_secs(30));
        task.restart = Some(RestartPolicy { delay, max_attempts: 2, ..RestartPolicy::default() });
    });
    world.settle();
    world.report("web.1a", TaskState::Failed);
    world.plan();
    world.pass(Duration::from_secs(10));
    let held = world.task("web.1b");
    let why = why_task(&world.state, &held.id, world.now).expect("the task is there");
    let until = held.hold.as_ref().map(|hold| hold.until);
    assert!(why.tasks[0].facts.iter().any(|fact| fact.until == until), "{why:?}");
    for text in ["starts in 20s", "replaced 1 of 2 times", "the task before it"] {
        assert!(has_fact(&why, text), "{text}: {why:?}");
    }
    let ended = why_task(&world.state, &world.task("web.1a").id, world.now).expect("it is kept");
    assert!(has_fact(&ended, &format!("replaced by task {}", held.name())), "{ended:?}");
    assert!(why_service(&world.state, &web, world.now).is_some());
}

#[test]
fn an_update_shows_its_pace() {
    let mut world = World::new(1);
    let web = world.service("web", replicas(3), |_, _| {});
    world.settle();
    world.update(&web, |_, task| task.force_update = 1);
    world.plan();
    let why = why_service(&world.state, &web, world.now).expect("the service is there");
    for text in [
        "update in progress",
        "1 slot at a time",
        "1 of 3 slots begun, 0 of them up",
        "waits for the end of task",
    ] {
        assert!(has_fact(&why, text), "{text}: {why:?}");
    }
}

/// Whatever the nodes are like, the planner puts a task only where `why` said it could go, and finds no place exactly
/// if `why` named none.
#[test]
fn the_planner_agrees() {
    for case in 0..216_u32 {
        let digit = |place: u32| case / 6_u32.pow(place) % 6;
        let mut world = World::new(3);
        for number in 1..=3 {
            let kind = digit(u32::try_from(number).expect("small") - 1);
            if kind % 2 == 1 {
                let label = ("zone".to_owned(), "a".to_owned());
                world.edit_node(number, |spec| spec.annotations.labels.extend([label]));
            }
            let filler = format!("filler{number}");
            world.service(&filler, replicas(u64::from(kind / 2)), |_, task| {
                constrain(task, &format!("node.hostname==n{number}"));
                reserve(task, 2_000_000_000, 0);
            });
        }
        world.settle();
        let idle = world.service("idle", replicas(0), |_, task| {
            constrain(task, "node.labels.zone==a");
            reserve(task, 2_500_000_000, 0);
        });
        world.plan();
        let why = why_service(&world.state, &idle, world.now).expect("the service is there");
        let nodes = why.placement.expect("a placement").nodes;
        let fitting: Vec<_> =
            nodes.iter().filter(|node| node.fits()).map(|node| &node.id).collect();
        world.update(&idle, |spec, _| spec.mode = replicas(1));
        world.plan();
        let task = world.task("idle.1a");
        match &task.node {
            Some(node) => assert!(fitting.contains(&node), "case {case}: {fitting:?}"),
            None => assert_eq!(fitting, Vec::<&crate::id::NodeId>::new(), "case {case}"),
        }
        assert_eq!(nodes.len(), 3);
        assert_eq!(nodes[0].checks.len(), 9);
        assert!(nodes.iter().any(|node| node.id == node_id(1)));
    }
}
