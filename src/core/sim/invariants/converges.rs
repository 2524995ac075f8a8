//! When faults stop, every service becomes what its spec says, and the planner falls silent.

use std::sync::Arc;

use crate::agent::{Container, Health};
use crate::model::service::{Service, ServiceMode, UpdateState};
use crate::model::task::{Task, TaskState};
use crate::plan::{is_dirty, plan};
use crate::sim::node::SimNode;
use crate::state::State;
use crate::time::Timestamp;

pub(in crate::sim) const NAME: &str = "services converge and the planner falls silent";

/// Looks at a world that has come to rest; `wall` is what the manager's clock says.
pub(super) fn check(
    state: &State,
    wall: Timestamp,
    nodes: &[&SimNode],
    now: Timestamp,
) -> Option<String> {
    let last = plan(state, wall);
    if !last.changes.is_empty() || last.wake_at.is_some() || !last.reasons.is_empty() {
        let states: Vec<_> =
            state.nodes().values().map(|it| (&it.id, &it.status, it.role)).collect();
        return Some(format!("the planner is not silent: {last:?} {states:?}"));
    }
    for service in state.services().values() {
        if let Some(why) = unfinished(state, service) {
            let name = &service.spec.annotations.name;
            let mode = service.spec.mode;
            return Some(format!("{name} ({mode:?}): {why}: {}", show(state, service)));
        }
    }
    nodes.iter().find_map(|node| check_node(state, node, now))
}

/// Checks that a node runs what is up.
fn check_node(state: &State, node: &SimNode, now: Timestamp) -> Option<String> {
    let engine = &node.host.engine;
    let idle = state.node_tasks(&node.id).filter(|task| is_up(task)).find(|task| {
        let id = engine.find(&task.id);
        let container = id.map_or(Container::Absent, |id| engine.inspect(&id, now));
        !matches!(container, Container::Running { health: Health::Unchecked | Health::Healthy })
    });
    idle.map(|task| format!("task {} is taken to run, and does not", task.id))
}

pub(super) fn is_up(task: &Task) -> bool {
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
    let wanted = match service.spec.mode {
        ServiceMode::Replicated { replicas } => replicas,
        ServiceMode::Global => state.nodes().len() as u64,
        ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob => return None,
    };
    let found = up(state, service);
    (wanted != found).then(|| format!("{found} of {wanted} tasks"))
}

fn up(state: &State, service: &Service) -> u64 {
    let up = state.service_tasks(&service.id).filter(|task| {
        let node = task.node.as_ref().and_then(|id| state.nodes().get(id));
        is_up(task) && !is_dirty(service, task, node.map(Arc::as_ref))
    });
    up.count() as u64
}

fn show(state: &State, service: &Service) -> String {
    let line = |task: &Arc<Task>| {
        let (desired, state) = (task.desired.as_str(), task.status.state.as_str());
        format!("{:?} {desired} {state} {:?} {}", task.slot, task.hold, task.status.error)
    };
    let lines: Vec<String> = state.service_tasks(&service.id).map(line).collect();
    format!("{lines:#?} {:?} {:?}", service.update_status, service.progress)
}
