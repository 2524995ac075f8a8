//! What a node makes of the networks of its tasks: engine networks, and the addresses containers get on them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::InvalidTask;
use crate::id::{NetworkId, NodeId};
use crate::model::network::{Network, NetworkAllocation};
use crate::model::task::{Task, TaskNetwork};
use crate::net::bridges;
use crate::net::mac::Mac;
use crate::net::pairs::Pairs;

/// Label of engine networks that names the cluster's network.
pub const NETWORK_LABEL: &str = "skep.network.id";

/// Label of engine networks that names the node they were made for.
pub const NODE_LABEL: &str = "skep.node.id";

/// Error of a task whose node has no address on one of its networks yet.
pub const MISSING_ATTACHMENT: &str =
    "node is missing network attachments, ip addresses may be exhausted";

/// Largest packet of an Ethernet underlay. More is not made use of: a node that carries less may come any time.
pub const UNDERLAY_MTU: u32 = 1500;

/// Room for the outer headers around a packet of an overlay.
const TUNNEL_HEADERS: u32 = 50;

/// Room for WireGuard's headers around those.
const ENCRYPTED_HEADERS: u32 = 80;

/// Option of networks whose packets are encrypted on their way between nodes.
pub const ENCRYPTED: &str = "encrypted";

/// How a container is connected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Networking {
    /// By the engine's default network.
    #[default]
    Default,
    /// Shares the host's network.
    Host,
    /// Joins networks, the first when it is made, the others before it starts.
    Joined(Vec<NetworkJoin>),
}

/// A container's place on one network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkJoin {
    /// Name of the engine's network.
    pub network: String,
    /// The cluster's network; absent for networks every engine has.
    pub id: Option<NetworkId>,
    /// IPv4 address; the engine chooses without one.
    pub ipv4: Option<IpAddr>,
    /// IPv6 address.
    pub ipv6: Option<IpAddr>,
    /// Hardware address, so that peers know it before the container runs.
    pub mac: Option<String>,
    /// Options of the driver.
    pub driver_options: BTreeMap<String, String>,
}

/// A network to make on the engine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkPlan {
    /// The cluster's network.
    pub id: NetworkId,
    /// Name on the engine.
    pub name: String,
    /// Driver on the engine; `bridge` for overlays.
    pub driver: String,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels; they find it again.
    pub labels: BTreeMap<String, String>,
    /// Subnets as (CIDR, gateway).
    pub subnets: Vec<(String, String)>,
    /// Whether it has IPv6 subnets.
    pub ipv6: bool,
    /// Whether it has no way out.
    pub internal: bool,
    /// Name of the engine network it takes its settings from.
    pub config_from: Option<String>,
}

/// Returns the hardware address of an endpoint, as text.
pub fn endpoint_mac(address: Ipv4Addr) -> String {
    Mac::of_endpoint(address).to_string()
}

/// Returns the largest packet inside an overlay, in bytes.
pub fn overlay_mtu(allocation: &NetworkAllocation) -> u32 {
    let asked = allocation.driver.options.get("com.docker.network.driver.mtu");
    let encrypted = allocation.driver.options.contains_key(ENCRYPTED);
    let headers = if encrypted { TUNNEL_HEADERS + ENCRYPTED_HEADERS } else { TUNNEL_HEADERS };
    let usual = allocation.underlay_mtu.unwrap_or(UNDERLAY_MTU).saturating_sub(headers);
    asked.and_then(|mtu| mtu.parse().ok()).unwrap_or(usual)
}

/// Tells whether what a network carries between nodes is to be encrypted.
pub fn is_encrypted(network: &Network) -> bool {
    let options = network.spec.driver.as_ref().map(|driver| &driver.options);
    options.is_some_and(|options| options.contains_key(ENCRYPTED))
}

/// Returns the name of the kernel's bridge of an overlay.
pub fn bridge_name(vni: u32, id: &NetworkId) -> String {
    let head: String = id.as_str().chars().take(4).collect();
    format!("sk{vni}-{head}")
}

