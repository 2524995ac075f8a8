//! The objects of a cluster, one a file: intent (`Spec`) apart from status. No behaviour beyond reading a value.

pub mod cluster;
pub mod container;
pub mod network;
pub mod node;
pub mod secret;
pub mod service;
pub mod task;
pub mod tunnel_key;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// User labels, in a fixed order.
pub type Labels = BTreeMap<String, String>;

/// Version and times of a stored object. The version is the log index of the write that last changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// Log index of the last write, at least 1 for a stored object.
    pub version: u64,
    /// Log index of the write that made the object; orders objects by age whatever the clocks said.
    pub created_version: u64,
    /// When the object came to be.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Name and labels, the part of every spec that users find objects by.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Annotations {
    /// The name; unique per kind, case-insensitively.
    pub name: String,
    /// The labels.
    pub labels: Labels,
}

/// A driver's name and its options.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Driver {
    /// Name as the engine knows it.
    pub name: String,
    /// Driver-specific options.
    pub options: BTreeMap<String, String>,
}

/// Bytes or text that must reach neither logs nor `Debug` output.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sensitive(#[serde(with = "serde_bytes")] pub Vec<u8>);

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl Drop for Sensitive {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// The kinds of object the API names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// The cluster itself.
    Cluster,
    /// A node.
    Node,
    /// A service.
    Service,
    /// A task.
    Task,
    /// A network.
    Network,
    /// A secret.
    Secret,
    /// A config.
    Config,
}

impl Kind {
    /// Returns the word of API messages and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Node => "node",
            Self::Service => "service",
            Self::Task => "task",
            Self::Network => "network",
            Self::Secret => "secret",
            Self::Config => "config",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
