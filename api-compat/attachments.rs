//! Containers that users make and that join cluster networks: `docker run --network`, `docker network connect`.
//!
//! Each network such a container joins is held by a task of runtime `attachment`, which has the address and keeps the
//! network on this node. It is made when the container starts or is connected, and goes when it stops.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use serde_json::{Map, Value, json};
use skep_core::agent::network::endpoint_mac;
use skep_core::command::Command;
use skep_core::id::{NetworkId, NodeId, TaskId};
use skep_core::model::network::Network;
use skep_core::model::service::{NetworkAttachment, Runtime};
use skep_core::model::task::{Task, TaskState};
use skep_core::net::pairs::Pairs;
use skep_core::state::State;

use crate::backend::Membership;
use crate::call::Call;
use crate::error::ApiError;
use crate::networks::{field, twin};
use crate::query::Query;
use crate::reply::{self, Reply};
use crate::route::ApiVersion;
use crate::system::TASK_LABEL;

/// Longest wait until this node has the network.
const ATTACH_WAIT: Duration = Duration::from_secs(20);

const TIMED_OUT: &str = "attaching to network failed, make sure your network options are correct and check manager logs: context deadline exceeded";

/// First API version in which an endpoint has a hardware address of its own.
const ENDPOINT_MAC_SINCE: ApiVersion = ApiVersion(1, 44);

/// First API version of engines that say what they were doing when a container could not join its networks.
const NETWORKING_PREFIX_SINCE: ApiVersion = ApiVersion(1, 48);

/// This node and the state, where the node is a manager of a cluster that has networks of users.
async fn here(call: &Call) -> Option<(NodeId, Arc<State>)> {
    let Membership::Manager { node, .. } = call.backend.membership() else { return None };
    let state = call.backend.read().await.ok()?;
    let any = state.networks().values().any(is_joinable);
    any.then_some((node, state))
}

fn is_joinable(network: &Arc<Network>) -> bool {
    !network.spec.ingress && !network.spec.predefined
}

/// Finds the cluster network that a container names, by name or id.
fn named<'a>(state: &'a State, reference: &str) -> Option<&'a Arc<Network>> {
    let mut networks = state.networks().values().filter(|network| is_joinable(network));
    networks.find(|it| it.spec.annotations.name == reference || it.id.as_str() == reference)
}

fn refused(reference: &str, network: &Network) -> ApiError {
    let name = &network.spec.annotations.name;
    ApiError::internal(format!(
        "Could not attach to network {reference}: rpc error: code = PermissionDenied desc = network {name} not manually attachable"
    ))
}

