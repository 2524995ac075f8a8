//! Messages of the services `skep.v1.Agent` and `skep.v1.Logs`, and what skep tells beyond SwarmKit's messages.

use super::{LogMessage, LogSubscriptionOptions, opaque};

/// What a node that runs skep tells of itself beyond [`NodeDescription`](super::NodeDescription).
#[derive(Clone, PartialEq, prost::Message)]
pub struct SkepDescription {
    /// Newest API version that skep and its engine both speak.
    #[prost(uint32, tag = "1")]
    pub api_major: u32,
    #[prost(uint32, tag = "2")]
    pub api_minor: u32,
    /// Subnets that its host routes on its own.
    #[prost(string, repeated, tag = "3")]
    pub host_subnets: Vec<String>,
    /// Its end of the tunnels between nodes, empty where it is the address that managers see.
    #[prost(string, tag = "4")]
    pub data_path: String,
    /// The public key of its encrypted tunnels, empty where it has none.
    #[prost(bytes = "vec", tag = "5")]
    pub tunnel_key: Vec<u8>,
    /// IPv6 addresses of its host.
    #[prost(string, repeated, tag = "6")]
    pub host_addresses: Vec<String>,
    /// Largest packet, in bytes, of the link where its tunnels end; 0 if it is not known.
    #[prost(uint32, tag = "7")]
    pub underlay_mtu: u32,
}

/// Asks to be shown what a node needs of the cluster's state.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FollowRequest {
    #[prost(string, tag = "1")]
    pub session_id: String,
    /// Whether the node has a copy of the state, so that it needs to be told of nothing but [`ViewMessage::asked`].
    #[prost(bool, tag = "2")]
    pub is_manager: bool,
}

/// Parts of a change of what a node is shown, in the encoding of the log.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct ViewMessage {
    /// Index of the state that it is made from.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    /// Whether what was shown before is void.
    #[prost(bool, tag = "2")]
    pub anew: bool,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub parts: Vec<Vec<u8>>,
    /// Whether the change is complete with this.
    #[prost(bool, tag = "4")]
    pub complete: bool,
    /// Whether the node is to tell when it leads packets by the state of this index.
    #[prost(bool, tag = "5")]
    pub asked: bool,
}

/// Tells that the node leads packets by the state of an index, or a later one.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InForceRequest {
    #[prost(string, tag = "1")]
    pub session_id: String,
    #[prost(uint64, tag = "2")]
    pub index: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct InForceResponse {}

/// Asks to be answered when every node leads packets for a task by the state of an index, or a later one.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AwaitRequest {
    #[prost(string, tag = "1")]
    pub session_id: String,
    #[prost(string, tag = "2")]
    pub task_id: String,
    #[prost(uint64, tag = "3")]
    pub index: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AwaitResponse {}

/// Asks the leader for the output of a task on any node.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadLogsRequest {
    #[prost(string, tag = "1")]
    pub task_id: String,
    #[prost(message, optional, tag = "2")]
    pub options: Option<LogSubscriptionOptions>,
}

/// A line, or why there are no more.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadLogsMessage {
    #[prost(message, optional, tag = "1")]
    pub line: Option<LogMessage>,
    #[prost(string, tag = "2")]
    pub problem: String,
}

opaque!(ViewMessage);
