//! Everything that may change the state: the format of the log. Decides nothing.

use serde::{Deserialize, Serialize};

use crate::id::{ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId};
use crate::model::Sensitive;
use crate::model::cluster::{Cluster, ClusterSpec, JoinTokens, RootCa};
use crate::model::network::{Network, NetworkSpec};
use crate::model::node::{
    Availability, GenericResource, ManagerStatus, Node, NodeAgent, NodeDescription, NodeSpec,
    NodeState, NodeStatus, Role,
};
use crate::model::secret::{ConfigSpec, SecretSpec};
use crate::model::service::{
    Endpoint, NetworkAttachment, RestartHistory, ServiceSpec, Slot, UpdateProgress, UpdateStatus,
};
use crate::model::task::{Hold, TaskNetwork, TaskState, TaskStatus};
use crate::time::Timestamp;

/// One log entry: a command and the time its proposer stamped on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The only clock that `apply` knows.
    pub at: Timestamp,
    /// What to do.
    pub command: Command,
}

/// Everything that may change the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Makes an empty state a cluster: its object, its first node, its first networks.
    CreateCluster {
        /// The cluster.
        cluster: Box<Cluster>,
        /// The node that made it.
        node: Box<Node>,
        /// Built-in networks and the ingress network, not allocated yet.
        networks: Vec<Network>,
    },
    /// Replaces the cluster's spec and, where given, its keys.
    UpdateCluster {
        /// Version read.
        version: u64,
        /// The new spec.
        spec: Box<ClusterSpec>,
        /// New worker token.
        worker_token: Option<Sensitive>,
        /// New manager token.
        manager_token: Option<Sensitive>,
        /// New unlock key; empty when autolock is turned off.
        unlock_key: Option<Sensitive>,
        /// New root, or the present one with the one that is to follow it.
        root_ca: Option<Box<RootCa>>,
    },
    /// Puts the next root in the place of the present one, once all nodes have moved to it.
    FinishRotation {
        /// Public key of the next root.
        #[serde(with = "serde_bytes")]
        public_key: Vec<u8>,
        /// Join tokens that pin it.
        tokens: JoinTokens,
    },
    /// Replaces a node's spec.
    UpdateNode {
        /// The node.
        id: NodeId,
        /// Version read.
        version: u64,
        /// The new spec.
        spec: NodeSpec,
    },
    /// Forgets a node.
    RemoveNode {
        /// The node.
        id: NodeId,
        /// Even if it is not down.
        force: bool,
    },
    /// Makes a node of one that came with a join token. Does nothing if the same request made a node that has not
    /// come yet: joining nodes repeat theirs.
    AdmitNode {
        /// Its id.
        id: NodeId,
        /// The role that its token gives.
        role: Role,
        /// Whether it takes tasks.
        availability: Availability,
        /// Its certificate request, PEM.
        #[serde(with = "serde_bytes")]
        request: Vec<u8>,
    },
    /// Notes the request of a node for another certificate.
    RenewNode {
        /// The node.
        id: NodeId,
        /// Its certificate request, PEM.
        #[serde(with = "serde_bytes")]
        request: Vec<u8>,
    },
    /// Notes that a node opened a session.
    RegisterNode {
        /// The node.
        id: NodeId,
        /// What it is.
        description: Box<NodeDescription>,
        /// Where it called from.
        addr: String,
        /// What runs its tasks.
        agent: NodeAgent,
        /// Whether its engine started anew. What a stock engine ran before is lost then.
        restarted: bool,
    },
    /// Notes how nodes are; those that are gone are left out.
    JudgeNodes {
        /// State and reason of each.
        verdicts: Vec<(NodeId, NodeState, String)>,
    },
    /// Notes what a node told of itself or what a manager found of it; `None` leaves a part as it is.
    ReportNode {
        /// The node.
        id: NodeId,
        /// What it is.
        description: Option<Box<NodeDescription>>,
        /// How it is.
        status: Option<NodeStatus>,
        /// Its part in consensus.
        manager: Option<ManagerStatus>,
    },
    /// Makes a service.
    CreateService {
        /// Its id.
        id: ServiceId,
        /// Its spec.
        spec: Box<ServiceSpec>,
    },
    /// Replaces a service's spec.
    UpdateService {
        /// The service.
        id: ServiceId,
        /// Version read.
        version: u64,
        /// The new spec; ignored for a rollback.
        spec: Box<ServiceSpec>,
        /// Whether to go back to the previous spec.
        rollback: bool,
        /// Where credentials come from when `spec` has none.
        auth_from: AuthFrom,
    },
    /// Removes a service; its tasks follow.
    RemoveService {
        /// The service.
        id: ServiceId,
    },
    /// Makes a secret.
    CreateSecret {
        /// Its id.
        id: SecretId,
        /// Its spec.
        spec: Box<SecretSpec>,
    },
    /// Replaces a secret's labels.
    UpdateSecret {
        /// The secret.
        id: SecretId,
        /// Version read.
        version: u64,
        /// The new spec; name and data must be the old ones, or data empty.
        spec: Box<SecretSpec>,
    },
    /// Removes a secret.
    RemoveSecret {
        /// The secret.
        id: SecretId,
    },
    /// Makes a config.
    CreateConfig {
        /// Its id.
        id: ConfigId,
        /// Its spec.
        spec: Box<ConfigSpec>,
    },
    /// Replaces a config's labels.
    UpdateConfig {
        /// The config.
        id: ConfigId,
        /// Version read.
        version: u64,
        /// The new spec; name and data must be the old ones, or data empty.
        spec: Box<ConfigSpec>,
    },
    /// Removes a config.
    RemoveConfig {
        /// The config.
        id: ConfigId,
    },
    /// Makes a network.
    CreateNetwork {
        /// Its id.
        id: NetworkId,
        /// Its spec.
        spec: Box<NetworkSpec>,
    },
    /// Removes a network.
    RemoveNetwork {
        /// The network.
        id: NetworkId,
    },
    /// Makes a task that holds an address for a container that a user made.
    Attach {
        /// The task's id.
        id: TaskId,
        /// The node that has the container.
        node: NodeId,
        /// The container's engine id.
        container: String,
        /// The network, the names the container has on it, and the addresses it asks for.
        network: NetworkAttachment,
    },
    /// Forgets such a task.
    Detach {
        /// The task.
        id: TaskId,
    },
    /// Notes what a node's tasks came to.
    ReportTasks {
        /// The node; reports on tasks of other nodes are dropped.
        node: NodeId,
        /// Newest status of each task; a status that would go back is dropped.
        statuses: Vec<(TaskId, TaskStatus)>,
    },
    /// Carries out a plan as a whole, or not at all if anything it touches changed after `based_on`.
    Plan {
        /// Index of the state that was planned on.
        based_on: u64,
        /// What to change, in order.
        changes: Vec<Change>,
    },
}

