//! `/networks`: the cluster's networks and the engine's in one view.
//!
//! Where a task of this node uses a cluster network, the engine has a local twin of it, marked by a label. Clients
//! never see twins: lists leave them out, and an inspection of the network shows the twin's containers.

mod check;
mod known;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use skep_core::agent::network::endpoint_mac;
use skep_core::command::Command;
use skep_core::id::NetworkId;
use skep_core::model::Kind;
use skep_core::model::network::Network;
use skep_core::net::family::Family;
use skep_core::net::pairs::Pairs;
use skep_core::state::State;

use crate::attachments;
use crate::backend::{BackendError, EngineVersion, Membership};
use crate::call::{Call, collect_json};
use crate::convert::network::{services_to_wire, spec_from_wire, to_wire};
use crate::dialect;
use crate::error::{ApiError, Code, NOT_IN_SWARM};
use crate::filters::Filters;
use crate::json;
use crate::query::Query;
use crate::reply::{self, Reply};
use crate::route::ApiVersion;
use crate::wire::network::{self as wire, ConnectRequest, NetworkCreateRequest, NetworkCreated};
use check::{check_new, taken};
use known::{Found, cluster, find, known};

/// Label of an engine's network that stands in for a cluster network; its value is the id.
pub const TWIN_LABEL: &str = "skep.network.id";

/// Longest wait for a new network's addresses. The network exists either way.
const ALLOCATION_WAIT: Duration = Duration::from_secs(2);

/// First API version of engines whose networks can do without IPv4, and say that they do not.
const ENABLE_IPV4_SINCE: ApiVersion = ApiVersion(1, 48);

/// Shows a network with the fields that networks of this engine have.
fn show(engine: &EngineVersion, network: &Network) -> wire::Network {
    let mut shown = to_wire(network);
    if ApiVersion(engine.api_max.0, engine.api_max.1) < ENABLE_IPV4_SINCE {
        shown.enable_ipv4 = None;
    }
    shown
}

fn visible(state: &State) -> impl Iterator<Item = &Arc<Network>> {
    state.networks().values().filter(|network| !network.spec.predefined)
}

fn in_use(state: &State, network: &Network) -> bool {
    let by_service = state.services().values().any(|service| {
        service.spec.task.networks.iter().any(|attachment| attachment.target == network.id)
    });
    let joined = |task: &skep_core::model::task::Task| {
        let here = task.networks.iter().any(|at| at.network.id == network.id);
        here && !task.status.state.is_terminal()
    };
    by_service || state.tasks().values().any(|task| joined(task))
}

pub(crate) fn is_twin(network: &Value) -> bool {
    network.get("Labels").and_then(|labels| labels.get(TWIN_LABEL)).is_some()
}

pub(crate) fn field<'a>(network: &'a Value, name: &str) -> &'a str {
    network.get(name).and_then(Value::as_str).unwrap_or("")
}

/// Answers `GET /networks`: the cluster's networks, then the engine's.
///
/// # Errors
/// Fails when the engine refuses the filters or cannot be reached.
pub async fn list(call: Call) -> Reply {
    let filters = call.any_filters()?;
    let known = known(&call).await;
    let engine = call.engine_version();
    let response = call.pass().await?;
    if response.status() != StatusCode::OK {
        return Ok(response);
    }
    let local = collect_json(response).await?;
    let mut all: Vec<Value> = Vec::new();
    if let Some(known) = &known {
        let visible = known.networks().filter(|network| !network.spec.predefined);
        let shown = visible.filter(|network| listed(&known.state, &filters, network));
        all.extend(shown.map(|network| json!(show(&engine, network))));
    }
    let local = local.as_array().cloned().unwrap_or_default();
    all.extend(local.into_iter().filter(|network| !is_twin(network)));
    Ok(reply::json(StatusCode::OK, &all))
}

/// Tells whether a cluster network passes the filters. As in Docker 28, names match as a whole and ids by prefix; a network
/// that waits for its addresses is shown without a driver, and so has none to match.
fn listed(state: &State, filters: &Filters, network: &Network) -> bool {
    let driver = network.allocation.as_ref().map_or("", |allocation| &allocation.driver.name);
    filters.exact("driver", driver)
        && filters.exact("name", &network.spec.annotations.name)
        && filters.prefix("id", network.id.as_str())
        && filters.labels("label", &network.spec.annotations.labels)
        && filters.exact("scope", "swarm")
        && filters.exact("type", "custom")
        && filters.any("dangling", |value| !in_use(state, network) == matches!(value, "1" | "true"))
}

