//! Secrets on the wire. The payload comes in and never goes out.

use std::fmt;

use serde::{Deserialize, Serialize};
use skep_core::model::Labels;

use super::{Driver, Meta, is_zero};
use crate::json::base64_bytes;

/// A secret.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Secret {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version and times.
    #[serde(flatten)]
    pub meta: Meta,
    /// What the user gave.
    pub spec: SecretSpec,
}

/// User-given parts of a secret.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SecretSpec {
    /// The name.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    /// User labels.
    pub labels: Labels,
    /// The payload.
    #[serde(skip_serializing, with = "base64_bytes")]
    pub data: Vec<u8>,
    /// Outside store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// Template engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub templating: Option<Driver>,
}

impl fmt::Debug for SecretSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretSpec").field("name", &self.name).finish_non_exhaustive()
    }
}
