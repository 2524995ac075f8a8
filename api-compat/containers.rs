//! Calls that name a container or an exec. What the local engine has is its own; the containers of tasks are found wherever
//! they run, by id, by name, or by the task, and the call goes to their node. Streams nothing itself.

mod bare;
mod find;
pub(crate) mod shown;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use serde_json::Value;
use skep_core::id::{NodeId, TaskId};
use skep_core::model::task::Task;
use skep_core::state::State;

use crate::backend::{Backend, Body, Membership};
use crate::error::ApiError;
use crate::reply::{self, Reply, collect};
use crate::route::{ApiVersion, decode, encode, split_version};
use find::{Found, find};

/// What is read of an answer to be looked at or changed.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What a call is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A container.
    Container {
        /// Id, beginning of one, or name.
        reference: String,
        /// What of it, for example `attach/ws`.
        rest: String,
    },
    /// An exec.
    Exec {
        /// Its id.
        id: String,
        /// What of it.
        rest: String,
    },
}

/// Finds what a call is about; `None` if it is about no container, or does something that is the local engine's alone.
pub fn target(method: &Method, path: &str) -> Option<Target> {
    let path = path.strip_prefix('/')?;
    let mut parts = path.splitn(3, '/');
    let (kind, name, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let known: &[&str] = match (kind, method.as_str()) {
        ("containers", "GET") => {
            &["json", "top", "logs", "stats", "changes", "export", "archive", "attach/ws"]
        }
        ("containers", "HEAD" | "PUT") => &["archive"],
        ("containers", "POST") => &[
            "attach", "exec", "resize", "wait", "kill", "stop", "start", "restart", "pause",
            "unpause",
        ],
        ("exec", "GET") => &["json"],
        ("exec", "POST") => &["start", "resize"],
        _ => return None,
    };
    let (reference, rest) = (decode(name), rest.to_owned());
    if reference.is_empty() || !known.contains(&rest.as_str()) {
        return None;
    }
    Some(match kind {
        "exec" => Target::Exec { id: reference, rest },
        _ => Target::Container { reference, rest },
    })
}

/// Returns the address of a target, with the parameters of `uri`.
///
/// # Errors
/// Never, as everything in it is encoded.
pub fn readdress(uri: &Uri, version: Option<ApiVersion>, target: &Target) -> Result<Uri, ApiError> {
    let mut text = version.map(|version| format!("/v{version}")).unwrap_or_default();
    text.push_str(&match target {
        Target::Container { reference, rest } => {
            format!("/containers/{}/{rest}", encode(reference))
        }
        Target::Exec { id, rest } => format!("/exec/{}/{rest}", encode(id)),
    });
    if let Some(query) = uri.query() {
        text.push('?');
        text.push_str(query);
    }
    text.parse().map_err(|_| ApiError::bad_request("invalid address"))
}

/// Answers a call about a container of another node; gives the request back, perhaps by another name, if it is about one of
/// this host.
///
/// # Errors
/// The request, for the local engine.
pub async fn elsewhere(
    backend: &Arc<dyn Backend>,
    version: ApiVersion,
    request: Request<Body>,
    target: Target,
) -> Result<Reply, Request<Body>> {
    let Some((node, state)) = backend.known() else { return Err(request) };
    let caller = Caller { backend, version, node, state };
    match target {
        Target::Container { reference, rest } => {
            Box::pin(caller.container(request, reference, rest)).await
        }
        Target::Exec { id, rest } => Box::pin(caller.exec(request, id, rest)).await,
    }
}

struct Caller<'a> {
    backend: &'a Arc<dyn Backend>,
    version: ApiVersion,
    node: NodeId,
    state: Arc<State>,
}

