//! `/tasks`: lists and shows tasks. Their output is in `logs`.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use http::StatusCode;
use skep_core::id::{NodeId, ServiceId};
use skep_core::model::Kind;
use skep_core::model::task::{Task, TaskState};
use skep_core::plan::is_dirty;
use skep_core::state::State;

use crate::backend::{EngineVersion, LogSelector};
use crate::call::Call;
use crate::convert::task as convert;
use crate::dialect;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::logs;
use crate::reply::{self, Reply};
use crate::services;
use crate::wire::task as wire;

const FILTERS: [&str; 8] =
    ["_up-to-date", "desired-state", "id", "label", "name", "node", "runtime", "service"];

/// Answers `GET /tasks`.
///
/// # Errors
/// Says why the list cannot be given.
pub async fn list(call: Call) -> Reply {
    let filters = call.filters(&FILTERS)?;
    let state = call.state().await?;
    let wanted = Wanted::parse(&state, &filters)?;
    let engine = call.engine_version();
    let tasks: Vec<wire::Task> = wanted
        .candidates(&state)
        .filter(|task| wanted.admits(&state, task))
        .map(|task| show(&engine, task))
        .collect();
    Ok(reply::json(StatusCode::OK, &tasks))
}

/// Answers `GET /tasks/{id}`.
///
/// # Errors
/// Says why the task cannot be shown.
pub async fn inspect(call: Call, reference: &str) -> Reply {
    let state = call.state().await?;
    Ok(reply::json(StatusCode::OK, &show(&call.engine_version(), find(&state, reference)?)))
}

/// Shows a task with the fields that tasks of this engine have.
fn show(engine: &EngineVersion, task: &Task) -> wire::Task {
    let mut shown = convert::task(task);
    dialect::trim(engine, &mut shown.spec);
    if dialect::is_old(engine) {
        shown.volumes = None;
    }
    shown
}

/// Answers `GET /tasks/{id}/logs`.
///
/// # Errors
/// Says why there is no output to give.
pub async fn logs(call: Call, reference: &str) -> Reply {
    let request = logs::Request::parse(&call.query)?;
    let state = call.state().await?;
    let task = find(&state, reference)?;
    let terminal = services::has_terminal(&task.spec);
    let selector = LogSelector::Task(task.id.clone());
    logs::serve(call, selector, request, terminal).await
}

fn find<'a>(state: &'a State, reference: &str) -> Result<&'a Arc<Task>, ApiError> {
    services::found(Kind::Task, reference, state.find_task(reference))
}

/// Which tasks are wanted, references resolved.
struct Wanted<'a> {
    filters: &'a Filters,
    services: Option<BTreeSet<ServiceId>>,
    nodes: Option<BTreeSet<NodeId>>,
    /// Empty for all.
    desired: BTreeSet<TaskState>,
    up_to_date: bool,
}

impl<'a> Wanted<'a> {
    fn parse(state: &State, filters: &'a Filters) -> Result<Self, ApiError> {
        let services = filters
            .get("service")
            .map(|reference| services::find(state, reference).map(|service| service.id.clone()))
            .collect::<Result<BTreeSet<_>, _>>()?;
        let nodes = filters
            .get("node")
            .map(|reference| {
                services::found(Kind::Node, reference, state.find_node(reference))
                    .map(|node| node.id.clone())
            })
            .collect::<Result<BTreeSet<_>, _>>()?;
        let mut desired = BTreeSet::new();
        for word in filters.get("desired-state").filter(|word| !word.is_empty()) {
            let named = |state: &&TaskState| state.as_str().eq_ignore_ascii_case(word);
            let known = TaskState::ALL.iter().find(named);
            desired.insert(*known.ok_or_else(|| {
                ApiError::internal(format!("Invalid desired-state filter: '{word}'"))
            })?);
        }
        Ok(Self {
            filters,
            services: filters.contains("service").then_some(services),
            nodes: filters.contains("node").then_some(nodes),
            desired,
            up_to_date: filters.contains("_up-to-date"),
        })
    }

    /// Returns the tasks worth looking at: those of the services or nodes asked for, else all. Waiting clients ask
    /// several times a second for one service.
    fn candidates<'s>(&'s self, state: &'s State) -> Box<dyn Iterator<Item = &'s Arc<Task>> + 's> {
        match (&self.services, &self.nodes) {
            (Some(services), _) => {
                Box::new(services.iter().flat_map(|service| state.service_tasks(service)))
            }
            (None, Some(nodes)) => Box::new(nodes.iter().flat_map(|node| state.node_tasks(node))),
            (None, None) => Box::new(state.tasks().values()),
        }
    }

    fn admits(&self, state: &State, task: &Task) -> bool {
        let node =
            |nodes: &BTreeSet<NodeId>| task.node.as_ref().is_some_and(|node| nodes.contains(node));
        self.nodes.as_ref().is_none_or(node)
            && self.filters.prefix("id", task.id.as_str())
            && (self.desired.is_empty() || self.desired.contains(&task.desired))
            && self.filters.labels("label", &task.service_annotations.labels)
            && services::runtime_matches(&task.spec, self.filters)
            && (!self.filters.contains("name") || self.filters.prefix("name", &task.name()))
            && (!self.up_to_date || is_up_to_date(state, task))
    }
}

/// Tells whether a task is as its service wants it now.
fn is_up_to_date(state: &State, task: &Task) -> bool {
    let Some(service) = task.service.as_ref().and_then(|id| state.services().get(id)) else {
        return false;
    };
    let node = task.node.as_ref().and_then(|id| state.nodes().get(id));
    !is_dirty(service, task, node.map(AsRef::as_ref))
}
