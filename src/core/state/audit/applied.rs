//! Rules that every command keeps: `apply` refuses what would break them.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use crate::model::service::PublishMode;
use crate::model::task::{Task, TaskState};
use crate::model::{Kind, Meta};
use crate::state::State;
use crate::state::apply::{held_subnets, is_desirable};
use crate::state::store::{endpoint_addresses, gateway_addresses, task_addresses};

pub(super) const CHECKS: &[Check] = &[
    Check { name: "indexes-match", run: indexes_match },
    Check { name: "keys-match", run: keys_match },
    Check { name: "names-unique", run: names_unique },
    Check { name: "versions-sound", run: versions_sound },
    Check { name: "tasks-belong", run: tasks_belong },
    Check { name: "states-legal", run: states_legal },
    Check { name: "addresses-once", run: addresses_once },
    Check { name: "ports-once", run: ports_once },
    Check { name: "subnets-apart", run: subnets_apart },
    Check { name: "networks-numbered-once", run: networks_numbered_once },
    Check { name: "one-ingress", run: one_ingress },
    Check { name: "jobs-counted", run: jobs_counted },
    Check { name: "a-manager-stays", run: a_manager_stays },
];

/// A state is the same when its indexes are made again from its objects.
fn indexes_match(state: &State, found: &mut Vec<String>) {
    let again = State::from(crate::state::Stored::from(state.clone()));
    for (index, same) in [
        ("tasks_by_service", again.tasks_by_service == state.tasks_by_service),
        ("tasks_by_node", again.tasks_by_node == state.tasks_by_node),
        ("names", again.names == state.names),
        ("addresses", again.addresses == state.addresses),
    ] {
        if !same {
            found.push(format!("index {index} differs from the objects"));
        }
    }
}

fn keys_match(state: &State, found: &mut Vec<String>) {
    let wrong = state.nodes.iter().any(|(id, held)| *id != held.id)
        || state.services.iter().any(|(id, held)| *id != held.id)
        || state.tasks.iter().any(|(id, held)| *id != held.id)
        || state.networks.iter().any(|(id, held)| *id != held.id)
        || state.secrets.iter().any(|(id, held)| *id != held.id)
        || state.configs.iter().any(|(id, held)| *id != held.id);
    if wrong {
        found.push("an object is kept under another id".to_owned());
    }
}

fn names_unique(state: &State, found: &mut Vec<String>) {
    let services = state.services.values().map(|held| (Kind::Service, &held.spec.annotations));
    let networks = state.networks.values().map(|held| (Kind::Network, &held.spec.annotations));
    let secrets = state.secrets.values().map(|held| (Kind::Secret, &held.spec.annotations));
    let configs = state.configs.values().map(|held| (Kind::Config, &held.spec.annotations));
    let mut seen = BTreeSet::new();
    for (kind, annotations) in services.chain(networks).chain(secrets).chain(configs) {
        if !seen.insert((kind, annotations.name.to_ascii_lowercase())) {
            found.push(format!("two {kind}s are named {}", annotations.name));
        }
    }
}

fn versions_sound(state: &State, found: &mut Vec<String>) {
    let mut check = |what: &dyn std::fmt::Display, meta: Meta| {
        if meta.version == 0 || meta.version > state.index {
            found.push(format!("{what} has version {} at index {}", meta.version, state.index));
        }
    };
    state.cluster.iter().for_each(|held| check(&held.id, held.meta));
    state.nodes.values().for_each(|held| check(&held.id, held.meta));
    state.services.values().for_each(|held| check(&held.id, held.meta));
    state.tasks.values().for_each(|held| check(&held.id, held.meta));
    state.networks.values().for_each(|held| check(&held.id, held.meta));
    state.secrets.values().for_each(|held| check(&held.id, held.meta));
    state.configs.values().for_each(|held| check(&held.id, held.meta));
    for service in state.services.values() {
        if service.spec_version == 0 || service.spec_version > service.meta.version {
            found.push(format!("service {} has a spec of a later version", service.id));
        }
    }
}

