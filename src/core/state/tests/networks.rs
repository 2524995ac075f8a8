//! Networks: who keeps them, and what their labels do to others.

use std::sync::Arc;

use super::commands::{patch, update};
use super::fixture::*;
use crate::agent::network::is_encrypted;
use crate::command::{Change, Command, NetworkPatch, TaskPatch};
use crate::model::network::{NetworkAllocation, NetworkSpec};
use crate::model::service::{NetworkAttachment, PublishMode, ServiceSpec, TaskSpec};
use crate::model::task::TaskState;
use crate::model::{Driver, Kind};
use crate::state::Rejected;

fn joining(name: &str, network: u64) -> ServiceSpec {
    let attachment =
        NetworkAttachment { target: network_id(network), ..NetworkAttachment::default() };
    let task = TaskSpec { networks: vec![attachment], ..TaskSpec::default() };
    ServiceSpec { task: Arc::new(task), ..replicated(name, 1) }
}

#[test]
fn networks_are_kept_while_used() {
    let mut world = World::new();
    let spec = Box::new(network_spec("net", "10.1.0.0/24"));
    world.must(Command::CreateNetwork { id: network_id(1), spec });
    world.create_service(0, joining("web", 1)).expect("the network exists");
    world.create_task(1, 0);
    let remove = Command::RemoveNetwork { id: network_id(1) };
    let refused = world.apply(remove.clone());
    assert!(matches!(refused, Err(Rejected::InUse { kind: Kind::Network, .. })));
    world.must(update(&world, 0, replicated("web", 1)));
    let task = task_id(1).to_string();
    let network = network_id(1).to_string();
    assert_eq!(world.apply(remove.clone()), Err(Rejected::InUseByTask { network, task }));
    let stop =
        TaskPatch { id: task_id(1), desired: Some(TaskState::Shutdown), ..TaskPatch::default() };
    world.plan(vec![patch(stop)]).expect("fresh");
    world.must(remove);
}

#[test]
fn there_is_one_ingress_network_and_it_is_kept_while_needed() {
    let mut world = World::new();
    let mut spec = network_spec("other", "");
    spec.ingress = true;
    let second = Command::CreateNetwork { id: network_id(1), spec: Box::new(spec) };
    let id = network_id(0).to_string();
    assert_eq!(world.apply(second.clone()), Err(Rejected::IngressPresent { id }));
    world.create_service(0, publishing("web", 80, PublishMode::Ingress)).expect("free");
    let remove = Command::RemoveNetwork { id: network_id(0) };
    let service = service_id(0).to_string();
    assert_eq!(world.apply(remove.clone()), Err(Rejected::IngressNeeded { service }));
    world.must(Command::RemoveService { id: service_id(0) });
    world.must(remove);
    let publish = world.create_service(0, publishing("web", 80, PublishMode::Ingress));
    assert_eq!(publish, Err(Rejected::NoIngress));
    world.must(second);
}

#[test]
fn clients_hear_of_the_addresses_of_networks_but_the_first() {
    let mut world = World::new();
    let spec = Box::new(network_spec("net", "10.1.0.0/24"));
    world.must(Command::CreateNetwork { id: network_id(1), spec });
    for (number, events) in [(0, 0), (1, 1)] {
        let allocation = Some(NetworkAllocation::default());
        let patch = NetworkPatch { id: network_id(number), allocation, ..NetworkPatch::default() };
        let told = world.plan(vec![Change::PatchNetwork(Box::new(patch))]).expect("fresh");
        assert_eq!(told.events.len(), events, "network {number}");
    }
}

#[test]
fn the_label_of_the_mesh_encrypts_what_is_made_while_it_is_there() {
    let mut world = World::new();
    let create = |number, name: &str, change: &dyn Fn(&mut NetworkSpec)| {
        let mut spec = network_spec(name, "");
        change(&mut spec);
        Command::CreateNetwork { id: network_id(number), spec: Box::new(spec) }
    };
    let labelled = |spec: &mut NetworkSpec| {
        spec.ingress = true;
        spec.annotations.labels.insert("skep.encrypt".to_owned(), "all".to_owned());
    };
    let local = |spec: &mut NetworkSpec| {
        spec.driver = Some(Driver { name: "macvlan".to_owned(), ..Driver::default() });
    };
    world.must(create(1, "before", &|_| {}));
    world.must(Command::RemoveNetwork { id: network_id(0) });
    world.must(create(2, "mesh", &labelled));
    world.must(create(3, "front", &|_| {}));
    world.must(create(4, "local", &local));
    let encrypted =
        |world: &World, number| is_encrypted(&world.state.networks()[&network_id(number)]);
    assert_eq!([1, 2, 3, 4].map(|it| encrypted(&world, it)), [false, true, true, false]);
    world.must(Command::RemoveNetwork { id: network_id(2) });
    world.must(create(5, "after", &|_| {}));
    assert!(!encrypted(&world, 5));
}
