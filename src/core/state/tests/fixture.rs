//! A small cluster to try commands on.

use std::sync::Arc;

use crate::command::{Change, Command, NewTask, Proposal, TaskPatch};
use crate::id::{ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId};
use crate::model::Annotations;
use crate::model::cluster::Cluster;
use crate::model::container::{ContainerSpec, SecretReference};
use crate::model::network::{IpamConfig, IpamOptions, Network, NetworkSpec};
use crate::model::node::{Node, NodeDescription, NodeSpec, NodeState, NodeStatus, Role};
use crate::model::service::{
    EndpointSpec, PortConfig, PublishMode, Runtime, ServiceMode, ServiceSpec, Slot, TaskSpec,
};
use crate::model::task::{TaskState, TaskStatus};
use crate::state::{Applied, Rejected, State};
use crate::time::Timestamp;

/// Makes an annotation with a name only.
pub fn named(name: &str) -> Annotations {
    Annotations { name: name.to_owned(), ..Annotations::default() }
}

pub fn node_id(number: u64) -> NodeId {
    NodeId::from_seed(1, number)
}

pub fn service_id(number: u64) -> ServiceId {
    ServiceId::from_seed(2, number)
}

pub fn task_id(number: u64) -> TaskId {
    TaskId::from_seed(3, number)
}

pub fn network_id(number: u64) -> NetworkId {
    NetworkId::from_seed(4, number)
}

pub fn secret_id(number: u64) -> SecretId {
    SecretId::from_seed(5, number)
}

pub fn config_id(number: u64) -> ConfigId {
    ConfigId::from_seed(6, number)
}

pub fn network(id: NetworkId, name: &str, subnet: &str) -> Network {
    Network { id, spec: network_spec(name, subnet), ..Network::default() }
}

pub fn network_spec(name: &str, subnet: &str) -> NetworkSpec {
    let config = IpamConfig { subnet: subnet.to_owned(), ..IpamConfig::default() };
    let ipam = IpamOptions { configs: vec![config], ..IpamOptions::default() };
    let ipam = (!subnet.is_empty()).then_some(ipam);
    NetworkSpec { annotations: named(name), ipam, ..NetworkSpec::default() }
}

/// Makes a spec of so many replicas.
pub fn replicated(name: &str, replicas: u64) -> ServiceSpec {
    ServiceSpec {
        annotations: named(name),
        mode: ServiceMode::Replicated { replicas },
        ..ServiceSpec::default()
    }
}

/// Makes a spec that publishes a port.
pub fn publishing(name: &str, published: u16, mode: PublishMode) -> ServiceSpec {
    let port = PortConfig { target: 80, published, mode, ..PortConfig::default() };
    let endpoint = Some(EndpointSpec { ports: vec![port], ..EndpointSpec::default() });
    ServiceSpec { endpoint, ..replicated(name, 1) }
}

/// Makes a spec whose container is changed by `change`.
pub fn with_container(mut spec: ServiceSpec, change: impl Fn(&mut ContainerSpec)) -> ServiceSpec {
    let mut container = ContainerSpec::default();
    change(&mut container);
    spec.task = Arc::new(TaskSpec {
        runtime: Runtime::Container(Box::new(container)),
        ..TaskSpec::clone(&spec.task)
    });
    spec
}

/// Makes a spec that mounts a secret.
pub fn mounting(name: &str, secret: SecretId, secret_name: &str) -> ServiceSpec {
    with_container(replicated(name, 1), |container| {
        container.secrets =
            vec![SecretReference { id: secret.clone(), name: secret_name.to_owned(), file: None }];
    })
}

/// A state and the index of its next log entry.
pub struct World {
    pub state: State,
}

impl World {
    /// Makes a cluster of one manager (node 0) with an ingress network (network 0).
    pub fn new() -> Self {
        let mut ingress = network(network_id(0), "ingress", "10.0.0.0/24");
        ingress.spec.ingress = true;
        let node = Node {
            id: node_id(0),
            spec: NodeSpec { role: Role::Manager, ..NodeSpec::default() },
            role: Role::Manager,
            description: NodeDescription {
                hostname: "host0".to_owned(),
                ..NodeDescription::default()
            },
            status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
            ..Node::default()
        };
        let mut world = Self { state: State::default() };
        world
            .apply(Command::CreateCluster {
                cluster: Box::default(),
                node: Box::new(node),
                networks: vec![ingress],
            })
            .expect("an empty state takes a cluster");
        world
    }

    /// Puts a node into the state that no command makes yet.
    pub fn add_node(&mut self, number: u64, role: Role) {
        let node = Node {
            id: node_id(number),
            spec: NodeSpec { role, ..NodeSpec::default() },
            role,
            ..Node::default()
        };
        let mut node = node;
        node.meta.version = self.state.index;
        self.state.put_node(Arc::new(node));
    }

    /// Applies a command at the next index; the time is the index in seconds.
    pub fn apply(&mut self, command: Command) -> Result<Applied, Rejected> {
        let index = self.state.index() + 1;
        let at = Timestamp::from_secs(i64::try_from(index).expect("tests write little"));
        self.state.apply(index, &Proposal { at, command })
    }

    /// Applies a command that must succeed.
    pub fn must(&mut self, command: Command) -> Applied {
        let text = format!("{command:?}");
        self.apply(command).unwrap_or_else(|rejected| panic!("{rejected}: {text}"))
    }

    /// Carries out a plan made on the current state.
    pub fn plan(&mut self, changes: Vec<Change>) -> Result<Applied, Rejected> {
        self.apply(Command::Plan { based_on: self.state.index(), changes })
    }

    pub fn create_service(&mut self, number: u64, spec: ServiceSpec) -> Result<Applied, Rejected> {
        self.apply(Command::CreateService { id: service_id(number), spec: Box::new(spec) })
    }

    /// Makes task `number` of a service in a slot of that number.
    pub fn create_task(&mut self, number: u64, service: u64) {
        let new = NewTask {
            id: task_id(number),
            service: service_id(service),
            slot: Slot::Number(number),
            desired: TaskState::Running,
            hold: None,
        };
        self.plan(vec![Change::CreateTask(new)]).expect("the service exists");
    }

    /// Binds a task to node 0 and puts it into a state.
    pub fn place(&mut self, task: u64, state: TaskState) {
        let status = TaskStatus { state, ..TaskStatus::default() };
        let patch = TaskPatch {
            id: task_id(task),
            node: Some(node_id(0)),
            status: Some(status),
            ..TaskPatch::default()
        };
        self.plan(vec![Change::PatchTask(Box::new(patch))]).expect("the task and node exist");
    }

    pub fn cluster(&self) -> &Cluster {
        self.state.cluster().expect("the world has a cluster")
    }
}
