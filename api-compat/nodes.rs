//! `/nodes`: list, inspect, update and remove members of the cluster.

use http::StatusCode;
use skep_core::command::Command;
use skep_core::model::Kind;
use skep_core::model::node::Node;

use crate::call::Call;
use crate::convert::node::{role_word, spec_from_wire, to_wire};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::reply::{self, Reply};
use crate::wire;

/// Answers `GET /nodes`.
///
/// # Errors
/// Fails on unknown filters and where there is no manager.
pub async fn list(call: Call) -> Reply {
    let known = ["id", "label", "membership", "name", "node.label", "role"];
    let filters = call.filters(&known)?;
    check_words(&filters, "role", &["worker", "manager"])?;
    check_words(&filters, "membership", &["accepted", "pending"])?;
    let state = call.state().await?;
    let nodes: Vec<_> = state
        .nodes()
        .values()
        .filter(|node| shown(&filters, node))
        .map(|node| to_wire(node))
        .collect();
    Ok(reply::json(StatusCode::OK, &nodes))
}

fn check_words(filters: &Filters, key: &str, words: &[&str]) -> Result<(), ApiError> {
    match filters.get(key).find(|value| !words.contains(&value.to_ascii_lowercase().as_str())) {
        Some(value) => Err(ApiError::internal(format!("Invalid {key} filter: '{value}'"))),
        None => Ok(()),
    }
}

fn shown(filters: &Filters, node: &Node) -> bool {
    let is = |value: &str, word: &str| value.eq_ignore_ascii_case(word);
    let membership = if node.spec.without_membership { "pending" } else { "accepted" };
    filters.prefix("id", node.id.as_str())
        && filters.prefix("name", &node.description.hostname)
        && filters.labels("label", &node.description.engine_labels)
        && filters.labels("node.label", &node.spec.annotations.labels)
        && filters.any("role", |value| is(value, role_word(node.role)))
        && filters.any("membership", |value| is(value, membership))
}

/// Answers `GET /nodes/{id}`.
///
/// # Errors
/// Fails if no or several nodes match.
pub async fn inspect(call: Call, reference: &str) -> Reply {
    let state = call.state().await?;
    let node =
        state.find_node(reference).map_err(|e| ApiError::lookup(Kind::Node, reference, e))?;
    Ok(reply::json(StatusCode::OK, &to_wire(node)))
}

/// Answers `POST /nodes/{id}/update`.
///
/// # Errors
/// Fails on bad specs, stale versions and what would leave the cluster without a quorum.
pub async fn update(mut call: Call, reference: &str) -> Reply {
    let spec: wire::node::NodeSpec = call.json().await?;
    let version = call.query.version("node")?;
    let state = call.state().await?;
    let node =
        state.find_node(reference).map_err(|e| ApiError::lookup(Kind::Node, reference, e))?;
    let id = node.id.clone();
    let spec = spec_from_wire(spec)?;
    call.propose(Command::UpdateNode { id, version, spec }).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// Answers `DELETE /nodes/{id}`.
///
/// # Errors
/// Fails for managers, and without force for nodes that are not down.
pub async fn remove(call: Call, reference: &str) -> Reply {
    let force = call.query.truthy("force");
    let state = call.state().await?;
    let node =
        state.find_node(reference).map_err(|e| ApiError::lookup(Kind::Node, reference, e))?;
    call.propose(Command::RemoveNode { id: node.id.clone(), force }).await?;
    Ok(reply::empty(StatusCode::OK))
}