/// A task's service exists or the task is going; its node exists or the task is lost.
fn tasks_belong(state: &State, found: &mut Vec<String>) {
    for task in state.tasks.values() {
        if let Some(service) = &task.service
            && !state.services.contains_key(service)
            && task.desired < TaskState::Remove
        {
            found.push(format!("task {} outlives service {service}", task.id));
        }
        if let Some(node) = &task.node
            && !state.nodes.contains_key(node)
            && task.status.state != TaskState::Orphaned
        {
            found.push(format!("task {} outlives node {node}", task.id));
        }
        if let Some(service) = task.service.as_ref().and_then(|id| state.services.get(id))
            && task.spec_version > service.spec_version
        {
            found.push(format!("task {} is newer than its service's spec", task.id));
        }
    }
}

fn states_legal(state: &State, found: &mut Vec<String>) {
    let unbound = |task: &Task| {
        task.node.is_none()
            && task.status.state >= TaskState::Assigned
            && !task.status.state.is_terminal()
    };
    for task in state.tasks.values() {
        if !is_desirable(task.desired) {
            found.push(format!("task {} is meant to be {}", task.id, task.desired.as_str()));
        }
        if task.status.state == TaskState::Remove {
            found.push(format!("task {} was seen removed", task.id));
        }
        if unbound(task) {
            found.push(format!("task {} is on no node", task.id));
        }
    }
}

fn addresses_once(state: &State, found: &mut Vec<String>) {
    let tasks = state.tasks.values().flat_map(|task| task_addresses(task));
    let services =
        state.services.values().flat_map(|held| endpoint_addresses(held.endpoint.as_ref()));
    let nodes = state.networks.values().flat_map(|network| gateway_addresses(network));
    let mut seen = BTreeSet::new();
    for (network, addr) in tasks.chain(services).chain(nodes) {
        if !seen.insert((network.clone(), addr)) {
            found.push(format!("address {addr} of network {network} is held twice"));
        }
    }
}

/// A port of the routing mesh is given to one service.
fn ports_once(state: &State, found: &mut Vec<String>) {
    let mut seen = BTreeMap::new();
    for service in state.services.values() {
        let ports = service.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
        for port in ports.filter(|port| port.mode == PublishMode::Ingress && port.published != 0) {
            if let Some(other) = seen.insert((port.protocol, port.published), &service.id) {
                let number = port.published;
                found.push(format!("services {other} and {} have port {number}", service.id));
            }
        }
    }
}

fn subnets_apart(state: &State, found: &mut Vec<String>) {
    let networks: Vec<_> = state.networks.values().collect();
    for (place, network) in networks.iter().enumerate() {
        for subnet in held_subnets(network) {
            for other in networks.iter().skip(place + 1) {
                if held_subnets(other).any(|taken| taken.overlaps(subnet)) {
                    found.push(format!("{subnet} of {} overlaps with {}", network.id, other.id));
                }
            }
        }
    }
}

fn networks_numbered_once(state: &State, found: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for network in state.networks.values() {
        let vni = network.allocation.as_ref().map_or(0, |allocation| allocation.vni);
        if vni != 0 && !seen.insert(vni) {
            found.push(format!("network identifier {vni} is used twice"));
        }
    }
}

fn one_ingress(state: &State, found: &mut Vec<String>) {
    let ingress = state.networks.values().filter(|network| network.spec.ingress).count();
    if ingress > 1 {
        found.push(format!("there are {ingress} ingress networks"));
    }
}

fn jobs_counted(state: &State, found: &mut Vec<String>) {
    for service in state.services.values() {
        if service.job.is_some() != service.spec.mode.is_job() {
            found.push(format!("service {} counts runs wrongly", service.id));
        }
    }
}

/// A cluster that has a manager keeps one that is meant to stay.
fn a_manager_stays(state: &State, found: &mut Vec<String>) {
    use crate::model::node::Role::Manager;
    let managers = || state.nodes.values().filter(|node| node.role == Manager);
    if managers().next().is_some() && !managers().any(|node| node.spec.role == Manager) {
        found.push("every manager is to be demoted".to_owned());
    }
}