/// Returns the engine's twin of a cluster network in full, if this node has one.
pub(crate) async fn twin(call: &Call, id: &NetworkId) -> Result<Option<Value>, ApiError> {
    let mut filters = Filters::default();
    filters.add("label", &format!("{TWIN_LABEL}={id}"));
    let mut query = Query::default();
    query.set("filters", filters.to_text());
    let found = call.engine_json(&["networks"], &query).await?;
    let Some(first) = found.as_ref().and_then(Value::as_array).and_then(|all| all.first()) else {
        return Ok(None);
    };
    call.engine_json(&["networks", field(first, "Id")], &Query::default()).await
}

/// Answers `GET /networks/{id}`.
///
/// # Errors
/// Fails if no or several networks match.
pub async fn inspect(mut call: Call, reference: &str) -> Reply {
    let verbose = call.query.strict_bool("verbose")?;
    let scope = call.query.get("scope").to_owned();
    let known = known(&call).await;
    match find(&call, known.as_ref(), reference, &scope).await? {
        Found::Local(id) => {
            call.redirect(&["networks", &id])?;
            call.pass().await
        }
        Found::Cluster(network) => {
            let mut shown = show(&call.engine_version(), &network);
            // A question for the cluster's view alone must not wait for the engine; a worker has no view but its own.
            let afar = scope == "swarm" && known.as_ref().is_some_and(|it| it.worker.is_none());
            let twin = if afar { None } else { twin(&call, &network.id).await? };
            if !afar && (twin.is_some() || network.spec.ingress) {
                let held = twin.and_then(|mut twin| twin.get_mut("Containers").map(Value::take));
                let mut held = match held {
                    Some(Value::Object(held)) => held,
                    _ => serde_json::Map::new(),
                };
                add_own_endpoint(&call, &network, &mut held);
                shown.containers = Some(Value::Object(held));
                shown.labels.get_or_insert_default();
            }
            if let Some(known) = known.filter(|_| verbose) {
                let held = shown.containers.as_ref();
                let services = services_to_wire(&known.state, &network, |container| {
                    let found = held.and_then(|held| held.get(container));
                    found.map(|found| field(found, "EndpointID").to_owned()).unwrap_or_default()
                });
                shown.services = (!services.is_empty()).then_some(services);
            }
            Ok(reply::json(StatusCode::OK, &shown))
        }
    }
}

/// Adds what this node itself has on a network: the end of the routing mesh, or where connections are spread from.
fn add_own_endpoint(call: &Call, network: &Network, held: &mut serde_json::Map<String, Value>) {
    let Some((node, _)) = call.backend.known() else { return };
    let name = &network.spec.annotations.name;
    let key = if network.spec.ingress { "ingress-sbox".to_owned() } else { format!("lb-{name}") };
    let gateway = network.gateways.get(&node);
    let configs = || network.allocation.iter().flat_map(|allocation| &allocation.ipam.configs);
    let prefix = |family: Family| {
        let of_family = |text: &str| text.contains(':') == (family == Family::V6);
        let subnets = configs().filter_map(|config| config.subnet.split_once('/'));
        subnets.filter(|(base, _)| of_family(base)).map(|(_, prefix)| prefix).next()
    };
    let pairs = Pairs::of(network);
    let own = |family: Family| {
        let mut all = gateway.iter().flat_map(|addr| pairs.with_pair(**addr));
        let addr = all.find(|addr| Family::of(*addr) == family);
        addr.zip(prefix(family)).map(|(addr, prefix)| format!("{addr}/{prefix}"))
    };
    let mac = match gateway {
        Some(IpAddr::V4(address)) => endpoint_mac(*address),
        Some(IpAddr::V6(_)) | None => String::new(),
    };
    let endpoint = json!({
        "Name": format!("{name}-endpoint"),
        "EndpointID": endpoint_id(&[network.id.as_str(), node.as_str()]),
        "MacAddress": mac,
        "IPv4Address": own(Family::V4).unwrap_or_default(),
        "IPv6Address": own(Family::V6).unwrap_or_default(),
    });
    held.insert(key, endpoint);
}

