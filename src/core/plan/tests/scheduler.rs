//! Placement: filters with their explanations, spread.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::{World, node_id};
use crate::command::Command;
use crate::model::Driver;
use crate::model::container::{ContainerSpec, Healthcheck, Mount, MountKind};
use crate::model::node::{Availability, GenericResource, NodeState, Resources};
use crate::model::service::{
    EndpointSpec, Placement, Platform, PortConfig, PublishMode, ResourceRequirements, Runtime,
    ServiceMode, ServiceSpec, TaskSpec,
};
use crate::model::task::TaskState;

const ONE: ServiceMode = ServiceMode::Replicated { replicas: 1 };

fn place(task: &mut TaskSpec, edit: impl FnOnce(&mut Placement)) {
    let mut placement = Placement::default();
    edit(&mut placement);
    task.placement = Some(placement);
}

fn reserve(task: &mut TaskSpec, edit: impl FnOnce(&mut Resources)) {
    let mut resources = Resources::default();
    edit(&mut resources);
    let reservations = Some(resources);
    task.resources = Some(ResourceRequirements { reservations, ..Default::default() });
}

fn publish_on_host(spec: &mut ServiceSpec) {
    let mode = PublishMode::Host;
    let port = PortConfig { target: 80, published: 8080, mode, ..PortConfig::default() };
    spec.endpoint = Some(EndpointSpec { ports: vec![port], ..EndpointSpec::default() });
}

/// Returns the error of a service's only task.
fn error_of(world: &mut World, edit: impl FnOnce(&mut ServiceSpec, &mut TaskSpec)) -> String {
    world.service("web", ONE, edit);
    world.plan();
    world.task("web.1a").status.error.clone()
}

#[test]
fn explanations_for_one_and_for_many_nodes() {
    let many = |world: &mut World| {
        error_of(world, |_, task| reserve(task, |r| r.nano_cpus = 9_000_000_000))
    };
    assert_eq!(many(&mut World::new(1)), "no suitable node (insufficient resources on 1 node)");
    assert_eq!(many(&mut World::new(3)), "no suitable node (insufficient resources on 3 nodes)");
    let unavailable = |nodes: u64| {
        let mut world = World::new(nodes);
        (1..=nodes).for_each(|number| world.availability(number, Availability::Pause));
        error_of(&mut world, |_, _| {})
    };
    assert_eq!(unavailable(1), "no suitable node (1 node not available for new tasks)");
    assert_eq!(unavailable(2), "no suitable node (2 nodes not available for new tasks)");
}

#[test]
fn each_filter_has_its_text() {
    let check = |edit: fn(&mut TaskSpec), text: &str| {
        let mut world = World::new(1);
        let plugins = vec![("Log".to_owned(), "json-file".to_owned())];
        let mut description = super::world::node(1).description;
        description.plugins = plugins;
        let (id, description) = (node_id(1), Some(Box::new(description)));
        world.run(Command::ReportNode { id, description, status: None, manager: None });
        let error = error_of(&mut world, |_, task| edit(task));
        assert_eq!(error, format!("no suitable node ({text})"));
    };
    check(
        |task| place(task, |it| it.constraints = vec!["node.labels.x==1".to_owned()]),
        "scheduling constraints not satisfied on 1 node",
    );
    check(
        |task| {
            let platform = Platform { architecture: "arm64".to_owned(), os: "linux".to_owned() };
            place(task, |it| it.platforms = vec![platform]);
        },
        "unsupported platform on 1 node",
    );
    check(
        |task| {
            let name = "splunk".to_owned();
            task.log_driver = Some(Driver { name, ..Driver::default() });
        },
        "missing plugin on 1 node",
    );
    check(|task| reserve(task, |r| r.memory_bytes = 9 << 30), "insufficient resources on 1 node");
    check(
        |task| {
            let gpu = GenericResource::Discrete { kind: "gpu".to_owned(), value: 1 };
            reserve(task, |r| r.generic = vec![gpu]);
        },
        "insufficient resources on 1 node",
    );
}

#[test]
fn an_engine_too_old_for_a_field_gets_no_such_task() {
    let error = |api| {
        let mut world = World::new(1);
        let mut description = super::world::node(1).description;
        description.engine_api = api;
        let (id, description) = (node_id(1), Some(Box::new(description)));
        world.run(Command::ReportNode { id, description, status: None, manager: None });
        error_of(&mut world, |_, task| {
            let spec = ContainerSpec {
                image: "i".to_owned(),
                healthcheck: Some(Healthcheck {
                    start_interval: Duration::from_secs(1),
                    ..Healthcheck::default()
                }),
                mounts: vec![Mount { kind: MountKind::Image, ..Mount::default() }],
                ..ContainerSpec::default()
            };
            task.runtime = Runtime::Container(Box::new(spec));
        })
    };
    assert_eq!(
        error(Some((1, 41))),
        "no suitable node (engine too old on 1 node: StartInterval of the health check needs API \
         1.44, an image mount needs API 1.48, it has 1.41)"
    );
    assert_eq!(
        error(Some((1, 47))),
        "no suitable node (engine too old on 1 node: an image mount needs API 1.48, it has 1.47)"
    );
    assert_eq!(error(Some((1, 48))), "");
    assert_eq!(error(None), "");
}

