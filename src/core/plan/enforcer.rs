//! Evicts tasks from active nodes that no longer fit them. Finds them no other place.

use std::sync::Arc;

use super::draft::Draft;
use super::scheduler::constraint::Constraints;
use super::scheduler::resources::{Free, has_reservations};
use super::slots::is_on_node;
use crate::model::node::{Availability, Node, NodeState};
use crate::model::service::{Service, UpdateState};
use crate::model::task::{Task, TaskState};

const MESSAGE: &str = "task rejected by constraint enforcer";
const ERROR: &str = "assigned node no longer meets constraints";

pub(super) fn plan(draft: &mut Draft) {
    let nodes: Vec<Arc<Node>> = draft.state.nodes().values().cloned().collect();
    let works = |node: &&Arc<Node>| {
        node.spec.availability == Availability::Active && node.status.state == NodeState::Ready
    };
    for node in nodes.iter().filter(works) {
        for task in misfits(draft, node) {
            if draft.is_full() {
                return;
            }
            let status = draft.status(&task, TaskState::Rejected, MESSAGE, ERROR);
            draft.set_status(&task, status);
            // What one task gives up decides who else has to go.
            draft.concerns_everything();
        }
    }
}

fn misfits(draft: &Draft, node: &Node) -> Vec<Arc<Task>> {
    let mut free = Free::of_node(node);
    let mut misfits = Vec::new();
    let is_here = |task: &Task| {
        task.node.as_ref() == Some(&node.id)
            && is_on_node(task)
            && task.desired <= TaskState::Complete
    };
    // What others have reserved counts only beside a reservation.
    let touched = if draft.is_complete() { None } else { Some(draft.tasks_where(is_here)) };
    let tasks = touched
        .filter(|touched| !touched.iter().any(|task| has_reservations(task)))
        .unwrap_or_else(|| {
            draft.state.node_tasks(&node.id).filter(|task| is_here(task)).cloned().collect()
        });
    for task in &tasks {
        let service = task.service.as_ref().and_then(|id| draft.state.services().get(id));
        let fits = service.is_none_or(|service| meets_constraints(service, task, node));
        if fits && free.take(task).is_ok() {
            continue;
        }
        misfits.push(task.clone());
    }
    misfits
}

/// The current spec counts; but what a spec update made a misfit is the update's to replace, at its pace.
fn meets_constraints(service: &Service, task: &Task, node: &Node) -> bool {
    if service.spec.mode.is_global() {
        return true; // Its own planner shuts it down.
    }
    let same = task.spec_version == service.spec_version
        || constraints_of(&task.spec) == constraints_of(&service.spec.task);
    let settled = service.update_status.as_ref().is_some_and(|status| match status.state {
        UpdateState::Completed | UpdateState::RollbackCompleted => true,
        UpdateState::Updating
        | UpdateState::Paused
        | UpdateState::RollbackStarted
        | UpdateState::RollbackPaused => false,
    });
    if same || settled {
        return Constraints::of(&service.spec.task).match_node(node);
    }
    Constraints::of(&task.spec).match_node(node)
}

fn constraints_of(spec: &crate::model::service::TaskSpec) -> &[String] {
    spec.placement.as_ref().map_or(&[], |placement| placement.constraints.as_slice())
}
