//! Gives each overlay network its subnets, their gateways and a VXLAN id.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::is_overlay;
use crate::agent::network::UNDERLAY_MTU;
use crate::command::{Change, NetworkPatch};
use crate::model::Driver;
use crate::model::network::{IpamConfig, IpamOptions, Network, NetworkAllocation};
use crate::net::cidr::Cidr;
use crate::net::family::Family;
use crate::net::pairs::Pairs;
use crate::net::plan::RETURN_VNI;
use crate::plan::draft::Draft;
use crate::plan::slots::is_on_node;

/// The first VXLAN id, and the last there is.
const VNI_MIN: u32 = 4096;
const VNI_MAX: u32 = (1 << 24) - 1;

/// Option that lists a network's VXLAN ids.
pub(in crate::plan) const VNI_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";

/// Pool and prefix length of a cluster that has set none.
const POOL_DEFAULT: &str = "10.0.0.0/8";
const SUBNET_SIZE_DEFAULT: u8 = 24;

pub(super) fn plan(draft: &mut Draft) {
    let unallocated = |network: &&Arc<Network>| network.allocation.is_none() && is_overlay(network);
    let mut networks: Vec<_> =
        draft.state.networks().values().filter(unallocated).cloned().collect();
    networks.sort_by_key(|network| {
        (network.meta.created_version, !network.spec.ingress, network.id.clone())
    });
    for network in networks {
        match allocate(draft, &network) {
            Ok(allocation) => {
                let id = network.id.clone();
                let patch =
                    NetworkPatch { id, allocation: Some(allocation), ..NetworkPatch::default() };
                draft.push(Change::PatchNetwork(Box::new(patch)));
            }
            Err(why) => {
                let name = &network.spec.annotations.name;
                draft.explain(None, None, format!("network {name}: {why}"));
            }
        }
    }
}

fn allocate(draft: &Draft, network: &Network) -> Result<NetworkAllocation, String> {
    let (mut held, asked_for) = other_subnets(draft, network);
    let asked = network.spec.ipam.clone().unwrap_or_default();
    let mut configs = Vec::new();
    for (config, family) in wanted(asked.configs, network.spec.ipv6) {
        let subnet = if config.subnet.is_empty() && family == Family::V6 {
            let found = first_free(private_subnets(draft), PRIVATE_SIZE, &held);
            found.ok_or("no IPv6 subnet is left")?
        } else if config.subnet.is_empty() {
            // What others insist on is passed over here, so that they can still get it.
            let taken = [&held[..], &asked_for[..]].concat();
            let free = [&taken[..], &in_the_way(draft)[..]].concat();
            // A wide route, as of a private network, must not leave the cluster without any.
            let found = subnet_from_pools(draft, &free);
            let found = found.or_else(|| subnet_from_pools(draft, &taken));
            found.ok_or("no subnet is left in the address pools")?
        } else {
            let text = &config.subnet;
            text.parse().map_err(|_| format!("invalid subnet {text}"))?
        };
        if held.iter().any(|other| other.overlaps(subnet)) {
            return Err(format!("subnet {subnet} overlaps with another network"));
        }
        held.push(subnet);
        configs.push(fill(config, subnet));
    }
    if network.spec.ipv6 && Pairs::beside(&configs).is_empty() {
        return Err("its IPv6 subnet has fewer addresses than its IPv4 subnet".to_owned());
    }
    // Subnets of both families are on one bridge.
    let bridges = configs.iter().filter(|config| !config.subnet.contains(':')).count();
    let vnis = pick_vnis(draft, network, bridges.max(1))?;
    let driver = Driver { name: "overlay".to_owned(), options: options(network, &vnis) };
    let ipam_driver = match asked.driver.name.as_str() {
        "" => "default".to_owned(),
        name => name.to_owned(),
    };
    let ipam = IpamOptions {
        driver: Driver { name: ipam_driver, options: asked.driver.options },
        configs,
    };
    let (vni, underlay_mtu) = (vnis.first().copied().unwrap_or(0), underlay_mtu(draft));
    Ok(NetworkAllocation { driver, vni, ipam, underlay_mtu })
}

