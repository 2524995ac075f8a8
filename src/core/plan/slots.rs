//! What planners ask of slots and tasks: who fills a place, who is wanted, which is newest. Changes nothing.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::ServiceId;
use crate::model::node::{Availability, Node, NodeState};
use crate::model::service::{Service, Slot, UpdateState};
use crate::model::task::{Task, TaskState};
use crate::state::State;

use super::restart::should_restart;

/// The tasks of each slot; those that are only to be forgotten are left out.
pub(super) type Slots = BTreeMap<Slot, Vec<Arc<Task>>>;

/// Groups the tasks of a service by slot.
pub(super) fn slots_of(state: &State, service: &ServiceId) -> Slots {
    let mut slots = Slots::new();
    for task in state.service_tasks(service) {
        if task.desired < TaskState::Remove {
            slots.entry(task.slot.clone()).or_default().push(task.clone());
        }
    }
    slots
}

/// Tells whether a task is meant to run (or to run to its end).
pub(super) fn is_wanted(task: &Task) -> bool {
    task.desired <= TaskState::Complete
}

/// Tells whether a node has the task and has not said that it ended.
pub(super) fn is_on_node(task: &Task) -> bool {
    task.node.is_some()
        && task.status.state >= TaskState::Assigned
        && task.status.state <= TaskState::Running
}

/// Returns the task that was made last.
pub(super) fn newest(tasks: &[Arc<Task>]) -> Option<&Arc<Task>> {
    // Of two made at the same time the one that is meant to run longer replaced the other.
    tasks.iter().max_by_key(|task| (task.meta.created_version, Reverse(task.desired), &task.id))
}

/// Tells whether a slot needs no further task: one is wanted, or the last one ended and the policy replaces it no more.
pub(super) fn is_satisfied(service: &Service, tasks: &[Arc<Task>]) -> bool {
    if tasks.iter().any(|task| is_wanted(task)) {
        return true;
    }
    newest(tasks).is_some_and(|task| is_settled(service, task))
}

/// Tells whether the end of a slot's last task is the end of the slot. A rollback fills every slot, whatever ended there.
pub(super) fn is_settled(service: &Service, newest: &Task) -> bool {
    let rolls_back = service
        .update_status
        .as_ref()
        .is_some_and(|status| status.state == UpdateState::RollbackStarted);
    !rolls_back && !should_restart(service, newest)
}

/// Tells whether tasks cannot stay on a node: it is gone, down or drained.
pub(super) fn is_invalid(node: Option<&Arc<Node>>) -> bool {
    node.is_none_or(|node| {
        node.status.state == NodeState::Down || node.spec.availability == Availability::Drain
    })
}

/// Tells whether a task may still be running somewhere, so that its successor has to wait for its end.
pub(super) fn may_run(state: &State, task: &Task) -> bool {
    let node = task.node.as_ref().and_then(|id| state.nodes().get(id));
    is_on_node(task) && node.is_some_and(|node| node.status.state != NodeState::Down)
}
