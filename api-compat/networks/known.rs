//! Which networks this node can show, and which one a name or an id means.

use std::sync::Arc;

use serde_json::Value;
use skep_core::id::NodeId;
use skep_core::model::Kind;
use skep_core::model::network::Network;
use skep_core::state::State;

use super::{field, is_twin};
use crate::backend::Membership;
use crate::call::Call;
use crate::error::ApiError;
use crate::query::Query;

/// Returns the state where this node is a manager that can tell.
pub(super) async fn cluster(call: &Call) -> Option<Arc<State>> {
    match call.backend.membership() {
        Membership::Manager { .. } => call.backend.read().await.ok(),
        Membership::Inactive
        | Membership::Pending { .. }
        | Membership::Worker { .. }
        | Membership::Locked
        | Membership::Failed { .. } => None,
    }
}

/// What this node can show of the cluster's networks.
pub(super) struct Known {
    pub(super) state: Arc<State>,
    /// On a worker, which it is: it shows what it uses and no more.
    pub(super) worker: Option<NodeId>,
}

/// Looks what this node can show; nothing but the engine's networks outside a cluster.
pub(super) async fn known(call: &Call) -> Option<Known> {
    match call.backend.membership() {
        Membership::Worker { .. } => {
            let (node, state) = call.backend.known()?;
            Some(Known { state, worker: Some(node) })
        }
        Membership::Inactive
        | Membership::Pending { .. }
        | Membership::Manager { .. }
        | Membership::Locked
        | Membership::Failed { .. } => Some(Known { state: cluster(call).await?, worker: None }),
    }
}

impl Known {
    /// Lists the networks that it can show.
    pub(super) fn networks(&self) -> impl Iterator<Item = &Arc<Network>> {
        self.state.networks().values().filter(|network| match &self.worker {
            Some(node) => uses(&self.state, node, network),
            None => true,
        })
    }
}

/// Tells whether a node has a network for tasks or containers of its own, or for the routing mesh.
fn uses(state: &State, node: &NodeId, network: &Network) -> bool {
    let mut live = state.node_tasks(node).filter(|task| !task.status.state.is_terminal());
    let is_joined =
        live.any(|task| task.networks.iter().any(|joined| joined.network.id == network.id));
    is_joined || network.spec.ingress && network.gateways.contains_key(node)
}

/// What a reference to a network means.
pub(super) enum Found {
    /// A cluster network.
    Cluster(Arc<Network>),
    /// A network of the engine, by its id.
    Local(String),
}

/// Finds a network by full id, name or beginning of the id, the engine's and the cluster's alike.
pub(super) async fn find(
    call: &Call,
    known: Option<&Known>,
    reference: &str,
    scope: &str,
) -> Result<Found, ApiError> {
    let mut candidates: Vec<(String, String, Found)> = Vec::new();
    if matches!(scope, "" | "swarm") {
        // Who asks for the cluster's view by name means its counterparts of the engine's networks too.
        let meant = |network: &&Arc<Network>| scope == "swarm" || !network.spec.predefined;
        for network in known.into_iter().flat_map(Known::networks).filter(meant) {
            let id = network.id.to_string();
            let name = network.spec.annotations.name.clone();
            candidates.push((id, name, Found::Cluster(network.clone())));
        }
    }
    if scope != "swarm" {
        let local = call.engine_json(&["networks"], &Query::default()).await?;
        let local = local.as_ref().and_then(Value::as_array);
        for network in local.into_iter().flatten() {
            if is_twin(network) || !(scope.is_empty() || field(network, "Scope") == scope) {
                continue;
            }
            let id = field(network, "Id").to_owned();
            candidates.push((id.clone(), field(network, "Name").to_owned(), Found::Local(id)));
        }
    }
    if let Some(at) = candidates.iter().position(|(id, _, _)| id == reference) {
        return Ok(candidates.swap_remove(at).2);
    }
    let (named, rest): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|(_, name, _)| name == reference);
    let (how, mut found) = if named.is_empty() {
        ("ID prefix", rest.into_iter().filter(|(id, _, _)| id.starts_with(reference)).collect())
    } else {
        ("name", named)
    };
    match (found.len(), found.pop()) {
        (1, Some((_, _, only))) => Ok(only),
        (_, None) => Err(ApiError::no_such(Kind::Network, reference)),
        (count, Some(_)) => Err(ApiError::bad_request(format!(
            "{count} matches found based on {how}: network {reference} is ambiguous"
        ))),
    }
}
