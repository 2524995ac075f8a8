//! A member of the cluster: what the user wants of it, what it has, how it is.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::tunnel_key::TunnelKey;
use super::{Annotations, Labels, Meta};
use crate::id::NodeId;

/// A node (contract objects.md section 3).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Its id, the common name of its certificate.
    pub id: NodeId,
    /// Version and times.
    pub meta: Meta,
    /// What the user wants of it.
    pub spec: NodeSpec,
    /// The role it has, which follows the role wanted.
    pub role: Role,
    /// What it told of itself.
    pub description: NodeDescription,
    /// How it is.
    pub status: NodeStatus,
    /// Its part in consensus; absent on workers.
    pub manager: Option<ManagerStatus>,
    /// What runs its tasks; absent until it opened its first session.
    pub agent: Option<NodeAgent>,
    /// The certificate it asked for.
    pub certificate: NodeCertificate,
}

/// What runs a node's tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeAgent {
    /// skep beside the engine.
    Skep {
        /// Its version.
        version: String,
    },
    /// A Docker Engine by itself, a worker for ever.
    Engine,
}

/// What a node's certificate is made from. Any manager makes it anew from this.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeCertificate {
    /// The newest request, PEM as it came; empty for a node that never asked.
    #[serde(with = "serde_bytes")]
    pub request: Vec<u8>,
    /// Whether the node shall ask for another one.
    pub renew: bool,
}

/// User-set parameters of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// Name (normally empty) and labels.
    pub annotations: Annotations,
    /// The role wanted.
    pub role: Role,
    /// Whether it takes tasks.
    pub availability: Availability,
    /// Whether a client gave the spec. Clients name no membership, so that Docker finds such a node pending ever after.
    pub without_membership: bool,
}

/// What a node may do in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Role {
    /// Runs tasks.
    #[default]
    Worker,
    /// Also takes part in consensus.
    Manager,
}

/// Whether a node takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Availability {
    /// Takes new tasks.
    #[default]
    Active,
    /// Keeps its tasks, takes no new ones.
    Pause,
    /// Gives its tasks away.
    Drain,
}

/// So many addresses of its host are told of a node.
pub const HOST_ADDRESSES_MAX: usize = 16;

/// What a node told of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeDescription {
    /// Host name, the node's name in the API.
    pub hostname: String,
    /// Architecture as `uname -m` writes it, for example `x86_64`.
    pub architecture: String,
    /// Operating system, for example `linux`.
    pub os: String,
    /// CPUs in units of 1e-9.
    pub nano_cpus: i64,
    /// Memory.
    pub memory_bytes: i64,
    /// Generic resources offered.
    pub generic_resources: Vec<GenericResource>,
    /// Version of the engine.
    pub engine_version: String,
    /// Newest API version that skep and the engine both speak, major and minor; absent if it was not told.
    pub engine_api: Option<(u32, u32)>,
    /// Subnets that its host routes on its own, those of the cluster's networks left out.
    pub host_subnets: Vec<String>,
    /// IPv6 addresses of its host, those of bridges left out.
    pub host_addresses: Vec<Ipv6Addr>,
    /// Its end of the tunnels between nodes; absent where it is the address that managers see.
    pub data_path: Option<IpAddr>,
    /// Largest packet of the link there, in bytes; absent if it was not told.
    pub underlay_mtu: Option<u32>,
    /// By which others encrypt what they send it; absent as long as it has no encrypted tunnels.
    pub tunnel_key: Option<TunnelKey>,
    /// Labels of the engine.
    pub engine_labels: Labels,
    /// Plugins as (type, name), sorted.
    pub plugins: Vec<(String, String)>,
    /// PEM of the roots it trusts.
    pub trust_root_pem: String,
    /// DER of its certificate's issuer.
    #[serde(with = "serde_bytes")]
    pub issuer_subject: Vec<u8>,
    /// DER of the issuer's public key.
    #[serde(with = "serde_bytes")]
    pub issuer_public_key: Vec<u8>,
}

/// An amount or a named piece of a resource that users define.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GenericResource {
    /// So many of a kind.
    Discrete {
        /// For example `gpu`.
        kind: String,
        /// How many.
        value: i64,
    },
    /// One certain piece of a kind.
    Named {
        /// For example `gpu`.
        kind: String,
        /// Its name.
        value: String,
    },
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// The verdict.
    pub state: NodeState,
    /// Its reason, if there is one.
    pub message: String,
    /// IP address as managers see it.
    pub addr: String,
}

/// Whether a node can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum NodeState {
    /// Not known yet.
    #[default]
    Unknown,
    /// Does not answer.
    Down,
    /// Works.
    Ready,
    /// Is looking for another manager.
    Disconnected,
}

/// A manager's part in consensus.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ManagerStatus {
    /// Whether it leads.
    pub leader: bool,
    /// Whether the others reach it.
    pub reachable: bool,
    /// `ip:port` it listens on.
    pub addr: String,
    /// Its id in the consensus group, never used again once it left; 0 where it was not noted yet.
    pub raft_id: u64,
}

impl ManagerStatus {
    /// Returns the id in the consensus group. Before ids were noted there was one manager alone, the first.
    pub fn member(&self) -> u64 {
        self.raft_id.max(1)
    }
}

/// Amounts of resources.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// CPUs in units of 1e-9.
    pub nano_cpus: i64,
    /// Memory.
    pub memory_bytes: i64,
    /// Processes; limits only.
    pub pids: i64,
    /// Generic resources by kind; reservations only.
    pub generic: Vec<GenericResource>,
}

/// Sums of discrete generic resources by kind.
pub type GenericAmounts = BTreeMap<String, i64>;
