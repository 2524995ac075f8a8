//! States of clusters that nobody could start here: thousands of services whose tasks all run. Made from parts, as a node is
//! shown them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::{Context, Result};
use skep_core::id::{NetworkId, NodeId, ServiceId, TaskId};
use skep_core::model::Annotations;
use skep_core::model::network::{IpamConfig, IpamOptions, Network, NetworkAllocation};
use skep_core::model::node::{Node, NodeAgent};
use skep_core::model::service::{
    Endpoint, NetworkAttachment, Service, ServiceSpec, TaskSpec, VirtualIp,
};
use skep_core::model::task::{Task, TaskNetwork, TaskState};
use skep_core::net::plan::Host;
use skep_core::view::Part;

/// Tasks of each service, on as many nodes.
const TASKS: u32 = 2;

/// Address of node 0, of the network, and of the first virtual address and the first task on it.
const NODES: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SUBNET: &str = "10.128.0.0/9";
const GATEWAYS: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 1);
const VIRTUAL: Ipv4Addr = Ipv4Addr::new(10, 129, 0, 0);
const BACKENDS: Ipv4Addr = Ipv4Addr::new(10, 130, 0, 0);

/// A cluster of two nodes and one network.
pub struct Synthetic {
    services: Vec<Service>,
    tasks: Vec<Task>,
    networks: Vec<Network>,
    nodes: Vec<Node>,
}

fn after(first: Ipv4Addr, count: u32) -> IpAddr {
    Ipv4Addr::from_bits(first.to_bits() + count).into()
}

fn node(number: u32) -> NodeId {
    NodeId::from_seed(9, number.into())
}

/// The node whose network is planned.
pub fn host() -> Host {
    Host { node: node(0), addr: NODES }
}

impl Synthetic {
    pub fn new(services: u32) -> Self {
        let nodes = (0..TASKS).map(|number| {
            let agent = Some(NodeAgent::Skep { version: "1".to_owned() });
            let mut made = Node { id: node(number), agent, ..Node::default() };
            made.status.addr = after(NODES, number).to_string();
            made
        });
        let config = IpamConfig { subnet: SUBNET.to_owned(), ..IpamConfig::default() };
        let ipam = IpamOptions { configs: vec![config], ..IpamOptions::default() };
        let allocation = NetworkAllocation { ipam, vni: 4097, ..NetworkAllocation::default() };
        let network = Network {
            id: NetworkId::from_seed(1, 1),
            allocation: Some(allocation),
            gateways: (0..TASKS).map(|it| (node(it), after(GATEWAYS, it))).collect(),
            ..Network::default()
        };
        let shared = Arc::new(network.clone());
        Self {
            services: (0..services).map(|number| service(number, &network)).collect(),
            tasks: (0..services * TASKS).map(|number| task(number, &shared)).collect(),
            networks: vec![network],
            nodes: nodes.collect(),
        }
    }

    /// Makes one task run, or fail.
    pub fn set_running(&mut self, runs: bool) -> Result<Part> {
        let task = self.tasks.last_mut().context("there are tasks")?;
        task.status.state = if runs { TaskState::Running } else { TaskState::Failed };
        Ok(Part::Task(Arc::new(task.clone())))
    }

    /// Returns everything as a node is shown it.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let networks = self.networks.iter().cloned().map(|it| Part::Network(Arc::new(it)));
        let nodes = self.nodes.iter().cloned().map(|it| Part::Node(Arc::new(it)));
        let services = self.services.iter().cloned().map(|it| Part::Service(Arc::new(it)));
        let tasks = self.tasks.iter().cloned().map(|it| Part::Task(Arc::new(it)));
        networks.chain(nodes).chain(services).chain(tasks)
    }
}

fn service(number: u32, network: &Network) -> Service {
    let attachment =
        NetworkAttachment { target: network.id.clone(), ..NetworkAttachment::default() };
    let spec = ServiceSpec {
        annotations: Annotations { name: format!("s{number}"), ..Annotations::default() },
        task: Arc::new(TaskSpec { networks: vec![attachment], ..TaskSpec::default() }),
        ..ServiceSpec::default()
    };
    let virtual_ip =
        VirtualIp { network: network.id.clone(), addr: after(VIRTUAL, number), prefix: 9 };
    Service {
        id: ServiceId::from_seed(2, number.into()),
        spec: Arc::new(spec),
        endpoint: Some(Endpoint { virtual_ips: vec![virtual_ip], ..Endpoint::default() }),
        ..Service::default()
    }
}

fn task(number: u32, network: &Arc<Network>) -> Task {
    let held = TaskNetwork {
        network: network.clone(),
        addresses: vec![(after(BACKENDS, number), 9)],
        aliases: Vec::new(),
    };
    let mut task = Task {
        id: TaskId::from_seed(3, number.into()),
        service: Some(ServiceId::from_seed(2, (number / TASKS).into())),
        node: Some(node(number % TASKS)),
        desired: TaskState::Running,
        networks: vec![held],
        ..Task::default()
    };
    task.status.state = TaskState::Running;
    task
}
