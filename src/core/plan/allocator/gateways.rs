//! Gives nodes their own address on each overlay that their tasks join, and on the routing mesh once a port is published.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{addresses, note_last_addresses, publishes};
use crate::command::{Change, NetworkPatch};
use crate::id::{NetworkId, NodeId};
use crate::model::service::Service;
use crate::plan::draft::Draft;
use crate::plan::slots::is_on_node;

pub(in crate::plan) fn plan(draft: &mut Draft) {
    for (network, node) in missing(draft) {
        let Some((addr, _)) = addresses::next_free(draft, &network) else {
            let why = addresses::shortage(draft, &network);
            draft.explain(None, None, why);
            continue;
        };
        draft.push(Change::PatchNetwork(Box::new(NetworkPatch {
            id: network.clone(),
            gateways: vec![(node, addr)],
            ..NetworkPatch::default()
        })));
        addresses::took(draft, &network, addr);
    }
    note_last_addresses(draft);
}

fn missing(draft: &Draft) -> BTreeSet<(NetworkId, NodeId)> {
    let state = &draft.state;
    let lacks = |network: &NetworkId, node: &NodeId| {
        let found = state.networks().get(network);
        found.is_some_and(|it| it.allocation.is_some() && !it.gateways.contains_key(node))
    };
    let mut missing = BTreeSet::new();
    for task in draft.tasks_where(is_on_node) {
        let Some(node) = task.node.as_ref().filter(|id| state.nodes().contains_key(*id)) else {
            continue;
        };
        for joined in task.networks.iter().filter(|joined| lacks(&joined.network.id, node)) {
            missing.insert((joined.network.id.clone(), node.clone()));
        }
    }
    let mesh = state.networks().values().find(|network| network.spec.ingress);
    let publish = |it: &Arc<Service>| it.endpoint.as_ref().is_some_and(|it| publishes(&it.spec));
    if let Some(mesh) = mesh
        && draft.services().iter().any(publish)
    {
        let nodes = state.nodes().keys().filter(|node| lacks(&mesh.id, node));
        missing.extend(nodes.map(|node| (mesh.id.clone(), node.clone())));
    }
    missing
}
