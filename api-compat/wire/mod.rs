//! JSON exactly as the API writes it, one resource a file, and the pieces they share. Converts nothing.

pub mod config;
pub mod container;
pub mod event;
pub mod info;
pub mod network;
pub mod node;
pub mod secret;
pub mod service;
pub mod swarm;
pub mod task;
pub mod time;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skep_core::model::{Labels, Meta as CoreMeta};

use self::time::Time;

/// Tells whether a value is its type's zero, for `skip_serializing_if`.
pub fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An object's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Version {
    /// Log index of the last write.
    #[serde(skip_serializing_if = "is_zero")]
    pub index: u64,
}

/// Version and times of a swarm object; flattened into replies only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Meta {
    /// The version.
    pub version: Version,
    /// When it came to be.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
}

impl From<CoreMeta> for Meta {
    fn from(meta: CoreMeta) -> Self {
        Self {
            version: Version { index: meta.version },
            created_at: Time(meta.created_at),
            updated_at: Time(meta.updated_at),
        }
    }
}

/// A driver.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Driver {
    /// Its name.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    /// Its options.
    #[serde(skip_serializing_if = "is_zero")]
    pub options: BTreeMap<String, String>,
}

impl From<skep_core::model::Driver> for Driver {
    fn from(driver: skep_core::model::Driver) -> Self {
        Self { name: driver.name, options: driver.options }
    }
}

impl From<Driver> for skep_core::model::Driver {
    fn from(driver: Driver) -> Self {
        Self { name: driver.name, options: driver.options }
    }
}

/// The answer to a creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Created {
    /// Id of the new object.
    #[serde(rename = "ID")]
    pub id: String,
}

/// Name and labels, the start of every spec. Labels are an object in every reply.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Annotations {
    /// The name.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    /// The labels.
    pub labels: Labels,
}