/// Answers `POST /containers/create`: the container will ask this node for names, and networks are named by name.
///
/// # Errors
/// Fails when the engine cannot be reached.
pub async fn create(mut call: Call) -> Reply {
    let Some((node, state)) = here(&call).await else { return call.pass().await };
    let body = call.bytes().await?;
    let Ok(Value::Object(mut wanted)) = serde_json::from_slice::<Value>(&body) else {
        call.restore(body);
        return call.pass().await;
    };
    let joined = rename(&state, &mut wanted);
    let mut servers = Vec::new();
    for network in joined.iter().filter(|network| network.spec.attachable) {
        servers.extend(
            gateway(&call, &node, network).await?.map(|addr| Value::from(addr.to_string())),
        );
    }
    if joined.is_empty() {
        call.restore(body);
        return call.pass().await;
    }
    if let Some(host) = object(&mut wanted, "HostConfig") {
        let own = host.get("Dns").and_then(Value::as_array).cloned().unwrap_or_default();
        servers.extend(own);
        host.insert("Dns".to_owned(), Value::Array(servers));
    }
    call.restore(Value::Object(wanted).to_string().into());
    call.head.headers.remove(http::header::CONTENT_LENGTH);
    call.pass().await
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

/// Puts names for ids, which the engine cannot know; returns the cluster networks the container is to join.
fn rename(state: &State, wanted: &mut Map<String, Value>) -> Vec<Arc<Network>> {
    let mut joined: Vec<Arc<Network>> = Vec::new();
    let mut meet = |reference: &str| {
        let network = named(state, reference)?;
        if !joined.iter().any(|known| known.id == network.id) {
            joined.push(network.clone());
        }
        Some(network.spec.annotations.name.clone())
    };
    if let Some(mode) = wanted.get_mut("HostConfig").and_then(|host| host.get_mut("NetworkMode"))
        && let Some(name) = mode.as_str().and_then(&mut meet)
    {
        *mode = Value::String(name);
    }
    let endpoints = wanted
        .get_mut("NetworkingConfig")
        .and_then(|config| config.get_mut("EndpointsConfig"))
        .and_then(Value::as_object_mut);
    if let Some(endpoints) = endpoints {
        let renamed = std::mem::take(endpoints).into_iter();
        *endpoints = renamed.map(|(key, value)| (meet(&key).unwrap_or(key), value)).collect();
    }
    joined
}

/// Returns this node's address on a network, which containers ask for names; takes one if there is none yet.
async fn gateway(
    call: &Call,
    node: &NodeId,
    network: &Network,
) -> Result<Option<IpAddr>, ApiError> {
    if let Some(held) = network.gateways.get(node) {
        return Ok(Some(*held));
    }
    let attachment =
        NetworkAttachment { target: network.id.clone(), ..NetworkAttachment::default() };
    let task = hold(call, node, "", attachment).await?;
    let state = call.state().await?;
    let found = state.networks().get(&network.id).and_then(|it| it.gateways.get(node)).copied();
    call.propose(Command::Detach { id: task.id.clone() }).await?;
    Ok(found)
}

/// Answers `POST /containers/{id}/start` and `restart`: takes the addresses that the container needs first.
///
/// # Errors
/// Fails where the container may not join one of its networks.
pub async fn start(mut call: Call, reference: &str) -> Reply {
    let Some((node, state)) = here(&call).await else { return call.pass().await };
    let path = ["containers", reference, "json"];
    if let Some(container) = call.engine_json(&path, &Query::default()).await? {
        let running = container.pointer("/State/Running") == Some(&Value::Bool(true));
        if !running
            && container.pointer("/Config/Labels").is_none_or(|it| it.get(TASK_LABEL).is_none())
        {
            let engine = call.engine_version().api_max;
            let prefixed = ApiVersion(engine.0, engine.1) >= NETWORKING_PREFIX_SINCE;
            let prefix = if prefixed { "failed to set up container networking: " } else { "" };
            if let Err(error) = prepare(&mut call, &node, &state, &container).await {
                // One that goes when it ends goes too when it cannot start; its client waits for that.
                if container.pointer("/HostConfig/AutoRemove") == Some(&Value::Bool(true)) {
                    call.remove_container(reference).await?;
                }
                return Err(ApiError::new(error.status, format!("{prefix}{}", error.message)));
            }
        }
    }
    call.pass().await
}

/// Joins a container that does not run to its cluster networks.
async fn prepare(
    call: &mut Call,
    node: &NodeId,
    state: &State,
    container: &Value,
) -> Result<(), ApiError> {
    let endpoints = container.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
    for (reference, endpoint) in endpoints.into_iter().flatten() {
        let Some(network) = named(state, reference) else { continue };
        if !network.spec.attachable {
            return Err(ApiError { status: StatusCode::FORBIDDEN, ..refused(reference, network) });
        }
        let (task, addr) = join(call, node, network, container, endpoint).await?;
        // The endpoint may name a network of the engine that is gone, and an address that is another's by now.
        let request = json!({"Container": field(container, "Id"), "Force": true});
        let _ = tell_engine(call, &["networks", reference, "disconnect"], &request).await?;
        let connected = connect(call, network, container, endpoint, addr).await?;
        if connected.status() != StatusCode::OK {
            call.propose(Command::Detach { id: task }).await?;
            let text = crate::call::collect_json(connected).await?;
            return Err(ApiError::internal(field(&text, "message")));
        }
    }
    Ok(())
}

/// Answers `POST /networks/{id}/connect` for a cluster network.
///
/// # Errors
/// Fails for networks that only services may join.
pub async fn connect_network(mut call: Call, reference: &str, network: &Network) -> Reply {
    let body = call.bytes().await?;
    let fields: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let container = field(&fields, "Container").to_owned();
    let answer = call.ask_engine(&["containers", &container, "json"], &Query::default()).await?;
    if answer.status() != StatusCode::OK {
        return Ok(answer);
    }
    let container = crate::call::collect_json(answer).await?;
    if !network.spec.attachable {
        return Err(refused(reference, network));
    }
    let Membership::Manager { node, .. } = call.backend.membership() else {
        return Err(ApiError::unavailable("this node cannot attach containers just now"));
    };
    let name = &network.spec.annotations.name;
    let held = container.pointer("/NetworkSettings/Networks").and_then(|all| all.get(name));
    if held.is_some() {
        let own = field(&container, "Name").trim_start_matches('/');
        return Err(ApiError::conflict(format!("{own} is already attached to network {name}")));
    }
    let none = json!({});
    let endpoint = fields.get("EndpointConfig").filter(|it| it.is_object()).unwrap_or(&none);
    let (task, addr) = join(&call, &node, network, &container, endpoint).await?;
    let answer = connect(&call, network, &container, endpoint, addr).await?;
    if answer.status() != StatusCode::OK {
        call.propose(Command::Detach { id: task }).await?;
    }
    Ok(answer)
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
    {
        let state = call.state().await?;
        for task in held_by(&state, field(&container, "Id")) {
            if task.spec.networks.iter().any(|held| held.target == network.id) {
                call.propose(Command::Detach { id: task.id.clone() }).await?;
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
    let Some((node, state)) = here(&call).await else { return call.pass().await };
    if !state.node_tasks(&node).any(|task| task.service.is_none()) {
        return call.pass().await;
    }
    let path = ["containers", reference, "json"];
    let container = call.engine_json(&path, &Query::default()).await?;
    let id = container.as_ref().map(|found| field(found, "Id").to_owned()).unwrap_or_default();
    if held_by(&state, &id).next().is_none() {
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
    let Some((node, state)) = here(call).await else { return Ok(()) };
    for task in state.node_tasks(&node).filter(|task| which(task)) {
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
            // Whoever was faster has done it.
            let _ = call.propose(Command::Detach { id: task.id.clone() }).await;
        }
    }
    Ok(())
}

fn is_for(task: &Task, container: &str) -> bool {
    match &task.spec.runtime {
        Runtime::Attachment { container_id } => container_id == container,
        Runtime::Container(_) => false,
    }
}

fn held_by<'a>(state: &'a State, container: &'a str) -> impl Iterator<Item = &'a Arc<Task>> {
    let live = |task: &&Arc<Task>| !task.status.state.is_terminal();
    state.tasks().values().filter(live).filter(move |task| is_for(task, container))
}

/// Takes an address for a container, or finds the one it has.
async fn join(
    call: &Call,
    node: &NodeId,
    network: &Network,
    container: &Value,
    endpoint: &Value,
) -> Result<(TaskId, IpAddr), ApiError> {
    let id = field(container, "Id");
    let asked = |family: &str| {
        let text = endpoint.pointer(&format!("/IPAMConfig/{family}")).and_then(Value::as_str)?;
        text.parse().ok()
    };
    let state = call.state().await?;
    let on = |task: &&Arc<Task>| task.spec.networks.iter().any(|it| it.target == network.id);
    let held = held_by(&state, id).find(on).cloned();
    let mut task = match held {
        Some(task) if task.status.state == TaskState::Running => task,
        _ => {
            let attachment = NetworkAttachment {
                target: network.id.clone(),
                aliases: names(container, endpoint),
                addresses: asked("IPv4Address")
                    .or_else(|| asked("IPv6Address"))
                    .into_iter()
                    .collect(),
                ..NetworkAttachment::default()
            };
            hold(call, node, id, attachment).await?
        }
    };
    let addresses = std::mem::take(&mut Arc::make_mut(&mut task).networks);
    let found = addresses.iter().flat_map(|held| &held.addresses).next();
    let (addr, _) = found.ok_or_else(|| ApiError::internal(TIMED_OUT))?;
    Ok((task.id.clone(), *addr))
}

/// Names under which other nodes know the container.
fn names(container: &Value, endpoint: &Value) -> Vec<String> {
    let mut names = vec![field(container, "Name").trim_start_matches('/').to_owned()];
    let aliases = endpoint.get("Aliases").and_then(Value::as_array).into_iter().flatten();
    names.extend(aliases.filter_map(Value::as_str).map(str::to_owned));
    names.extend(field(container, "Id").get(..12).map(str::to_owned));
    names.dedup();
    names
}

/// Makes an attachment task and waits until this node has its network.
async fn hold(
    call: &Call,
    node: &NodeId,
    container: &str,
    network: NetworkAttachment,
) -> Result<Arc<Task>, ApiError> {
    let id = TaskId::from_entropy(call.backend.entropy());
    let (node, container) = (node.clone(), container.to_owned());
    call.propose(Command::Attach { id: id.clone(), node, container, network }).await?;
    let outcome = await_running(call, &id).await;
    if outcome.is_err() {
        // It may be gone already; the error to tell is the first.
        let _ = call.propose(Command::Detach { id }).await;
    }
    outcome
}

async fn await_running(call: &Call, id: &TaskId) -> Result<Arc<Task>, ApiError> {
    let deadline = call.backend.now().after(ATTACH_WAIT);
    let timed_out = || ApiError::internal(TIMED_OUT);
    let mut state = call.state().await?;
    loop {
        let task = state.tasks().get(id).ok_or_else(timed_out)?;
        if task.status.state == TaskState::Running {
            return Ok(task.clone());
        }
        if task.status.state.is_terminal() {
            return Err(ApiError::internal(task.status.error.clone()));
        }
        let left = deadline.since(call.backend.now());
        match call.backend.changed(state.index(), left).await {
            Ok(newer) if newer.index() > state.index() => state = newer,
            Ok(_) | Err(_) => return Err(timed_out()),
        }
    }
}

/// Connects a container to the engine's twin of a network, at its address.
async fn connect(
    call: &Call,
    network: &Network,
    container: &Value,
    endpoint: &Value,
    addr: IpAddr,
) -> Reply {
    let Some(twin) = twin(call, &network.id).await? else {
        return Err(ApiError::internal(TIMED_OUT));
    };
    let mut config = Map::new();
    for kept in ["Aliases", "Links", "DriverOpts"] {
        config.extend(endpoint.get(kept).map(|value| (kept.to_owned(), value.clone())));
    }
    let family = |addr: &IpAddr| if addr.is_ipv4() { "IPv4Address" } else { "IPv6Address" };
    let addrs = Pairs::of(network).with_pair(addr);
    let addrs: Map<String, Value> =
        addrs.map(|it| (family(&it).to_owned(), Value::String(it.to_string()))).collect();
    config.insert("IPAMConfig".to_owned(), Value::Object(addrs));
    if let IpAddr::V4(addr) = addr
        && call.version >= ENDPOINT_MAC_SINCE
    {
        config.insert("MacAddress".to_owned(), Value::String(endpoint_mac(addr)));
    }
    let request = json!({"Container": field(container, "Id"), "EndpointConfig": config});
    tell_engine(call, &["networks", field(&twin, "Id"), "connect"], &request).await
}

/// Posts JSON to the local engine on skep's own behalf.
async fn tell_engine(call: &Call, segments: &[&str], body: &Value) -> Reply {
    let bytes = body.to_string();
    let mut head = call.request_head(segments, &Query::default())?;
    *head.method_mut() = Method::POST;
    let kind = http::HeaderValue::from_static("application/json");
    head.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    *head.body_mut() = reply::full(bytes);
    call.backend.engine(head).await.map_err(|error| call.fail(error))
}

/// Tells whether containers hold a network.
pub fn holds(state: &State, network: &NetworkId) -> bool {
    state.tasks().values().any(|task| {
        task.service.is_none() && task.spec.networks.iter().any(|held| held.target == *network)
    })
}
