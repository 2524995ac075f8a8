//! The whole cluster as one value, and its indexes. Changes only through `apply`.

mod apply;
pub mod audit;
pub mod event;
pub mod query;
mod rejected;
mod store;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

pub use event::{Action, Event};
pub use rejected::Rejected;

use crate::id::{ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId};
use crate::model::cluster::Cluster;
use crate::model::network::Network;
use crate::model::node::{Node, Role};
use crate::model::secret::{Config, Secret};
use crate::model::service::Service;
use crate::model::task::Task;
use crate::time::Timestamp;

/// The whole cluster. Cloning costs a few reference counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct State {
    /// Index of the last log entry applied.
    pub(crate) index: u64,
    /// Index of the last plan carried out.
    pub(crate) planned: u64,
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) nodes: OrdMap<NodeId, Arc<Node>>,
    pub(crate) services: OrdMap<ServiceId, Arc<Service>>,
    pub(crate) tasks: OrdMap<TaskId, Arc<Task>>,
    pub(crate) networks: OrdMap<NetworkId, Arc<Network>>,
    pub(crate) secrets: OrdMap<SecretId, Arc<Secret>>,
    pub(crate) configs: OrdMap<ConfigId, Arc<Config>>,
    /// Nodes whose certificates are refused, and until when that must be remembered.
    pub(crate) removed: OrdMap<NodeId, Timestamp>,
    pub(crate) tasks_by_service: OrdSet<(ServiceId, TaskId)>,
    pub(crate) tasks_by_node: OrdSet<(NodeId, TaskId)>,
    /// Ids by names in lower case, with their kind: names are unique without regard to case.
    pub(crate) names: OrdMap<(crate::model::Kind, String), String>,
    /// Addresses in use on each network.
    pub(crate) addresses: OrdSet<(NetworkId, IpAddr)>,
}

/// What an applied command did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// Events for API clients, in order.
    pub events: Vec<Event>,
}

/// The form of a state in snapshots: objects only, indexes are made again on loading.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Stored {
    index: u64,
    planned: u64,
    cluster: Option<Arc<Cluster>>,
    nodes: Vec<Arc<Node>>,
    services: Vec<Arc<Service>>,
    tasks: Vec<Arc<Task>>,
    networks: Vec<Arc<Network>>,
    secrets: Vec<Arc<Secret>>,
    configs: Vec<Arc<Config>>,
    removed: Vec<(NodeId, Timestamp)>,
}

impl From<State> for Stored {
    fn from(state: State) -> Self {
        Self {
            index: state.index,
            planned: state.planned,
            cluster: state.cluster,
            nodes: state.nodes.values().cloned().collect(),
            services: state.services.values().cloned().collect(),
            tasks: state.tasks.values().cloned().collect(),
            networks: state.networks.values().cloned().collect(),
            secrets: state.secrets.values().cloned().collect(),
            configs: state.configs.values().cloned().collect(),
            removed: state.removed.iter().map(|(id, until)| (id.clone(), *until)).collect(),
        }
    }
}

impl From<Stored> for State {
    fn from(stored: Stored) -> Self {
        let Stored { index, planned, cluster, .. } = stored;
        let mut state = Self { index, planned, cluster, ..Self::default() };
        stored.nodes.into_iter().for_each(|node| state.put_node(node));
        stored.services.into_iter().for_each(|service| state.put_service(service));
        stored.tasks.into_iter().for_each(|task| state.put_task(task));
        stored.networks.into_iter().for_each(|network| state.put_network(network));
        stored.secrets.into_iter().for_each(|secret| state.put_secret(secret));
        stored.configs.into_iter().for_each(|config| state.put_config(config));
        state.removed = stored.removed.into_iter().collect();
        state
    }
}

impl State {
    /// Returns the index of the last log entry applied.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Returns the cluster object; absent before `CreateCluster`.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    /// Returns all nodes by id.
    pub fn nodes(&self) -> &OrdMap<NodeId, Arc<Node>> {
        &self.nodes
    }

    /// Tells whether a node was removed, so that its certificate counts no more.
    pub fn is_removed(&self, node: &NodeId) -> bool {
        self.removed.contains_key(node)
    }

    /// Returns the node that a join request made, as long as that node has not come.
    pub fn admitted(&self, role: Role, request: &[u8]) -> Option<&Arc<Node>> {
        self.nodes.values().find(|node| {
            node.agent.is_none() && node.spec.role == role && node.certificate.request == request
        })
    }

    /// Returns all services by id.
    pub fn services(&self) -> &OrdMap<ServiceId, Arc<Service>> {
        &self.services
    }

    /// Returns all tasks by id.
    pub fn tasks(&self) -> &OrdMap<TaskId, Arc<Task>> {
        &self.tasks
    }

    /// Returns all networks by id.
    pub fn networks(&self) -> &OrdMap<NetworkId, Arc<Network>> {
        &self.networks
    }

    /// Returns all secrets by id.
    pub fn secrets(&self) -> &OrdMap<SecretId, Arc<Secret>> {
        &self.secrets
    }

    /// Returns all configs by id.
    pub fn configs(&self) -> &OrdMap<ConfigId, Arc<Config>> {
        &self.configs
    }

    /// Returns the tasks of a service, oldest id first.
    pub fn service_tasks<'a>(
        &'a self,
        service: &'a ServiceId,
    ) -> impl Iterator<Item = &'a Arc<Task>> + 'a {
        self.tasks_by_service
            .range((service.clone(), TaskId::default())..)
            .take_while(move |(owner, _)| owner == service)
            .filter_map(|(_, task)| self.tasks.get(task))
    }

    /// Returns the tasks bound to a node.
    pub fn node_tasks<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = &'a Arc<Task>> + 'a {
        self.tasks_by_node
            .range((node.clone(), TaskId::default())..)
            .take_while(move |(owner, _)| owner == node)
            .filter_map(|(_, task)| self.tasks.get(task))
    }

    /// Counts the addresses of a network that tasks, services and nodes hold.
    pub fn addresses_in_use(&self, network: &NetworkId) -> usize {
        let first = (network.clone(), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.addresses.range(first..).take_while(|(held, _)| held == network).count()
    }

    /// Tells whether an address of a network is in use by a task, a service or a node.
    pub fn address_in_use(&self, network: &NetworkId, addr: IpAddr) -> bool {
        self.addresses.contains(&(network.clone(), addr))
    }
}
