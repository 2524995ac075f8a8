//! Secrets and configs: payloads that services mount.

use serde::{Deserialize, Serialize};

use super::{Annotations, Driver, Meta, Sensitive};
use crate::id::{ConfigId, SecretId};

/// A secret (contract objects.md section 6).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Secret {
    /// Its id.
    pub id: SecretId,
    /// Version and times.
    pub meta: Meta,
    /// What the user gave.
    pub spec: SecretSpec,
}

/// User-given parts of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SecretSpec {
    /// Name and labels.
    pub annotations: Annotations,
    /// The payload, 1 to 511,999 bytes; empty with a driver.
    pub data: Sensitive,
    /// Outside store that holds the payload.
    pub driver: Option<Driver>,
    /// Template engine to run the payload through.
    pub templating: Option<Driver>,
}

/// A config (contract objects.md section 6).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Its id.
    pub id: ConfigId,
    /// Version and times.
    pub meta: Meta,
    /// What the user gave.
    pub spec: ConfigSpec,
}

/// User-given parts of a config.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigSpec {
    /// Name and labels.
    pub annotations: Annotations,
    /// The payload, 1 to 1,023,999 bytes.
    pub data: Sensitive,
    /// Template engine to run the payload through.
    pub templating: Option<Driver>,
}
