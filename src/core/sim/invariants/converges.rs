//! When faults stop, every service becomes what its spec says, and the planner falls silent.

use std::sync::Arc;

use super::Broken;
use crate::model::service::{Service, ServiceMode, UpdateState};
use crate::model::task::{Task, TaskState};
use crate::plan::{is_dirty, plan};
use crate::sim::agent::SimNode;
use crate::state::State;
use crate::time::Timestamp;

pub(in crate::sim) const NAME: &str = "services converge and the planner falls silent";

/// Looks at a world that has come to rest.
pub(in crate::sim) fn check(
    state: &State,
    now: Timestamp,
    nodes: &[SimNode],
) -> Result<(), Broken> {
    let last = plan(state, now);
    if !last.changes.is_empty() || last.wake_at.is_some() || !last.reasons.is_empty() {
        return Err((NAME, format!("the planner is not silent: {last:?}")));
    }
    for service in state.services().values() {
        if let Some(why) = unfinished(state, service) {
            let name = &service.spec.annotations.name;
            let mode = service.spec.mode;
            return Err((NAME, format!("{name} ({mode:?}): {why}: {}", show(state, service))));
        }
    }
    for container in nodes.iter().flat_map(|node| node.engine.running()) {
        let task = state.tasks().get(&container.task);
        if task.is_none_or(|task| !is_up(task)) {
            let (id, task) = (&container.id, &container.task);
            return Err((NAME, format!("container {id} of task {task} runs on")));
        }
    }
    Ok(())
}

fn is_up(task: &Task) -> bool {
    task.desired == TaskState::Running && task.status.state == TaskState::Running
}

fn unfinished(state: &State, service: &Service) -> Option<String> {
    let phase = service.update_status.as_ref().map(|status| status.state);
    match phase {
        None | Some(UpdateState::Completed | UpdateState::RollbackCompleted) => {}
        Some(other) => return Some(format!("the update is {other:?}")),
    }
    if service.progress.is_some() {
        return Some("the update is not over".to_owned());
    }
    let nodes = state.nodes().len() as u64;
    let (wanted, found) = match service.spec.mode {
        ServiceMode::Replicated { replicas } => (replicas, up(state, service)),
        ServiceMode::Global => (nodes, up(state, service)),
        ServiceMode::ReplicatedJob { max_concurrent: 0, .. } => (0, 0),
        ServiceMode::ReplicatedJob { total_completions, .. } => {
            (total_completions, complete(state, service))
        }
        ServiceMode::GlobalJob => (nodes, complete(state, service)),
    };
    (wanted != found).then(|| format!("{found} of {wanted} tasks"))
}

fn up(state: &State, service: &Service) -> u64 {
    let up = state.service_tasks(&service.id).filter(|task| {
        let node = task.node.as_ref().and_then(|id| state.nodes().get(id));
        is_up(task) && !is_dirty(service, task, node.map(Arc::as_ref))
    });
    up.count() as u64
}

fn complete(state: &State, service: &Service) -> u64 {
    let iteration = service.job.map(|job| job.iteration);
    let complete = state
        .service_tasks(&service.id)
        .filter(|task| task.status.state == TaskState::Complete && task.job_iteration == iteration);
    complete.count() as u64
}

fn show(state: &State, service: &Service) -> String {
    let line = |task: &Arc<Task>| {
        let (desired, state) = (task.desired.as_str(), task.status.state.as_str());
        format!("{:?} {desired} {state} {:?} {}", task.slot, task.hold, task.status.error)
    };
    let lines: Vec<String> = state.service_tasks(&service.id).map(line).collect();
    format!("{lines:#?} {:?} {:?}", service.update_status, service.progress)
}
