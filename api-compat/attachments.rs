//! Containers that users make and that join cluster networks: `docker run --network`, `docker network connect`.
//!
//! Each network such a container joins is held by a task of runtime `attachment`, which has the address and keeps the
//! network on this node. It is made when the container starts or is connected, and goes when it stops.

mod hold;

use std::net::IpAddr;
use std::sync::Arc;

use http::{Method, Request, StatusCode};
use serde_json::{Map, Value, json};
use skep_core::id::NetworkId;
use skep_core::model::network::Network;
use skep_core::model::service::Runtime;
use skep_core::model::task::{Task, TaskState};
use skep_core::net::bridges::name_servers;
use skep_core::state::State;

use crate::call::{Call, collect_json};
use crate::error::ApiError;
use crate::networks::field;
use crate::query::Query;
use crate::reply::{self, Reply};
use crate::route::ApiVersion;
use crate::system::TASK_LABEL;
use hold::{Here, Place, TIMED_OUT, connect, is_for, is_local, join, tell_engine, visit};

/// First API version of engines that say what they were doing when a container could not join its networks.
const NETWORKING_PREFIX_SINCE: ApiVersion = ApiVersion(1, 48);

/// Answers `POST /containers/create`: the container will ask this node for names, and networks are named by name.
///
/// # Errors
/// Fails when the engine cannot be reached, or the managers by a node that must ask them.
pub async fn create(mut call: Call) -> Reply {
    let here = Here::of(&call).await.filter(Here::may_have_networks);
    let Some(here) = here else { return call.pass().await };
    let body = call.bytes().await?;
    let Ok(Value::Object(mut wanted)) = serde_json::from_slice::<Value>(&body) else {
        call.restore(body);
        return call.pass().await;
    };
    let mut joined: Vec<Arc<Network>> = Vec::new();
    for reference in references(&wanted) {
        let Some(network) = network_for(&call, &here, &reference).await? else { continue };
        rename(&mut wanted, &reference, &network.spec.annotations.name);
        if !joined.iter().any(|known| known.id == network.id) {
            joined.push(network);
        }
    }
    if joined.is_empty() {
        call.restore(body);
        return call.pass().await;
    }
    let attachable = joined.iter().filter(|network| network.spec.attachable);
    let servers = name_servers(attachable.map(|network| &**network), &here.node);
    let mut servers: Vec<Value> = servers.iter().map(|addr| json!(addr.to_string())).collect();
    if let Some(host) = object(&mut wanted, "HostConfig") {
        let own = host.get("Dns").and_then(Value::as_array).cloned().unwrap_or_default();
        servers.extend(own);
        host.insert("Dns".to_owned(), Value::Array(servers));
    }
    call.restore(Value::Object(wanted).to_string().into());
    call.head.headers.remove(http::header::CONTENT_LENGTH);
    call.pass().await
}

/// Lists the networks that a container to be made names.
fn references(wanted: &Map<String, Value>) -> Vec<String> {
    let host = wanted.get("HostConfig").and_then(|host| host.get("NetworkMode"));
    let mode = host.and_then(Value::as_str).map(str::to_owned);
    let endpoints = wanted.get("NetworkingConfig").and_then(|it| it.get("EndpointsConfig"));
    let endpoints = endpoints.and_then(Value::as_object).into_iter().flat_map(Map::keys).cloned();
    let mut all: Vec<String> = mode.into_iter().chain(endpoints).collect();
    all.dedup();
    all
}

/// Finds the cluster's network of that name or id, and has this node on it if containers may join it: an engine has to be told
/// whom to ask for names when it makes the container.
async fn network_for(
    call: &Call,
    here: &Here,
    reference: &str,
) -> Result<Option<Arc<Network>>, ApiError> {
    match here.named(reference) {
        Some(known) if !known.spec.attachable || known.gateways.contains_key(&here.node) => {
            return Ok(Some(known.clone()));
        }
        Some(_) => {}
        None if here.knows_all => return Ok(None),
        None => {
            if is_local(call, reference).await? {
                return Ok(None);
            }
        }
    }
    visit(call, reference).await
}

/// Puts a network's name for its id, which the engine cannot know.
fn rename(wanted: &mut Map<String, Value>, reference: &str, name: &str) {
    if let Some(mode) = wanted.get_mut("HostConfig").and_then(|host| host.get_mut("NetworkMode"))
        && mode.as_str() == Some(reference)
    {
        *mode = Value::String(name.to_owned());
    }
    let config = wanted.get_mut("NetworkingConfig");
    let endpoints = config.and_then(|config| config.get_mut("EndpointsConfig"));
    if let Some(endpoints) = endpoints.and_then(Value::as_object_mut) {
        let named = |key: String| if key == reference { name.to_owned() } else { key };
        let renamed = std::mem::take(endpoints).into_iter();
        *endpoints = renamed.map(|(key, value)| (named(key), value)).collect();
    }
}

