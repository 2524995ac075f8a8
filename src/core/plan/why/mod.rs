//! Explains what is wanted, what is, and what stands between. Plans as the leader would, with the planners themselves, and
//! looks at where that comes to; so it never says anything else than what they do. Changes nothing.

mod service;
mod task;

use std::sync::Arc;
use std::time::Duration;

use super::draft::Draft;
use super::slots::{is_wanted, newest, slots_of};
use super::{scheduler, settle};
use crate::id::{NodeId, ServiceId, TaskId};
use crate::model::service::Service;
use crate::model::task::{Task, TaskState, TaskStatus};
use crate::state::State;
use crate::time::Timestamp;

/// Everything there is to say about a service or a task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Why {
    /// The service; absent for a task that has none.
    pub service: Option<ServiceWhy>,
    /// The tasks that matter: those wanted, and of slots without one the last that ended.
    pub tasks: Vec<TaskWhy>,
    /// Where the task that waits for a node, or one more task of the service, could go.
    pub placement: Option<Placement>,
}

/// How a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceWhy {
    /// Its id.
    pub id: ServiceId,
    /// Its name.
    pub name: String,
    /// What there is to say.
    pub facts: Vec<Fact>,
}

/// How a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskWhy {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// How far it should go.
    pub desired: TaskState,
    /// How far it went.
    pub state: TaskState,
    /// Host name or id of its node, if it has one.
    pub node: Option<String>,
    /// What there is to say.
    pub facts: Vec<Fact>,
}

/// One thing to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The sentence.
    pub text: String,
    /// When it ceases to be so, if a time is set.
    pub until: Option<Timestamp>,
}

/// Where a task could go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The task that waits; absent if one more task of the service is meant.
    pub task: Option<TaskId>,
    /// Every node it may go to, with every check.
    pub nodes: Vec<NodeWhy>,
}

/// What the checks say of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeWhy {
    /// Its id.
    pub id: NodeId,
    /// Its host name.
    pub hostname: String,
    /// The checks in the order they are made.
    pub checks: Vec<Check>,
}

/// One check of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What is checked.
    pub name: &'static str,
    /// Whether the node passes.
    pub passes: bool,
    /// What was compared.
    pub figures: String,
}

impl NodeWhy {
    /// Tells whether the node passes every check.
    pub fn fits(&self) -> bool {
        self.checks.iter().all(|check| check.passes)
    }
}

impl Fact {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), until: None }
    }

    fn until(text: impl Into<String>, until: Timestamp) -> Self {
        Self { text: text.into(), until: Some(until) }
    }
}

/// Explains a service; `None` if there is none of this id.
///
/// # Panics
/// Where `plan` would.
pub fn why_service(state: &State, id: &ServiceId, now: Timestamp) -> Option<Why> {
    let draft = settle(state, now);
    let service = draft.state.services().get(id)?.clone();
    let tasks = current_tasks(&draft.state, &service);
    let waiting = tasks.iter().find(|task| waits_for_node(task)).cloned();
    let placement = match &waiting {
        Some(task) => placement(&draft, Some(task.id.clone()), task),
        None => placement(&draft, None, &one_more(&service)),
    };
    Some(Why {
        service: Some(service::explain(&draft, &service)),
        tasks: tasks.iter().map(|task| task::explain(&draft, task)).collect(),
        placement: Some(placement),
    })
}

/// Explains a task; `None` if there is none of this id.
///
/// # Panics
/// Where `plan` would.
pub fn why_task(state: &State, id: &TaskId, now: Timestamp) -> Option<Why> {
    let draft = settle(state, now);
    let task = draft.state.tasks().get(id).or_else(|| state.tasks().get(id))?.clone();
    let service = task.service.as_ref().and_then(|id| draft.state.services().get(id)).cloned();
    let placed = waits_for_node(&task).then(|| placement(&draft, Some(id.clone()), &task));
    Some(Why {
        service: service.map(|service| service::explain(&draft, &service)),
        tasks: vec![task::explain(&draft, &task)],
        placement: placed,
    })
}

fn waits_for_node(task: &Task) -> bool {
    task.status.state == TaskState::Pending && is_wanted(task)
}

fn placement(draft: &Draft, id: Option<TaskId>, task: &Task) -> Placement {
    Placement { task: id, nodes: scheduler::examine(&draft.state, task, draft.now) }
}

/// Returns a task as the service would make the next one.
fn one_more(service: &Service) -> Task {
    Task {
        service: Some(service.id.clone()),
        spec: service.spec.task.clone(),
        spec_version: service.spec_version,
        endpoint: service.endpoint.clone().map(Arc::new),
        status: TaskStatus { state: TaskState::Pending, ..TaskStatus::default() },
        ..Task::default()
    }
}

/// Returns the wanted tasks of each slot, or the last one of a slot that has none, in the order of the slots.
fn current_tasks(state: &State, service: &Service) -> Vec<Arc<Task>> {
    let mut current = Vec::new();
    for tasks in slots_of(state, &service.id).into_values() {
        let wanted: Vec<_> = tasks.iter().filter(|task| is_wanted(task)).cloned().collect();
        if wanted.is_empty() {
            current.extend(newest(&tasks).cloned());
        } else {
            current.extend(wanted);
        }
    }
    current
}

/// Writes a duration for people.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{}.{}s", seconds, duration.subsec_millis() / 100),
        10..120 => format!("{seconds}s"),
        120..7200 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
    }
}
