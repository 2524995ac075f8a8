//! The cluster object: settings, root CA, join tokens, unlock key.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Labels, Meta, Sensitive};
use crate::id::ClusterId;
use crate::time::nanos;

/// The one cluster object of a state (contract objects.md section 1).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// Its id, the organisation of every certificate.
    pub id: ClusterId,
    /// Version and times.
    pub meta: Meta,
    /// What the user set.
    pub spec: ClusterSpec,
    /// The root certificate and its key.
    pub root_ca: RootCa,
    /// Join tokens.
    pub tokens: JoinTokens,
    /// Unlock key, as `SWMKEY-1-...`; empty when autolock is off.
    pub unlock_key: Sensitive,
    /// CIDRs that overlay subnets are cut from.
    pub address_pools: Vec<String>,
    /// Prefix length of an automatic subnet.
    pub subnet_size: u32,
    /// UDP port of the overlays.
    pub data_path_port: u32,
}

/// The root certificate that all node certificates descend from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RootCa {
    /// PEM of the certificate.
    pub certificate_pem: String,
    /// PKCS#8 PEM of its key.
    pub key_pem: Sensitive,
    /// DER of the subject.
    #[serde(with = "serde_bytes")]
    pub subject: Vec<u8>,
    /// DER of the public key (SPKI).
    #[serde(with = "serde_bytes")]
    pub public_key: Vec<u8>,
    /// `ForceRotate` of the spec that this root, or the one that follows it, answers.
    pub last_force_rotate: u64,
    /// The root that nodes are moving to.
    pub rotation: Option<Box<RootRotation>>,
}

/// A root on its way to take the place of the present one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RootRotation {
    /// PEM of the certificate.
    pub certificate_pem: String,
    /// PKCS#8 PEM of its key.
    pub key_pem: Sensitive,
    /// DER of the subject.
    #[serde(with = "serde_bytes")]
    pub subject: Vec<u8>,
    /// DER of the public key (SPKI).
    #[serde(with = "serde_bytes")]
    pub public_key: Vec<u8>,
    /// PEM of its name and key, signed by the present root: sent after a certificate of the next root, it lets those who
    /// trust only the present one accept it.
    pub cross_signed_pem: String,
}

impl RootCa {
    /// Returns the PEM of all roots that nodes shall trust now: while they move, the present one and the next.
    pub fn trusted_pem(&self) -> String {
        let mut trusted = self.certificate_pem.clone();
        trusted.extend(self.rotation.iter().map(|next| next.certificate_pem.as_str()));
        trusted
    }

    /// Returns subject and public key, as DER, of the root that certificates shall descend from now.
    pub fn issuer(&self) -> (&[u8], &[u8]) {
        match &self.rotation {
            Some(next) => (&next.subject, &next.public_key),
            None => (&self.subject, &self.public_key),
        }
    }

    /// Returns the root as it is once all nodes have moved; `None` where none is on its way.
    pub fn moved(&self) -> Option<Self> {
        let next = self.rotation.as_deref()?.clone();
        Some(Self {
            certificate_pem: next.certificate_pem,
            key_pem: next.key_pem,
            subject: next.subject,
            public_key: next.public_key,
            last_force_rotate: self.last_force_rotate,
            rotation: None,
        })
    }
}

/// The rights to ask for a certificate of either role.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JoinTokens {
    /// `SWMTKN-1-...` of workers.
    pub worker: Sensitive,
    /// `SWMTKN-1-...` of managers.
    pub manager: Sensitive,
}

/// User-set parameters of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterSpec {
    /// Always `default`.
    pub name: String,
    /// User labels.
    pub labels: Labels,
    /// Tasks kept per slot; negative keeps all.
    pub task_history_retention_limit: i64,
    /// Entries between snapshots.
    pub snapshot_interval: u64,
    /// Snapshots kept beside the newest.
    pub keep_old_snapshots: u64,
    /// Entries kept for slow followers.
    pub log_entries_for_slow_followers: u64,
    /// Ticks of one second until an election.
    pub election_tick: u32,
    /// Ticks of one second between heartbeats.
    pub heartbeat_tick: u32,
    /// Period of agents' heartbeats.
    #[serde(with = "nanos")]
    pub heartbeat_period: Duration,
    /// Validity of node certificates.
    #[serde(with = "nanos")]
    pub node_cert_expiry: Duration,
    /// Outside signers.
    pub external_cas: Vec<ExternalCa>,
    /// Root certificate asked for, PEM; empty for one made here.
    pub signing_ca_cert: String,
    /// Key of that certificate.
    pub signing_ca_key: Sensitive,
    /// Counter that asks for a new root.
    pub force_rotate: u64,
    /// Whether manager keys at rest are locked with the unlock key.
    pub auto_lock_managers: bool,
}

/// An outside signer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExternalCa {
    /// `cfssl`.
    pub protocol: String,
    /// Where it listens.
    pub url: String,
    /// Protocol options.
    pub options: BTreeMap<String, String>,
    /// PEM of its root.
    pub ca_cert: String,
}

impl Default for ClusterSpec {
    /// Gives the values of a cluster whose creator set nothing.
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            labels: Labels::new(),
            task_history_retention_limit: 5,
            snapshot_interval: 10_000,
            keep_old_snapshots: 0,
            log_entries_for_slow_followers: 500,
            election_tick: 10,
            heartbeat_tick: 1,
            heartbeat_period: Duration::from_secs(5),
            node_cert_expiry: Duration::from_secs(90 * 24 * 3600),
            external_cas: Vec::new(),
            signing_ca_cert: String::new(),
            signing_ca_key: Sensitive::default(),
            force_rotate: 0,
            auto_lock_managers: false,
        }
    }
}
