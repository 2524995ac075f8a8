//! The encrypted way between nodes, which tunnels of encrypted networks run through: a WireGuard link whose addresses follow
//! from those of the nodes. Encrypts nothing itself.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::model::tunnel_key::TunnelKey;

/// The link. Its address is on it alone, so that without it no tunnel has an end, and nothing is sent.
pub const LINK: &str = "skwg";

/// UDP port of all its ends: above those that the kernel gives out by itself.
pub const PORT: u16 = 61820;

/// Largest packet inside, in bytes: what an Ethernet underlay carries without the headers around it.
pub const MTU: u16 = 1420;

/// Addresses on it begin with these bits. Nobody else has such an address: they are given to no network.
const BASE: u32 = 0xf000_0000;

/// Length of the prefix that all of them share.
pub const PREFIX: u8 = 4;

/// Peers at most, for whoever is told of them.
pub const PEERS_MAX: usize = 10_000;

/// A node's end of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireGuard {
    /// The node's address, where its packets come from.
    pub endpoint: Ipv4Addr,
    /// Its address on the link.
    pub addr: Ipv4Addr,
    /// The others.
    pub peers: BTreeMap<TunnelKey, WirePeer>,
}

/// Another node's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WirePeer {
    /// The node's address, where its packets come from.
    pub endpoint: Ipv4Addr,
    /// Its address on the link, the only one it may speak for.
    pub addr: Ipv4Addr,
}

/// Returns the address on the link of a node with this address: they differ where the last 28 bits do.
pub fn addr_of(node: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(BASE | (node.to_bits() & !BASE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_from_addresses() {
        for (node, addr) in [([192, 0, 2, 1], [240, 0, 2, 1]), ([10, 77, 0, 3], [250, 77, 0, 3])] {
            assert_eq!(addr_of(node.into()), Ipv4Addr::from(addr));
        }
    }
}
