//! States and waiting for the tests of the data plane, all on loopback. Tests nothing.

use std::future::Future;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use skep_core::State;
use skep_core::id::{NetworkId, NodeId, ServiceId, TaskId};
use skep_core::model::Annotations;
use skep_core::model::network::{IpamConfig, IpamOptions, Network, NetworkAllocation};
use skep_core::model::service::{Endpoint, PortConfig, PortProtocol, Service, ServiceSpec};
use skep_core::model::task::{Task, TaskNetwork, TaskState};

/// A cluster with one node, one network and one service called `web`.
#[derive(Clone, Serialize)]
pub struct World {
    services: Vec<Service>,
    pub tasks: Vec<Task>,
    networks: Vec<Network>,
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("the test writes a valid address")
}

pub fn node() -> NodeId {
    NodeId::from_seed(9, 1)
}

impl World {
    /// Makes it with the network 127.0.`net`.0/24, gateway .1, and tasks at the addresses given.
    pub fn new(net: u8, tasks: &[u8]) -> Self {
        let mut network = Network { id: NetworkId::from_seed(1, 1), ..Network::default() };
        network.spec.annotations.name = "front".to_owned();
        let subnet = format!("127.0.{net}.0/24");
        network.allocation = Some(NetworkAllocation {
            ipam: IpamOptions {
                configs: vec![IpamConfig { subnet, ..IpamConfig::default() }],
                ..IpamOptions::default()
            },
            ..NetworkAllocation::default()
        });
        network.gateways.insert(node(), [127, 0, net, 1].into());
        let annotations = Annotations { name: "web".to_owned(), ..Annotations::default() };
        let spec = ServiceSpec { annotations, ..ServiceSpec::default() };
        let service =
            Service { id: ServiceId::from_seed(2, 1), spec: Arc::new(spec), ..Service::default() };
        let mut world =
            Self { services: vec![service], tasks: Vec::new(), networks: vec![network] };
        for host in tasks {
            world.add_task([127, 0, net, *host].into());
        }
        world
    }

    pub fn add_task(&mut self, addr: IpAddr) -> &mut Task {
        let attached = TaskNetwork {
            network: Arc::new(self.networks[0].clone()),
            addresses: vec![(addr, 24)],
            ..TaskNetwork::default()
        };
        let mut task = Task {
            id: TaskId::from_seed(3, self.tasks.len() as u64),
            service: Some(self.services[0].id.clone()),
            service_annotations: Arc::new(self.services[0].spec.annotations.clone()),
            node: Some(node()),
            desired: TaskState::Running,
            networks: vec![attached],
            ..Task::default()
        };
        task.status.state = TaskState::Running;
        self.tasks.push(task);
        self.tasks.last_mut().expect("one was pushed")
    }

    pub fn publish(&mut self, protocol: PortProtocol, published: u16, target: u16) {
        let port = PortConfig { protocol, published, target, ..PortConfig::default() };
        self.services[0].endpoint.get_or_insert_with(Endpoint::default).ports.push(port);
    }

    /// Makes the state as a snapshot of these objects would.
    pub fn state(&self) -> Arc<State> {
        let bytes = rmp_serde::to_vec_named(self).expect("objects encode");
        Arc::new(rmp_serde::from_slice(&bytes).expect("a state decodes from its objects"))
    }
}

/// Returns a port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("a bound socket has an address").port()
}

pub fn at(addr: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(addr), port)
}

/// Tries until something is there; fails the test after a while.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, attempt: impl Fn() -> F) -> T {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let attempts = async {
        loop {
            tick.tick().await;
            if let Some(found) = attempt().await {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(20), attempts).await;
    found.unwrap_or_else(|_| panic!("never came true: {what}"))
}
