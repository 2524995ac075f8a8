//! A service: what to run and how many, and how far its update has come.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::container::ContainerSpec;
use super::node::Resources;
use super::{Annotations, Driver, Meta, Sensitive};
use crate::id::{NetworkId, NodeId, ServiceId, TaskId};
use crate::time::{Timestamp, nanos, option_nanos};

/// A service (contract objects.md section 4).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// Version and times.
    pub meta: Meta,
    /// What the user wants.
    pub spec: Arc<ServiceSpec>,
    /// Log index of the write that last changed `spec`; tasks made from it carry the same number.
    pub spec_version: u64,
    /// What the user wanted before.
    pub previous_spec: Option<Arc<ServiceSpec>>,
    /// Addresses and ports it got.
    pub endpoint: Option<Endpoint>,
    /// How the update goes, as the API shows it.
    pub update_status: Option<UpdateStatus>,
    /// What the update planner must remember.
    pub progress: Option<UpdateProgress>,
    /// What the restart planner must remember, by slot.
    pub restarts: BTreeMap<Slot, RestartHistory>,
    /// Which run of a job this is; absent for services that are not jobs.
    pub job: Option<JobStatus>,
}

/// User-set parameters of a service.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceSpec {
    /// Name and labels.
    pub annotations: Annotations,
    /// What each task does.
    pub task: Arc<TaskSpec>,
    /// How many tasks there are.
    pub mode: ServiceMode,
    /// How updates go; `None` if not given.
    pub update: Option<UpdateConfig>,
    /// How rollbacks go; `None` if not given.
    pub rollback: Option<UpdateConfig>,
    /// How it is reached; `None` if not given.
    pub endpoint: Option<EndpointSpec>,
}

/// What each task of a service does.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskSpec {
    /// What runs.
    pub runtime: Runtime,
    /// Limits and reservations; `None` if not given.
    pub resources: Option<ResourceRequirements>,
    /// When it is replaced; `None` if not given.
    pub restart: Option<RestartPolicy>,
    /// Where it may run; `None` if not given.
    pub placement: Option<Placement>,
    /// Networks it joins, targets being ids.
    pub networks: Vec<NetworkAttachment>,
    /// Where its output goes; `None` leaves it to the engine.
    pub log_driver: Option<Driver>,
    /// Counter that asks for new tasks.
    pub force_update: u64,
    /// Credentials for the registry, as sent in `X-Registry-Auth`; never shown, never compared.
    pub registry_auth: Sensitive,
}

/// What a task runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Runtime {
    /// A container made for the task.
    Container(Box<ContainerSpec>),
    /// A container that a user made and that joins a network.
    Attachment {
        /// Its engine id.
        container_id: String,
    },
}

impl Default for Runtime {
    fn default() -> Self {
        Self::Container(Box::default())
    }
}

impl TaskSpec {
    /// Returns the container part, unless the task only attaches one.
    pub fn container(&self) -> Option<&ContainerSpec> {
        match &self.runtime {
            Runtime::Container(spec) => Some(spec),
            Runtime::Attachment { .. } => None,
        }
    }
}

/// How many tasks a service has. Optional counts tell "not given" from a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceMode {
    /// So many tasks in numbered slots, from 1.
    Replicated {
        /// How many.
        replicas: u64,
    },
    /// One task on every node that fits.
    Global,
    /// So many tasks until so many have completed, slots from 0.
    ReplicatedJob {
        /// How many at once.
        max_concurrent: u64,
        /// How many in all.
        total_completions: u64,
    },
    /// One task on every node that fits, once.
    GlobalJob,
}

impl ServiceMode {
    /// Tells whether tasks are meant to complete.
    pub const fn is_job(self) -> bool {
        matches!(self, Self::ReplicatedJob { .. } | Self::GlobalJob)
    }

    /// Tells whether tasks belong to nodes rather than numbered slots.
    pub const fn is_global(self) -> bool {
        matches!(self, Self::Global | Self::GlobalJob)
    }
}

impl Default for ServiceMode {
    fn default() -> Self {
        Self::Replicated { replicas: 1 }
    }
}

/// How an update or rollback goes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateConfig {
    /// Slots at once; 0 for all.
    pub parallelism: u64,
    /// Wait after each slot.
    #[serde(with = "nanos")]
    pub delay: Duration,
    /// What a failure does.
    pub failure_action: FailureAction,
    /// How long a new task is watched; `None` if not given (5 s).
    #[serde(with = "option_nanos")]
    pub monitor: Option<Duration>,
    /// Share of failed tasks that is tolerated, 0 to 1.
    pub max_failure_ratio: f32,
    /// Which task goes first.
    pub order: UpdateOrder,
}

/// What a failed update does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum FailureAction {
    /// Stops where it is.
    #[default]
    Pause,
    /// Goes on.
    Continue,
    /// Goes back.
    Rollback,
}

/// Which task goes first in an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum UpdateOrder {
    /// The old one stops before the new one starts.
    #[default]
    StopFirst,
    /// The new one runs before the old one stops.
    StartFirst,
}

