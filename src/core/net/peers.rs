//! Other nodes that share a network with this one: where tunnels to them end. Makes no tunnel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::plan::Host;
use super::wireguard::{PEERS_MAX, WireGuard, WirePeer, addr_of};
use crate::id::NodeId;
use crate::model::node::{Node, NodeAgent};
use crate::model::tunnel_key::TunnelKey;
use crate::state::State;

/// Another node that shares a network and runs skep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    /// Its address among the nodes.
    pub(super) addr: Ipv4Addr,
    /// How it is reached encrypted.
    secure: Option<(TunnelKey, Ipv4Addr)>,
}

impl Peer {
    /// Where tunnels to it end; nowhere if they are to be encrypted and cannot be.
    pub(super) fn end(&self, encrypted: bool) -> Option<Ipv4Addr> {
        if encrypted { self.secure.map(|(_, addr)| addr) } else { Some(self.addr) }
    }
}

/// Lists the nodes among `near` that tunnels lead to.
pub(super) fn peers<'a>(
    state: &'a State,
    host: &Host,
    near: &BTreeSet<&NodeId>,
) -> BTreeMap<&'a NodeId, Peer> {
    let own = state.nodes().get(&host.node).and_then(|node| node.description.tunnel_key);
    // A key and an address belong to one node; whoever comes second has none.
    let (mut keys, mut addrs) = (BTreeSet::from_iter(own), BTreeSet::from([addr_of(host.addr)]));
    let others = state.nodes().values().filter(|node| node.id != host.node);
    let others = others.filter(|node| near.contains(&node.id));
    let peer = |node: &'a std::sync::Arc<Node>| {
        let addr = underlay(node)?;
        let secure = own.and(node.description.tunnel_key).filter(|key| {
            keys.len() <= PEERS_MAX && !keys.contains(key) && addrs.insert(addr_of(addr))
        });
        keys.extend(secure);
        Some((&node.id, Peer { addr, secure: secure.map(|key| (key, addr_of(addr))) }))
    };
    others.filter_map(peer).collect()
}

/// Returns this node's end of the encrypted way to these.
pub(super) fn wireguard<'a>(host: &Host, peers: impl Iterator<Item = &'a Peer>) -> WireGuard {
    let peers = peers.filter_map(|peer| {
        let (key, addr) = peer.secure?;
        Some((key, WirePeer { endpoint: peer.addr, addr }))
    });
    WireGuard { endpoint: host.addr, addr: addr_of(host.addr), peers: peers.collect() }
}

/// Returns where tunnels to a node end; nowhere for an engine alone, which knows nothing of them.
pub fn underlay(node: &Node) -> Option<Ipv4Addr> {
    match node.agent {
        Some(NodeAgent::Skep { .. }) => {}
        // A manager runs skep before its first session too.
        None if node.manager.is_some() => {}
        Some(NodeAgent::Engine) | None => return None,
    }
    let of_manager = || {
        let addr = &node.manager.as_ref()?.addr;
        addr.parse::<std::net::SocketAddr>().ok().map(|addr| addr.ip())
    };
    let seen = || node.status.addr.parse::<IpAddr>().ok();
    match node.description.data_path.or_else(of_manager).or_else(seen)? {
        IpAddr::V4(addr) if !addr.is_unspecified() => Some(addr),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}
