//! Networks on the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use skep_core::model::Labels;

use super::is_zero;
use super::time::Time;

/// A cluster network as lists and inspections show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// When it came to be.
    pub created: Time,
    /// Always `swarm`.
    pub scope: &'static str,
    /// Its driver; empty until allocated.
    pub driver: String,
    /// Always true, where the engine knows the field.
    #[serde(rename = "EnableIPv4", skip_serializing_if = "Option::is_none")]
    pub enable_ipv4: Option<bool>,
    /// Whether it has IPv6 subnets.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Its addresses.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// Whether it has no way out.
    pub internal: bool,
    /// Whether plain containers may join.
    pub attachable: bool,
    /// Whether it carries the routing mesh.
    pub ingress: bool,
    /// The network its settings come from.
    pub config_from: ConfigFrom,
    /// Always false.
    pub config_only: bool,
    /// Containers of this node; `null` where it is not in use.
    pub containers: Option<Value>,
    /// Driver options.
    pub options: Option<BTreeMap<String, String>>,
    /// User labels; `null` when there are none.
    pub labels: Option<Labels>,
    /// Services on it, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<BTreeMap<String, NetworkService>>,
}

/// A service on a network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NetworkService {
    /// Its virtual address.
    #[serde(rename = "VIP")]
    pub vip: String,
    /// Its ports.
    #[serde(rename = "Ports")]
    pub ports: Vec<String>,
    /// Of no meaning here.
    #[serde(rename = "LocalLBIndex")]
    pub local_lb_index: u32,
    /// Its tasks.
    #[serde(rename = "Tasks")]
    pub tasks: Vec<NetworkTask>,
}

/// A task on a network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NetworkTask {
    /// Its name.
    #[serde(rename = "Name")]
    pub name: String,
    /// Empty where it is another node's.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Its address.
    #[serde(rename = "EndpointIP")]
    pub endpoint_ip: String,
    /// `Host IP` of its node.
    #[serde(rename = "Info")]
    pub info: BTreeMap<&'static str, String>,
}

/// Address management.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ipam {
    /// `default`; empty until allocated.
    pub driver: String,
    /// Its options.
    pub options: Option<BTreeMap<String, String>>,
    /// Subnets; `null` until allocated.
    pub config: Option<Vec<IpamConfig>>,
}

/// One subnet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IpamConfig {
    /// CIDR.
    #[serde(skip_serializing_if = "is_zero")]
    pub subnet: String,
    /// CIDR inside it.
    #[serde(rename = "IPRange", skip_serializing_if = "is_zero")]
    pub ip_range: String,
    /// Address of the gateway.
    #[serde(skip_serializing_if = "is_zero")]
    pub gateway: String,
    /// Addresses taken by other things; not shown, as Docker does not.
    #[serde(skip_serializing)]
    pub auxiliary_addresses: BTreeMap<String, String>,
}

/// The network that settings come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigFrom {
    /// Its name.
    pub network: String,
}

/// `POST /networks/create`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkCreateRequest {
    /// The name.
    pub name: String,
    /// Whether names have to be unique; older engines go by it, newer ones always check.
    pub check_duplicate: bool,
    /// The driver.
    pub driver: String,
    /// `swarm`, `local` or empty.
    pub scope: String,
    /// Cannot be switched off.
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: Option<bool>,
    /// Whether it has IPv6 subnets.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: Option<bool>,
    /// Address management.
    #[serde(rename = "IPAM")]
    pub ipam: Option<Ipam>,
    /// Whether it has no way out.
    pub internal: bool,
    /// Whether plain containers may join.
    pub attachable: bool,
    /// Whether it carries the routing mesh.
    pub ingress: bool,
    /// A template for local networks.
    pub config_only: bool,
    /// The template to take.
    pub config_from: Option<ConfigFrom>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// User labels.
    pub labels: Labels,
}

/// The answer to a creation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkCreated {
    /// Id of the new network.
    pub id: String,
    /// Always empty.
    pub warning: &'static str,
}

/// What a container that joins or leaves a network must say; the rest is for the engine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConnectRequest {
    pub container: String,
    /// Of disconnections alone.
    pub force: bool,
}
