//! Picks addresses in the order of their numbers, after the last one given, so that one set free is not given again at once.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::id::NetworkId;
use crate::model::network::{IpamConfig, Network};
use crate::net::cidr::Cidr;
use crate::net::pairs::Pairs;
use crate::plan::draft::Draft;

/// Returns the next free address of a network and the prefix length of its subnet; absent when there is none.
/// The caller takes it by putting it into the state and then calls [`took`].
pub(super) fn next_free(draft: &Draft, network: &NetworkId) -> Option<(IpAddr, u8)> {
    let found = draft.state.networks().get(network)?;
    let last = draft.cursors.get(network).copied().or(found.last_address);
    let allocation = found.allocation.as_ref()?;
    let subnets = allocation.bridged();
    let subnets: Vec<(&IpamConfig, Cidr)> =
        subnets.filter_map(|config| Some((config, config.subnet.parse().ok()?))).collect();
    // What has an address of the older family has one of the other with it.
    let dual = subnets.iter().any(|(_, subnet)| subnet.is_ipv4());
    let taken = reserved(found);
    subnets.into_iter().filter(|(_, subnet)| subnet.is_ipv4() == dual).find_map(
        |(config, subnet)| {
            let addr = next_in(draft, network, config, subnet, &taken, last)?;
            Some((addr, subnet.prefix()))
        },
    )
}

/// Lists what a network gives to nobody: addresses that other things have, and gateways; with those that go with them.
fn reserved(network: &Network) -> BTreeSet<IpAddr> {
    let pairs = Pairs::of(network);
    let configs = network.allocation.iter().flat_map(|allocation| &allocation.ipam.configs);
    let named = configs.flat_map(|config| config.reserved.values().chain([&config.gateway]));
    let addrs = named.filter_map(|addr| addr.parse::<IpAddr>().ok());
    let in_both = addrs.flat_map(|addr| match addr {
        IpAddr::V4(_) => [Some(addr), None],
        IpAddr::V6(v6) => [Some(addr), pairs.v4(v6).map(IpAddr::V4)],
    });
    in_both.flatten().collect()
}

/// Returns an address with the prefix length of its subnet if the network has it and nothing holds it. Of two families it is
/// the IPv4 address that is given, whichever of the two was asked for.
pub(super) fn this_one(draft: &Draft, network: &NetworkId, addr: IpAddr) -> Option<(IpAddr, u8)> {
    let found = draft.state.networks().get(network)?;
    let addr = match addr {
        IpAddr::V6(v6) => Pairs::of(found).v4(v6).map_or(addr, IpAddr::V4),
        IpAddr::V4(_) => addr,
    };
    if reserved(found).contains(&addr) || draft.state.address_in_use(network, addr) {
        return None;
    }
    let mut subnets = found
        .allocation
        .as_ref()?
        .bridged()
        .filter_map(|config| config.subnet.parse::<Cidr>().ok());
    let usable =
        |it: &Cidr| it.contains(addr) && (it.first_usable()..=it.last_usable()).contains(&addr);
    subnets.find(usable).map(|subnet| (addr, subnet.prefix()))
}

/// Says that a network has no address left, with its figures.
pub(super) fn shortage(draft: &Draft, network: &NetworkId) -> String {
    let Some(found) = draft.state.networks().get(network) else {
        return "a network is gone".to_owned();
    };
    let configs = found.allocation.iter().flat_map(|allocation| allocation.bridged());
    let subnets: Vec<&str> = configs.map(|config| config.subnet.as_str()).collect();
    let name = &found.spec.annotations.name;
    let held = draft.state.addresses_in_use(network);
    format!("no address is left on network {name} ({}, {held} in use)", subnets.join(" and "))
}

/// Notes that an address was given out.
pub(super) fn took(draft: &mut Draft, network: &NetworkId, addr: IpAddr) {
    draft.cursors.insert(network.clone(), addr);
}

fn next_in(
    draft: &Draft,
    network: &NetworkId,
    config: &IpamConfig,
    subnet: Cidr,
    reserved: &BTreeSet<IpAddr>,
    last: Option<IpAddr>,
) -> Option<IpAddr> {
    let range = config.range.parse::<Cidr>().ok().filter(|range| subnet.contains_subnet(*range));
    let range = range.unwrap_or(subnet);
    let lowest = subnet.first_usable();
    let highest = subnet.last_usable();
    let free = |addr: &IpAddr| {
        (lowest..=highest).contains(addr)
            && !reserved.contains(addr)
            && !draft.state.address_in_use(network, *addr)
    };
    let after = last.and_then(|last| range.index_of(last)).map_or(0, |index| index + 1);
    let end = range.last_index();
    // Every address passed over is taken, so this ends after as many steps as there are taken addresses.
    let later = (after..=end).filter_map(|index| range.nth(index)).find(free);
    later.or_else(|| (0..after.min(end + 1)).filter_map(|index| range.nth(index)).find(free))
}
