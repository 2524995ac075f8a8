//! The entry of the API: checks the version, finds the handler, gives every reply the headers it must carry.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use tracing::Instrument as _;

use crate::backend::{Backend, Body, EngineVersion};
use crate::call::Call;
use crate::error::ApiError;
use crate::reply::{self, Reply};
use crate::route::{ApiVersion, Route, route, split_version};
use crate::{services, tasks};

/// Answers one request, whatever it is. Requests that are not skep's go to the local engine as they are.
pub async fn serve(backend: Arc<dyn Backend>, request: Request<Body>) -> Response<Body> {
    let span =
        tracing::debug_span!("request", method = %request.method(), path = request.uri().path());
    Box::pin(answer(backend, request)).instrument(span).await
}

/// Returns the versions that both skep and the engine serve, lowest and highest.
pub fn served_versions(engine: &EngineVersion) -> (ApiVersion, ApiVersion) {
    let lowest = ApiVersion::MIN.max(ApiVersion(engine.api_min.0, engine.api_min.1));
    let highest = ApiVersion::MAX.min(ApiVersion(engine.api_max.0, engine.api_max.1));
    (lowest, highest)
}

async fn answer(backend: Arc<dyn Backend>, request: Request<Body>) -> Response<Body> {
    let engine = backend.engine_version();
    let (lowest, highest) = served_versions(&engine);
    let (asked, path) = split_version(request.uri().path());
    let version = asked.unwrap_or(highest);
    let found = route(request.method(), path);
    let mut response = match refuse_version(version, lowest, highest) {
        Some(refusal) => refusal,
        None if found == Route::Engine => {
            return match Call::new(backend, version, request).pass().await {
                Ok(response) => response,
                Err(error) => failed(&error, &engine, highest),
            };
        }
        None => match dispatch(found, Call::new(backend, version, request)).await {
            Ok(response) => response,
            Err(error) => return failed(&error, &engine, highest),
        },
    };
    // An answer of the engine that was passed on has its own headers.
    if !response.headers().contains_key("api-version") {
        reply::stamp(response.headers_mut(), &engine, highest);
    }
    response
}

fn failed(error: &ApiError, engine: &EngineVersion, highest: ApiVersion) -> Response<Body> {
    tracing::debug!(status = error.status.as_u16(), error = %error.message, "request refused");
    let mut response = reply::error(error);
    reply::stamp(response.headers_mut(), engine, highest);
    response
}

fn refuse_version(
    version: ApiVersion,
    lowest: ApiVersion,
    highest: ApiVersion,
) -> Option<Response<Body>> {
    let message = if version > highest {
        format!("client version {version} is too new. Maximum supported API version is {highest}")
    } else if version < lowest {
        format!(
            "client version {version} is too old. Minimum supported API version is {lowest}, please upgrade your client to a newer version"
        )
    } else {
        return None;
    };
    // Clients older than this do not read JSON errors.
    if version < ApiVersion(1, 24) {
        return Some(reply::text(StatusCode::BAD_REQUEST, format!("{message}\n")));
    }
    Some(reply::error(&ApiError::bad_request(message)))
}

async fn dispatch(found: Route, call: Call) -> Reply {
    match found {
        Route::ServiceList => services::list(call).await,
        Route::ServiceCreate => services::create(call).await,
        Route::ServiceInspect(id) => services::inspect(call, &id).await,
        Route::ServiceUpdate(id) => services::update(call, &id).await,
        Route::ServiceRemove(id) => services::remove(call, &id).await,
        Route::ServiceLogs(id) => services::logs(call, &id).await,
        Route::TaskList => tasks::list(call).await,
        Route::TaskInspect(id) => tasks::inspect(call, &id).await,
        Route::TaskLogs(id) => tasks::logs(call, &id).await,
        Route::Engine => call.pass().await,
        Route::Unknown => Err(ApiError::not_found("page not found")),
        Route::Ping
        | Route::Info
        | Route::Version
        | Route::Events
        | Route::ContainerList
        | Route::VolumeCreate
        | Route::VolumeUpdate
        | Route::NetworkList
        | Route::NetworkCreate
        | Route::NetworkPrune
        | Route::NetworkInspect(_)
        | Route::NetworkRemove(_)
        | Route::NetworkConnect(_)
        | Route::NetworkDisconnect(_)
        | Route::SwarmInspect
        | Route::SwarmInit
        | Route::SwarmJoin
        | Route::SwarmLeave
        | Route::SwarmUpdate
        | Route::SwarmUnlockKey
        | Route::SwarmUnlock
        | Route::NodeList
        | Route::NodeInspect(_)
        | Route::NodeUpdate(_)
        | Route::NodeRemove(_)
        | Route::SecretList
        | Route::SecretCreate
        | Route::SecretInspect(_)
        | Route::SecretUpdate(_)
        | Route::SecretRemove(_)
        | Route::ConfigList
        | Route::ConfigCreate
        | Route::ConfigInspect(_)
        | Route::ConfigUpdate(_)
        | Route::ConfigRemove(_) => Err(ApiError::unsupported("not served yet")),
    }
}
