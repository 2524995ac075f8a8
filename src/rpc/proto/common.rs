//! Parts that many messages share.

use std::collections::BTreeMap;

/// Version of an object.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Version {
    #[prost(uint64, tag = "1")]
    pub index: u64,
}

/// Version and times of an object.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Meta {
    #[prost(message, optional, tag = "1")]
    pub version: Option<Version>,
    #[prost(message, optional, tag = "2")]
    pub created_at: Option<prost_types::Timestamp>,
    #[prost(message, optional, tag = "3")]
    pub updated_at: Option<prost_types::Timestamp>,
}

/// Name and labels.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Annotations {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub labels: BTreeMap<String, String>,
}

/// A driver and its options.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Driver {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub options: BTreeMap<String, String>,
}

/// A named piece of a resource.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NamedGenericResource {
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// An amount of a resource.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DiscreteGenericResource {
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(int64, tag = "2")]
    pub value: i64,
}

/// A resource that users define.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GenericResource {
    #[prost(oneof = "generic_resource::Resource", tags = "1, 2")]
    pub resource: Option<generic_resource::Resource>,
}

/// Parts of [`GenericResource`].
pub mod generic_resource {
    /// Either form.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Resource {
        #[prost(message, tag = "1")]
        Named(super::NamedGenericResource),
        #[prost(message, tag = "2")]
        Discrete(super::DiscreteGenericResource),
    }
}

/// Amounts of resources.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Resources {
    #[prost(int64, tag = "1")]
    pub nano_cpus: i64,
    #[prost(int64, tag = "2")]
    pub memory_bytes: i64,
    #[prost(message, repeated, tag = "3")]
    pub generic: Vec<GenericResource>,
}

/// What a task may use and what is kept for it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResourceRequirements {
    #[prost(message, optional, tag = "1")]
    pub limits: Option<Resources>,
    #[prost(message, optional, tag = "2")]
    pub reservations: Option<Resources>,
    #[prost(message, optional, tag = "3")]
    pub swap_bytes: Option<i64>,
    #[prost(message, optional, tag = "4")]
    pub memory_swappiness: Option<i64>,
}

/// Architecture and operating system.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Platform {
    #[prost(string, tag = "1")]
    pub architecture: String,
    #[prost(string, tag = "2")]
    pub os: String,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum NodeRole {
    Worker = 0,
    Manager = 1,
}
