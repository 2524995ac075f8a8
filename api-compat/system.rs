//! `_ping`, `/info`, `/version` and the few engine routes whose questions or answers must change in passing.

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderValue, PRAGMA};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::backend::Membership;
use crate::call::{Call, collect_json};
use crate::containers::shown::View;
use crate::convert::cluster::info_to_wire;
use crate::dialect;
use crate::error::{ApiError, not_manager};
use crate::filters::Filters;
use crate::reply::{self, Reply};
use crate::router::served_versions;
use crate::wire::info::{Peer, SwarmInfo};

const TWO_MANAGERS: &str = "WARNING: Running Swarm in a two-manager configuration. This configuration provides\n         no fault tolerance, and poses a high risk to lose control over the cluster.\n         Refer to https://docs.docker.com/engine/swarm/admin_guide/ to configure the\n         Swarm for fault-tolerance.";

/// Label of containers that tasks made.
pub(crate) const TASK_LABEL: &str = "com.docker.swarm.task";

/// Answers `GET` and `HEAD /_ping`.
pub fn ping(call: &Call) -> Reply {
    let head = call.head.method == Method::HEAD;
    let mut response = reply::text(StatusCode::OK, if head { "" } else { "OK" });
    let standing = match call.backend.membership() {
        Membership::Inactive => "inactive",
        Membership::Pending { .. } => "pending",
        Membership::Failed { .. } => "error",
        Membership::Locked => "locked",
        Membership::Worker { .. } => "active/worker",
        Membership::Manager { .. } => "active/manager",
    };
    let headers = response.headers_mut();
    headers.insert("builder-version", HeaderValue::from_static("2"));
    if !dialect::is_old(&call.engine_version()) {
        headers.insert("swarm", HeaderValue::from_static(standing));
    }
    let never = HeaderValue::from_static("no-cache, no-store, must-revalidate");
    headers.insert(CACHE_CONTROL, never);
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    if head {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    Ok(response)
}

/// Answers `GET /info`: the engine's answer with the cluster's standing in it.
///
/// # Errors
/// Fails when the engine cannot be reached.
pub async fn info(call: Call) -> Reply {
    let swarm = swarm_info(&call).await;
    let response = call.pass().await?;
    if response.status() != StatusCode::OK {
        return Ok(response);
    }
    let mut value = collect_json(response).await?;
    if let Some(fields) = value.as_object_mut() {
        if !swarm.warnings.is_empty() {
            let warnings = fields.entry("Warnings").or_insert(Value::Null);
            let mut all = warnings.as_array().cloned().unwrap_or_default();
            all.extend(swarm.warnings.iter().cloned().map(Value::String));
            *warnings = Value::Array(all);
        }
        fields.insert("Swarm".to_owned(), json!(swarm));
    }
    Ok(reply::json(StatusCode::OK, &value))
}

async fn swarm_info(call: &Call) -> SwarmInfo {
    let peers = |managers: Vec<(skep_core::id::NodeId, String)>| {
        let peer =
            |(id, addr): (skep_core::id::NodeId, String)| Peer { node_id: id.to_string(), addr };
        Some(managers.into_iter().map(peer).collect::<Vec<_>>())
    };
    let at = |node: Option<(skep_core::id::NodeId, String)>, state: &'static str| {
        let (node_id, node_addr) =
            node.map(|(id, addr)| (id.to_string(), addr)).unwrap_or_default();
        SwarmInfo { node_id, node_addr, local_node_state: state, ..SwarmInfo::default() }
    };
    match call.backend.membership() {
        Membership::Inactive => at(None, "inactive"),
        Membership::Pending { node } => at(node, "pending"),
        Membership::Locked => at(None, "locked"),
        Membership::Failed { node, error, .. } => SwarmInfo { error, ..at(node, "error") },
        Membership::Worker { node, addr, managers } => {
            SwarmInfo { remote_managers: peers(managers), ..at(Some((node, addr)), "active") }
        }
        Membership::Manager { node, addr, managers } => {
            let mut info = at(Some((node, addr)), "active");
            info.remote_managers = peers(managers);
            info.control_available = true;
            fill_from_state(call, &mut info).await;
            info
        }
    }
}

