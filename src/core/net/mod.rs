//! Who may resolve which name to what, and which ports lead where. Touches no kernel.

pub mod bridges;
pub mod cidr;
#[cfg(test)]
mod fixture;
pub mod names;
pub mod ports;
pub mod served;

use std::net::IpAddr;

use crate::id::NodeId;
use crate::model::network::Network;
use crate::model::task::{Task, TaskState};
use cidr::Cidr;

/// Tells whether what is sent from `node` to a task's address arrives. A network is a bridge on each node that has tasks
/// on it, and bridges of several nodes are not connected yet; what joins them changes this one function.
pub fn reaches(node: &NodeId, task: &Task) -> bool {
    task.node.as_ref() == Some(node)
}

/// Tells whether traffic may be sent to a task: it runs, is healthy and is not about to stop.
///
/// A job's task is meant to complete, so that goal alone does not take it out.
pub fn takes_traffic(task: &Task) -> bool {
    task.status.state == TaskState::Running && task.desired <= TaskState::Complete
}

/// Returns the subnets of a network; those that cannot be read are left out.
fn subnets(network: &Network) -> impl Iterator<Item = Cidr> + '_ {
    network
        .allocation
        .iter()
        .flat_map(|allocation| &allocation.ipam.configs)
        .filter_map(|config| config.subnet.parse().ok())
}

/// Returns the addresses of an attachment without their prefix lengths.
fn plain(addresses: &[(IpAddr, u8)]) -> impl Iterator<Item = IpAddr> + '_ {
    addresses.iter().map(|(addr, _)| *addr)
}