/// Returns what the narrowest link between the nodes carries, if that is less than Ethernet does.
fn underlay_mtu(draft: &Draft) -> Option<u32> {
    let told = draft.state.nodes().values().filter_map(|node| node.description.underlay_mtu);
    told.min().filter(|mtu| *mtu < UNDERLAY_MTU)
}

/// Lists subnets to make, those that are left out too: a network with IPv6 has IPv4 as well.
fn wanted(asked: Vec<IpamConfig>, ipv6: bool) -> Vec<(IpamConfig, Family)> {
    let family = |config: &IpamConfig| {
        if config.subnet.contains(':') { Family::V6 } else { Family::V4 }
    };
    let mut wanted: Vec<_> = asked.into_iter().map(|it| (family(&it), it)).collect();
    let lacks = |wanted: &[(Family, IpamConfig)], family| wanted.iter().all(|it| it.0 != family);
    if wanted.is_empty() || ipv6 && lacks(&wanted, Family::V4) {
        wanted.insert(0, (Family::V4, IpamConfig::default()));
    }
    if ipv6 && lacks(&wanted, Family::V6) {
        wanted.push((Family::V6, IpamConfig::default()));
    }
    wanted.into_iter().map(|(family, config)| (config, family)).collect()
}

/// Prefix lengths of what a cluster has for IPv6, and of the subnets cut from it.
const PRIVATE_POOL_SIZE: u8 = 48;
const PRIVATE_SIZE: u8 = 64;

/// Returns the private range of a cluster: `fd`, and 40 bits that no other cluster is likely to have.
fn private_subnets(draft: &Draft) -> Cidr {
    let id = draft.state.cluster().map(|cluster| cluster.id.to_string()).unwrap_or_default();
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
    let base = (0xfd << 120) | (u128::from(hash >> 24) << 80);
    let pool = Cidr::new(Ipv6Addr::from_bits(base).into(), PRIVATE_POOL_SIZE);
    pool.expect("the length is one of IPv6")
}

/// Fills in what the user left open of one subnet: the gateway is its first address.
fn fill(config: IpamConfig, subnet: Cidr) -> IpamConfig {
    let gateway = match config.gateway.parse::<IpAddr>() {
        Ok(_) => config.gateway,
        Err(_) => subnet.first_usable().to_string(),
    };
    IpamConfig { subnet: subnet.to_string(), gateway, ..config }
}

/// Returns the subnets that other networks hold, and those that networks not allocated yet insist on.
fn other_subnets(draft: &Draft, network: &Network) -> (Vec<Cidr>, Vec<Cidr>) {
    let read = |ipam: &IpamOptions| -> Vec<Cidr> {
        ipam.configs.iter().filter_map(|config| config.subnet.parse().ok()).collect()
    };
    let (mut held, mut asked_for) = (Vec::new(), Vec::new());
    for other in draft.state.networks().values().filter(|other| other.id != network.id) {
        match (&other.allocation, &other.spec.ipam) {
            (Some(allocation), _) => held.extend(read(&allocation.ipam)),
            (None, Some(ipam)) if is_overlay(other) => asked_for.extend(read(ipam)),
            (None, _) => {}
        }
    }
    (held, asked_for)
}

/// Returns what no network has and none should get: what hosts route elsewhere, and what containers of a removed network
/// keep until they have stopped.
fn in_the_way(draft: &Draft) -> Vec<Cidr> {
    let state = &draft.state;
    let routed = state.nodes().values().flat_map(|node| node.description.host_subnets.iter());
    let running = state.tasks().values().filter(|task| is_on_node(task));
    let removed = running
        .flat_map(|task| &task.networks)
        .filter(|held| !state.networks().contains_key(&held.network.id));
    let kept = removed
        .filter_map(|held| held.network.allocation.as_ref())
        .flat_map(|allocation| allocation.ipam.configs.iter().map(|config| &config.subnet));
    routed.chain(kept).filter_map(|subnet| subnet.parse().ok()).collect()
}

