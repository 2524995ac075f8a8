//! No address, port or reservation is given twice.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Transition;
use crate::id::NetworkId;
use crate::model::service::PublishMode;
use crate::model::task::{Task, TaskState};
use crate::state::State;

pub(in crate::sim) const NAME: &str = "no address, port or reservation is given twice";

pub(super) fn check(write: &Transition) -> Option<String> {
    let state = write.after;
    addresses(state).or_else(|| mesh_ports(state)).or_else(|| nodes(state))
}

fn addresses(state: &State) -> Option<String> {
    let mut seen: BTreeSet<(NetworkId, IpAddr)> = BTreeSet::new();
    let live = state.tasks().values().filter(|task| !task.status.state.is_terminal());
    let of_tasks = live.flat_map(|task| &task.networks).flat_map(|joined| {
        joined.addresses.iter().map(|(addr, _)| (joined.network.id.clone(), *addr))
    });
    let endpoints = state.services().values().filter_map(|service| service.endpoint.as_ref());
    let of_services = endpoints
        .flat_map(|endpoint| &endpoint.virtual_ips)
        .map(|vip| (vip.network.clone(), vip.addr));
    let of_nodes = state
        .networks()
        .values()
        .flat_map(|network| network.gateways.values().map(|addr| (network.id.clone(), *addr)));
    let of_networks = state.networks().values().flat_map(|network| {
        let configs = network.allocation.iter().flat_map(|allocation| &allocation.ipam.configs);
        configs.filter_map(|config| Some((network.id.clone(), config.gateway.parse().ok()?)))
    });
    let mut all = of_tasks.chain(of_services).chain(of_nodes).chain(of_networks);
    all.find_map(|held| (!seen.insert(held.clone())).then(|| format!("address {held:?}")))
}

fn mesh_ports(state: &State) -> Option<String> {
    let mut seen = BTreeSet::new();
    let endpoints = state.services().values().filter_map(|service| service.endpoint.as_ref());
    let mut ports = endpoints
        .flat_map(|endpoint| &endpoint.ports)
        .filter(|port| port.mode == PublishMode::Ingress && port.published != 0);
    ports.find_map(|port| {
        let new = seen.insert((port.protocol, port.published));
        (!new).then(|| format!("port {}", port.published))
    })
}

/// What a task has on its node it has until it is known to have ended.
fn nodes(state: &State) -> Option<String> {
    state.nodes().values().find_map(|node| {
        let mut ports = BTreeSet::new();
        let mut nano_cpus = 0;
        for task in state.node_tasks(&node.id).filter(|task| holds(task)) {
            let published = task.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
            let on_host = published.filter(|it| it.mode == PublishMode::Host && it.published != 0);
            for port in on_host {
                if !ports.insert((port.protocol, port.published)) {
                    return Some(format!("port {} of node {}", port.published, node.id));
                }
            }
            let reserved = task.spec.resources.as_ref().and_then(|it| it.reservations.as_ref());
            nano_cpus += reserved.map_or(0, |reserved| reserved.nano_cpus);
        }
        let free = node.description.nano_cpus;
        (nano_cpus > free).then(|| format!("{nano_cpus} of {free} CPUs of node {}", node.id))
    })
}

fn holds(task: &Task) -> bool {
    task.status.state >= TaskState::Assigned && task.status.state <= TaskState::Running
}
