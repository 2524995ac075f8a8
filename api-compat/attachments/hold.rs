//! Takes addresses for containers and gives them back, and joins containers to the engine's twins of networks. The same on every
//! node: how the cluster is asked is the backend's part.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Map, Value, json};
use skep_core::id::{NodeId, TaskId};
use skep_core::model::network::Network;
use skep_core::model::service::Runtime;
use skep_core::model::task::{Task, TaskState};
use skep_core::net::pairs::Pairs;
use skep_core::state::State;

use crate::backend::{Attachment, BackendError, Membership};
use crate::call::Call;
use crate::error::ApiError;
use crate::networks::{field, is_twin, twin};
use crate::query::Query;
use crate::reply::{self, Reply};

/// Longest wait until this node has the network.
const ATTACH_WAIT: Duration = Duration::from_secs(20);

pub(super) const TIMED_OUT: &str = "attaching to network failed, make sure your network options are correct and check manager logs: context deadline exceeded";

/// This node, and what it knows of the cluster.
pub(super) struct Here {
    pub(super) node: NodeId,
    pub(super) state: Arc<State>,
    /// Whether that is everything: a worker knows no networks but those that it uses.
    pub(super) knows_all: bool,
}

/// A place that a container has on a network.
pub(super) struct Place {
    pub(super) task: TaskId,
    pub(super) network: Arc<Network>,
    pub(super) addr: IpAddr,
}

impl Here {
    /// Looks how this node stands to a cluster.
    pub(super) async fn of(call: &Call) -> Option<Self> {
        match call.backend.membership() {
            Membership::Manager { node, .. } => {
                let state = call.backend.read().await.ok()?;
                Some(Self { node, state, knows_all: true })
            }
            Membership::Worker { .. } => {
                let (node, state) = call.backend.known()?;
                Some(Self { node, state, knows_all: false })
            }
            Membership::Inactive
            | Membership::Pending { .. }
            | Membership::Locked
            | Membership::Failed { .. } => None,
        }
    }

    /// Tells whether there may be networks that a container could join.
    pub(super) fn may_have_networks(&self) -> bool {
        !self.knows_all || self.state.networks().values().any(is_joinable)
    }

    /// Finds the cluster network that a container names, by name or id, as far as this node knows it.
    pub(super) fn named(&self, reference: &str) -> Option<&Arc<Network>> {
        let mut networks = self.state.networks().values().filter(|network| is_joinable(network));
        networks.find(|it| it.spec.annotations.name == reference || it.id.as_str() == reference)
    }

    /// Lists the live tasks of this node that hold something for a container.
    pub(super) fn held_by<'a>(&'a self, container: &'a str) -> impl Iterator<Item = &'a Arc<Task>> {
        let live = |task: &&Arc<Task>| !task.status.state.is_terminal();
        self.state.node_tasks(&self.node).filter(live).filter(move |task| is_for(task, container))
    }
}

fn is_joinable(network: &Arc<Network>) -> bool {
    !network.spec.ingress && !network.spec.predefined
}

/// Tells whether a task holds something for a container.
pub(super) fn is_for(task: &Task, container: &str) -> bool {
    match &task.spec.runtime {
        Runtime::Attachment { container_id } => container_id == container,
        Runtime::Container(_) => false,
    }
}

/// Tells whether a network is none of the cluster's: one that every engine has, or that this one was given by its users.
pub(super) async fn is_local(call: &Call, reference: &str) -> Result<bool, ApiError> {
    if matches!(reference, "" | "default" | "bridge" | "host" | "none")
        || reference.starts_with("container:")
    {
        return Ok(true);
    }
    let found = call.engine_json(&["networks", reference], &Query::default()).await?;
    Ok(found.is_some_and(|network| !is_twin(&network)))
}

/// Has this node join a network for a moment, so that it has an address there from then on; returns the network. `None` where the
/// cluster has no such network for containers.
pub(super) async fn visit(call: &Call, reference: &str) -> Result<Option<Arc<Network>>, ApiError> {
    let wanted = Attachment { target: reference.to_owned(), ..Attachment::default() };
    let id = match call.backend.attach(wanted).await {
        Ok(id) => id,
        Err(error) if is_refusal(&error) => return Ok(None),
        Err(error) => return Err(call.fail(error)),
    };
    let outcome = await_running(call, &id).await;
    // It may be gone already; the error to tell is the first.
    let _ = call.backend.detach(&id).await;
    let (task, here) = outcome?;
    let network = task.networks.first().map(|joined| &joined.network);
    Ok(network.map(|it| here.state.networks().get(&it.id).unwrap_or(it).clone()))
}

/// Tells whether the cluster said no, rather than nothing.
fn is_refusal(error: &BackendError) -> bool {
    use crate::error::Code;
    match error {
        BackendError::Rejected(_) => true,
        BackendError::Refused { code, .. } => match code {
            Code::NotFound | Code::PermissionDenied | Code::InvalidArgument => true,
            Code::AlreadyExists
            | Code::DeadlineExceeded
            | Code::FailedPrecondition
            | Code::Unavailable
            | Code::Unimplemented
            | Code::Unknown => false,
        },
        BackendError::NotManager
        | BackendError::NoLeader
        | BackendError::Timeout
        | BackendError::AlreadyMember
        | BackendError::NotMember
        | BackendError::LeaveRefused(_)
        | BackendError::NotLocked
        | BackendError::InvalidKey
        | BackendError::WrongKey
        | BackendError::Invalid(_)
        | BackendError::Unavailable(_)
        | BackendError::Unsupported(_)
        | BackendError::Engine(_)
        | BackendError::Internal(_) => false,
    }
}

