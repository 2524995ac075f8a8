//! Which node of which cluster this is, and at which addresses. Touches no file.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use skep_core::id::{ClusterId, NodeId};
use skep_core::model::node::Role;

use crate::manager::cluster::FIRST_MEMBER;
use crate::manager::{InterfaceAddress, SwarmAddresses};

/// Which node of which cluster this is, and where it listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Form of the file.
    version: u32,
    /// The node.
    pub node: NodeId,
    /// The cluster.
    pub cluster: ClusterId,
    /// To listen on.
    pub listen: SocketAddr,
    /// To tell others.
    pub advertise: SocketAddr,
    /// Source of overlay traffic.
    pub data_path: IpAddr,
    /// Its id in the consensus group; 0 for workers.
    #[serde(default = "first_member")]
    pub raft_id: u64,
    /// Whether it takes part in consensus.
    #[serde(default = "manager")]
    pub role: Role,
    /// Whether the address told to others was one of the host's own, so that another one takes its place if it is not any more.
    #[serde(default)]
    pub follows_host: bool,
}

/// Files from before there were others are those of the first member.
fn first_member() -> u64 {
    FIRST_MEMBER
}

/// There were no workers at first.
fn manager() -> Role {
    Role::Manager
}

impl Identity {
    /// Makes the identity of a new manager.
    pub fn new(node: NodeId, cluster: ClusterId, addresses: &SwarmAddresses, raft_id: u64) -> Self {
        Self {
            version: 1,
            node,
            cluster,
            listen: addresses.listen,
            advertise: addresses.advertise,
            data_path: addresses.data_path,
            raft_id,
            role: Role::Manager,
            follows_host: false,
        }
    }

    /// Notes whether the address told to others is one of the host's own.
    pub fn on_host(self, host: &[InterfaceAddress]) -> Self {
        let follows_host = host.iter().any(|entry| entry.addr == self.advertise.ip());
        Self { follows_host, ..self }
    }

    /// Returns the identity with the host's new address, where it has been told the old one and has it no more. `new` finds it.
    pub fn moved(
        &self,
        host: &[InterfaceAddress],
        new: impl FnOnce() -> Option<IpAddr>,
    ) -> Option<Self> {
        let old = self.advertise.ip();
        if !self.follows_host || host.iter().any(|entry| entry.addr == old) {
            return None;
        }
        let new = new().filter(|new| host.iter().any(|entry| entry.addr == *new))?;
        let at_new = |address: SocketAddr| {
            if address.ip() == old { SocketAddr::new(new, address.port()) } else { address }
        };
        Some(Self {
            listen: at_new(self.listen),
            advertise: at_new(self.advertise),
            data_path: if self.data_path == old { new } else { self.data_path },
            ..self.clone()
        })
    }

    /// Returns the node's identity as a manager under a new id in the consensus group.
    pub fn as_manager(&self, raft_id: u64) -> Self {
        Self { raft_id, role: Role::Manager, ..self.clone() }
    }

    /// Returns the node's identity as a worker.
    pub fn as_worker(&self) -> Self {
        Self { raft_id: 0, role: Role::Worker, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_moved_tells_its_new_address() -> anyhow::Result<()> {
        let addresses = SwarmAddresses {
            listen: "192.0.2.1:2377".parse()?,
            advertise: "192.0.2.1:2377".parse()?,
            data_path: "192.0.2.9".parse()?,
        };
        let host = |addr: &str| -> anyhow::Result<_> {
            Ok([InterfaceAddress { interface: "eth0".to_owned(), addr: addr.parse()? }])
        };
        let (here, there) = (host("192.0.2.1")?, host("192.0.2.2")?);
        let made =
            Identity::new(NodeId::from_entropy(1), ClusterId::from_entropy(2), &addresses, 7);
        let new = || "192.0.2.2".parse().ok();
        let identity = made.clone().on_host(&here);
        assert_eq!(identity.moved(&here, new), None);
        assert_eq!(identity.moved(&there, || None), None);
        assert_eq!(identity.moved(&there, || "192.0.2.3".parse().ok()), None);
        let moved = identity.moved(&there, new).map(|it| (it.listen, it.advertise, it.data_path));
        let expected = ("192.0.2.2:2377".parse()?, "192.0.2.2:2377".parse()?, "192.0.2.9".parse()?);
        assert_eq!(moved, Some(expected));
        // An address that never was the host's own, as behind a translator, is kept.
        assert_eq!(made.on_host(&there).moved(&there, new), None);
        Ok(())
    }
}
