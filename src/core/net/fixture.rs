//! States for the tests of this module, built from names. Knows nothing of commands.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::id::{NetworkId, NodeId, ServiceId, TaskId};
use crate::model::network::{IpamConfig, IpamOptions, Network, NetworkAllocation};
use crate::model::node::{Node, NodeAgent};
use crate::model::service::{NetworkAttachment, Service, ServiceSpec, TaskSpec, VirtualIp};
use crate::model::task::{Task, TaskNetwork, TaskState};
use crate::model::tunnel_key::TunnelKey;
use crate::model::{Annotations, Driver};
use crate::state::State;

/// The parts of a state, in the form it is stored in.
#[derive(Default, Serialize)]
pub struct World {
    services: Vec<Service>,
    tasks: Vec<Task>,
    networks: Vec<Network>,
    nodes: Vec<Node>,
}

/// Parses an address.
pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("the test writes a valid address")
}

impl World {
    pub fn node(number: u64) -> NodeId {
        NodeId::from_seed(9, number)
    }

    fn network_named(&self, name: &str) -> &Network {
        let mut networks = self.networks.iter();
        networks
            .find(|network| network.spec.annotations.name == name)
            .expect("the test made the network first")
    }

    /// Adds a network with a gateway (the first address) on node 1.
    pub fn network(&mut self, name: &str, subnet: &str) -> &mut Network {
        let mut network = Network {
            id: NetworkId::from_seed(1, self.networks.len() as u64),
            ..Network::default()
        };
        network.spec.annotations.name = name.to_owned();
        let config = IpamConfig { subnet: subnet.to_owned(), ..IpamConfig::default() };
        network.allocation = Some(NetworkAllocation {
            ipam: IpamOptions { configs: vec![config], ..IpamOptions::default() },
            vni: 4096 + u32::try_from(self.networks.len()).expect("tests make few networks"),
            ..NetworkAllocation::default()
        });
        if let Ok(subnet) = subnet.parse::<super::cidr::Cidr>() {
            network.gateways.insert(Self::node(1), subnet.first_usable());
        }
        self.networks.push(network);
        self.networks.last_mut().expect("one was pushed")
    }

    /// Gives a network an IPv6 subnet.
    pub fn dual(&mut self, network: &str, subnet: &str) {
        let mut networks = self.networks.iter_mut();
        let network = networks.find(|it| it.spec.annotations.name == network);
        let network = network.expect("the test made the network first");
        network.spec.ipv6 = true;
        let config = IpamConfig { subnet: subnet.to_owned(), ..IpamConfig::default() };
        let allocation = network.allocation.as_mut().expect("it was made with one");
        allocation.ipam.configs.push(config);
    }

    /// Adds a node that runs skep.
    pub fn host(&mut self, number: u64, addr: &str) -> &mut Node {
        let mut node = Node {
            id: Self::node(number),
            agent: Some(NodeAgent::Skep { version: "1".to_owned() }),
            ..Node::default()
        };
        node.status.addr = addr.to_owned();
        self.nodes.push(node);
        self.nodes.last_mut().expect("one was pushed")
    }

    /// Gives these nodes keys for encrypted tunnels.
    pub fn give_keys(&mut self, numbers: &[u8]) {
        for number in numbers {
            let id = Self::node(u64::from(*number));
            let node = self.nodes.iter_mut().find(|node| node.id == id);
            let node = node.expect("the test made the node first");
            node.description.tunnel_key = Some(TunnelKey([*number; 32]));
        }
    }

    /// Gives a node a bridge of a network.
    pub fn join(&mut self, network: &str, node: u64, gateway: &str) {
        let mut networks = self.networks.iter_mut();
        let network = networks.find(|it| it.spec.annotations.name == network);
        let network = network.expect("the test made the network first");
        network.gateways.insert(Self::node(node), ip(gateway));
    }