/// Takes an address for a container on a network; `reference` is how the user names the network. One that it had there goes first,
/// for whoever holds it may be about to give it up: what ended a moment ago is no news here yet.
pub(super) async fn join(
    call: &Call,
    here: &Here,
    (reference, target): (&str, &str),
    container: &Value,
    endpoint: &Value,
) -> Result<Place, ApiError> {
    let id = field(container, "Id");
    let asked = |family: &str| {
        let text = endpoint.pointer(&format!("/IPAMConfig/{family}")).and_then(Value::as_str)?;
        text.parse().ok()
    };
    let known = here.named(target).map(|network| network.id.clone());
    let there = |task: &&Arc<Task>| {
        task.spec.networks.iter().any(|joined| Some(&joined.target) == known.as_ref())
    };
    for task in here.held_by(id).filter(there) {
        let _ = call.backend.detach(&task.id).await;
    }
    let wanted = Attachment {
        target: known.map_or_else(|| target.to_owned(), |id| id.to_string()),
        container: id.to_owned(),
        aliases: names(container, endpoint),
        addresses: asked("IPv4Address").or_else(|| asked("IPv6Address")).into_iter().collect(),
    };
    let task = hold(call, reference, wanted).await?;
    let joined = task.networks.first().ok_or_else(|| ApiError::internal(TIMED_OUT))?;
    let (addr, _) = joined.addresses.first().ok_or_else(|| ApiError::internal(TIMED_OUT))?;
    Ok(Place { task: task.id.clone(), network: joined.network.clone(), addr: *addr })
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

/// Has the cluster make an attachment, and waits until this node has its network.
async fn hold(call: &Call, reference: &str, wanted: Attachment) -> Result<Arc<Task>, ApiError> {
    let id = call.backend.attach(wanted).await.map_err(|error| {
        let text = call.fail(error).message;
        ApiError::internal(format!("Could not attach to network {reference}: {text}"))
    })?;
    match await_running(call, &id).await {
        Ok((task, _)) => Ok(task),
        Err(error) => {
            // It may be gone already; the error to tell is the first.
            let _ = call.backend.detach(&id).await;
            Err(error)
        }
    }
}

/// Waits until this node has the network of an attachment. A worker hears of the attachment later than of its id.
async fn await_running(call: &Call, id: &TaskId) -> Result<(Arc<Task>, Here), ApiError> {
    let deadline = call.backend.now().after(ATTACH_WAIT);
    let timed_out = || ApiError::internal(TIMED_OUT);
    let mut here = Here::of(call).await.ok_or_else(timed_out)?;
    let mut seen = false;
    loop {
        match here.state.tasks().get(id).cloned() {
            Some(task) if task.status.state == TaskState::Running => return Ok((task, here)),
            Some(task) if task.status.state.is_terminal() => {
                return Err(ApiError::internal(task.status.error.clone()));
            }
            Some(_) => seen = true,
            None if seen => return Err(timed_out()),
            None => {}
        }
        let left = deadline.since(call.backend.now());
        match call.backend.changed(here.state.index(), left).await {
            Ok(newer) if newer.index() > here.state.index() => here.state = newer,
            Ok(_) | Err(_) => return Err(timed_out()),
        }
    }
}

/// Connects a container to the engine's twin of a network, at its address.
pub(super) async fn connect(
    call: &Call,
    place: &Place,
    container: &Value,
    endpoint: &Value,
) -> Reply {
    let Some(twin) = twin(call, &place.network.id).await? else {
        return Err(ApiError::internal(TIMED_OUT));
    };
    let mut config = Map::new();
    for kept in ["Aliases", "Links", "DriverOpts"] {
        config.extend(endpoint.get(kept).map(|value| (kept.to_owned(), value.clone())));
    }
    let family = |addr: &IpAddr| if addr.is_ipv4() { "IPv4Address" } else { "IPv6Address" };
    let addrs = Pairs::of(&place.network).with_pair(place.addr);
    let addrs: Map<String, Value> =
        addrs.map(|it| (family(&it).to_owned(), Value::String(it.to_string()))).collect();
    config.insert("IPAMConfig".to_owned(), Value::Object(addrs));
    let request = json!({"Container": field(container, "Id"), "EndpointConfig": config});
    tell_engine(call, &["networks", field(&twin, "Id"), "connect"], &request).await
}

/// Posts JSON to the local engine on skep's own behalf.
pub(super) async fn tell_engine(call: &Call, segments: &[&str], body: &Value) -> Reply {
    let bytes = body.to_string();
    let mut head = call.request_head(segments, &Query::default())?;
    *head.method_mut() = Method::POST;
    let kind = http::HeaderValue::from_static("application/json");
    head.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    *head.body_mut() = reply::full(bytes);
    call.backend.engine(head).await.map_err(|error| call.fail(error))
}
