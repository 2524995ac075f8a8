//! What a node's network should be: names, ports, and the kernel's links, tables and packet rules. Touches no kernel.

pub mod amiss;
pub mod asking;
mod bag;
pub mod bridges;
pub mod changes;
#[cfg(test)]
mod changing;
pub mod cidr;
mod draft;
pub mod drain;
pub mod element;
pub mod family;
#[cfg(test)]
mod fixture;
pub mod kernel;
mod lead;
pub mod mac;
pub mod namer;
pub mod names;
mod naming;
mod nat;
pub mod pairs;
mod peers;
pub mod plan;
pub mod planner;
pub mod ports;
pub mod rule;
mod rules;
pub mod ruleset;
pub mod served;
pub mod ways;
pub mod wire_link;
pub mod wireguard;

use std::net::IpAddr;

use crate::agent::network::is_encrypted;
use crate::id::NodeId;
use crate::model::network::Network;
use crate::model::task::{Task, TaskState};
use crate::state::State;
use cidr::Cidr;

/// All tables of packet rules that are ever skep's.
pub use rules::TABLES;

/// Tells whether what is sent from `node` to a task's address arrives: the task is there, or both are joined by a network.
/// One that is encrypted joins only nodes that have keys.
pub fn reaches(state: &State, node: &NodeId, task: &Task) -> bool {
    let has_key = |id: &NodeId| {
        state.nodes().get(id).is_some_and(|node| node.description.tunnel_key.is_some())
    };
    let have_keys = || has_key(node) && task.node.as_ref().is_some_and(has_key);
    task.node.as_ref() == Some(node)
        || task.networks.iter().any(|held| {
            state.networks().get(&held.network.id).is_some_and(|network| {
                network.gateways.contains_key(node) && (!is_encrypted(network) || have_keys())
            })
        })
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
