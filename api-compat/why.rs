//! `/skep/why/{reference}`: the reasoning behind a service or a task, which Docker's API has no place for. Reasons nothing
//! itself; a plain engine answers 404 to this path.

#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use skep_core::model::Kind;
use skep_core::model::service::Service;
use skep_core::model::task::Task;
use skep_core::plan::why::{self, Fact, NodeWhy, TaskWhy};
use skep_core::state::State;
use skep_core::state::query::LookupError;

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::{self, Reply};
use crate::services;
use crate::wire::time::Time;

/// The answer: everything there is to say about a service or a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Report {
    /// The service; absent for a task that has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Object>,
    /// Its tasks, or the one that was asked about.
    pub tasks: Vec<Object>,
    /// The task that `Nodes` is about; absent if it is about one more task of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_task: Option<String>,
    /// Where a task could go.
    pub nodes: Vec<Object>,
}

/// A service, a task or a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Object {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// Of a task: how far it should go and how far it went.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Of a task: its node.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// What there is to say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Said>,
    /// Of a node: the checks in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Checked>,
}

/// One thing to say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Said {
    /// The sentence.
    pub text: String,
    /// When it ceases to be so, if a time is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// One check of one node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Checked {
    /// What is checked.
    pub name: String,
    /// Whether the node passes.
    pub passes: bool,
    /// What was compared.
    pub figures: String,
}

/// Answers `GET /skep/why/{reference}`.
///
/// # Errors
/// Says why there is no answer.
pub async fn answer(call: Call, reference: &str) -> Reply {
    let state = call.state().await?;
    let now = call.backend.now();
    let subject = find(&state, reference)?;
    // A planner that panics must not take the connection with it: this is where one would look for the cause.
    let reasoned = std::panic::catch_unwind(AssertUnwindSafe(|| match subject {
        Subject::Service(service) => why::why_service(&state, &service.id, now),
        Subject::Task(task) => why::why_task(&state, &task.id, now),
    }));
    let found =
        reasoned.map_err(|_| ApiError::internal("a planner failed; the daemon's log says how"))?;
    let found = found.ok_or_else(|| ApiError::no_such(Kind::Service, reference))?;
    Ok(reply::json(StatusCode::OK, &report(found)))
}

enum Subject<'a> {
    Service(&'a Service),
    Task(&'a Task),
}

/// Finds a service by name or id, a task by id or name, or the newest task of a slot, as in `web.1`.
fn find<'a>(state: &'a State, reference: &str) -> Result<Subject<'a>, ApiError> {
    match state.find_service(reference) {
        Ok(service) => return Ok(Subject::Service(service)),
        Err(LookupError::NotFound) => {}
        Err(ambiguous) => return services::found(Kind::Service, reference, Err(ambiguous)),
    }
    match state.find_task(reference) {
        Ok(task) => return Ok(Subject::Task(task)),
        Err(LookupError::NotFound) => {}
        Err(ambiguous) => return services::found(Kind::Task, reference, Err(ambiguous)),
    }
    let of_name = |task: &&std::sync::Arc<Task>| {
        let name = task.name();
        let rest = name.strip_prefix(reference);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let newest = state.tasks().values().filter(of_name).max_by_key(|task| task.meta.created_at);
    newest
        .map(|task| Subject::Task(task))
        .ok_or_else(|| ApiError::not_found(format!("no service or task {reference}")))
}

fn report(found: why::Why) -> Report {
    let service = found.service.map(|service| Object {
        id: service.id.to_string(),
        name: service.name,
        facts: said(service.facts),
        ..Object::default()
    });
    let (waiting, nodes) = match found.placement {
        Some(placement) => (placement.task, placement.nodes),
        None => (None, Vec::new()),
    };
    Report {
        service,
        tasks: found.tasks.into_iter().map(task).collect(),
        waiting_task: waiting.map(|id| id.to_string()),
        nodes: nodes.into_iter().map(node).collect(),
    }
}

fn said(facts: Vec<Fact>) -> Vec<Said> {
    facts.into_iter().map(|fact| Said { text: fact.text, until: fact.until.map(Time) }).collect()
}

fn task(task: TaskWhy) -> Object {
    Object {
        id: task.id.to_string(),
        name: task.name,
        state: format!("{}, {} wanted", task.state.as_str(), task.desired.as_str()),
        node: task.node.unwrap_or_default(),
        facts: said(task.facts),
        ..Object::default()
    }
}

fn node(node: NodeWhy) -> Object {
    let checked = |check: why::Check| Checked {
        name: check.name.to_owned(),
        passes: check.passes,
        figures: check.figures,
    };
    Object {
        id: node.id.to_string(),
        name: node.hostname,
        checks: node.checks.into_iter().map(checked).collect(),
        ..Object::default()
    }
}
