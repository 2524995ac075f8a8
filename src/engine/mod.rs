//! The Docker Engine as the agent sees it. Chooses nothing: what to make comes as plans from the core.

pub mod docker;
pub mod sim;

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use skep_api::backend::{EngineVersion, LogOptions};
use skep_core::agent::step::Container;
use skep_core::agent::{ContainerPlan, Found, NetworkPlan};
use skep_core::id::{NetworkId, NodeId, TaskId};
use skep_core::model::Sensitive;
use skep_core::model::node::NodeDescription;
use skep_core::model::service::PortProtocol;
use skep_core::time::Timestamp;

/// Everything the agent asks of an engine. Each call may find its work done already.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Returns what the engine and its host are; certificates are left empty.
    async fn describe(&self) -> Result<NodeDescription, EngineError>;

    /// Returns what the engine speaks.
    async fn version(&self) -> Result<EngineVersion, EngineError>;

    /// Lists containers, stopped ones too, that carry the node's label.
    async fn list(&self, node: &NodeId) -> Result<Vec<Found>, EngineError>;

    /// Looks at a container by id or name; `None` if there is none.
    async fn inspect(&self, container: &str) -> Result<Option<ContainerView>, EngineError>;

    /// Tells whether an image is on this host.
    async fn has_image(&self, image: &str) -> Result<bool, EngineError>;

    /// Pulls an image. `auth` is what clients send as `X-Registry-Auth`. Calls `progress` at each sign of the registry.
    async fn pull(
        &self,
        image: &str,
        auth: &Sensitive,
        progress: &(dyn Fn() + Send + Sync),
    ) -> Result<(), EngineError>;

    /// Makes a container and joins it to all its networks, or finds the one that exists.
    async fn create(&self, plan: &ContainerPlan) -> Result<Made, EngineError>;

    /// Starts a container.
    async fn start(&self, container: &str) -> Result<(), EngineError>;

    /// Waits until a container ends or is gone; one that never starts is waited for without an end.
    async fn wait(&self, container: &str) -> Result<(), EngineError>;

    /// Asks a container to stop, and kills it after its own grace period. Returns when it has stopped.
    async fn stop(&self, container: &str, grace_seconds: i64) -> Result<(), EngineError>;

    /// Kills a container if need be and removes it with its anonymous volumes.
    async fn remove(&self, container: &str) -> Result<(), EngineError>;

    /// Makes a network unless it is there; returns its engine id.
    async fn ensure_network(&self, plan: &NetworkPlan) -> Result<String, EngineError>;

    /// Lists networks made for the node.
    async fn networks(&self, node: &NodeId) -> Result<Vec<EngineNetwork>, EngineError>;

    /// Removes a network by its engine id.
    async fn remove_network(&self, engine_id: &str) -> Result<(), EngineError>;

    /// Streams the output of a container.
    async fn logs(
        &self,
        container: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<EngineLogLine, EngineError>>, EngineError>;

    /// Streams wake-ups for containers that carry the node's label. When the stream ends, anything may have changed.
    async fn events(&self, node: &NodeId) -> Result<BoxStream<'static, Wake>, EngineError>;
}

/// A container that a plan asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Engine id.
    pub id: String,
    /// Whether it was there before, in whatever state.
    pub existed: bool,
}

/// A container as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerView {
    /// Engine id.
    pub id: String,
    /// What the agent's steps need to know.
    pub state: Container,
    /// Process id of its first process; 0 when not running.
    pub pid: i64,
    /// Exit code; 0 while running.
    pub exit_code: i64,
    /// Ports bound on the host, one an address family, by port and protocol in the container.
    pub ports: BTreeMap<(u16, PortProtocol), Vec<u16>>,
}

/// A network on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineNetwork {
    /// Engine id.
    pub engine_id: String,
    /// The cluster's network; `None` if its label is no network id.
    pub network: Option<NetworkId>,
}

/// One line of a container's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineLogLine {
    /// Whether it was written to standard error.
    pub stderr: bool,
    /// When it was written.
    pub at: Timestamp,
    /// Attributes the log driver adds.
    pub attributes: Vec<(String, String)>,
    /// The text with its line end.
    pub data: Bytes,
}

/// Why to look at the container of a task, or at one whose label is no task id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// It was made.
    Made(Option<TaskId>),
    /// It was started.
    Started(Option<TaskId>),
    /// Anything else happened to it.
    Changed(Option<TaskId>),
}

impl Wake {
    /// Returns the task, if the label is the id of one.
    pub fn task(&self) -> Option<&TaskId> {
        match self {
            Self::Made(task) | Self::Started(task) | Self::Changed(task) => task.as_ref(),
        }
    }
}

/// Why the engine did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// It could not be asked, or may succeed later.
    #[error("{0}")]
    Temporary(String),
    /// It refused; asking again would not help.
    #[error("{message}")]
    Fatal {
        /// HTTP status of the answer.
        status: u16,
        /// Text of the answer, for users.
        message: String,
    },
}

impl EngineError {
    /// Tells whether the thing asked about is not there.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Fatal { status: 404, .. })
    }

    /// Tells whether the thing asked for is there already, or busy.
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Fatal { status: 409, .. })
    }
}