/// How a service is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointSpec {
    /// How its name resolves.
    pub mode: ResolutionMode,
    /// Ports published.
    pub ports: Vec<PortConfig>,
}

/// How a service's name resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum ResolutionMode {
    /// To one virtual address.
    #[default]
    VirtualIp,
    /// To the addresses of its tasks.
    DnsRoundRobin,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PortConfig {
    /// A name, normally empty.
    pub name: String,
    /// Protocol.
    pub protocol: PortProtocol,
    /// Port in the container.
    pub target: u16,
    /// Port outside; 0 asks for any.
    pub published: u16,
    /// Where it is published.
    pub mode: PublishMode,
}

/// Protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum PortProtocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Where a port is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum PublishMode {
    /// On every node, through the routing mesh.
    #[default]
    Ingress,
    /// On the task's node.
    Host,
}

/// What a service got to be reached by.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// The specification this answers.
    pub spec: EndpointSpec,
    /// Ports, all published numbers filled.
    pub ports: Vec<PortConfig>,
    /// Virtual addresses.
    pub virtual_ips: Vec<VirtualIp>,
}

/// A service's address on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualIp {
    /// The network.
    pub network: NetworkId,
    /// The address.
    pub addr: IpAddr,
    /// Prefix length of the subnet.
    pub prefix: u8,
}

/// Limits and reservations.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceRequirements {
    /// What a task may use at the most; `None` if not given.
    pub limits: Option<Resources>,
    /// What a node must have free; `None` if not given.
    pub reservations: Option<Resources>,
    /// Swap in bytes; `None` if not given.
    pub swap_bytes: Option<i64>,
    /// Swappiness 0 to 100; `None` if not given.
    pub memory_swappiness: Option<i64>,
}

/// When a dead task is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartPolicy {
    /// After what end.
    pub condition: RestartCondition,
    /// Wait before the replacement runs; `None` if not given (5 s).
    #[serde(with = "option_nanos")]
    pub delay: Option<Duration>,
    /// Replacements at most; 0 for no limit.
    pub max_attempts: u64,
    /// Time that attempts are counted in; zero counts for ever.
    #[serde(with = "option_nanos")]
    pub window: Option<Duration>,
}

/// After what end a task is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum RestartCondition {
    /// Any.
    #[default]
    Any,
    /// Unless it completed.
    OnFailure,
    /// Never.
    None,
}

/// Where tasks may run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    /// Expressions such as `node.role==manager`, already checked.
    pub constraints: Vec<String>,
    /// Descriptors to spread over, such as `node.labels.zone`.
    pub preferences: Vec<String>,
    /// Tasks of the service a node may run; 0 for no limit.
    pub max_replicas: u64,
    /// Platforms the image runs on; none means any.
    pub platforms: Vec<Platform>,
}

/// Architecture and operating system.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// As Go or uname name it.
    pub architecture: String,
    /// For example `linux`.
    pub os: String,
}

/// A network that tasks join.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkAttachment {
    /// The network's id.
    pub target: NetworkId,
    /// Further names on it.
    pub aliases: Vec<String>,
    /// Driver options.
    pub driver_options: BTreeMap<String, String>,
    /// Addresses asked for; only containers that users make can ask.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

/// The place that a task fills.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Slot {
    /// A numbered place.
    Number(u64),
    /// A node, for global services.
    Node(NodeId),
}

impl Default for Slot {
    fn default() -> Self {
        Self::Number(0)
    }
}

/// How an update goes, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateStatus {
    /// The phase.
    pub state: UpdateState,
    /// When it began; `None` for a rollback that has only been asked for.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// Text for people, fixed by contract behaviour.md section 5.
    pub message: String,
}

/// Phase of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum UpdateState {
    /// Under way.
    #[default]
    Updating,
    /// Stopped by failures.
    Paused,
    /// Done.
    Completed,
    /// Going back.
    RollbackStarted,
    /// Going back stopped by failures.
    RollbackPaused,
    /// Gone back.
    RollbackCompleted,
}

/// What the update planner must remember between plans.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateProgress {
    /// Spec version this update leads to.
    pub spec_version: u64,
    /// Outdated slots when it began.
    pub dirty_slots: u64,
    /// Slots being updated, with what is known of each.
    pub slots: BTreeMap<Slot, SlotUpdate>,
    /// Tasks of this update that failed early; each counts once.
    pub failed: BTreeSet<TaskId>,
    /// When the last slot was done; starts the final watch.
    pub slots_done_at: Option<Timestamp>,
}

/// One slot's part of an update.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SlotUpdate {
    /// The new task.
    pub task: TaskId,
    /// When the new task was seen running; its worker then waits the delay before the next slot.
    pub running_at: Option<Timestamp>,
}

/// What the restart planner must remember of one slot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartHistory {
    /// Spec version the attempts belong to.
    pub spec_version: u64,
    /// Replacements so far.
    pub attempts: u64,
    /// Times of the replacements inside the window, oldest first, at most `max_attempts`.
    pub recent: Vec<Timestamp>,
}

/// Which run of a job is current.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JobStatus {
    /// Number of the run, from 0.
    pub iteration: u64,
    /// When it began.
    pub last_execution: Timestamp,
}
