//! Where the replacement of a root stands: which nodes still hold a certificate of the present one. Starts and ends none.

use std::sync::Arc;

use crate::model::cluster::{Cluster, RootCa};
use crate::model::node::{Node, NodeDescription};
use crate::state::State;

/// Tells whether a node said that its certificate descends from the root it shall descend from now.
pub fn is_certified(root: &RootCa, told: &NodeDescription) -> bool {
    root.issuer() == (told.issuer_subject.as_slice(), told.issuer_public_key.as_slice())
}

/// Tells whether a node has moved to the next root: it is certified by it, and trusts it. Both must hold before the present
/// root may go, or a node that hears of that too late could trust nobody any more.
pub fn has_moved(root: &RootCa, told: &NodeDescription) -> bool {
    let trusts = |pem: &str| told.trust_root_pem.contains(pem.trim());
    is_certified(root, told) && root.rotation.iter().all(|next| trusts(&next.certificate_pem))
}

/// Returns the nodes that a rotation waits for; those that are down too, until they are back or removed.
pub fn waits_for(state: &State) -> impl Iterator<Item = &Arc<Node>> {
    let root = state.cluster().map(|cluster| &cluster.root_ca);
    let root = root.filter(|root| root.rotation.is_some());
    let nodes = root.map(|root| (root, state.nodes().values()));
    nodes
        .into_iter()
        .flat_map(|(root, nodes)| nodes.filter(move |node| !has_moved(root, &node.description)))
}

/// Tells whether all nodes have moved to the next root of a rotation.
pub fn is_complete(state: &State) -> bool {
    let rotates = |cluster: &Arc<Cluster>| cluster.root_ca.rotation.is_some();
    state.cluster().is_some_and(rotates) && waits_for(state).next().is_none()
}
