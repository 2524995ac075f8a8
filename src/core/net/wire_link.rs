//! The encrypted link where the kernel has it: what is there, what should be, and the steps between. Does none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::wireguard::{MTU, PORT, PREFIX, WireGuard, WirePeer};
use crate::model::tunnel_key::TunnelKey;

/// Who has the encrypted link of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carrier {
    /// There is none.
    Nobody,
    /// A process of skep's.
    Process,
    /// The kernel itself.
    Kernel(WireLink),
}

/// The kernel's link as it is. Its key pair is its own business: it is made with the link and goes with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WireLink {
    /// Whether packets pass.
    pub up: bool,
    /// Largest packet inside, in bytes.
    pub mtu: u32,
    /// Its addresses, each with the length of its prefix.
    pub addrs: BTreeSet<(Ipv4Addr, u8)>,
    /// UDP port it listens on.
    pub port: u16,
    /// The nodes it knows; nothing of one that it knows otherwise than skep tells it.
    pub peers: BTreeMap<TunnelKey, Option<WirePeer>>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireOp {
    /// Takes an address off it.
    RemoveAddr(Ipv4Addr, u8),
    /// Gives it its address.
    AddAddr(Ipv4Addr),
    /// Sets the size of its largest packet.
    SetMtu(u16),
    /// Listens on this port.
    SetPort(u16),
    /// Takes it up.
    TakeUp,
    /// Forgets a node.
    RemovePeer(TunnelKey),
    /// Knows a node, by this and no more, and begins a session unless there is one. Sessions of a node known before go on.
    SetPeer(TunnelKey, WirePeer),
}

/// Returns the steps from what is there to what should be. Where no network needs it, only the nodes go: whoever needs the link
/// again need not wait for a new key to get around.
pub fn wire_steps(wanted: Option<&WireGuard>, link: &WireLink) -> Vec<WireOp> {
    let Some(wanted) = wanted else {
        return link.peers.keys().copied().map(WireOp::RemovePeer).collect();
    };
    let mut steps = Vec::new();
    let own = (wanted.addr, PREFIX);
    let strange = link.addrs.iter().filter(|held| **held != own);
    steps.extend(strange.map(|(addr, prefix)| WireOp::RemoveAddr(*addr, *prefix)));
    if !link.addrs.contains(&own) {
        steps.push(WireOp::AddAddr(wanted.addr));
    }
    if link.mtu != u32::from(MTU) {
        steps.push(WireOp::SetMtu(MTU));
    }
    if link.port != PORT {
        steps.push(WireOp::SetPort(PORT));
    }
    if !link.up {
        steps.push(WireOp::TakeUp);
    }
    let gone = link.peers.keys().filter(|key| !wanted.peers.contains_key(key));
    steps.extend(gone.copied().map(WireOp::RemovePeer));
    // Sessions ended when it was taken down, and others do not know.
    let is_known = |key: &TunnelKey, peer: &WirePeer| {
        link.up && link.peers.get(key).is_some_and(|held| held.as_ref() == Some(peer))
    };
    let unknown = wanted.peers.iter().filter(|(key, peer)| !is_known(key, peer));
    steps.extend(unknown.map(|(key, peer)| WireOp::SetPeer(*key, *peer)));
    steps
}

impl WireOp {
    /// Says what is wrong where this step is needed.
    pub(super) fn describe(&self, link: &str) -> String {
        match self {
            Self::RemoveAddr(addr, _) => format!("link {link} should not have address {addr}"),
            Self::AddAddr(addr) => format!("link {link} does not have address {addr}"),
            Self::SetMtu(mtu) => format!("link {link} should take packets of {mtu} bytes"),
            Self::SetPort(port) => format!("link {link} does not listen on UDP port {port}"),
            Self::TakeUp => format!("link {link} is down"),
            Self::RemovePeer(key) => format!("link {link} should not know the key {key}"),
            Self::SetPeer(_, peer) => {
                format!("link {link} does not know the node at {}", peer.endpoint)
            }
        }
    }
}

#[cfg(test)]
#[path = "wire_link_tests.rs"]
mod tests;
