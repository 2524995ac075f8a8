//! What the API's routes need of the cluster behind them. Implemented by the manager; tests give a fake.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use skep_core::command::Command;
use skep_core::id::{NodeId, ServiceId, TaskId};
use skep_core::model::cluster::ClusterSpec;
use skep_core::model::node::Availability;
use skep_core::model::task::Task;
use skep_core::state::{Applied, Event, Rejected, State};
use skep_core::time::Timestamp;

use crate::error::Code;
use crate::services::Listing;

/// A body as it goes out: collected or streamed.
pub type Body = BoxBody<Bytes, BodyError>;

/// Why a body ended early.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Everything the routes ask of the node they are served by.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Returns a state at least as new as every write acknowledged before the call.
    async fn read(&self) -> Result<Arc<State>, BackendError>;

    /// Returns the first state newer than the one at `index`, or says `Timeout` once `limit` has passed.
    ///
    /// Callers look again at the whole state, so a backend may answer late but never too early.
    async fn changed(&self, index: u64, limit: Duration) -> Result<Arc<State>, BackendError> {
        let _ = (index, limit);
        Err(BackendError::Timeout)
    }

    /// Returns the list of services as it was written last.
    fn listing(&self) -> &Listing;

    /// Puts a command through consensus; returns when it is applied here.
    async fn propose(&self, command: Command) -> Result<Applied, BackendError>;

    /// Takes an address on a network for a container of this node; returns the task that holds it. The task is committed then,
    /// but where this node is a worker it hears of it only later.
    async fn attach(&self, wanted: Attachment) -> Result<TaskId, BackendError>;

    /// Gives back what a task holds that [`Backend::attach`] returned. Whatever the outcome, it goes with its container.
    async fn detach(&self, attachment: &TaskId) -> Result<(), BackendError>;

    /// Has other nodes reach a container that was started or joined at addresses that it holds; `pid` is the id of its first
    /// process.
    async fn settle(&self, pid: i64, addrs: Vec<IpAddr>);

    /// Returns 128 bits of entropy for a new id.
    fn entropy(&self) -> u128;

    /// Returns the time.
    fn now(&self) -> Timestamp;

    /// Tells how this node stands to a cluster. Never waits for a quorum.
    fn membership(&self) -> Membership;

    /// Makes a cluster of this node; returns its node id.
    async fn init(&self, request: InitCluster) -> Result<NodeId, BackendError>;

    /// Joins a cluster; returns when the node is ready.
    async fn join(&self, request: JoinCluster) -> Result<(), BackendError>;

    /// Leaves the cluster and erases what this node knew of it.
    async fn leave(&self, force: bool) -> Result<(), BackendError>;

    /// Replaces the cluster's spec, and makes new tokens, keys or roots as `rotate` and the spec ask for.
    async fn update_cluster(
        &self,
        version: u64,
        spec: ClusterSpec,
        rotate: Rotate,
    ) -> Result<(), BackendError>;

    /// Unlocks a locked manager.
    async fn unlock(&self, key: &str) -> Result<(), BackendError>;

    /// Returns the bytes of a backup of the cluster, sealed with the key of that text.
    async fn backup(&self, key: &str) -> Result<Vec<u8>, BackendError> {
        let _ = key;
        Err(BackendError::NotManager)
    }

    /// Streams the output of tasks.
    async fn logs(
        &self,
        selector: LogSelector,
        options: LogOptions,
    ) -> Result<BoxStream<'static, LogItem>, BackendError>;

    /// Streams cluster events: those remembered since `since`, then new ones until the stream is dropped or `until`.
    async fn events(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Event>, BackendError>;

    /// Sends a request to the local engine as it is and returns its answer; upgrades are spliced.
    async fn engine(&self, request: Request<Body>) -> Result<Response<Body>, BackendError>;

    /// Returns what the local engine speaks.
    fn engine_version(&self) -> EngineVersion;

    /// Returns which node of a cluster this is, and what it knows of the cluster without asking anyone: a manager nearly
    /// everything, a worker its own tasks.
    fn known(&self) -> Option<(NodeId, Arc<State>)> {
        None
    }

    /// Lists what is not as it should be of this host's network, in words; an error is a sentence too.
    async fn network(&self) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    /// Sends a request about the container of a task to the engine of the task's node and returns its answer; upgrades are
    /// spliced. Which container the request names does not matter.
    async fn relay(
        &self,
        task: &Arc<Task>,
        request: Request<Body>,
    ) -> Result<Response<Body>, BackendError> {
        let _ = (task, request);
        Err(BackendError::NotManager)
    }
}

/// API versions of the local engine, as (major, minor).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineVersion {
    /// For example `28.5.2`.
    pub engine: String,
    /// Highest API version.
    pub api_max: (u32, u32),
    /// Lowest API version.
    pub api_min: (u32, u32),
    /// Whether experimental features are on.
    pub experimental: bool,
}

