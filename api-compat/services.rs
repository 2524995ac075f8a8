//! `/services`: lists, shows, makes, changes and removes services. Their output is in `logs`.

mod listing;
mod names;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use skep_core::command::{AuthFrom, Command};
use skep_core::id::ServiceId;
use skep_core::model::service::{
    ResolutionMode, Runtime, Service, ServiceMode, ServiceSpec, TaskSpec, UpdateState,
};
use skep_core::model::{Kind, Sensitive};
use skep_core::state::State;
use skep_core::state::query::{LookupError, service_status};

use crate::backend::{EngineVersion, LogSelector};
use crate::call::Call;
use crate::convert::service as convert;
use crate::dialect;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::query::Query;
use crate::reply::{self, Reply};
use crate::route::ApiVersion;
use crate::wire::service as wire;
use crate::{logs, validate};

pub use listing::Listing;

const FILTERS: [&str; 5] = ["id", "label", "mode", "name", "runtime"];

/// Networks of the engine that a swarm has counterparts of, or should have.
const PREDEFINED_NETWORKS: [&str; 4] = ["bridge", "default", "host", "none"];

/// How long after a change a service is looked at again for the ports and addresses it does not have yet. Clients inspect
/// what they have just made, and write back the version they read.
const ENDPOINT_WAIT: Duration = Duration::from_secs(1);

/// Answers `GET /services`.
///
/// # Errors
/// Says why the list cannot be given.
pub async fn list(call: Call) -> Reply {
    let counted = call.version >= ApiVersion(1, 41) && call.query.strict_bool("status")?;
    let filters = call.filters(&FILTERS)?;
    let state = call.state().await?;
    let now = call.backend.now();
    let awaited = |it: &Service| it.meta.updated_at.after(ENDPOINT_WAIT) > now && awaits_plan(it);
    let waits = |state: &State| state.services().values().any(|it| awaited(it));
    let state = call.wait_while(state, now.after(ENDPOINT_WAIT), waits).await;
    let engine = call.engine_version();
    // What is kept is written for current engines.
    if filters.is_empty() && !dialect::trims(&engine) {
        let listing = call.backend.listing();
        let text = if counted {
            listing.counted(state.services(), |service| status(&state, service))
        } else {
            listing.plain(state.services())
        };
        return Ok(reply::written_json(StatusCode::OK, text));
    }
    let services: Vec<wire::Service> = state
        .services()
        .values()
        .filter(|service| matches(service, &filters))
        .map(|service| {
            let mut written = show(&engine, service, false);
            written.service_status = counted.then(|| status(&state, service));
            written
        })
        .collect();
    Ok(reply::json(StatusCode::OK, &services))
}

/// Answers `GET /services/{id}`.
///
/// # Errors
/// Says why the service cannot be shown.
pub async fn inspect(call: Call, reference: &str) -> Reply {
    let insert_defaults = call.query.strict_bool("insertDefaults")?;
    let state = call.state().await?;
    let service = find(&state, reference)?;
    let (id, deadline) = (service.id.clone(), service.meta.updated_at.after(ENDPOINT_WAIT));
    let waits = |state: &State| state.services().get(&id).is_some_and(|it| awaits_plan(it));
    let state = call.wait_while(state, deadline, waits).await;
    let service =
        state.services().get(&id).ok_or_else(|| ApiError::no_such(Kind::Service, reference))?;
    Ok(reply::json(StatusCode::OK, &show(&call.engine_version(), service, insert_defaults)))
}

/// Tells whether the planner has not looked at a service since it was changed.
fn awaits_plan(service: &Service) -> bool {
    let wanted = service.spec.endpoint.as_ref().map_or(ResolutionMode::default(), |it| it.mode);
    let status = service.update_status.as_ref();
    let rolls_back = status.is_some_and(|it| it.state == UpdateState::RollbackStarted);
    service.endpoint.as_ref().is_none_or(|held| held.spec.mode != wanted)
        || (rolls_back && service.progress.is_none())
}

/// Answers `POST /services/create`.
///
/// # Errors
/// Says why the service was not made.
pub async fn create(mut call: Call) -> Reply {
    let mut asked: wire::ServiceSpec = call.json().await?;
    let state = call.state().await?;
    if asked.name.is_empty() {
        asked.name = names::fresh(&state, || call.backend.entropy());
    }
    let mut spec = read_spec(&call, &asked, &state).await?;
    validate::service_spec(&asked, &spec, &state)?;
    let auth = registry_auth(&call);
    Arc::make_mut(&mut spec.task).registry_auth = auth;
    let id = ServiceId::from_entropy(call.backend.entropy());
    call.propose(Command::CreateService { id: id.clone(), spec: Box::new(spec) }).await?;
    let created = wire::ServiceCreateResponse {
        id: id.to_string(),
        warnings: (!dialect::is_old(&call.engine_version())).then_some(None),
    };
    Ok(reply::json(StatusCode::CREATED, &created))
}

/// Answers `POST /services/{id}/update`.
///
/// # Errors
/// Says why the service was not changed.
pub async fn update(mut call: Call, reference: &str) -> Reply {
    let mut asked: wire::ServiceSpec = call.json().await?;
    let version = call.query.version("service")?;
    let state = call.state().await?;
    if asked.name.is_empty() {
        asked.name = names::fresh(&state, || call.backend.entropy());
    }
    let mut spec = read_spec(&call, &asked, &state).await?;
    let service = find(&state, reference)?;
    let auth = registry_auth(&call);
    let auth_from = if auth.0.is_empty() {
        auth_from(call.query.get("registryAuthFrom"), service)?
    } else {
        AuthFrom::Spec
    };
    let rollback = match call.query.get("rollback") {
        "" | "none" => false,
        "previous" => true,
        word => return Err(ApiError::internal(format!("unrecognized rollback option {word}"))),
    };
    validate::service_spec(&asked, &spec, &state)?;
    Arc::make_mut(&mut spec.task).registry_auth = auth;
    let id = service.id.clone();
    let spec = Box::new(spec);
    call.propose(Command::UpdateService { id, version, spec, rollback, auth_from }).await?;
    Ok(reply::json(StatusCode::OK, &wire::ServiceUpdateResponse { warnings: None }))
}