/// Makes up the id of an endpoint that no engine has: 64 hexadecimal digits, always the same.
fn endpoint_id(parts: &[&str]) -> String {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut digits = String::new();
    for round in 0..4_u8 {
        for byte in bytes.clone().chain([round]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        digits.push_str(&format!("{hash:016x}"));
    }
    digits
}

/// Answers `POST /networks/create`: overlays are the cluster's, all else is the engine's.
///
/// # Errors
/// Fails on names that are taken and on specs that cannot be.
pub async fn create(mut call: Call) -> Reply {
    let body = call.bytes().await?;
    let wording = dialect::wording(&call.engine_version());
    let mut request: NetworkCreateRequest = json::decode(&call.head.headers, &body, wording)?;
    let state = cluster(&call).await;
    let named = |network: &Arc<Network>| network.spec.annotations.name == request.name;
    if state.as_deref().is_some_and(|state| state.networks().values().any(named)) {
        return Err(taken(&request.name));
    }
    if request.config_only {
        // Its driver is of no account, but an engine outside a swarm refuses the cluster's.
        call.restore(without_driver(body));
        return call.pass().await;
    }
    if request.driver != "overlay" && request.scope != "swarm" {
        call.restore(body);
        return call.pass().await;
    }
    check_new(&call, &mut request).await?;
    let Some(state) = state else { return Err(no_cluster(&call).await) };
    let spec = spec_from_wire(request, wording)?;
    if let Some(other) = visible(&state).find(|network| spec.ingress && network.spec.ingress) {
        let text = format!("ingress network ({}) is already present", other.id);
        return Err(ApiError::rpc(Code::AlreadyExists, text));
    }
    let id = NetworkId::from_entropy(call.backend.entropy());
    call.propose(Command::CreateNetwork { id: id.clone(), spec: Box::new(spec) }).await?;
    await_allocation(&call, &id).await;
    Ok(reply::json(StatusCode::CREATED, &NetworkCreated { id: id.to_string(), warning: "" }))
}

fn without_driver(body: Bytes) -> Bytes {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice::<Value>(&body) else { return body };
    fields.retain(|name, _| !name.eq_ignore_ascii_case("Driver"));
    Value::Object(fields).to_string().into()
}

/// Says why this node cannot make cluster networks.
async fn no_cluster(call: &Call) -> ApiError {
    match call.backend.membership() {
        Membership::Manager { .. } => match call.state().await {
            Err(error) => error,
            Ok(_) => ApiError::unavailable("the cluster is busy, try again"),
        },
        Membership::Inactive
        | Membership::Pending { .. }
        | Membership::Worker { .. }
        | Membership::Locked
        | Membership::Failed { .. } => ApiError::forbidden(NOT_IN_SWARM),
    }
}

/// Waits until a network has its addresses, so that clients which inspect it at once see them.
async fn await_allocation(call: &Call, id: &NetworkId) {
    let deadline = call.backend.now().after(ALLOCATION_WAIT);
    let Ok(state) = call.backend.read().await else { return };
    let waits = |state: &State| {
        let network = state.networks().get(id);
        network.is_some_and(|it| it.allocation.is_none() && !state.is_blocked(it))
    };
    call.wait_while(state, deadline, waits).await;
}

/// Answers `DELETE /networks/{id}`.
///
/// # Errors
/// Fails while it is in use.
pub async fn remove(mut call: Call, reference: &str) -> Reply {
    let known = known(&call).await;
    match find(&call, known.as_ref(), reference, "").await? {
        Found::Local(id) => {
            call.redirect(&["networks", &id])?;
            call.pass().await
        }
        Found::Cluster(_) if known.as_ref().is_some_and(|known| known.worker.is_some()) => {
            Err(call.fail(BackendError::NotManager))
        }
        Found::Cluster(network) => {
            if known.is_some_and(|known| attachments::holds(&known.state, &network.id)) {
                attachments::release_ended(&call, |_| true).await?;
            }
            call.propose(Command::RemoveNetwork { id: network.id.clone() }).await?;
            Ok(reply::empty(StatusCode::NO_CONTENT))
        }
    }
}

/// Answers `POST /networks/{id}/connect` and `disconnect`.
///
/// # Errors
/// Fails for networks that plain containers may not join.
pub async fn attach(mut call: Call, reference: &str, verb: &str) -> Reply {
    let known = known(&call).await;
    let found = find(&call, known.as_ref(), reference, "").await;
    if let Ok(Found::Local(id)) = &found {
        call.redirect(&["networks", id, verb])?;
        return call.pass().await;
    }
    check_container(&mut call).await?;
    let connects = verb == "connect";
    match found {
        Ok(Found::Cluster(network)) if connects => {
            attachments::connect_network(call, reference, Some(&network)).await
        }
        Ok(Found::Cluster(network)) => attachments::disconnect_network(call, &network).await,
        Ok(Found::Local(_)) => Err(ApiError::no_such(Kind::Network, reference)),
        // Whether the cluster has it is for the managers to say.
        Err(error) if connects && known.is_some() && error.status == StatusCode::NOT_FOUND => {
            attachments::connect_network(call, reference, None).await
        }
        // A container that does not run may have been told of networks that never were.
        Err(error) if !connects && error.status == StatusCode::NOT_FOUND => call.pass().await,
        Err(error) => Err(error),
    }
}

/// Checks that a request names a container of the engine, which is looked for before the network is.
async fn check_container(call: &mut Call) -> Result<(), ApiError> {
    let body = call.bytes().await?;
    let wording = dialect::wording(&call.engine_version());
    let request: ConnectRequest = json::decode(&call.head.headers, &body, wording)?;
    call.restore(body);
    if request.container.is_empty() {
        return Err(ApiError::bad_request("invalid name or ID supplied: \"\""));
    }
    // With force, the engine takes the name for an endpoint's.
    if request.force {
        return Ok(());
    }
    let asked = ["containers", &request.container, "json"];
    let response = call.ask_engine(&asked, &Query::default()).await?;
    if response.status() != StatusCode::NOT_FOUND {
        return Ok(());
    }
    Err(ApiError::not_found(format!("No such container: {}", request.container)))
}

/// Answers `POST /networks/prune`. Twins are skep's to remove; unused cluster networks go where there is a manager.
///
/// # Errors
/// Fails when the engine refuses the filters or cannot be reached.
pub async fn prune(mut call: Call) -> Reply {
    let filters = call.any_filters()?;
    let state = cluster(&call).await;
    let backend = call.backend.clone();
    let mut for_engine = filters.clone();
    for_engine.add("label!", TWIN_LABEL);
    call.query.set("filters", for_engine.to_text());
    call.redirect(&["networks", "prune"])?;
    let response = call.pass().await?;
    let Some(state) = state.filter(|_| response.status() == StatusCode::OK) else {
        return Ok(response);
    };
    let mut value = collect_json(response).await?;
    let mut removed = Vec::new();
    for network in visible(&state) {
        // A date in `until` is the engine's to read, so with one given nothing of the cluster is touched.
        if network.spec.ingress
            || filters.contains("until")
            || in_use(&state, network)
            || !filters.labels("label", &network.spec.annotations.labels)
            || unwanted(&filters, network)
        {
            continue;
        }
        let command = Command::RemoveNetwork { id: network.id.clone() };
        if backend.propose(command).await.is_ok() {
            removed.push(Value::String(network.spec.annotations.name.clone()));
        }
    }
    // The cluster's come first, as in Docker.
    if let Some(fields) = value.as_object_mut().filter(|_| !removed.is_empty()) {
        let deleted = fields.entry("NetworksDeleted").or_insert(Value::Null);
        removed.extend(deleted.as_array().cloned().unwrap_or_default());
        *deleted = Value::Array(removed);
    }
    Ok(reply::json(StatusCode::OK, &value))
}

/// Tells whether a network has a label that `label!` keeps from pruning.
fn unwanted(filters: &Filters, network: &Network) -> bool {
    filters.get("label!").any(|value| {
        let mut one = Filters::default();
        one.add("label", value);
        one.labels("label", &network.spec.annotations.labels)
    })
}