fn object<'a>(
    fields: &'a mut Map<String, Value>,
    name: &str,
) -> Option<&'a mut Map<String, Value>> {
    let value = fields.entry(name).or_insert(Value::Null);
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut()
}

/// Answers `POST /containers/{id}/start` and `restart`: takes the addresses that the container needs first.
///
/// # Errors
/// Fails where the container may not join one of its networks.
pub async fn start(mut call: Call, reference: &str) -> Reply {
    let Some(here) = Here::of(&call).await else { return call.pass().await };
    let path = ["containers", reference, "json"];
    let mut places = Vec::new();
    if let Some(container) = call.engine_json(&path, &Query::default()).await? {
        let mut running = container.pointer("/State/Running") == Some(&Value::Bool(true));
        if running && is_restart(&call) && here.held_by(field(&container, "Id")).next().is_some() {
            // Two steps: between them its addresses are given back, as at every end.
            let stopped = stop(&call, reference).await?;
            if !stopped.status().is_success() && stopped.status() != StatusCode::NOT_MODIFIED {
                return Ok(stopped);
            }
            running = false;
        }
        let labels = container.pointer("/Config/Labels");
        if !running && labels.is_none_or(|labels| labels.get(TASK_LABEL).is_none()) {
            places = match prepare(&mut call, &here, &container).await {
                Ok(places) => places,
                Err(error) => {
                    // One that goes when it ends goes too when it cannot start; its client waits for that.
                    if container.pointer("/HostConfig/AutoRemove") == Some(&Value::Bool(true)) {
                        call.remove_container(reference).await?;
                    }
                    return Err(not_started(&call, reference, &error));
                }
            };
        }
    }
    let asker = Call::new(call.backend.clone(), call.version, Request::new(reply::nothing()));
    let answer = call.pass().await?;
    if answer.status().is_success()
        && !places.is_empty()
        && let Some(container) = asker.engine_json(&path, &Query::default()).await?
    {
        settle(&asker, &container, &places).await;
    }
    Ok(answer)
}

/// Has other nodes reach a container that runs.
async fn settle(call: &Call, container: &Value, places: &[Place]) {
    let pid = container.pointer("/State/Pid").and_then(Value::as_i64).unwrap_or_default();
    let addrs = places.iter().map(|place| place.addr).collect();
    call.backend.settle(pid, addrs).await;
}

fn is_restart(call: &Call) -> bool {
    call.head.uri.path().ends_with("/restart")
}

/// Has the engine stop a container as the request for its restart says.
async fn stop(call: &Call, reference: &str) -> Reply {
    let mut head = call.request_head(&["containers", reference, "stop"], &call.query)?;
    *head.method_mut() = Method::POST;
    call.backend.engine(head).await.map_err(|error| call.fail(error))
}

/// Says why a container did not start, as the engine begins its sentences.
fn not_started(call: &Call, reference: &str, error: &ApiError) -> ApiError {
    let again = if is_restart(call) {
        format!("Cannot restart container {reference}: ")
    } else {
        String::new()
    };
    let engine = call.engine_version().api_max;
    let prefixed = ApiVersion(engine.0, engine.1) >= NETWORKING_PREFIX_SINCE;
    let prefix = if prefixed { "failed to set up container networking: " } else { "" };
    ApiError::new(error.status, format!("{again}{prefix}{}", error.message))
}

/// Joins a container that does not run to its cluster networks.
async fn prepare(call: &mut Call, here: &Here, container: &Value) -> Result<Vec<Place>, ApiError> {
    let mut places = Vec::new();
    let endpoints = container.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
    for (reference, endpoint) in endpoints.into_iter().flatten() {
        if here.named(reference).is_none() && is_local(call, reference).await? {
            continue;
        }
        let place = join(call, here, (reference, reference), container, endpoint).await?;
        // The endpoint may name a network of the engine that is gone, and an address that is another's by now.
        let request = json!({"Container": field(container, "Id"), "Force": true});
        let _ = tell_engine(call, &["networks", reference, "disconnect"], &request).await?;
        let connected = connect(call, &place, container, endpoint).await?;
        if connected.status() != StatusCode::OK {
            // What is not given back now goes with the container.
            let _ = call.backend.detach(&place.task).await;
            let text = collect_json(connected).await?;
            return Err(ApiError::internal(field(&text, "message")));
        }
        places.push(place);
    }
    Ok(places)
}

