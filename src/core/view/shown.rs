//! What a node is shown of each object: what it needs of it. Decides nothing of when.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::NetworkId;
use crate::labels::is_ours;
use crate::model::network::{Network, NetworkSpec};
use crate::model::node::{
    ManagerStatus, Node, NodeAgent, NodeCertificate, NodeDescription, NodeStatus,
};
use crate::model::service::{PublishMode, Service, ServiceSpec, TaskSpec};
use crate::model::task::{ContainerStatus, Task, TaskNetwork, TaskState, TaskStatus};
use crate::model::{Annotations, Meta};

/// Tells whether a service can be named or reached on a node with these networks.
pub(super) fn concerns(service: &Service, networks: &BTreeSet<NetworkId>) -> bool {
    let mut joined = service.spec.task.networks.iter();
    let ports = service.endpoint.as_ref().map_or(&[][..], |endpoint| &endpoint.ports);
    let mut known_by = service.endpoint.iter().flat_map(|endpoint| &endpoint.virtual_ips);
    ports.iter().any(|port| port.mode == PublishMode::Ingress)
        || known_by.any(|held| networks.contains(&held.network))
        || joined.any(|joined| networks.contains(&joined.target))
}

/// What others need of a service: its names and how it is reached. What it runs is the business of its tasks' nodes.
pub(super) fn shown_service(service: &Service) -> Service {
    let Annotations { name, labels } = &service.spec.annotations;
    let labels = labels.iter().filter(|(label, _)| is_ours(label));
    let labels = labels.map(|(label, value)| (label.clone(), value.clone())).collect();
    let annotations = Annotations { name: name.clone(), labels };
    let networks = service.spec.task.networks.clone();
    let task = Arc::new(TaskSpec { networks, ..TaskSpec::default() });
    Service {
        id: service.id.clone(),
        spec: Arc::new(ServiceSpec { annotations, task, ..ServiceSpec::default() }),
        endpoint: service.endpoint.clone(),
        ..Service::default()
    }
}

/// Where the network's addresses have come to is the business of who gives them.
pub(super) fn shown_network(network: &Network) -> Network {
    let meta = Meta { created_at: network.meta.created_at, ..Meta::default() };
    Network { meta, last_address: None, ..network.clone() }
}

/// Of another node it matters where tunnels to it end, and by which key they are encrypted.
pub(super) fn shown_neighbour(node: &Node) -> Node {
    let agent = node.agent.as_ref().map(|agent| match agent {
        NodeAgent::Skep { .. } => NodeAgent::Skep { version: String::new() },
        NodeAgent::Engine => NodeAgent::Engine,
    });
    let manager = node
        .manager
        .as_ref()
        .map(|manager| ManagerStatus { addr: manager.addr.clone(), ..ManagerStatus::default() });
    Node {
        id: node.id.clone(),
        description: NodeDescription {
            data_path: node.description.data_path,
            host_addresses: node.description.host_addresses.clone(),
            tunnel_key: node.description.tunnel_key,
            ..NodeDescription::default()
        },
        status: NodeStatus { addr: node.status.addr.clone(), ..NodeStatus::default() },
        manager,
        agent,
        ..Node::default()
    }
}

/// Tells whether a task of another node may have an address on one of these networks.
pub(super) fn is_near(task: &Task, networks: &BTreeSet<NetworkId>) -> bool {
    (TaskState::Assigned..=TaskState::Running).contains(&task.status.state)
        && task.networks.iter().any(|held| networks.contains(&held.network.id))
}

/// Of another node's task it matters by what names and addresses it is reached, and whether it is to be.
pub(super) fn shown_task(task: &Task, networks: &BTreeSet<NetworkId>) -> Task {
    let joined = task.networks.iter().filter(|held| networks.contains(&held.network.id));
    let name = task.service_annotations.name.clone();
    let container = task.status.container.as_ref();
    Task {
        id: task.id.clone(),
        service: task.service.clone(),
        service_annotations: Arc::new(Annotations { name, ..Annotations::default() }),
        slot: task.slot.clone(),
        node: task.node.clone(),
        desired: task.desired,
        status: TaskStatus {
            state: task.status.state,
            container: container
                .map(|it| ContainerStatus { id: it.id.clone(), ..ContainerStatus::default() }),
            ..TaskStatus::default()
        },
        endpoint: task.endpoint.clone(),
        networks: joined.map(shown_joined).collect(),
        ..Task::default()
    }
}

fn shown_joined(held: &TaskNetwork) -> TaskNetwork {
    let spec = NetworkSpec { ingress: held.network.spec.ingress, ..NetworkSpec::default() };
    let network = Arc::new(Network { id: held.network.id.clone(), spec, ..Network::default() });
    TaskNetwork { network, addresses: held.addresses.clone(), aliases: held.aliases.clone() }
}

/// Its certificate request says nothing to a node that made it.
pub(super) fn shown_node(node: &Node) -> Node {
    Node { certificate: NodeCertificate::default(), meta: Meta::default(), ..node.clone() }
}
