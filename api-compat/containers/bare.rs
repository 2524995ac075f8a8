//! Tasks on nodes whose engine joined by itself: only their output can be asked for, the way it is asked for tasks. What clients
//! want to know before they ask for it is told from the state.

use std::sync::Arc;

use http::{Request, StatusCode};
use serde_json::{Value, json};
use skep_core::model::node::NodeAgent;
use skep_core::model::service::Runtime;
use skep_core::model::task::{Task, TaskState};
use skep_core::state::State;

use crate::backend::{Backend, Body};
use crate::call::Call;
use crate::error::ApiError;
use crate::reply::{self, Reply};
use crate::route::ApiVersion;
use crate::tasks;
use crate::wire::time;

/// Tells whether a task's node has an engine without skep.
pub(super) fn is_bare(state: &State, task: &Task) -> bool {
    let node = task.node.as_ref().and_then(|id| state.nodes().get(id));
    matches!(node.and_then(|node| node.agent.as_ref()), Some(NodeAgent::Engine))
}

/// Answers what can be answered.
pub(super) async fn answer(
    backend: &Arc<dyn Backend>,
    version: ApiVersion,
    request: Request<Body>,
    task: &Task,
    rest: &str,
) -> Reply {
    match rest {
        "logs" => {
            let call = Call::new(backend.clone(), version, request);
            tasks::logs(call, task.id.as_str()).await
        }
        "json" => Ok(reply::json(StatusCode::OK, &known(task))),
        _ => Err(ApiError::unsupported(format!(
            "task {} runs on a Docker Engine that joined without skep (node {}): its logs alone can be had from here. Ask that engine itself, or run skep beside it",
            task.name(),
            task.node.as_ref().map_or("", |node| node.as_str()),
        ))),
    }
}

/// Describes a container as far as a manager knows it.
fn known(task: &Task) -> Value {
    let Runtime::Container(spec) = &task.spec.runtime else { return Value::Null };
    let held = task.status.container.clone().unwrap_or_default();
    let running = task.status.state == TaskState::Running;
    let at = |holds: bool| {
        let never = "0001-01-01T00:00:00Z".to_owned();
        if holds { time::format(task.status.at) } else { never }
    };
    json!({
        "Id": held.id,
        "Created": time::format(task.meta.created_at),
        "Name": format!("/{}", task.name()),
        "State": {
            "Status": if running { "running" } else { "exited" },
            "Running": running,
            "Paused": false,
            "Restarting": false,
            "OOMKilled": false,
            "Dead": false,
            "Pid": held.pid,
            "ExitCode": held.exit_code,
            "Error": task.status.error,
            "StartedAt": at(running),
            "FinishedAt": at(!running),
        },
        "Config": {
            "Hostname": spec.hostname,
            "User": spec.user,
            "Tty": spec.tty,
            "OpenStdin": spec.open_stdin,
            "Env": spec.env,
            "Image": spec.image,
            "WorkingDir": spec.dir,
            "Labels": spec.labels,
        },
        "HostConfig": {},
        "Mounts": [],
        "NetworkSettings": { "Networks": {} },
    })
}
