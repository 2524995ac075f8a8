//! Nodes on the wire.

use serde::{Deserialize, Serialize};
use skep_core::model::Labels;

use super::service::{Platform, Resources};
use super::swarm::TlsInfo;
use super::{Meta, is_zero};

/// A node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version and times.
    #[serde(flatten)]
    pub meta: Meta,
    /// What the user wants of it.
    pub spec: NodeSpec,
    /// What it told of itself.
    pub description: NodeDescription,
    /// How it is.
    pub status: NodeStatus,
    /// Its part in consensus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager_status: Option<ManagerStatus>,
}

/// User-set parameters of a node.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeSpec {
    /// Normally empty.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    /// User labels.
    pub labels: Labels,
    /// `worker` or `manager`.
    #[serde(skip_serializing_if = "is_zero")]
    pub role: String,
    /// `active`, `pause` or `drain`.
    #[serde(skip_serializing_if = "is_zero")]
    pub availability: String,
}

/// What a node told of itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeDescription {
    /// Its name in the API.
    #[serde(skip_serializing_if = "is_zero")]
    pub hostname: String,
    /// What it runs on.
    pub platform: Platform,
    /// What it has.
    pub resources: Resources,
    /// Its engine.
    pub engine: Engine,
    /// The root it trusts.
    #[serde(rename = "TLSInfo")]
    pub tls_info: TlsInfo,
}

/// A node's engine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Engine {
    /// For example `28.5.2`.
    #[serde(skip_serializing_if = "is_zero")]
    pub engine_version: String,
    /// Its labels.
    #[serde(skip_serializing_if = "is_zero")]
    pub labels: Labels,
    /// Its plugins.
    #[serde(skip_serializing_if = "is_zero")]
    pub plugins: Vec<Plugin>,
}

/// A plugin of an engine.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Plugin {
    /// For example `Network`.
    #[serde(rename = "Type", skip_serializing_if = "is_zero")]
    pub kind: String,
    /// For example `overlay`.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
}

/// How a node is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeStatus {
    /// The verdict.
    pub state: &'static str,
    /// Its reason.
    #[serde(skip_serializing_if = "is_zero")]
    pub message: String,
    /// Its address.
    #[serde(skip_serializing_if = "is_zero")]
    pub addr: String,
}

/// A manager's part in consensus.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ManagerStatus {
    /// Whether it leads.
    #[serde(skip_serializing_if = "is_zero")]
    pub leader: bool,
    /// `reachable` or `unreachable`.
    pub reachability: &'static str,
    /// `ip:port`.
    pub addr: String,
}