    /// Adds a service; an attachment is written `network` or `network=alias`.
    pub fn service(&mut self, name: &str, networks: &[&str]) -> &mut Service {
        let attachments = networks.iter().map(|text| {
            let (network, alias) = text.split_once('=').unwrap_or((text, ""));
            NetworkAttachment {
                target: self.network_named(network).id.clone(),
                aliases: aliases(alias),
                ..NetworkAttachment::default()
            }
        });
        let task = TaskSpec { networks: attachments.collect(), ..TaskSpec::default() };
        let spec = ServiceSpec {
            annotations: Annotations { name: name.to_owned(), ..Annotations::default() },
            task: Arc::new(task),
            ..ServiceSpec::default()
        };
        let id = ServiceId::from_seed(2, self.services.len() as u64);
        self.services.push(Service { id, spec: Arc::new(spec), ..Service::default() });
        self.services.last_mut().expect("one was pushed")
    }

    /// Adds a running task; an attachment's network is written `network` or `network=alias`.
    pub fn task(&mut self, service: &str, networks: &[(&str, &str)]) -> &mut Task {
        let service = self
            .services
            .iter()
            .find(|other| other.spec.annotations.name == service)
            .expect("the test made the service first");
        let attached = networks.iter().map(|(text, addr)| {
            let (network, alias) = text.split_once('=').unwrap_or((text, ""));
            TaskNetwork {
                network: Arc::new(self.network_named(network).clone()),
                addresses: vec![(ip(addr), 24)],
                aliases: aliases(alias),
            }
        });
        let mut task = Task {
            id: TaskId::from_seed(3, self.tasks.len() as u64),
            service: Some(service.id.clone()),
            service_annotations: Arc::new(service.spec.annotations.clone()),
            node: Some(Self::node(1)),
            desired: TaskState::Running,
            networks: attached.collect(),
            ..Task::default()
        };
        task.status.state = TaskState::Running;
        self.tasks.push(task);
        self.tasks.last_mut().expect("one was pushed")
    }

    /// Makes a network one that is to be encrypted.
    pub fn encrypt(&mut self, network: &str) {
        let mut networks = self.networks.iter_mut();
        let network = networks.find(|it| it.spec.annotations.name == network);
        let options = [("encrypted".to_owned(), String::new())].into();
        network.expect("the test made the network first").spec.driver =
            Some(Driver { name: "overlay".to_owned(), options });
    }

    /// Returns all nodes.
    pub fn nodes(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// Returns the task that was made first.
    pub fn first_task(&mut self) -> &mut Task {
        self.tasks.first_mut().expect("one was made")
    }

    /// Labels a service.
    pub fn label(&mut self, service: &str, label: &str, value: &str) {
        let mut services = self.services.iter_mut();
        let service = services.find(|it| it.spec.annotations.name == service);
        let service = service.expect("the test made the service first");
        let labels = &mut Arc::make_mut(&mut service.spec).annotations.labels;
        labels.insert(label.to_owned(), value.to_owned());
    }

    /// Gives a service an address on a network.
    pub fn virtual_ip(&mut self, service: &str, network: &str, addr: &str) {
        let network = self.network_named(network).id.clone();
        let mut services = self.services.iter_mut();
        let service = services.find(|it| it.spec.annotations.name == service);
        let service = service.expect("the test made the service first");
        let endpoint = service.endpoint.get_or_insert_default();
        endpoint.virtual_ips.push(VirtualIp { network, addr: ip(addr), prefix: 24 });
    }

    /// Removes all services; their tasks are still to be stopped.
    pub fn drop_services(&mut self) {
        self.services.clear();
    }

    /// Makes the state as a snapshot of these objects would.
    pub fn state(&self) -> State {
        let bytes = rmp_serde::to_vec_named(self).expect("objects encode");
        rmp_serde::from_slice(&bytes).expect("a state decodes from its objects")
    }
}

fn aliases(alias: &str) -> Vec<String> {
    if alias.is_empty() { Vec::new() } else { vec![alias.to_owned()] }
}
