//! Which addresses of this node's bridges need a name server. Makes no bridge.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::id::NodeId;
use crate::state::State;

/// Returns the gateway addresses that `node` holds, each of which containers ask for names.
///
/// A node holds a gateway only on networks that are in use there.
pub fn gateways(state: &State, node: &NodeId) -> BTreeSet<IpAddr> {
    state.networks().values().filter_map(|network| network.gateways.get(node)).copied().collect()
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
}
