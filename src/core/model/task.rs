//! A task: one attempt to fill a slot, bound to one node for ever, never restarted, only replaced.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::network::Network;
use super::node::GenericResource;
use super::service::{Endpoint, PortConfig, Slot, TaskSpec};
use super::{Annotations, Meta};
use crate::id::{NodeId, ServiceId, TaskId};
use crate::time::Timestamp;

/// A task (contract objects.md section 5).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Version and times.
    pub meta: Meta,
    /// The service it belongs to.
    pub service: Option<ServiceId>,
    /// Name and labels of the service when the task was made; names the container after the service is gone.
    pub service_annotations: Arc<Annotations>,
    /// What it does, shared with the service's spec of its version.
    pub spec: Arc<TaskSpec>,
    /// `Service::spec_version` it was made from.
    pub spec_version: u64,
    /// The place it fills.
    pub slot: Slot,
    /// The node it is bound to; also set before scheduling for global services.
    pub node: Option<NodeId>,
    /// How far it should go.
    pub desired: TaskState,
    /// How far it went.
    pub status: TaskStatus,
    /// How its service is reached, at the time it was made.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Addresses it got, by network.
    pub networks: Vec<TaskNetwork>,
    /// Generic resources it got.
    pub generic_resources: Vec<GenericResource>,
    /// Run of the job it belongs to; absent for services that are not jobs.
    pub job_iteration: Option<u64>,
    /// What keeps it at desired state ready.
    pub hold: Option<Hold>,
}

impl Task {
    /// Returns the name of the task and of its container: `service.slot.id`, or `service.node.id` for global services.
    /// The first slot of a job is 0, which Swarm takes for none: it names the node there too.
    pub fn name(&self) -> String {
        let service = &self.service_annotations.name;
        match (&self.slot, &self.node) {
            (Slot::Number(0), Some(node)) | (Slot::Node(node), _) => {
                format!("{service}.{node}.{}", self.id)
            }
            (Slot::Number(number), _) => format!("{service}.{number}.{}", self.id),
        }
    }
}

/// What keeps a replacement from running.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hold {
    /// Not before this time.
    pub until: Timestamp,
    /// Not before this task has stopped (or is lost).
    pub after: Option<TaskId>,
    /// At this time the wait for `after` is given up.
    pub give_up_at: Timestamp,
}

/// A task's address on one network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskNetwork {
    /// The network as it was when the task joined.
    pub network: Arc<Network>,
    /// Addresses with prefix lengths; none on node-local networks.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Further names of the service on this network.
    pub aliases: Vec<String>,
}

/// How far a task went or should go. The order is the order of life (contract behaviour.md section 1).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum TaskState {
    /// Made.
    #[default]
    New,
    /// Has addresses and ports, waits for a node.
    Pending,
    /// Has a node.
    Assigned,
    /// The node knows it.
    Accepted,
    /// Image, networks and container are being made.
    Preparing,
    /// Could start.
    Ready,
    /// Starts, or is not healthy yet.
    Starting,
    /// Runs.
    Running,
    /// Ended well.
    Complete,
    /// Was stopped.
    Shutdown,
    /// Ended badly.
    Failed,
    /// Could not be started.
    Rejected,
    /// To be forgotten once stopped; only ever desired.
    Remove,
    /// Lost with its node.
    Orphaned,
}

impl TaskState {
    /// All states in order.
    pub const ALL: [Self; 14] = [
        Self::New,
        Self::Pending,
        Self::Assigned,
        Self::Accepted,
        Self::Preparing,
        Self::Ready,
        Self::Starting,
        Self::Running,
        Self::Complete,
        Self::Shutdown,
        Self::Failed,
        Self::Rejected,
        Self::Remove,
        Self::Orphaned,
    ];

    /// Returns the word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Pending => "pending",
            Self::Assigned => "assigned",
            Self::Accepted => "accepted",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Shutdown => "shutdown",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Remove => "remove",
            Self::Orphaned => "orphaned",
        }
    }

    /// Tells whether a task seen in this state will never run again.
    pub fn is_terminal(self) -> bool {
        self > Self::Running
    }
}

/// How far a task went.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskStatus {
    /// When this status came to be.
    pub at: Timestamp,
    /// The state.
    pub state: TaskState,
    /// Progress text, fixed by contract behaviour.md section 1.
    pub message: String,
    /// What went wrong, if anything did.
    pub error: String,
    /// The container, once there is one.
    pub container: Option<ContainerStatus>,
    /// Host-mode ports really bound.
    pub ports: Vec<PortConfig>,
}

/// The container behind a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerStatus {
    /// Engine id, 64 hexadecimal digits.
    pub id: String,
    /// Process id of its first process; 0 when not running.
    pub pid: i64,
    /// Exit code; 0 while running.
    pub exit_code: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_slot_or_the_node() {
        let (id, node) = (TaskId::from_entropy(1), NodeId::from_entropy(2));
        let named = |slot, node: Option<&NodeId>| {
            let annotations =
                Arc::new(Annotations { name: "web".into(), ..Annotations::default() });
            let node = node.cloned();
            Task { id: id.clone(), slot, node, service_annotations: annotations, ..Task::default() }
                .name()
        };
        assert_eq!(named(Slot::Number(3), Some(&node)), format!("web.3.{id}"));
        assert_eq!(named(Slot::Node(node.clone()), Some(&node)), format!("web.{node}.{id}"));
        assert_eq!(named(Slot::Number(0), Some(&node)), format!("web.{node}.{id}"));
        assert_eq!(named(Slot::Number(0), None), format!("web.0.{id}"));
    }
}
