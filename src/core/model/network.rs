//! Networks of the cluster and the addresses taken from them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Annotations, Driver, Meta};
use crate::id::{NetworkId, NodeId};

/// A cluster network (contract objects.md section 7).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Version and times.
    pub meta: Meta,
    /// What the user wants.
    pub spec: NetworkSpec,
    /// What was allocated; absent until then. Node-local networks never have one.
    pub allocation: Option<NetworkAllocation>,
    /// Addresses that nodes hold on it as gateways of their bridges.
    pub gateways: BTreeMap<NodeId, IpAddr>,
    /// The last address given out, so that addresses are not handed out again at once.
    pub last_address: Option<IpAddr>,
}

/// User-set parameters of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSpec {
    /// Name and labels.
    pub annotations: Annotations,
    /// Driver; `overlay` when absent.
    pub driver: Option<Driver>,
    /// Whether it has IPv6 subnets.
    pub ipv6: bool,
    /// Whether it has no way out.
    pub internal: bool,
    /// Whether plain containers may join.
    pub attachable: bool,
    /// Whether it carries the routing mesh.
    pub ingress: bool,
    /// Address management as asked for; absent if the request had none.
    pub ipam: Option<IpamOptions>,
    /// Name of the node-local network this one takes its settings from.
    pub config_from: Option<String>,
    /// Built in (`host`, `bridge`): never listed, exists on every node.
    pub predefined: bool,
}

/// Address management of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IpamOptions {
    /// Driver, `default` when its name is empty.
    pub driver: Driver,
    /// Subnets.
    pub configs: Vec<IpamConfig>,
}

/// One subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IpamConfig {
    /// CIDR; empty asks for one from the pools.
    pub subnet: String,
    /// CIDR inside the subnet that addresses are taken from; empty for all of it.
    pub range: String,
    /// Gateway address; empty asks for the first of the subnet.
    pub gateway: String,
    /// Names of addresses that are taken by other things.
    pub reserved: BTreeMap<String, String>,
}

/// What a network got.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkAllocation {
    /// Driver name and options as the API shows them, the VXLAN ids among them.
    pub driver: Driver,
    /// VXLAN network identifier.
    pub vni: u32,
    /// Subnets with gateways, all fields filled.
    pub ipam: IpamOptions,
    /// Largest packet, in bytes, that the links between nodes carried when it was made; absent where they carry what Ethernet does.
    pub underlay_mtu: Option<u32>,
}

impl NetworkAllocation {
    /// Returns the subnets that containers have addresses of: the first of each family, for a bridge of the engine takes no more.
    pub fn bridged(&self) -> impl Iterator<Item = &IpamConfig> {
        let mut seen = [false; 2];
        self.ipam.configs.iter().filter(move |config| {
            let family = usize::from(config.subnet.contains(':'));
            !std::mem::replace(&mut seen[family], true)
        })
    }
}