/// Where a service update takes registry credentials from when it brings none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum AuthFrom {
    /// The current spec.
    #[default]
    Spec,
    /// The previous spec.
    PreviousSpec,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// Makes a task from its service's current spec.
    CreateTask(NewTask),
    /// Changes parts of a task.
    PatchTask(Box<TaskPatch>),
    /// Forgets a task.
    RemoveTask(TaskId),
    /// Changes parts of a service.
    PatchService(Box<ServicePatch>),
    /// Changes parts of a network.
    PatchNetwork(Box<NetworkPatch>),
    /// Forgets a node that was admitted and never came.
    ForgetNode(NodeId),
    /// Changes a node's role after promotion or demotion took effect.
    SetRole {
        /// The node.
        id: NodeId,
        /// The role it now has.
        role: Role,
    },
}

/// A task to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NewTask {
    /// Its id, derived from the plan's seed.
    pub id: TaskId,
    /// Its service.
    pub service: ServiceId,
    /// The place it fills; a node's place binds it to that node at once.
    pub slot: Slot,
    /// How far it should go at first.
    pub desired: TaskState,
    /// What keeps it at desired state ready.
    pub hold: Option<Hold>,
}

/// Parts of a task to change; `None` leaves a part as it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskPatch {
    /// The task.
    pub id: TaskId,
    /// How far it should go; never goes back.
    pub desired: Option<TaskState>,
    /// How far it went; never goes back.
    pub status: Option<TaskStatus>,
    /// Its node, once.
    pub node: Option<NodeId>,
    /// Its addresses.
    pub networks: Option<Vec<TaskNetwork>>,
    /// How its service is reached.
    pub endpoint: Option<Endpoint>,
    /// Generic resources it got.
    pub generic_resources: Option<Vec<GenericResource>>,
    /// What keeps it back; `Some(None)` lets it go.
    pub hold: Option<Option<Hold>>,
}

/// Parts of a service to change; `None` leaves a part as it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServicePatch {
    /// The service.
    pub id: ServiceId,
    /// Addresses and ports.
    pub endpoint: Option<Endpoint>,
    /// How the update goes.
    pub update_status: Option<UpdateStatus>,
    /// What the update planner remembers; `Some(None)` forgets it.
    pub progress: Option<Option<UpdateProgress>>,
    /// What the restart planner remembers of the slots named; `None` forgets one.
    pub restarts: Vec<(Slot, Option<RestartHistory>)>,
    /// Puts the previous spec in place of the current one and forgets it (automatic rollback).
    pub roll_back: bool,
}

/// Parts of a network to change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkPatch {
    /// The network.
    pub id: NetworkId,
    /// What was allocated.
    pub allocation: Option<crate::model::network::NetworkAllocation>,
    /// Gateways given to nodes.
    pub gateways: Vec<(NodeId, std::net::IpAddr)>,
    /// The last address given out.
    pub last_address: Option<std::net::IpAddr>,
}
