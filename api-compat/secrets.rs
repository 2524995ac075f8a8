//! `/secrets`: list, create, inspect, update and remove secrets.

use http::StatusCode;
use skep_core::command::Command;
use skep_core::id::SecretId;
use skep_core::model::Kind;
use skep_core::model::secret::Secret;

use crate::call::Call;
use crate::convert::secret::{check_secret, secret_from_wire, secret_to_wire};
use crate::error::{ApiError, Code};
use crate::filters::Filters;
use crate::reply::{self, Reply};
use crate::route::ApiVersion;
use crate::wire::Created;
use crate::wire::secret::SecretSpec;

/// Answers `GET /secrets`.
///
/// # Errors
/// Fails on unknown filters and where there is no manager.
pub async fn list(call: Call) -> Reply {
    let filters = call.filters(&["id", "label", "name", "names"])?;
    let state = call.state().await?;
    let found: Vec<_> = state
        .secrets()
        .values()
        .filter(|secret| shown(&filters, secret))
        .map(|secret| secret_to_wire(secret))
        .collect();
    Ok(reply::json(StatusCode::OK, &found))
}

/// Ids and names widen the list, labels narrow it.
fn shown(filters: &Filters, secret: &Secret) -> bool {
    let name = &secret.spec.annotations.name;
    let given = ["id", "name", "names"].iter().any(|key| filters.contains(key));
    let named = filters.get("id").any(|prefix| secret.id.as_str().starts_with(prefix))
        || filters.names("name", "names", name);
    (named || !given) && filters.labels("label", &secret.spec.annotations.labels)
}

/// Answers `POST /secrets/create`.
///
/// # Errors
/// Fails on bad specs and on names that are taken.
pub async fn create(mut call: Call) -> Reply {
    let spec: SecretSpec = call.json().await?;
    if spec.templating.is_some() && call.version < ApiVersion(1, 37) {
        return Err(ApiError::bad_request(format!(
            "secret templating is not supported on the specified API version: {}",
            call.version
        )));
    }
    // Where there is no manager, that comes before whatever is wrong with the spec.
    call.state().await?;
    let spec = secret_from_wire(spec);
    check_secret(&spec)?;
    // No plugin that holds secrets can be asked by skep, so none is found.
    if let Some(driver) = &spec.driver {
        return Err(ApiError::rpc(Code::Unknown, format!("plugin \"{}\" not found", driver.name)));
    }
    let id = SecretId::from_entropy(call.backend.entropy());
    call.propose(Command::CreateSecret { id: id.clone(), spec: Box::new(spec) }).await?;
    Ok(reply::json(StatusCode::CREATED, &Created { id: id.to_string() }))
}

/// Answers `GET /secrets/{id}`.
///
/// # Errors
/// Fails if no or several secrets match.
pub async fn inspect(call: Call, reference: &str) -> Reply {
    let state = call.state().await?;
    let found =
        state.find_secret(reference).map_err(|e| ApiError::lookup(Kind::Secret, reference, e))?;
    Ok(reply::json(StatusCode::OK, &secret_to_wire(found)))
}

/// Answers `POST /secrets/{id}/update`.
///
/// # Errors
/// Fails on stale versions and on changes of anything but labels.
pub async fn update(mut call: Call, reference: &str) -> Reply {
    let spec: SecretSpec = call.json().await?;
    let version = call
        .query
        .version("secret")
        .map_err(|_| ApiError::bad_request("invalid secret version"))?;
    let state = call.state().await?;
    let found =
        state.find_secret(reference).map_err(|e| ApiError::lookup(Kind::Secret, reference, e))?;
    let spec = Box::new(secret_from_wire(spec));
    call.propose(Command::UpdateSecret { id: found.id.clone(), version, spec }).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// Answers `DELETE /secrets/{id}`.
///
/// # Errors
/// Fails while services use it.
pub async fn remove(call: Call, reference: &str) -> Reply {
    let state = call.state().await?;
    let found =
        state.find_secret(reference).map_err(|e| ApiError::lookup(Kind::Secret, reference, e))?;
    call.propose(Command::RemoveSecret { id: found.id.clone() }).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