/// Answers `POST /networks/{id}/connect` for a network that is the cluster's, or unknown here.
///
/// # Errors
/// Fails for networks that are none or that only services may join.
pub async fn connect_network(mut call: Call, reference: &str, network: Option<&Network>) -> Reply {
    let body = call.bytes().await?;
    let fields: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let container = field(&fields, "Container").to_owned();
    let answer = call.ask_engine(&["containers", &container, "json"], &Query::default()).await?;
    if answer.status() != StatusCode::OK {
        return Ok(answer);
    }
    let container = collect_json(answer).await?;
    let Some(here) = Here::of(&call).await else {
        return Err(ApiError::unavailable("this node cannot attach containers just now"));
    };
    let name = network.map_or(reference, |network| &network.spec.annotations.name);
    if container.pointer("/State/Running") == Some(&Value::Bool(false)) {
        // The engine notes it, whatever network that is; the address is taken when the container starts.
        return tell_engine(&call, &["networks", name, "connect"], &fields).await;
    }
    let held = container.pointer("/NetworkSettings/Networks").and_then(|all| all.get(name));
    if held.is_some() {
        let own = field(&container, "Name").trim_start_matches('/');
        return Err(ApiError::conflict(format!("{own} is already attached to network {name}")));
    }
    let none = json!({});
    let endpoint = fields.get("EndpointConfig").filter(|it| it.is_object()).unwrap_or(&none);
    let target = network.map_or(reference, |network| network.id.as_str());
    check_addresses(endpoint)?;
    let place = join(&call, &here, (reference, target), &container, endpoint).await?;
    let answer = connect(&call, &place, &container, endpoint).await?;
    if answer.status() != StatusCode::OK {
        let _ = call.backend.detach(&place.task).await;
    } else {
        settle(&call, &container, &[place]).await;
    }
    Ok(answer)
}

/// Refuses texts that are no addresses as the cluster does, which never finds such an address.
fn check_addresses(endpoint: &Value) -> Result<(), ApiError> {
    for family in ["IPv4Address", "IPv6Address"] {
        let text = endpoint.pointer(&format!("/IPAMConfig/{family}")).and_then(Value::as_str);
        let text = text.unwrap_or_default();
        if !text.is_empty() && text.parse::<IpAddr>().is_err() {
            return Err(ApiError::internal(TIMED_OUT));
        }
    }
    Ok(())
}

/// Answers `POST /networks/{id}/disconnect` for a cluster network.
///
/// # Errors
/// Fails when the engine cannot be reached.
pub async fn disconnect_network(mut call: Call, network: &Network) -> Reply {
    let body = call.bytes().await?;
    let fields: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path = ["containers", field(&fields, "Container"), "json"];
    let container = call.engine_json(&path, &Query::default()).await?;
    let name = network.spec.annotations.name.as_str();
    let answer = tell_engine(&call, &["networks", name, "disconnect"], &fields).await?;
    if answer.status() == StatusCode::OK
        && let Some(container) = container
        && let Some(here) = Here::of(&call).await
    {
        for task in here.held_by(field(&container, "Id")) {
            if task.spec.networks.iter().any(|held| held.target == network.id) {
                call.backend.detach(&task.id).await.map_err(|error| call.fail(error))?;
            }
        }
    }
    Ok(answer)
}

/// Answers requests that may end a container: what it held is free as soon as it does not run.
///
/// # Errors
/// Fails when the engine cannot be reached.
pub async fn end(call: Call, reference: &str) -> Reply {
    let Some(here) = Here::of(&call).await else { return call.pass().await };
    if !here.state.node_tasks(&here.node).any(|task| task.service.is_none()) {
        return call.pass().await;
    }
    let path = ["containers", reference, "json"];
    let container = call.engine_json(&path, &Query::default()).await?;
    let id = container.as_ref().map(|found| field(found, "Id").to_owned()).unwrap_or_default();
    if here.held_by(&id).next().is_none() {
        return call.pass().await;
    }
    let asker = Call::new(call.backend.clone(), call.version, Request::new(reply::nothing()));
    let answer = call.pass().await?;
    release_ended(&asker, |task| is_for(task, &id)).await?;
    Ok(answer)
}

/// Frees what containers of this node hold that do not run.
///
/// # Errors
/// Fails when the engine cannot be reached.
pub async fn release_ended(call: &Call, which: impl Fn(&Task) -> bool) -> Result<(), ApiError> {
    let Some(here) = Here::of(call).await else { return Ok(()) };
    for task in here.state.node_tasks(&here.node).filter(|task| which(task)) {
        let Runtime::Attachment { container_id } = &task.spec.runtime else { continue };
        // One that has only been made is about to be started.
        if task.status.state < TaskState::Running {
            continue;
        }
        let path = ["containers", container_id, "json"];
        let found = call.engine_json(&path, &Query::default()).await?;
        let state =
            |name: &str| found.as_ref().and_then(|it| it.pointer(&format!("/State/{name}")));
        let stays = [state("Running"), state("Restarting")].contains(&Some(&Value::Bool(true)));
        if !stays && state("Status").and_then(Value::as_str) != Some("created") {
            // Whoever was faster has done it; the agent does it if it failed.
            let _ = call.backend.detach(&task.id).await;
        }
    }
    Ok(())
}

/// Tells whether containers hold a network.
pub fn holds(state: &State, network: &NetworkId) -> bool {
    state.tasks().values().any(|task| {
        task.service.is_none() && task.spec.networks.iter().any(|held| held.target == *network)
    })
}