/// Returns the first subnet of the pools that nothing overlaps.
fn subnet_from_pools(draft: &Draft, taken: &[Cidr]) -> Option<Cidr> {
    let cluster = draft.state.cluster();
    let mut pools: Vec<Cidr> = cluster
        .iter()
        .flat_map(|cluster| &cluster.address_pools)
        .filter_map(|pool| pool.parse().ok())
        .collect();
    if pools.is_empty() {
        pools.extend(POOL_DEFAULT.parse::<Cidr>());
    }
    let size = cluster.map_or(0, |cluster| cluster.subnet_size);
    let size = u8::try_from(size).ok().filter(|size| *size > 0).unwrap_or(SUBNET_SIZE_DEFAULT);
    pools.into_iter().find_map(|pool| first_free(pool, size.max(pool.prefix()), taken))
}

fn first_free(pool: Cidr, prefix: u8, taken: &[Cidr]) -> Option<Cidr> {
    let mut index = 0;
    loop {
        let subnet = pool.subnet(prefix, index)?;
        let Some(other) = taken.iter().find(|other| other.overlaps(subnet)) else {
            return Some(subnet);
        };
        // Jump over a large neighbour in one step.
        let host_bits = if subnet.is_ipv4() { 32 } else { 128 } - u32::from(other.prefix());
        let own_bits = if subnet.is_ipv4() { 32 } else { 128 } - u32::from(prefix);
        let step = 1_u128.checked_shl(host_bits.saturating_sub(own_bits))?;
        index = (index / step).checked_add(1)?.checked_mul(step)?;
    }
}

fn listed_vnis(options: &std::collections::BTreeMap<String, String>) -> Vec<u32> {
    let list = options.get(VNI_OPTION).map_or("", String::as_str);
    list.split(',').filter_map(|vni| vni.trim().parse().ok()).collect()
}

/// Returns a VXLAN id for each subnet: those the user named, then the lowest that are free.
fn pick_vnis(draft: &Draft, network: &Network, count: usize) -> Result<Vec<u32>, String> {
    let others = draft.state.networks().values().filter(|other| other.id != network.id);
    let allocations = others.filter_map(|other| other.allocation.as_ref());
    let mut taken: BTreeSet<u32> = allocations
        .flat_map(|it| listed_vnis(&it.driver.options).into_iter().chain([it.vni]))
        .collect();
    let usable = |vni: u32| vni > 0 && vni <= VNI_MAX && vni != RETURN_VNI;
    let list = network.spec.driver.as_ref().and_then(|it| it.options.get(VNI_OPTION));
    let mut vnis = Vec::new();
    for text in list.iter().flat_map(|list| list.split(',')) {
        let vni = text.parse().ok().filter(|vni| usable(*vni));
        let vni = vni.ok_or_else(|| format!("invalid vxlan id value {text:?} passed"))?;
        if vnis.len() < count && !taken.insert(vni) {
            return Err(format!("VXLAN id {vni} is another network's"));
        }
        vnis.push(vni);
    }
    let free = (VNI_MIN..=VNI_MAX).filter(|vni| usable(*vni) && !taken.contains(vni));
    let named = vnis.len();
    vnis.extend(free.take(count.saturating_sub(named)));
    vnis.truncate(count);
    if vnis.len() < count {
        return Err("no VXLAN id is left".to_owned());
    }
    Ok(vnis)
}

fn options(network: &Network, vnis: &[u32]) -> std::collections::BTreeMap<String, String> {
    let mut options = network.spec.driver.clone().unwrap_or_default().options;
    let list: Vec<String> = vnis.iter().map(u32::to_string).collect();
    options.insert(VNI_OPTION.to_owned(), list.join(","));
    options
}
