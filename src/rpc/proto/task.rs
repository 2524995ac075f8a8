//! Tasks, and the secrets and configs they use.

use super::{
    Annotations, ContainerSpec, Driver, Endpoint, GenericResource, Meta, NetworkAttachment,
    NetworkAttachmentConfig, Platform, PortStatus, ResourceRequirements, Version, opaque,
};

/// How far a task went or should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum TaskState {
    New = 0,
    Pending = 64,
    Assigned = 192,
    Accepted = 256,
    Preparing = 320,
    Ready = 384,
    Starting = 448,
    Running = 512,
    Complete = 576,
    Shutdown = 640,
    Failed = 704,
    Rejected = 768,
    Remove = 800,
    Orphaned = 832,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum RestartCondition {
    None = 0,
    OnFailure = 1,
    Any = 2,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RestartPolicy {
    #[prost(enumeration = "RestartCondition", tag = "1")]
    pub condition: i32,
    #[prost(message, optional, tag = "2")]
    pub delay: Option<prost_types::Duration>,
    #[prost(uint64, tag = "3")]
    pub max_attempts: u64,
    #[prost(message, optional, tag = "4")]
    pub window: Option<prost_types::Duration>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStatus {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(int32, tag = "2")]
    pub pid: i32,
    #[prost(int32, tag = "3")]
    pub exit_code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskStatus {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<prost_types::Timestamp>,
    #[prost(enumeration = "TaskState", tag = "2")]
    pub state: i32,
    #[prost(string, tag = "3")]
    pub message: String,
    #[prost(string, tag = "4")]
    pub err: String,
    #[prost(oneof = "task_status::RuntimeStatus", tags = "5")]
    pub runtime_status: Option<task_status::RuntimeStatus>,
    #[prost(message, optional, tag = "6")]
    pub port_status: Option<PortStatus>,
    #[prost(string, tag = "7")]
    pub applied_by: String,
    #[prost(message, optional, tag = "8")]
    pub applied_at: Option<prost_types::Timestamp>,
}

/// Parts of [`TaskStatus`].
pub mod task_status {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum RuntimeStatus {
        #[prost(message, tag = "5")]
        Container(super::ContainerStatus),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Placement {
    #[prost(string, repeated, tag = "1")]
    pub constraints: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub platforms: Vec<Platform>,
    #[prost(uint64, tag = "4")]
    pub max_replicas: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NetworkAttachmentSpec {
    #[prost(string, tag = "1")]
    pub container_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskSpec {
    #[prost(oneof = "task_spec::Runtime", tags = "1, 8")]
    pub runtime: Option<task_spec::Runtime>,
    #[prost(message, optional, tag = "2")]
    pub resources: Option<ResourceRequirements>,
    #[prost(message, optional, tag = "4")]
    pub restart: Option<RestartPolicy>,
    #[prost(message, optional, tag = "5")]
    pub placement: Option<Placement>,
    #[prost(message, optional, tag = "6")]
    pub log_driver: Option<Driver>,
    #[prost(message, repeated, tag = "7")]
    pub networks: Vec<NetworkAttachmentConfig>,
    #[prost(uint64, tag = "9")]
    pub force_update: u64,
}

/// Parts of [`TaskSpec`].
pub mod task_spec {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Runtime {
        #[prost(message, tag = "1")]
        Container(Box<super::ContainerSpec>),
        #[prost(message, tag = "8")]
        Attachment(super::NetworkAttachmentSpec),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Task {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    pub meta: Option<Meta>,
    #[prost(message, optional, tag = "3")]
    pub spec: Option<TaskSpec>,
    #[prost(string, tag = "4")]
    pub service_id: String,
    #[prost(uint64, tag = "5")]
    pub slot: u64,
    #[prost(string, tag = "6")]
    pub node_id: String,
    #[prost(message, optional, tag = "7")]
    pub annotations: Option<Annotations>,
    #[prost(message, optional, tag = "8")]
    pub service_annotations: Option<Annotations>,
    #[prost(message, optional, tag = "9")]
    pub status: Option<TaskStatus>,
    #[prost(enumeration = "TaskState", tag = "10")]
    pub desired_state: i32,
    #[prost(message, repeated, tag = "11")]
    pub networks: Vec<NetworkAttachment>,
    #[prost(message, optional, tag = "12")]
    pub endpoint: Option<Endpoint>,
    #[prost(message, optional, tag = "13")]
    pub log_driver: Option<Driver>,
    #[prost(message, optional, tag = "14")]
    pub spec_version: Option<Version>,
    #[prost(message, repeated, tag = "15")]
    pub assigned_generic_resources: Vec<GenericResource>,
    #[prost(message, optional, tag = "16")]
    pub job_iteration: Option<Version>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct SecretSpec {
    #[prost(message, optional, tag = "1")]
    pub annotations: Option<Annotations>,
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    pub templating: Option<Driver>,
    #[prost(message, optional, tag = "4")]
    pub driver: Option<Driver>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Secret {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    pub meta: Option<Meta>,
    #[prost(message, optional, tag = "3")]
    pub spec: Option<SecretSpec>,
    #[prost(bool, tag = "4")]
    pub internal: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct ConfigSpec {
    #[prost(message, optional, tag = "1")]
    pub annotations: Option<Annotations>,
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    pub templating: Option<Driver>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Config {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    pub meta: Option<Meta>,
    #[prost(message, optional, tag = "3")]
    pub spec: Option<ConfigSpec>,
}

opaque!(SecretSpec, ConfigSpec);