/// Answers `DELETE /services/{id}`.
///
/// # Errors
/// Says why the service was not removed.
pub async fn remove(call: Call, reference: &str) -> Reply {
    let state = call.state().await?;
    let id = find(&state, reference)?.id.clone();
    call.propose(Command::RemoveService { id }).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// Answers `GET /services/{id}/logs`.
///
/// # Errors
/// Says why there is no output to give.
pub async fn logs(call: Call, reference: &str) -> Reply {
    let request = logs::Request::parse(&call.query)?;
    let state = call.state().await?;
    let service = find(&state, reference)?;
    let terminal = has_terminal(&service.spec.task);
    let selector = LogSelector::Service(service.id.clone());
    logs::serve(call, selector, request, terminal).await
}

/// Shows a service with the fields that services of this engine have.
fn show(engine: &EngineVersion, service: &Service, insert_defaults: bool) -> wire::Service {
    let mut shown = convert::service(service, insert_defaults);
    dialect::trim(engine, &mut shown.spec.task_template);
    if let Some(previous) = &mut shown.previous_spec {
        dialect::trim(engine, &mut previous.task_template);
    }
    shown
}

/// Finds a service by full id, name or start of its id.
pub(crate) fn find<'a>(state: &'a State, reference: &str) -> Result<&'a Arc<Service>, ApiError> {
    found(Kind::Service, reference, state.find_service(reference))
}

/// Gives a failed lookup its text.
pub(crate) fn found<T>(
    kind: Kind,
    reference: &str,
    result: Result<T, LookupError>,
) -> Result<T, ApiError> {
    result.map_err(|error| match error {
        LookupError::NotFound => ApiError::no_such(kind, reference),
        LookupError::Ambiguous(matches) => ApiError::ambiguous(kind, reference, matches),
    })
}

/// Tells whether the containers of a spec write to a terminal.
pub(crate) fn has_terminal(spec: &TaskSpec) -> bool {
    spec.container().is_some_and(|container| container.tty)
}

fn matches(service: &Service, filters: &Filters) -> bool {
    let mode = match service.spec.mode {
        ServiceMode::Replicated { .. } => "replicated",
        ServiceMode::Global => "global",
        ServiceMode::ReplicatedJob { .. } => "replicated-job",
        ServiceMode::GlobalJob => "global-job",
    };
    let annotations = &service.spec.annotations;
    filters.prefix("id", service.id.as_str())
        && filters.prefix("name", &annotations.name)
        && filters.labels("label", &annotations.labels)
        && filters.exact("mode", mode)
        && runtime_matches(&service.spec.task, filters)
}

/// Tells whether a task of this spec is of the runtime asked for; containers if none is.
pub(crate) fn runtime_matches(spec: &TaskSpec, filters: &Filters) -> bool {
    match &spec.runtime {
        Runtime::Container(_) => filters.exact("runtime", "container"),
        Runtime::Attachment { .. } => {
            filters.contains("runtime") && filters.exact("runtime", "attachment")
        }
    }
}

fn status(state: &State, service: &Service) -> wire::ServiceStatus {
    let (running_tasks, desired_tasks, completed_tasks) = service_status(state, service);
    wire::ServiceStatus { running_tasks, desired_tasks, completed_tasks }
}

/// Takes credentials as they were sent; what they hold is the registry's business.
fn registry_auth(call: &Call) -> Sensitive {
    let header = call.head.headers.get("x-registry-auth");
    Sensitive(header.map(|value| value.as_bytes().to_vec()).unwrap_or_default())
}

fn auth_from(word: &str, service: &Service) -> Result<AuthFrom, ApiError> {
    match word {
        "" | "spec" => Ok(AuthFrom::Spec),
        "previous-spec" if service.previous_spec.is_some() => Ok(AuthFrom::PreviousSpec),
        "previous-spec" => Err(ApiError::internal("service does not have a previous spec")),
        _ => Err(ApiError::internal("unsupported registryAuthFrom value")),
    }
}

/// Reads a spec; a network that only the local engine knows is refused with its own text.
async fn read_spec(
    call: &Call,
    asked: &wire::ServiceSpec,
    state: &State,
) -> Result<ServiceSpec, ApiError> {
    for target in convert::network_targets(asked) {
        // Docker takes no name for the beginning of every id.
        if target.is_empty() && !state.networks().is_empty() {
            return Err(ApiError::ambiguous(Kind::Network, "", state.networks().len()));
        }
        if matches!(state.find_network(target), Err(LookupError::NotFound)) {
            refuse_local_network(call, target).await?;
        }
    }
    convert::service_spec(asked, state, call.version)
}

async fn refuse_local_network(call: &Call, target: &str) -> Result<(), ApiError> {
    // Without the engine's answer the conversion says that the network does not exist.
    let Ok(Some(network)) = call.engine_json(&["networks", target], &Query::parse("")).await else {
        return Ok(());
    };
    let name = network["Name"].as_str().unwrap_or(target);
    if PREDEFINED_NETWORKS.contains(&name) {
        return Err(ApiError::not_found(format!(
            "could not find the corresponding predefined swarm network: network {name} not found"
        )));
    }
    Err(ApiError::forbidden(format!(
        "The network {name} cannot be used with services. Only networks scoped to the swarm can be \
         used, such as those created with the overlay driver."
    )))
}
