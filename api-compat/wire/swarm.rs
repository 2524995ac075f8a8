//! The cluster on the wire: `/swarm` and the requests to make, join and change one.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use skep_core::model::Labels;

use super::{Driver, Meta, is_zero};
use crate::json::base64_bytes;

/// `GET /swarm`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Swarm {
    /// All but the tokens.
    #[serde(flatten)]
    pub info: ClusterInfo,
    /// The tokens.
    pub join_tokens: JoinTokens,
}

/// The cluster without its tokens, as `/info` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ClusterInfo {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version and times.
    #[serde(flatten)]
    pub meta: Meta,
    /// What the user set.
    pub spec: Spec,
    /// The root that nodes trust.
    #[serde(rename = "TLSInfo")]
    pub tls_info: TlsInfo,
    /// Whether nodes are still moving to a new root.
    pub root_rotation_in_progress: bool,
    /// Pools of overlay subnets; `null` when none were named.
    pub default_addr_pool: Option<Vec<String>>,
    /// Prefix length of automatic subnets.
    pub subnet_size: u32,
    /// UDP port of overlays.
    pub data_path_port: u32,
}

/// The tokens that let nodes join.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct JoinTokens {
    /// Of workers.
    pub worker: String,
    /// Of managers.
    pub manager: String,
}

/// A root of trust and the issuer of certificates.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TlsInfo {
    /// PEM.
    #[serde(skip_serializing_if = "is_zero")]
    pub trust_root: String,
    /// DER.
    #[serde(skip_serializing_if = "is_zero", with = "base64_bytes")]
    pub cert_issuer_subject: Vec<u8>,
    /// DER.
    #[serde(skip_serializing_if = "is_zero", with = "base64_bytes")]
    pub cert_issuer_public_key: Vec<u8>,
}

/// The cluster's spec.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Spec {
    /// `default`.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    /// User labels.
    pub labels: Labels,
    /// Task history.
    pub orchestration: Orchestration,
    /// Consensus.
    pub raft: Raft,
    /// Heartbeats of agents.
    pub dispatcher: Dispatcher,
    /// Certificates.
    #[serde(rename = "CAConfig")]
    pub ca_config: CaConfig,
    /// Never set through the API.
    pub task_defaults: TaskDefaults,
    /// Autolock.
    pub encryption_config: EncryptionConfig,
}

/// Task history.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Orchestration {
    /// Tasks kept per slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_history_retention_limit: Option<i64>,
}

/// Consensus.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Raft {
    /// Entries between snapshots.
    #[serde(skip_serializing_if = "is_zero")]
    pub snapshot_interval: u64,
    /// Snapshots kept beside the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_old_snapshots: Option<u64>,
    /// Entries kept for slow followers.
    #[serde(skip_serializing_if = "is_zero")]
    pub log_entries_for_slow_followers: u64,
    /// Ticks until an election.
    pub election_tick: i64,
    /// Ticks between heartbeats.
    pub heartbeat_tick: i64,
}

/// Heartbeats of agents.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Dispatcher {
    /// Nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub heartbeat_period: i64,
}

/// Certificates.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CaConfig {
    /// Nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub node_cert_expiry: i64,
    /// Outside signers.
    #[serde(rename = "ExternalCAs", skip_serializing_if = "is_zero")]
    pub external_cas: Vec<ExternalCa>,
    /// PEM of a root to use; never returned.
    #[serde(rename = "SigningCACert", skip_serializing)]
    pub signing_ca_cert: String,
    /// PEM of its key; never returned.
    #[serde(rename = "SigningCAKey", skip_serializing)]
    pub signing_ca_key: String,
    /// Counter that asks for a new root.
    #[serde(skip_serializing_if = "is_zero")]
    pub force_rotate: u64,
}

impl fmt::Debug for CaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaConfig").field("node_cert_expiry", &self.node_cert_expiry).finish()
    }
}

/// An outside signer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExternalCa {
    /// `cfssl`.
    pub protocol: String,
    /// Where it listens.
    #[serde(rename = "URL")]
    pub url: String,
    /// Protocol options.
    #[serde(skip_serializing_if = "is_zero")]
    pub options: BTreeMap<String, String>,
    /// PEM of its root.
    #[serde(rename = "CACert")]
    pub ca_cert: String,
}

/// Never set through the API.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskDefaults {
    /// Where output goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_driver: Option<Driver>,
}

/// Autolock.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EncryptionConfig {
    /// Whether manager keys at rest are locked.
    pub auto_lock_managers: bool,
}

/// `POST /swarm/init`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InitRequest {
    /// `host[:port]` or `interface[:port]`.
    pub listen_addr: String,
    /// The same, or empty.
    pub advertise_addr: String,
    /// Address or interface of overlay traffic.
    pub data_path_addr: String,
    /// Its port.
    pub data_path_port: u32,
    /// Start anew with what this manager knows.
    pub force_new_cluster: bool,
    /// The spec, merged over defaults.
    pub spec: Spec,
    /// Autolock from the start.
    pub auto_lock_managers: bool,
    /// Availability of the node.
    pub availability: String,
    /// Pools of overlay subnets.
    pub default_addr_pool: Option<Vec<String>>,
    /// Prefix length of automatic subnets.
    pub subnet_size: u32,
}

/// `POST /swarm/join`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JoinRequest {
    /// `host[:port]` or `interface[:port]`.
    pub listen_addr: String,
    /// The same, or empty.
    pub advertise_addr: String,
    /// Address or interface of overlay traffic.
    pub data_path_addr: String,
    /// Managers to ask.
    pub remote_addrs: Vec<String>,
    /// The right to join.
    pub join_token: String,
    /// Availability of the node.
    pub availability: String,
}

/// The unlock key, in both directions.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UnlockKey {
    /// `SWMKEY-1-...`, or empty.
    pub unlock_key: String,
}