/// How this node stands to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// In no cluster.
    Inactive,
    /// Joining or starting.
    Pending {
        /// Id and address, as far as known.
        node: Option<(NodeId, String)>,
    },
    /// A manager that serves.
    Manager {
        /// Its id.
        node: NodeId,
        /// Host part of its advertised address.
        addr: String,
        /// Managers as (id, `ip:port`).
        managers: Vec<(NodeId, String)>,
    },
    /// A worker.
    Worker {
        /// Its id.
        node: NodeId,
        /// Its address.
        addr: String,
        /// Managers as (id, `ip:port`).
        managers: Vec<(NodeId, String)>,
    },
    /// Its keys are locked.
    Locked,
    /// Its certificate ran out, or it could not start.
    Failed {
        /// Id and address, as far as known.
        node: Option<(NodeId, String)>,
        /// Text for `Swarm.Error`.
        error: String,
        /// Whether expired certificates are the cause.
        expired: bool,
    },
}

/// Request to make a cluster; addresses are as sent.
#[derive(Debug, Clone, PartialEq)]
pub struct InitCluster {
    /// `host[:port]` or `interface[:port]`.
    pub listen_addr: String,
    /// `host[:port]`, `interface[:port]` or empty.
    pub advertise_addr: String,
    /// Address or interface of overlay traffic, or empty.
    pub data_path_addr: String,
    /// UDP port of overlay traffic; 0 for 4789.
    pub data_path_port: u32,
    /// Makes a cluster of one from what this manager knows.
    pub force_new_cluster: bool,
    /// Spec, defaults filled.
    pub spec: ClusterSpec,
    /// Availability of the first node.
    pub availability: Availability,
    /// CIDRs for overlays; empty for 10.0.0.0/8.
    pub address_pools: Vec<String>,
    /// Prefix length of automatic subnets; 0 for 24.
    pub subnet_size: u32,
}

/// Request to join a cluster; addresses are as sent.
#[derive(Clone, PartialEq)]
pub struct JoinCluster {
    /// `host[:port]` or `interface[:port]`.
    pub listen_addr: String,
    /// `host[:port]`, `interface[:port]` or empty.
    pub advertise_addr: String,
    /// Address or interface of overlay traffic, or empty.
    pub data_path_addr: String,
    /// Managers to ask.
    pub remote_addrs: Vec<String>,
    /// The join token.
    pub join_token: String,
    /// Availability of the node.
    pub availability: Availability,
}

/// What a container wants of a network that only the cluster knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attachment {
    /// Name or id of the network.
    pub target: String,
    /// Id of the container; empty where the node wants to be on the network before a container is.
    pub container: String,
    /// Names by which others find it.
    pub aliases: Vec<String>,
    /// Addresses it insists on.
    pub addresses: Vec<IpAddr>,
}

/// What a cluster update makes anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rotate {
    /// The workers' join token.
    pub worker_token: bool,
    /// The managers' join token.
    pub manager_token: bool,
    /// The unlock key.
    pub unlock_key: bool,
}

/// Whose output is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogSelector {
    /// All tasks of a service, those made later too when following.
    Service(ServiceId),
    /// One task.
    Task(TaskId),
}

/// Which output is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// Whether to wait for more.
    pub follow: bool,
    /// Whether standard output is wanted.
    pub stdout: bool,
    /// Whether standard error is wanted.
    pub stderr: bool,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Last lines of each task; `None` for all.
    pub tail: Option<u64>,
}

/// A piece of a log stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogItem {
    /// One line, or for terminals a piece of raw output.
    Line(LogLine),
    /// Why the stream is incomplete; clients print it.
    Problem(String),
}

/// One line of a task's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Whether it was written to standard error.
    pub stderr: bool,
    /// When it was written.
    pub at: Timestamp,
    /// Attributes the log driver adds.
    pub attributes: Vec<(String, String)>,
    /// The task.
    pub task: TaskId,
    /// Its service.
    pub service: Option<ServiceId>,
    /// Its node.
    pub node: NodeId,
    /// The text with its line end.
    pub data: Bytes,
}

/// Why the cluster could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// This node serves no manager now; `membership` says why.
    #[error("this node is not a swarm manager")]
    NotManager,
    /// No leader is known.
    #[error("the swarm does not have a leader")]
    NoLeader,
    /// It took too long.
    #[error("context deadline exceeded")]
    Timeout,
    /// The command was not carried out.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// A manager that was asked refused; what it said.
    #[error("{text}")]
    Refused {
        /// The class of its refusal.
        code: Code,
        /// Its reason.
        text: String,
    },
    /// The node is in a cluster already.
    #[error("already part of a swarm")]
    AlreadyMember,
    /// The node is in no cluster.
    #[error("not part of a swarm")]
    NotMember,
    /// Leaving needs force; the text is the full message.
    #[error("{0}")]
    LeaveRefused(String),
    /// The keys are not locked.
    #[error("swarm is not locked")]
    NotLocked,
    /// The unlock key is not of the form of one.
    #[error("invalid key string")]
    InvalidKey,
    /// The unlock key is another one.
    #[error("swarm could not be unlocked: invalid key provided")]
    WrongKey,
    /// An argument is wrong (400); the text is the full message.
    #[error("{0}")]
    Invalid(String),
    /// Something is out of reach for now (503); the text is the full message.
    #[error("{0}")]
    Unavailable(String),
    /// Something is not built (501); the text is the full message.
    #[error("{0}")]
    Unsupported(String),
    /// The engine cannot be reached.
    #[error("cannot connect to the engine: {0}")]
    Engine(String),
    /// Anything else (500).
    #[error("{0}")]
    Internal(String),
}
