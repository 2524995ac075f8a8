//! Which addresses of this node's bridges need a name server. Makes no bridge.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::id::NodeId;
use crate::model::network::Network;
use crate::state::State;

/// Docker asks no more than three servers; one place is left for a server of the user.
const SERVERS_MAX: usize = 2;

/// Returns the gateway addresses that `node` holds, each of which containers ask for names.
///
/// A node holds a gateway only on networks that are in use there.
pub fn gateways(state: &State, node: &NodeId) -> BTreeSet<IpAddr> {
    state.networks().values().filter_map(|network| network.gateways.get(node)).copied().collect()
}

/// Returns whom containers that `node` has on these networks ask for names: the node itself, which knows those of all of them,
/// and the one after it on a network, which answers while the node's own daemon is down.
pub fn name_servers<'a>(networks: impl Iterator<Item = &'a Network>, node: &NodeId) -> Vec<IpAddr> {
    let on = |network: &'a Network| {
        let own = network.gateways.get(node);
        let in_turn = network.gateways.iter().filter(|(it, _)| *it > node);
        let mut in_turn = in_turn.chain(&network.gateways).map(|(_, addr)| addr);
        let other = in_turn.find(|addr| Some(*addr) != own).filter(|_| own.is_some());
        own.into_iter().chain(other).copied()
    };
    networks.flat_map(on).take(SERVERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fixture::{World, ip};

    #[test]
    fn only_gateways_of_this_node_are_served() {
        let mut world = World::default();
        world.network("front", "10.0.1.0/24").gateways =
            [(World::node(1), ip("10.0.1.1")), (World::node(2), ip("10.0.1.3"))].into();
        world.network("back", "10.0.2.0/24").gateways = [(World::node(2), ip("10.0.2.1"))].into();
        let state = world.state();
        assert_eq!(gateways(&state, &World::node(1)), [ip("10.0.1.1")].into());
        assert_eq!(gateways(&state, &World::node(2)), [ip("10.0.1.3"), ip("10.0.2.1")].into());
        assert_eq!(gateways(&state, &World::node(3)), BTreeSet::new());
    }
    #[test]
    fn containers_ask_their_node_and_the_one_after_it() {
        let mut world = World::default();
        let at = |number: u8| (World::node(number.into()), ip(&format!("10.0.1.{number}")));
        let mut front = world.network("front", "10.0.1.0/24").clone();
        let back = world.network("back", "10.0.2.0/24").clone();
        let servers = |networks: &[&Network], node| {
            let found = name_servers(networks.iter().copied(), &World::node(node));
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let own = back.gateways[&World::node(1)];
        front.gateways = [at(1)].into();
        assert_eq!(servers(&[&front], 1), "10.0.1.1");
        assert_eq!(servers(&[&front, &back], 1), format!("10.0.1.1 {own}"));
        front.gateways = [at(1), at(2), at(3)].into();
        assert_eq!(servers(&[&front, &back], 1).split(' ').count(), 2);
        let all: BTreeSet<String> = (1..=3).map(|node| servers(&[&front], node)).collect();
        let second = |pair: &String| pair.split(' ').nth(1).map(str::to_owned);
        let spread: BTreeSet<_> = all.iter().filter_map(second).collect();
        assert_eq!(spread.len(), 3, "each is the second of one: {all:?}");
        assert_eq!(servers(&[&front], 4), "");
    }
}
