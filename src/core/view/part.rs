//! One piece of a view, as it is sent. Part of what nodes of several versions say to one another: a new kind of piece must
//! not be sent to a node that does not know it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId};
use crate::model::Meta;
use crate::model::cluster::Cluster;
use crate::model::network::Network;
use crate::model::node::Node;
use crate::model::secret::{Config, Secret};
use crate::model::service::Service;
use crate::model::task::{Task, TaskStatus};
use crate::state::State;

/// Something to know, or to know no more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Part {
    /// UDP port of the overlays.
    DataPathPort(u32),
    /// The node itself, or one that tunnels lead to, by its address alone.
    Node(Arc<Node>),
    /// A service, by its names and ports alone.
    Service(Arc<Service>),
    /// A task, whole; one of another node by its names and addresses alone.
    Task(Arc<Task>),
    /// How far a task that is known went.
    Status(TaskId, Meta, TaskStatus),
    /// A network.
    Network(Arc<Network>),
    /// A secret that a task here needs.
    Secret(Arc<Secret>),
    /// A config that a task here needs.
    Config(Arc<Config>),
    /// A node is gone, or of no interest here.
    NoNode(NodeId),
    /// A service is gone, or of no interest here.
    NoService(ServiceId),
    /// A task is forgotten.
    NoTask(TaskId),
    /// A network is not needed here any more.
    NoNetwork(NetworkId),
    /// A secret is not needed here any more.
    NoSecret(SecretId),
    /// A config is not needed here any more.
    NoConfig(ConfigId),
}

impl Part {
    pub(super) fn put_into(self, state: &mut State) {
        match self {
            Self::DataPathPort(port) => {
                let cluster = Cluster { data_path_port: port, ..Cluster::default() };
                state.cluster = Some(Arc::new(cluster));
            }
            Self::Node(node) => state.put_node(node),
            Self::Service(service) => state.put_service(service),
            Self::Task(task) => state.put_task(task),
            Self::Status(id, meta, status) => {
                // A status of a task that never came is of no use.
                if let Some(mut task) = state.tasks.get(&id).cloned() {
                    let told = Arc::make_mut(&mut task);
                    (told.meta, told.status) = (meta, status);
                    state.put_task(task);
                }
            }
            Self::Network(network) => state.put_network(network),
            Self::Secret(secret) => state.put_secret(secret),
            Self::Config(config) => state.put_config(config),
            Self::NoNode(id) => state.drop_node(&id),
            Self::NoService(id) => state.drop_service(&id),
            Self::NoTask(id) => state.drop_task(&id),
            Self::NoNetwork(id) => state.drop_network(&id),
            Self::NoSecret(id) => state.drop_secret(&id),
            Self::NoConfig(id) => state.drop_config(&id),
        }
    }
}