/// Tells whether a network is carried by skep's overlays rather than by a driver of the node.
pub fn is_overlay(network: &Network) -> bool {
    !network.spec.predefined
        && network
            .spec
            .driver
            .as_ref()
            .is_none_or(|driver| driver.name.is_empty() || driver.name == "overlay")
}

/// Plans a network for the engine of `node`. `Ok(None)` if every engine has it already.
pub fn network_plan(network: &Network, node: &NodeId) -> Result<Option<NetworkPlan>, InvalidTask> {
    if network.spec.predefined {
        return Ok(None);
    }
    let labels = [
        (NETWORK_LABEL.to_owned(), network.id.to_string()),
        (NODE_LABEL.to_owned(), node.to_string()),
    ];
    let mut plan = NetworkPlan {
        id: network.id.clone(),
        name: network.spec.annotations.name.clone(),
        labels: labels.into(),
        ipv6: network.spec.ipv6,
        internal: network.spec.internal,
        ..NetworkPlan::default()
    };
    if is_overlay(network) {
        fill_overlay(&mut plan, network, node)?;
    } else {
        fill_local(&mut plan, network);
    }
    Ok(Some(plan))
}

fn fill_overlay(
    plan: &mut NetworkPlan,
    network: &Network,
    node: &NodeId,
) -> Result<(), InvalidTask> {
    let missing = || InvalidTask(MISSING_ATTACHMENT.to_owned());
    let allocation = network.allocation.as_ref().ok_or_else(missing)?;
    let gateway = network.gateways.get(node).ok_or_else(missing)?;
    plan.driver = "bridge".to_owned();
    let mut option = |key: &str, value: String| {
        plan.options.insert(key.to_owned(), value);
    };
    option("com.docker.network.bridge.name", bridge_name(allocation.vni, &network.id));
    option("com.docker.network.driver.mtu", overlay_mtu(allocation).to_string());
    if !network.spec.internal {
        // Engines from 28.0 on drop packets that reach containers past the host's own ports, as the routing mesh's do.
        option("com.docker.network.bridge.gateway_mode_ipv4", "nat-unprotected".to_owned());
        if network.spec.ipv6 {
            option("com.docker.network.bridge.gateway_mode_ipv6", "nat-unprotected".to_owned());
        }
    }
    let gateways: Vec<IpAddr> = Pairs::of(network).with_pair(*gateway).collect();
    for config in allocation.bridged() {
        let own = gateways.iter().find(|it| it.is_ipv6() == config.subnet.contains(':'));
        let gateway = own.map_or_else(|| config.gateway.clone(), IpAddr::to_string);
        plan.subnets.push((config.subnet.clone(), without_prefix(&gateway).to_owned()));
    }
    Ok(())
}

fn fill_local(plan: &mut NetworkPlan, network: &Network) {
    if let Some(driver) = &network.spec.driver {
        plan.driver = driver.name.clone();
        plan.options = driver.options.clone();
    }
    plan.config_from = network.spec.config_from.clone();
    for config in network.spec.ipam.iter().flat_map(|ipam| &ipam.configs) {
        plan.subnets.push((config.subnet.clone(), without_prefix(&config.gateway).to_owned()));
    }
}

fn without_prefix(address: &str) -> &str {
    address.split('/').next().unwrap_or(address)
}

/// Plans how the task's container is connected. The routing mesh's network comes last.
pub(super) fn plan_networking(task: &Task) -> Result<Networking, InvalidTask> {
    if task.networks.is_empty() {
        return Ok(Networking::Default);
    }
    let is_host = |held: &TaskNetwork| {
        held.network.spec.predefined && held.network.spec.annotations.name == "host"
    };
    if task.networks.iter().any(is_host) {
        return Ok(Networking::Host);
    }
    let mut joins = Vec::new();
    for ingress in [false, true] {
        for held in task.networks.iter().filter(|held| held.network.spec.ingress == ingress) {
            joins.push(plan_join(task, held)?);
        }
    }
    Ok(Networking::Joined(joins))
}