impl Caller<'_> {
    async fn container(
        &self,
        request: Request<Body>,
        reference: String,
        rest: String,
    ) -> Result<Reply, Request<Body>> {
        let (task, is_own_name) = match find(&self.state, &reference) {
            Found::Nothing => return self.unknown(request, &reference, &rest).await,
            Found::Task { task, is_own_name } => (task.clone(), is_own_name),
            Found::Several(matches) => {
                if self.is_here(&reference).await {
                    return Err(request);
                }
                let text = format!("{matches} tasks or containers begin with {reference}");
                return Ok(Err(ApiError::bad_request(text)));
            }
        };
        // `docker inspect TASK` asks for a container of that name first, and means the task.
        let of_task = task.id.as_str().starts_with(&reference) && !is_own_name;
        if of_task && rest == "json" {
            return Err(request);
        }
        let runs_here = task.node.as_ref() == Some(&self.node);
        // What the local engine has under that name comes first.
        if (runs_here && is_own_name) || self.is_here(&reference).await {
            return Err(request);
        }
        if runs_here {
            let target = Target::Container { reference: task.name(), rest };
            return Err(renamed(request, &target));
        }
        if bare::is_bare(&self.state, &task) {
            let answer = bare::answer(self.backend, self.version, request, &task, &rest);
            return Ok(Box::pin(answer).await);
        }
        let answer = self.relay(&task, request).await;
        Ok(match answer {
            Ok(answer) if rest == "exec" && answer.status() == StatusCode::CREATED => {
                with_task(answer, &task.id).await
            }
            answer => answer,
        })
    }

    async fn exec(
        &self,
        mut request: Request<Body>,
        id: String,
        rest: String,
    ) -> Result<Reply, Request<Body>> {
        let Some((exec, task)) = id.split_once(EXEC_SEPARATOR) else { return Err(request) };
        let task =
            task.parse().ok().and_then(|task: TaskId| self.state.tasks().get(&task).cloned());
        let Some(task) = task else {
            return Ok(Err(ApiError::not_found(format!("No such exec instance: {id}"))));
        };
        let target = Target::Exec { id: exec.to_owned(), rest };
        request = renamed(request, &target);
        if task.node.as_ref() == Some(&self.node) {
            return Err(request);
        }
        Ok(self.relay(&task, request).await)
    }

    async fn relay(&self, task: &Arc<Task>, request: Request<Body>) -> Reply {
        let answer = self.backend.relay(task, request).await;
        answer.map_err(|error| ApiError::from_backend(error, &self.backend.membership()))
    }

    /// Tells whether the local engine has a container of that name.
    async fn is_here(&self, reference: &str) -> bool {
        let target = Target::Container { reference: reference.to_owned(), rest: "json".to_owned() };
        let Ok(uri) = readdress(&Uri::from_static("/"), Some(self.version), &target) else {
            return false;
        };
        let mut request = Request::new(reply::nothing());
        *request.uri_mut() = uri;
        let answer = self.backend.engine(request).await;
        answer.is_ok_and(|answer| answer.status() != StatusCode::NOT_FOUND)
    }

    /// A worker knows no tasks but its own: where its engine does not find what looks like one, it says who does.
    async fn unknown(
        &self,
        request: Request<Body>,
        reference: &str,
        rest: &str,
    ) -> Result<Reply, Request<Body>> {
        let is_worker = matches!(self.backend.membership(), Membership::Worker { .. });
        if !is_worker || !find::may_be_of_task(reference) {
            return Err(request);
        }
        // With these, its addresses on the cluster's networks come and go.
        let moves = matches!(rest, "start" | "restart" | "stop" | "kill");
        if moves && self.is_here(reference).await {
            return Err(request);
        }
        let answer = match self.backend.engine(request).await {
            Ok(answer) => answer,
            Err(error) => {
                return Ok(Err(ApiError::from_backend(error, &self.backend.membership())));
            }
        };
        Ok(if answer.status() == StatusCode::NOT_FOUND {
            ask_a_manager(answer, reference).await
        } else {
            Ok(answer)
        })
    }
}

/// Between the engine's id of an exec and its task: by it any manager finds the node, without having to remember anything.
const EXEC_SEPARATOR: char = '.';

fn renamed(mut request: Request<Body>, target: &Target) -> Request<Body> {
    let (version, _) = split_version(request.uri().path());
    if let Ok(uri) = readdress(request.uri(), version, target) {
        *request.uri_mut() = uri;
    }
    request
}

/// Puts the task behind the id of a new exec.
async fn with_task(answer: Response<Body>, task: &TaskId) -> Reply {
    let (mut head, body) = answer.into_parts();
    let bytes = collect(body, ANSWER_BYTES_MAX).await;
    let bytes = bytes.map_err(|error| ApiError::unavailable(error.to_string()))?;
    let mut made: Value = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::internal(format!("the answer is not readable: {error}")))?;
    if let Some(id) = made.get_mut("Id") {
        let exec = id.as_str().unwrap_or_default();
        *id = format!("{exec}{EXEC_SEPARATOR}{task}").into();
    }
    let text = format!("{made}\n");
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    Ok(Response::from_parts(head, reply::full(text)))
}

async fn ask_a_manager(answer: Response<Body>, reference: &str) -> Reply {
    let (head, body) = answer.into_parts();
    let bytes = collect(body, ANSWER_BYTES_MAX).await.unwrap_or_default();
    let told: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let message = told["message"].as_str().unwrap_or_default();
    // What is missing may be a file in a container that is here.
    if !message.to_ascii_lowercase().contains("no such container") && !bytes.is_empty() {
        return Ok(Response::from_parts(head, reply::full(bytes)));
    }
    Err(ApiError::not_found(format!(
        "No such container: {reference}. A worker reaches the containers of its own host only; ask a manager for those of tasks on other nodes"
    )))
}
