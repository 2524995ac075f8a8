//! Puts objects into the maps of a state and takes them out, and keeps the indexes true. Checks nothing.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use super::State;
use crate::id::{ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId};
use crate::model::Kind;
use crate::model::network::Network;
use crate::model::node::Node;
use crate::model::secret::{Config, Secret};
use crate::model::service::{Endpoint, Service};
use crate::model::task::Task;

/// Returns the form in which names are compared for uniqueness; other letters than ASCII are not folded, so that
/// all versions of the program agree.
fn folded(kind: Kind, name: &str) -> (Kind, String) {
    (kind, name.to_ascii_lowercase())
}

/// Returns the addresses that a task holds: those it got, until it has ended.
pub(super) fn task_addresses(task: &Task) -> impl Iterator<Item = (NetworkId, IpAddr)> + '_ {
    let held = if task.status.state.is_terminal() { &[][..] } else { &task.networks[..] };
    held.iter().flat_map(|attachment| {
        attachment.addresses.iter().map(|(addr, _)| (attachment.network.id.clone(), *addr))
    })
}

/// Returns the virtual addresses that a service holds.
pub(super) fn endpoint_addresses(
    endpoint: Option<&Endpoint>,
) -> impl Iterator<Item = (NetworkId, IpAddr)> + '_ {
    let held = endpoint.map_or(&[][..], |endpoint| &endpoint.virtual_ips[..]);
    held.iter().map(|vip| (vip.network.clone(), vip.addr))
}

/// Returns the addresses that nodes hold on a network.
pub(super) fn gateway_addresses(
    network: &Network,
) -> impl Iterator<Item = (NetworkId, IpAddr)> + '_ {
    network.gateways.values().map(|addr| (network.id.clone(), *addr))
}

impl State {
    pub(super) fn name_taken(&self, kind: Kind, name: &str) -> bool {
        self.names.contains_key(&folded(kind, name))
    }

    /// Returns the id of the object that has a name, if it is written so or in other cases.
    pub(super) fn id_of_name<K: FromStr>(&self, kind: Kind, name: &str) -> Option<K> {
        self.names.get(&folded(kind, name))?.parse().ok()
    }

    pub(crate) fn put_node(&mut self, node: Arc<Node>) {
        self.nodes.insert(node.id.clone(), node);
    }

    pub(crate) fn drop_node(&mut self, id: &NodeId) {
        self.nodes.remove(id);
    }

    pub(crate) fn put_service(&mut self, service: Arc<Service>) {
        self.drop_service(&service.id);
        self.names
            .insert(folded(Kind::Service, &service.spec.annotations.name), service.id.to_string());
        self.addresses.extend(endpoint_addresses(service.endpoint.as_ref()));
        self.services.insert(service.id.clone(), service);
    }

    pub(crate) fn drop_service(&mut self, id: &ServiceId) {
        let Some(old) = self.services.remove(id) else { return };
        self.names.remove(&folded(Kind::Service, &old.spec.annotations.name));
        for held in endpoint_addresses(old.endpoint.as_ref()) {
            self.addresses.remove(&held);
        }
    }

    pub(crate) fn put_task(&mut self, task: Arc<Task>) {
        self.drop_task(&task.id);
        if let Some(service) = &task.service {
            self.tasks_by_service.insert((service.clone(), task.id.clone()));
        }
        if let Some(node) = &task.node {
            self.tasks_by_node.insert((node.clone(), task.id.clone()));
        }
        self.addresses.extend(task_addresses(&task));
        self.tasks.insert(task.id.clone(), task);
    }

    pub(crate) fn drop_task(&mut self, id: &TaskId) {
        let Some(old) = self.tasks.remove(id) else { return };
        if let Some(service) = &old.service {
            self.tasks_by_service.remove(&(service.clone(), id.clone()));
        }
        if let Some(node) = &old.node {
            self.tasks_by_node.remove(&(node.clone(), id.clone()));
        }
        for held in task_addresses(&old) {
            self.addresses.remove(&held);
        }
    }

    pub(crate) fn put_network(&mut self, network: Arc<Network>) {
        self.drop_network(&network.id);
        self.names
            .insert(folded(Kind::Network, &network.spec.annotations.name), network.id.to_string());
        self.addresses.extend(gateway_addresses(&network));
        self.networks.insert(network.id.clone(), network);
    }

    pub(crate) fn drop_network(&mut self, id: &NetworkId) {
        let Some(old) = self.networks.remove(id) else { return };
        self.names.remove(&folded(Kind::Network, &old.spec.annotations.name));
        for held in gateway_addresses(&old) {
            self.addresses.remove(&held);
        }
    }

    pub(crate) fn put_secret(&mut self, secret: Arc<Secret>) {
        self.names
            .insert(folded(Kind::Secret, &secret.spec.annotations.name), secret.id.to_string());
        self.secrets.insert(secret.id.clone(), secret);
    }

    pub(crate) fn drop_secret(&mut self, id: &SecretId) {
        if let Some(old) = self.secrets.remove(id) {
            self.names.remove(&folded(Kind::Secret, &old.spec.annotations.name));
        }
    }

    pub(crate) fn put_config(&mut self, config: Arc<Config>) {
        self.names
            .insert(folded(Kind::Config, &config.spec.annotations.name), config.id.to_string());
        self.configs.insert(config.id.clone(), config);
    }

    pub(crate) fn drop_config(&mut self, id: &ConfigId) {
        if let Some(old) = self.configs.remove(id) {
            self.names.remove(&folded(Kind::Config, &old.spec.annotations.name));
        }
    }
}