/// Fills what only the state tells. Without a quorum the rest still stands, and `Error` says why.
async fn fill_from_state(call: &Call, info: &mut SwarmInfo) {
    let state = match call.state().await {
        Ok(state) => state,
        Err(error) => {
            info.error = error.message;
            return;
        }
    };
    info.cluster = state.cluster().map(|cluster| info_to_wire(cluster));
    info.nodes = state.nodes().len();
    info.managers = state.nodes().values().filter(|node| node.manager.is_some()).count();
    if info.managers == 2 {
        info.warnings.push(TWO_MANAGERS.to_owned());
    }
}

/// Answers `GET /version`: the engine's answer with the versions that skep and the engine both serve.
///
/// # Errors
/// Fails when the engine cannot be reached.
pub async fn version(call: Call) -> Reply {
    let (lowest, highest) = served_versions(&call.engine_version());
    let response = call.pass().await?;
    if response.status() != StatusCode::OK {
        return Ok(response);
    }
    let mut value = collect_json(response).await?;
    let clamp = |fields: &mut Value| {
        if let Some(fields) = fields.as_object_mut() {
            fields.insert("ApiVersion".to_owned(), Value::String(highest.to_string()));
            fields.insert("MinAPIVersion".to_owned(), Value::String(lowest.to_string()));
        }
    };
    clamp(&mut value);
    let components = value.get_mut("Components").and_then(Value::as_array_mut);
    for component in components.into_iter().flatten() {
        if component.get("Name").and_then(Value::as_str) == Some("Engine")
            && let Some(details) = component.get_mut("Details")
        {
            clamp(details);
        }
    }
    Ok(reply::json(StatusCode::OK, &value))
}

/// Answers `GET /containers/json`. The engine cannot know which containers are tasks: their label tells.
///
/// # Errors
/// Fails on a filter that is no truth value, and when the engine cannot be reached.
pub async fn containers(mut call: Call) -> Reply {
    let view = View::of(&call);
    let Ok(mut filters) = Filters::parse(call.query.get("filters")) else {
        return call.pass().await;
    };
    let asked = filters.remove("is-task");
    let Some(word) = asked.first() else {
        return view.retold(call.pass().await?).await;
    };
    let wanted = match word.as_str() {
        "1" | "true" => true,
        "0" | "false" => false,
        other => {
            return Err(ApiError::bad_request(format!("invalid filter 'is-task=[{other}]'")));
        }
    };
    if wanted {
        filters.add("label", TASK_LABEL);
    }
    call.query.set("filters", filters.to_text());
    call.redirect(&["containers", "json"])?;
    let response = view.retold(call.pass().await?).await?;
    if wanted || response.status() != StatusCode::OK {
        return Ok(response);
    }
    let mut value = collect_json(response).await?;
    if let Some(list) = value.as_array_mut() {
        list.retain(|container| {
            container.get("Labels").and_then(|labels| labels.get(TASK_LABEL)).is_none()
        });
    }
    Ok(reply::json(StatusCode::OK, &value))
}

/// Answers `POST /volumes/create`: local volumes are the engine's, cluster volumes are not built.
///
/// # Errors
/// Refuses cluster volumes.
pub async fn create_volume(mut call: Call) -> Reply {
    let body = call.bytes().await?;
    let wants_cluster =
        serde_json::from_slice::<Value>(&body).is_ok_and(|value| {
            value.as_object().into_iter().flatten().any(|(key, value)| {
                key.eq_ignore_ascii_case("ClusterVolumeSpec") && !value.is_null()
            })
        });
    if wants_cluster {
        let membership = call.backend.membership();
        if matches!(membership, Membership::Manager { .. }) {
            return Err(ApiError::unsupported("cluster volumes are not supported"));
        }
        return Err(not_manager(&membership));
    }
    call.restore(body);
    call.pass().await
}

/// Answers `PUT /volumes/{name}`, which exists for cluster volumes only.
///
/// # Errors
/// Always, as there are none.
pub fn update_volume() -> Reply {
    Err(ApiError::unavailable(
        "volume update only valid for cluster volumes, but swarm is unavailable",
    ))
}
