//! `/skep/net` and `/skep/net/{service}`: the ways that packets take from this node to a service, and whether the host's network is
//! as it should be. Docker's API has no place for either; a plain engine answers 404.

#[cfg(test)]
mod tests;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use skep_core::model::Kind;
use skep_core::net::ways::{self, Way};

use crate::backend::BackendError;
use crate::call::Call;
use crate::error::ApiError;
use crate::reply::{self, Reply};
use crate::services;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Report {
    /// Host name of the node that the ways begin at.
    pub node: String,
    /// The ways to the service; none where no service was asked about.
    pub ways: Vec<Path>,
    /// What the host's network lacks, or has and should not.
    pub amiss: Vec<String>,
}

/// A way to a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Path {
    /// Which.
    pub name: String,
    /// What packets come by, in order.
    pub stops: Vec<Stop>,
}

/// Something that packets come by.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Stop {
    /// What it is, or why nothing comes further.
    pub text: String,
    /// Whether packets come further.
    pub passes: bool,
}

/// Answers `GET /skep/net/{reference}`, or `GET /skep/net` for the host alone.
///
/// # Errors
/// Says why there is no answer.
pub async fn answer(call: Call, reference: Option<&str>) -> Reply {
    let known = call.backend.known().ok_or(BackendError::NotMember);
    let (id, state) = known.map_err(|error| call.fail(error))?;
    let ways = match reference {
        None => Vec::new(),
        Some(reference) => {
            let service = services::found(Kind::Service, reference, state.find_service(reference))?;
            ways::ways(&state, &id, service)
        }
    };
    let amiss = call.backend.network().await.map_err(ApiError::internal)?;
    let node = state.nodes().get(&id);
    let node = node.map(|node| node.description.hostname.clone()).filter(|name| !name.is_empty());
    let node = node.unwrap_or_else(|| id.to_string());
    let report = Report { node, ways: ways.into_iter().map(path).collect(), amiss };
    Ok(reply::json(StatusCode::OK, &report))
}

fn path(way: Way) -> Path {
    let stops = way.stops.into_iter();
    let stops = stops.map(|stop| Stop { text: stop.text, passes: stop.passes });
    Path { name: way.name, stops: stops.collect() }
}