fn plan_join(task: &Task, held: &TaskNetwork) -> Result<NetworkJoin, InvalidTask> {
    let network = &held.network;
    let address = |ipv6: bool| {
        held.addresses.iter().map(|(address, _)| *address).find(|held| held.is_ipv6() == ipv6)
    };
    let ipv4 = address(false);
    let overlay = is_overlay(network);
    if overlay && held.addresses.is_empty() {
        return Err(InvalidTask(MISSING_ATTACHMENT.to_owned()));
    }
    let mac = match ipv4 {
        Some(IpAddr::V4(address)) if overlay => Some(endpoint_mac(address)),
        Some(IpAddr::V4(_) | IpAddr::V6(_)) | None => None,
    };
    let pair = ipv4.and_then(|addr| Pairs::of(network).with_pair(addr).nth(1));
    let wanted = task.spec.networks.iter().find(|wanted| wanted.target == network.id);
    Ok(NetworkJoin {
        network: network.spec.annotations.name.clone(),
        id: (!network.spec.predefined).then(|| network.id.clone()),
        ipv4,
        ipv6: address(true).or(pair),
        mac,
        driver_options: wanted.map(|wanted| wanted.driver_options.clone()).unwrap_or_default(),
    })
}

/// Returns the addresses that answer name queries of the task: gateways of its networks, but for the mesh.
pub(super) fn name_servers(
    task: &Task,
    node: &NodeId,
    networks: &BTreeMap<NetworkId, std::sync::Arc<Network>>,
) -> Vec<String> {
    let held =
        task.networks.iter().map(|held| networks.get(&held.network.id).unwrap_or(&held.network));
    let named = held.map(|network| &**network).filter(|it| is_overlay(it) && !it.spec.ingress);
    bridges::name_servers(named, node).iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Driver;
    use crate::model::network::{IpamConfig, IpamOptions};

    fn overlay() -> Network {
        let id = NetworkId::from_entropy(7);
        let mut network = Network { id, ..Network::default() };
        network.spec.annotations.name = "front".into();
        network.gateways.insert(NodeId::from_entropy(1), [10, 0, 1, 2].into());
        let config = IpamConfig {
            subnet: "10.0.1.0/24".into(),
            gateway: "10.0.1.1".into(),
            ..IpamConfig::default()
        };
        network.allocation = Some(NetworkAllocation {
            vni: 16_777_215,
            ipam: IpamOptions { configs: vec![config], ..IpamOptions::default() },
            ..NetworkAllocation::default()
        });
        network
    }

    #[test]
    fn overlay_is_a_bridge_with_the_gateway_of_the_node() {
        let plan = network_plan(&overlay(), &NodeId::from_entropy(1));
        let plan = plan.expect("it has a gateway").expect("it is to be made");
        let name = &plan.options["com.docker.network.bridge.name"];
        assert_eq!(name, "sk16777215-0000");
        assert!(name.len() <= 15);
        assert_eq!(plan.subnets, [("10.0.1.0/24".to_owned(), "10.0.1.2".to_owned())]);
    }

    #[test]
    fn encryption_takes_its_room() {
        let mtu = |options: &[(&str, &str)]| {
            let options = options.iter().map(|(key, value)| (key.to_string(), value.to_string()));
            let driver = Driver { options: options.collect(), ..Driver::default() };
            overlay_mtu(&NetworkAllocation { driver, ..NetworkAllocation::default() })
        };
        assert_eq!(mtu(&[]), 1450);
        assert_eq!(mtu(&[("encrypted", "")]), 1370);
        assert_eq!(mtu(&[("encrypted", ""), ("com.docker.network.driver.mtu", "1200")]), 1200);
        let narrow = NetworkAllocation { underlay_mtu: Some(1400), ..NetworkAllocation::default() };
        assert_eq!(overlay_mtu(&narrow), 1350);
    }

    #[test]
    fn without_a_gateway_it_waits() {
        let found = network_plan(&overlay(), &NodeId::from_entropy(2));
        assert_eq!(found, Err(InvalidTask(MISSING_ATTACHMENT.to_owned())));
    }
}
