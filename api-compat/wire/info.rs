//! The `Swarm` part of `/info`.

use serde::Serialize;

use super::is_zero;
use super::swarm::ClusterInfo;

/// How this node stands to a cluster.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SwarmInfo {
    /// Its id.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Its address.
    pub node_addr: String,
    /// `inactive`, `pending`, `active`, `error` or `locked`.
    pub local_node_state: &'static str,
    /// Whether it answers for the cluster.
    pub control_available: bool,
    /// What is wrong.
    pub error: String,
    /// Managers; `null` outside a cluster.
    pub remote_managers: Option<Vec<Peer>>,
    /// Number of nodes.
    #[serde(skip_serializing_if = "is_zero")]
    pub nodes: usize,
    /// Number of managers.
    #[serde(skip_serializing_if = "is_zero")]
    pub managers: usize,
    /// The cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterInfo>,
    /// What an operator should know.
    #[serde(skip_serializing_if = "is_zero")]
    pub warnings: Vec<String>,
}

/// A manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Peer {
    /// Its id.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Its `ip:port`.
    pub addr: String,
}
