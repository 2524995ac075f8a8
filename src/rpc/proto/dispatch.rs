//! Messages of the service `Dispatcher`.

use super::{Config, Node, NodeDescription, Secret, Task, TaskStatus, WeightedPeer, opaque};

#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionRequest {
    #[prost(message, optional, tag = "1")]
    pub description: Option<NodeDescription>,
    #[prost(string, tag = "2")]
    pub session_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct EncryptionKey {
    #[prost(string, tag = "1")]
    pub subsystem: String,
    #[prost(int32, tag = "2")]
    pub algorithm: i32,
    #[prost(bytes = "vec", tag = "3")]
    pub key: Vec<u8>,
    #[prost(uint64, tag = "4")]
    pub lamport_time: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionMessage {
    #[prost(string, tag = "1")]
    pub session_id: String,
    #[prost(message, optional, tag = "2")]
    pub node: Option<Node>,
    #[prost(message, repeated, tag = "3")]
    pub managers: Vec<WeightedPeer>,
    #[prost(message, repeated, tag = "4")]
    pub network_bootstrap_keys: Vec<EncryptionKey>,
    #[prost(bytes = "vec", tag = "5")]
    pub root_ca: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HeartbeatRequest {
    #[prost(string, tag = "1")]
    pub session_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HeartbeatResponse {
    #[prost(message, optional, tag = "1")]
    pub period: Option<prost_types::Duration>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskStatusUpdate {
    #[prost(string, tag = "1")]
    pub task_id: String,
    #[prost(message, optional, tag = "2")]
    pub status: Option<TaskStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateTaskStatusRequest {
    #[prost(string, tag = "1")]
    pub session_id: String,
    #[prost(message, repeated, tag = "3")]
    pub updates: Vec<TaskStatusUpdate>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateTaskStatusResponse {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateVolumeStatusRequest {
    #[prost(string, tag = "1")]
    pub session_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateVolumeStatusResponse {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AssignmentsRequest {
    #[prost(string, tag = "1")]
    pub session_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Assignment {
    #[prost(oneof = "assignment::Item", tags = "1, 2, 3")]
    pub item: Option<assignment::Item>,
}

/// Parts of [`Assignment`].
pub mod assignment {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Item {
        #[prost(message, tag = "1")]
        Task(Box<super::Task>),
        #[prost(message, tag = "2")]
        Secret(super::Secret),
        #[prost(message, tag = "3")]
        Config(super::Config),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum AssignmentAction {
    Update = 0,
    Remove = 1,
}

/// Something to have or to forget. Without `assignment` an engine dies of it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AssignmentChange {
    #[prost(message, optional, tag = "1")]
    pub assignment: Option<Assignment>,
    #[prost(enumeration = "AssignmentAction", tag = "2")]
    pub action: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum AssignmentsType {
    Complete = 0,
    Incremental = 1,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AssignmentsMessage {
    #[prost(enumeration = "AssignmentsType", tag = "1")]
    pub r#type: i32,
    #[prost(string, tag = "2")]
    pub applies_to: String,
    #[prost(string, tag = "3")]
    pub results_in: String,
    #[prost(message, repeated, tag = "4")]
    pub changes: Vec<AssignmentChange>,
}

opaque!(EncryptionKey);
