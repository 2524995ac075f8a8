//! Messages of the services `CA` and `NodeCA`.

use super::{NodeRole, Version, opaque};

/// How far a certificate request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum IssuanceState {
    Unknown = 0,
    Renew = 1,
    Pending = 2,
    Issued = 3,
    Failed = 4,
    Rotate = 5,
}

/// How far a certificate request is, and why no further.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IssuanceStatus {
    #[prost(enumeration = "IssuanceState", tag = "1")]
    pub state: i32,
    #[prost(string, tag = "2")]
    pub err: String,
}

/// A node's certificate and its request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Certificate {
    #[prost(enumeration = "NodeRole", tag = "1")]
    pub role: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub csr: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    pub status: Option<IssuanceStatus>,
    #[prost(bytes = "vec", tag = "4")]
    pub certificate: Vec<u8>,
    #[prost(string, tag = "5")]
    pub cn: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetRootCaCertificateRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetRootCaCertificateResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub certificate: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetUnlockKeyRequest {}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct GetUnlockKeyResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub unlock_key: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub version: Option<Version>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct IssueNodeCertificateRequest {
    #[prost(enumeration = "NodeRole", tag = "1")]
    pub role: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub csr: Vec<u8>,
    #[prost(string, tag = "3")]
    pub token: String,
    #[prost(enumeration = "super::NodeAvailability", tag = "4")]
    pub availability: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct IssueNodeCertificateResponse {
    #[prost(string, tag = "1")]
    pub node_id: String,
    #[prost(enumeration = "super::NodeMembership", tag = "2")]
    pub node_membership: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeCertificateStatusRequest {
    #[prost(string, tag = "1")]
    pub node_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeCertificateStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<IssuanceStatus>,
    #[prost(message, optional, tag = "2")]
    pub certificate: Option<Certificate>,
}

opaque!(GetUnlockKeyResponse, IssueNodeCertificateRequest);
