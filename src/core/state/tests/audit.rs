//! Each rule of the audit finds a breach planted for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::fixture::*;
use crate::model::network::{Network, NetworkAllocation};
use crate::model::node::Role;
use crate::model::service::{Endpoint, PortConfig, PublishMode, Service, Slot, VirtualIp};
use crate::model::task::{Hold, Task, TaskState};
use crate::state::State;
use crate::state::audit::audit;

/// Makes a sound state with two services, two tasks on node 0 and two networks.
fn sound() -> State {
    let mut world = World::new();
    world.add_node(1, Role::Worker);
    for number in [0, 1] {
        world.create_service(number, replicated(&format!("s{number}"), 1)).expect("free");
        world.create_task(number, number);
        world.place(number, TaskState::Running);
    }
    world.must(crate::Command::CreateNetwork {
        id: network_id(1),
        spec: Box::new(network_spec("net", "10.1.0.0/24")),
    });
    world.state
}

fn task(state: &mut State, number: u64, change: impl FnOnce(&mut Task)) {
    let mut task = Task::clone(&state.tasks[&task_id(number)]);
    change(&mut task);
    state.put_task(Arc::new(task));
}

fn service(state: &mut State, number: u64, change: impl FnOnce(&mut Service)) {
    let mut service = Service::clone(&state.services[&service_id(number)]);
    change(&mut service);
    state.put_service(Arc::new(service));
}

fn network(state: &mut State, number: u64, change: impl FnOnce(&mut Network)) {
    let mut network = Network::clone(&state.networks[&network_id(number)]);
    change(&mut network);
    state.put_network(Arc::new(network));
}

fn port(mode: PublishMode) -> Endpoint {
    let port = PortConfig { target: 80, published: 80, mode, ..PortConfig::default() };
    Endpoint { ports: vec![port], ..Endpoint::default() }
}

fn vip(number: u8) -> VirtualIp {
    VirtualIp { network: network_id(1), addr: [10, 1, 0, number].into(), prefix: 24 }
}

type Breach = fn(&mut State);

const BREACHES: &[(&str, Breach)] = &[
    ("indexes-match", |state| state.names.clear()),
    ("indexes-match", |state| {
        state.addresses.insert((network_id(1), [10, 1, 0, 9].into()));
    }),
    ("keys-match", |state| {
        let node = state.nodes[&node_id(1)].clone();
        state.nodes.insert(node_id(7), node);
    }),
    ("names-unique", |state| {
        service(state, 1, |s| Arc::make_mut(&mut s.spec).annotations.name = "S0".to_owned());
    }),
    ("versions-sound", |state| task(state, 0, |task| task.meta.version = 1000)),
    ("versions-sound", |state| task(state, 0, |task| task.meta.version = 0)),
    ("versions-sound", |state| service(state, 0, |service| service.spec_version = 1000)),
    ("tasks-belong", |state| state.drop_service(&service_id(0))),
    ("tasks-belong", |state| state.drop_node(&node_id(0))),
    ("tasks-belong", |state| task(state, 0, |task| task.spec_version = 1000)),
    ("states-legal", |state| task(state, 0, |task| task.desired = TaskState::Starting)),
    ("states-legal", |state| task(state, 0, |task| task.status.state = TaskState::Remove)),
    ("states-legal", |state| task(state, 0, |task| task.node = None)),
    ("addresses-once", |state| {
        for number in [0, 1] {
            service(state, number, |service| {
                let virtual_ips = vec![vip(3)];
                service.endpoint = Some(Endpoint { virtual_ips, ..Endpoint::default() });
            });
        }
    }),
    ("ports-once", |state| {
        for number in [0, 1] {
            service(state, number, |s| s.endpoint = Some(port(PublishMode::Ingress)));
        }
    }),
    ("subnets-apart", |state| {
        for number in [0, 1] {
            network(state, number, |network| {
                let ipam = network_spec("net", "10.0.0.0/8").ipam.unwrap_or_default();
                network.allocation = Some(NetworkAllocation { ipam, ..Default::default() });
            });
        }
    }),
    ("networks-numbered-once", |state| {
        for number in [0, 1] {
            network(state, number, |network| {
                let vni = 4096;
                network.allocation = Some(NetworkAllocation { vni, ..Default::default() });
            });
        }
    }),
    ("one-ingress", |state| network(state, 1, |network| network.spec.ingress = true)),
    ("jobs-counted", |state| service(state, 0, |service| service.job = Some(Default::default()))),
    ("a-manager-stays", |state| {
        let mut node = state.nodes[&node_id(0)].clone();
        Arc::make_mut(&mut node).spec.role = Role::Worker;
        state.put_node(node);
    }),
    ("one-wanted-task-a-slot", |state| {
        let spec_version = state.tasks[&task_id(0)].spec_version;
        task(state, 1, |task| {
            task.service = Some(service_id(0));
            task.slot = Slot::Number(0);
            task.spec_version = spec_version;
        });
    }),
    ("host-ports-once", |state| {
        for number in [0, 1] {
            task(state, number, |task| task.endpoint = Some(Arc::new(port(PublishMode::Host))));
        }
    }),
    ("held-tasks-wait", |state| task(state, 0, |task| task.hold = Some(Hold::default()))),
    ("slots-fit-the-mode", |state| task(state, 0, |task| task.slot = Slot::Node(node_id(0)))),
    ("slots-fit-the-mode", |state| task(state, 0, |task| task.slot = Slot::Node(node_id(1)))),
];

#[test]
fn a_sound_state_has_no_findings() {
    assert_eq!(audit(&sound()), Vec::new());
    assert_eq!(audit(&State::default()), Vec::new());
}

#[test]
fn every_planted_breach_is_found() {
    for (place, (check, breach)) in BREACHES.iter().enumerate() {
        let mut state = sound();
        breach(&mut state);
        let findings = audit(&state);
        let found: BTreeSet<_> = findings.iter().map(|finding| finding.check).collect();
        assert!(found.contains(check), "breach {place} of {check}: {findings:?}");
    }
}
