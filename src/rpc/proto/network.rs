//! Networks, ports and addresses of tasks.

use std::collections::BTreeMap;

use super::{Annotations, Driver, Meta};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum AddressFamily {
    Unknown = 0,
    Ipv4 = 4,
    Ipv6 = 6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum PortProtocol {
    Tcp = 0,
    Udp = 1,
    Sctp = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum PublishMode {
    Ingress = 0,
    Host = 1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ResolutionMode {
    Vip = 0,
    DnsRr = 1,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PortConfig {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(enumeration = "PortProtocol", tag = "2")]
    pub protocol: i32,
    #[prost(uint32, tag = "3")]
    pub target_port: u32,
    #[prost(uint32, tag = "4")]
    pub published_port: u32,
    #[prost(enumeration = "PublishMode", tag = "5")]
    pub publish_mode: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PortStatus {
    #[prost(message, repeated, tag = "1")]
    pub ports: Vec<PortConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct EndpointSpec {
    #[prost(enumeration = "ResolutionMode", tag = "1")]
    pub mode: i32,
    #[prost(message, repeated, tag = "2")]
    pub ports: Vec<PortConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct VirtualIp {
    #[prost(string, tag = "1")]
    pub network_id: String,
    #[prost(string, tag = "2")]
    pub addr: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Endpoint {
    #[prost(message, optional, tag = "1")]
    pub spec: Option<EndpointSpec>,
    #[prost(message, repeated, tag = "2")]
    pub ports: Vec<PortConfig>,
    #[prost(message, repeated, tag = "3")]
    pub virtual_ips: Vec<VirtualIp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct IpamConfig {
    #[prost(enumeration = "AddressFamily", tag = "1")]
    pub family: i32,
    #[prost(string, tag = "2")]
    pub subnet: String,
    #[prost(string, tag = "3")]
    pub range: String,
    #[prost(string, tag = "4")]
    pub gateway: String,
    #[prost(btree_map = "string, string", tag = "5")]
    pub reserved: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct IpamOptions {
    #[prost(message, optional, tag = "1")]
    pub driver: Option<Driver>,
    #[prost(message, repeated, tag = "3")]
    pub configs: Vec<IpamConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NetworkSpec {
    #[prost(message, optional, tag = "1")]
    pub annotations: Option<Annotations>,
    #[prost(message, optional, tag = "2")]
    pub driver_config: Option<Driver>,
    #[prost(bool, tag = "3")]
    pub ipv6_enabled: bool,
    #[prost(bool, tag = "4")]
    pub internal: bool,
    #[prost(message, optional, tag = "5")]
    pub ipam: Option<IpamOptions>,
    #[prost(bool, tag = "6")]
    pub attachable: bool,
    #[prost(bool, tag = "7")]
    pub ingress: bool,
    #[prost(oneof = "network_spec::ConfigFrom", tags = "8")]
    pub config_from: Option<network_spec::ConfigFrom>,
}

/// Parts of [`NetworkSpec`].
pub mod network_spec {
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum ConfigFrom {
        #[prost(string, tag = "8")]
        Network(String),
    }
}

/// A network. Without `driver_state` an engine dies of it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Network {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    pub meta: Option<Meta>,
    #[prost(message, optional, tag = "3")]
    pub spec: Option<NetworkSpec>,
    #[prost(message, optional, tag = "4")]
    pub driver_state: Option<Driver>,
    #[prost(message, optional, tag = "5")]
    pub ipam: Option<IpamOptions>,
}

/// A task's or a node's place on a network. Without `network` an engine dies of it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NetworkAttachment {
    #[prost(message, optional, tag = "1")]
    pub network: Option<Network>,
    #[prost(string, repeated, tag = "2")]
    pub addresses: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub aliases: Vec<String>,
    #[prost(btree_map = "string, string", tag = "4")]
    pub driver_attachment_opts: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NetworkAttachmentConfig {
    #[prost(string, tag = "1")]
    pub target: String,
    #[prost(string, repeated, tag = "2")]
    pub aliases: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub addresses: Vec<String>,
    #[prost(btree_map = "string, string", tag = "4")]
    pub driver_attachment_opts: BTreeMap<String, String>,
}
