//! Containers as the cluster sees them: their networks by the ids that lists of networks have, and without the mounts that
//! secrets and configs are to the engine. Changes what is told alone.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::{Value, json};
use skep_core::agent::FILES_DIR;
use skep_core::agent::container::TASK_ID_LABEL;
use skep_core::id::{NetworkId, TaskId};
use skep_core::model::service::Runtime;
use skep_core::model::task::Task;
use skep_core::state::State;

use crate::backend::Body;
use crate::call::{Call, collect_json};
use crate::dialect;
use crate::networks::field;
use crate::reply::{self, Reply};

/// Answers `GET /containers/{id}/json`.
///
/// # Errors
/// Fails when the engine cannot be reached.
pub async fn inspect(call: Call) -> Reply {
    let view = View::of(&call);
    view.retold(call.pass().await?).await
}

/// What containers are told by.
pub struct View {
    state: Option<Arc<State>>,
    default_mode: &'static str,
}

impl View {
    /// Takes what this node knows of its cluster, if it is in one.
    pub fn of(call: &Call) -> Self {
        let state = call.backend.known().map(|(_, state)| state);
        let old = dialect::is_old(&call.engine_version());
        Self { state, default_mode: if old { "default" } else { "bridge" } }
    }

    /// Retells an answer about one container or several, unless it is a refusal.
    ///
    /// # Errors
    /// Fails when the engine breaks off.
    pub async fn retold(&self, response: Response<Body>) -> Reply {
        let Some(state) = self.state.as_deref().filter(|_| response.status() == StatusCode::OK)
        else {
            return Ok(response);
        };
        let mut told = collect_json(response).await?;
        if let Some(all) = told.as_array_mut() {
            all.iter_mut().for_each(|one| self.retell(state, one));
        } else {
            self.retell(state, &mut told);
        }
        Ok(reply::json(StatusCode::OK, &told))
    }

    fn retell(&self, state: &State, container: &mut Value) {
        let (networks, of_task) = networks_of(state, container);
        let joined =
            container.pointer_mut("/NetworkSettings/Networks").and_then(Value::as_object_mut);
        if let Some(joined) = joined {
            for (name, id) in &networks {
                let Some(endpoint) = joined.get_mut(name).and_then(Value::as_object_mut) else {
                    continue;
                };
                endpoint.insert("NetworkID".to_owned(), json!(id.as_str()));
                // An overlay is left by another way.
                for gateway in ["Gateway", "IPv6Gateway"] {
                    if let Some(held) = endpoint.get_mut(gateway) {
                        *held = json!("");
                    }
                }
            }
        }
        let mode = container.pointer_mut("/HostConfig/NetworkMode");
        if let Some(mode) = mode.filter(|_| of_task)
            && networks.iter().any(|(name, _)| mode.as_str() == Some(name))
        {
            *mode = json!(self.default_mode);
        }
        let networks = networks.iter().filter_map(|(_, id)| state.networks().get(id));
        let servers: Vec<String> =
            networks.flat_map(|it| it.gateways.values()).map(IpAddr::to_string).collect();
        hide_name_servers(container, &servers, of_task);
        hide_files(container);
    }
}

/// Leaves out that containers ask this node and another one for names, which Docker's ask without being told.
fn hide_name_servers(container: &mut Value, own: &[String], of_task: bool) {
    let Some(servers) = container.pointer_mut("/HostConfig/Dns") else { return };
    let Some(all) = servers.as_array_mut() else { return };
    let before = all.len();
    all.retain(|server| !own.iter().any(|own| server.as_str() == Some(own)));
    if of_task && all.is_empty() && before > 0 {
        *servers = Value::Null;
    }
}

/// Returns the networks of the cluster that a container is on by name and id, and whether it is a task's own.
fn networks_of(state: &State, container: &Value) -> (Vec<(String, NetworkId)>, bool) {
    let listed = container.get("Labels");
    let labels = listed.or_else(|| container.pointer("/Config/Labels"));
    let task = labels.map(|labels| field(labels, TASK_ID_LABEL)).unwrap_or_default();
    let named = |task: &Task| -> Vec<(String, NetworkId)> {
        let networks = task.networks.iter().map(|joined| &joined.network);
        let networks = networks.filter(|network| !network.spec.predefined);
        networks.map(|it| (it.spec.annotations.name.clone(), it.id.clone())).collect()
    };
    if !task.is_empty() {
        let found = task.parse().ok().and_then(|id: TaskId| state.tasks().get(&id));
        return (found.map(|task| named(task)).unwrap_or_default(), true);
    }
    let id = field(container, "Id");
    let attached = |task: &Task| match &task.spec.runtime {
        Runtime::Attachment { container_id } => container_id == id,
        Runtime::Container(_) => false,
    };
    let holders = state.tasks().values().filter(|task| attached(task));
    (holders.flat_map(|task| named(task)).collect(), false)
}

/// Leaves out what is mounted for secrets and configs, as Docker does.
fn hide_files(container: &mut Value) {
    let is_file = |mount: &Value| Path::new(field(mount, "Source")).starts_with(FILES_DIR);
    if let Some(mounts) = container.get_mut("Mounts").and_then(Value::as_array_mut) {
        mounts.retain(|mount| !is_file(mount));
    }
    let Some(host) = container.get_mut("HostConfig").and_then(Value::as_object_mut) else { return };
    if let Some(mounts) = host.get_mut("Mounts").and_then(Value::as_array_mut) {
        let before = mounts.len();
        mounts.retain(|mount| !is_file(mount));
        if mounts.is_empty() && before > 0 {
            host.shift_remove("Mounts");
        }
    }
}
