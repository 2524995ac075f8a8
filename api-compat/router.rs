//! The entry of the API: checks the version, finds the handler, gives every reply the headers it must carry.

use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::{Request, Response, StatusCode};
use tracing::Instrument as _;

use crate::backend::{Backend, Body, EngineVersion};
use crate::budget::Ahead;
use crate::call::Call;
use crate::dialect;
use crate::error::ApiError;
use crate::query::Query;
use crate::reply::{self, CollectError, Reply};
use crate::route::{ApiVersion, Route, route, split_version};
use crate::{
    attachments, backup, configs, containers, events, net, networks, nodes, secrets, services,
    swarm, system, tasks, why,
};

/// Longest body that is taken in before its handler asks for it.
const READ_AHEAD_MAX: usize = 2 << 20;

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
    let refusal = refuse_version(version, lowest, highest);
    let request = match containers::target(request.method(), path).filter(|_| refusal.is_none()) {
        Some(target) => match containers::elsewhere(&backend, version, request, target).await {
            Ok(Ok(response)) => return response,
            Ok(Err(error)) => return failed(&error, &engine, highest),
            Err(request) => request,
        },
        None => request,
    };
    let (_, path) = split_version(request.uri().path());
    let found = route(request.method(), path);
    let mut response = match refusal {
        Some(refusal) => refusal,
        None if found == Route::Engine => {
            return match Call::new(backend, version, request).pass().await {
                Ok(response) => response,
                Err(error) => failed(&error, &engine, highest),
            };
        }
        None => {
            let query = request.uri().query().unwrap_or("").to_owned();
            let answered = match read_ahead(request).await {
                Ok(request) => dispatch(found.clone(), Call::new(backend, version, request)).await,
                Err(error) => Err(error),
            };
            match answered {
                Ok(response) => response,
                Err(error) => {
                    let filters = Query::parse(&query);
                    let error = dialect::translate(error, &engine, &found, filters.get("filters"));
                    return failed(&error, &engine, highest);
                }
            }
        }
    };
    // An answer of the engine that was passed on has its own headers.
    if !response.headers().contains_key("api-version") {
        reply::stamp(response.headers_mut(), &engine, highest);
    }
    response
}

/// Takes in a small body before anything is answered: an answer that comes before the end of its request ends the
/// connection, and the client then fails to write instead of reading the answer.
async fn read_ahead(request: Request<Body>) -> Result<Request<Body>, ApiError> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|held| held.to_str().ok());
    let length = length.and_then(|text| text.parse::<usize>().ok());
    if length.is_none_or(|length| length == 0 || length > READ_AHEAD_MAX) {
        return Ok(request);
    }
    let (mut head, body) = request.into_parts();
    match reply::collect_held(body, READ_AHEAD_MAX).await {
        Ok((bytes, held)) => {
            head.extensions.insert(Ahead(Arc::new(held)));
            Ok(Request::from_parts(head, reply::full(bytes)))
        }
        Err(error @ CollectError::Busy) => Err(ApiError::unavailable(error.to_string())),
        // An empty body would mean something: a part of one must not pass for it.
        Err(CollectError::Broken(_) | CollectError::TooLong(_)) => {
            Err(ApiError::bad_request("invalid JSON: unexpected EOF"))
        }
    }
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
        Route::Backup => backup::take(call).await,
        Route::Net(service) => net::answer(call, service.as_deref()).await,
        Route::Why(reference) => why::answer(call, &reference).await,
        Route::Ping => system::ping(&call),
        Route::Info => system::info(call).await,
        Route::Version => system::version(call).await,
        Route::Events => events::stream(call).await,
        Route::ContainerList => system::containers(call).await,
        Route::ContainerInspect => containers::shown::inspect(call).await,
        Route::ContainerCreate => attachments::create(call).await,
        Route::ContainerStart(id) => attachments::start(call, &id).await,
        Route::ContainerEnd(id) => attachments::end(call, &id).await,
        Route::VolumeCreate => system::create_volume(call).await,
        Route::VolumeUpdate => system::update_volume(),
        Route::NetworkList => networks::list(call).await,
        Route::NetworkCreate => networks::create(call).await,
        Route::NetworkPrune => networks::prune(call).await,
        Route::NetworkInspect(id) => networks::inspect(call, &id).await,
        Route::NetworkRemove(id) => networks::remove(call, &id).await,
        Route::NetworkConnect(id) => networks::attach(call, &id, "connect").await,
        Route::NetworkDisconnect(id) => networks::attach(call, &id, "disconnect").await,
        Route::SwarmInspect => swarm::inspect(call).await,
        Route::SwarmInit => swarm::init(call).await,
        Route::SwarmJoin => swarm::join(call).await,
        Route::SwarmLeave => swarm::leave(call).await,
        Route::SwarmUpdate => swarm::update(call).await,
        Route::SwarmUnlockKey => swarm::unlock_key(call).await,
        Route::SwarmUnlock => swarm::unlock(call).await,
        Route::NodeList => nodes::list(call).await,
        Route::NodeInspect(id) => nodes::inspect(call, &id).await,
        Route::NodeUpdate(id) => nodes::update(call, &id).await,
        Route::NodeRemove(id) => nodes::remove(call, &id).await,
        Route::SecretList => secrets::list(call).await,
        Route::SecretCreate => secrets::create(call).await,
        Route::SecretInspect(id) => secrets::inspect(call, &id).await,
        Route::SecretUpdate(id) => secrets::update(call, &id).await,
        Route::SecretRemove(id) => secrets::remove(call, &id).await,
        Route::ConfigList => configs::list(call).await,
        Route::ConfigCreate => configs::create(call).await,
        Route::ConfigInspect(id) => configs::inspect(call, &id).await,
        Route::ConfigUpdate(id) => configs::update(call, &id).await,
        Route::ConfigRemove(id) => configs::remove(call, &id).await,
    }
}

#[cfg(test)]
mod tests;