#[test]
fn images_and_kernels_name_architectures_differently() {
    let error = error_of(&mut World::new(1), |_, task| {
        let platform = Platform { architecture: "amd64".to_owned(), os: "linux".to_owned() };
        place(task, |it| it.platforms = vec![platform]);
    });
    assert_eq!(error, "");
}

#[test]
fn replicas_a_node_are_limited() {
    let mut world = World::new(1);
    world.service("web", ServiceMode::Replicated { replicas: 2 }, |_, task| {
        place(task, |it| it.max_replicas = 1);
    });
    world.plan();
    let errors: Vec<String> =
        world.state.tasks().values().map(|task| task.status.error.clone()).collect();
    assert!(errors.contains(&"no suitable node (max replicas per node limit exceed)".to_owned()));
    assert!(errors.contains(&String::new()));
}

#[test]
fn host_ports_are_free_only_when_the_old_task_has_stopped() {
    let mut world = World::new(1);
    let web = world.service("web", ONE, |spec, _| publish_on_host(spec));
    world.settle();
    world.update(&web, |_, task| task.force_update = 1);
    world.plan();
    let error = world.task("web.1b").status.error.clone();
    assert_eq!(error, "no suitable node (host-mode port already in use on 1 node)");
    world.report("web.1a", TaskState::Shutdown);
    world.plan();
    let task = world.task("web.1b");
    assert_eq!((task.status.state, task.status.error.as_str()), (TaskState::Assigned, ""));
}

#[test]
fn failures_of_several_kinds_are_listed_most_frequent_first() {
    let mut world = World::new(3);
    world.availability(1, Availability::Drain);
    let error = error_of(&mut world, |_, task| {
        place(task, |it| it.constraints = vec!["node.labels.x==1".to_owned()]);
    });
    assert_eq!(
        error,
        "no suitable node (scheduling constraints not satisfied on 2 nodes; \
         1 node not available for new tasks)"
    );
}

#[test]
fn a_preassigned_task_gets_the_bare_explanation() {
    let mut world = World::new(1);
    world
        .service("web", ServiceMode::Global, |_, task| reserve(task, |r| r.memory_bytes = 1 << 50));
    world.plan();
    assert_eq!(world.task("web.n1a").status.error, "insufficient resources on 1 node");
}

#[test]
fn a_pending_task_is_tried_again_and_its_error_cleared() {
    let mut world = World::new(1);
    world.node_state(1, NodeState::Unknown);
    assert!(!error_of(&mut world, |_, _| {}).is_empty());
    world.expect(&[]);
    world.node_state(1, NodeState::Ready);
    world.plan();
    let task = world.task("web.1a");
    assert_eq!((task.status.state, task.status.error.as_str()), (TaskState::Assigned, ""));
}

#[test]
fn named_resources_are_claimed_by_number() {
    let mut world = World::new(1);
    let named =
        |value: &str| GenericResource::Named { kind: "gpu".to_owned(), value: value.to_owned() };
    let mut description = super::world::node(1).description;
    description.generic_resources = vec![named("g1"), named("g2"), named("g3")];
    let (id, description) = (node_id(1), Some(Box::new(description)));
    world.run(Command::ReportNode { id, description, status: None, manager: None });
    world.service("web", ServiceMode::Replicated { replicas: 2 }, |_, task| {
        let gpu = GenericResource::Discrete { kind: "gpu".to_owned(), value: 2 };
        reserve(task, |r| r.generic = vec![gpu]);
    });
    world.plan();
    let claims: Vec<_> =
        world.state.tasks().values().map(|it| it.generic_resources.clone()).collect();
    assert!(claims.contains(&vec![named("g1"), named("g2")]), "{claims:?}");
    assert!(claims.contains(&Vec::new()), "{claims:?}");
}

#[test]
fn tasks_spread_over_nodes_and_over_the_branches_of_preferences() {
    let count = |world: &World| {
        let mut counts: BTreeMap<_, usize> = BTreeMap::new();
        for task in world.state.tasks().values() {
            *counts.entry(task.node.clone()).or_default() += 1;
        }
        (1..=3).map(|n| counts.get(&Some(node_id(n))).copied().unwrap_or(0)).collect::<Vec<_>>()
    };
    let mut world = World::new(3);
    world.service("web", ServiceMode::Replicated { replicas: 6 }, |_, _| {});
    world.plan();
    assert_eq!(count(&world), [2, 2, 2]);

    let mut world = World::new(3);
    for (number, zone) in [(1, "east"), (2, "west"), (3, "west")] {
        let label = ("zone".to_owned(), zone.to_owned());
        world.edit_node(number, |spec| spec.annotations.labels.extend([label]));
    }
    world.service("web", ServiceMode::Replicated { replicas: 4 }, |_, task| {
        place(task, |it| it.preferences = vec!["node.labels.zone".to_owned()]);
    });
    world.plan();
    assert_eq!(count(&world), [2, 1, 1]);
}
