//! `/configs`: list, create, inspect, update and remove configs.

use http::StatusCode;
use skep_core::command::Command;
use skep_core::id::ConfigId;
use skep_core::model::Kind;
use skep_core::model::secret::Config;

use crate::call::Call;
use crate::convert::secret::{check_config, config_from_wire, config_to_wire};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::reply::{self, Reply};
use crate::route::ApiVersion;
use crate::wire::Created;
use crate::wire::config::ConfigSpec;

/// Answers `GET /configs`.
///
/// # Errors
/// Fails on unknown filters and where there is no manager.
pub async fn list(call: Call) -> Reply {
    let filters = call.filters(&["id", "label", "name"])?;
    let state = call.state().await?;
    let found: Vec<_> = state
        .configs()
        .values()
        .filter(|config| shown(&filters, config))
        .map(|config| config_to_wire(config))
        .collect();
    Ok(reply::json(StatusCode::OK, &found))
}

/// Ids and names widen the list, labels narrow it.
fn shown(filters: &Filters, config: &Config) -> bool {
    let name = &config.spec.annotations.name;
    let given = ["id", "name"].iter().any(|key| filters.contains(key));
    let named = filters.get("id").any(|prefix| config.id.as_str().starts_with(prefix))
        || filters.names("name", "names", name);
    (named || !given) && filters.labels("label", &config.spec.annotations.labels)
}

/// Answers `POST /configs/create`.
///
/// # Errors
/// Fails on bad specs and on names that are taken.
pub async fn create(mut call: Call) -> Reply {
    let spec: ConfigSpec = call.json().await?;
    if spec.templating.is_some() && call.version < ApiVersion(1, 37) {
        return Err(ApiError::bad_request(format!(
            "config templating is not supported on the specified API version: {}",
            call.version
        )));
    }
    // Where there is no manager, that comes before whatever is wrong with the spec.
    call.state().await?;
    let spec = config_from_wire(spec);
    check_config(&spec)?;
    let id = ConfigId::from_entropy(call.backend.entropy());
    call.propose(Command::CreateConfig { id: id.clone(), spec: Box::new(spec) }).await?;
    Ok(reply::json(StatusCode::CREATED, &Created { id: id.to_string() }))
}

/// Answers `GET /configs/{id}`.
///
/// # Errors
/// Fails if no or several configs match.
pub async fn inspect(call: Call, reference: &str) -> Reply {
    let state = call.state().await?;
    let found =
        state.find_config(reference).map_err(|e| ApiError::lookup(Kind::Config, reference, e))?;
    Ok(reply::json(StatusCode::OK, &config_to_wire(found)))
}

/// Answers `POST /configs/{id}/update`.
///
/// # Errors
/// Fails on stale versions and on changes of anything but labels.
pub async fn update(mut call: Call, reference: &str) -> Reply {
    let spec: ConfigSpec = call.json().await?;
    let version = call
        .query
        .version("config")
        .map_err(|_| ApiError::bad_request("invalid config version"))?;
    let state = call.state().await?;
    let found =
        state.find_config(reference).map_err(|e| ApiError::lookup(Kind::Config, reference, e))?;
    let spec = Box::new(config_from_wire(spec));
    call.propose(Command::UpdateConfig { id: found.id.clone(), version, spec }).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// Answers `DELETE /configs/{id}`.
///
/// # Errors
/// Fails while services use it.
pub async fn remove(call: Call, reference: &str) -> Reply {
    let state = call.state().await?;
    let found =
        state.find_config(reference).map_err(|e| ApiError::lookup(Kind::Config, reference, e))?;
    call.propose(Command::RemoveConfig { id: found.id.clone() }).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
