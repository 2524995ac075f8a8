//! Forgets tasks: those of removed slots and services once they stopped, and the oldest of each slot's history.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::draft::Draft;
use super::slots::slots_of;
use crate::command::Change;
use crate::id::ServiceId;
use crate::model::service::Service;
use crate::model::task::{Task, TaskState};

/// How long an ended task stays visible at the least: the CLI counts the polls that show one.
const VISIBLE_MIN: Duration = Duration::from_millis(250);

pub(super) fn plan(draft: &mut Draft) {
    abandon_serviceless(draft);
    forget_removed(draft);
    forget_history(draft);
}

/// Marks the tasks of services that are gone.
fn abandon_serviceless(draft: &mut Draft) {
    let state = draft.state.clone();
    let gone = |service: &ServiceId| !state.services().contains_key(service);
    for task in draft.tasks_where(|task| {
        task.desired < TaskState::Remove && task.service.as_ref().is_some_and(gone)
    }) {
        if draft.is_full() {
            return;
        }
        draft.set_desired(&task, TaskState::Remove);
    }
}

fn forget_removed(draft: &mut Draft) {
    for task in draft.tasks_where(|task| {
        task.desired == TaskState::Remove
            || (task.service.is_none() && task.status.state.is_terminal())
    }) {
        forget(draft, &task);
    }
}

/// Forgets a task that does not run: at once if it never did, else after it could be seen for a while.
fn forget(draft: &mut Draft, task: &Task) {
    let state = task.status.state;
    let never_ran = state < TaskState::Assigned;
    if !never_ran && !state.is_terminal() {
        return;
    }
    let visible_until = task.meta.updated_at.after(VISIBLE_MIN);
    if never_ran || draft.reached(task.meta.updated_at, visible_until) {
        if draft.is_full() {
            return;
        }
        draft.push(Change::RemoveTask(task.id.clone()));
    } else {
        draft.wake(task.service.as_ref(), visible_until);
    }
}

fn forget_history(draft: &mut Draft) {
    let limit =
        draft.state.cluster().map_or(5, |cluster| cluster.spec.task_history_retention_limit);
    let Ok(limit) = usize::try_from(limit) else { return };
    for service in draft.services() {
        if service.spec.mode.is_job() || draft.state.service_tasks(&service.id).nth(1).is_none() {
            continue;
        }
        let limit = limit_of(&service, limit);
        let slots = slots_of(&draft.state, &service.id);
        for tasks in slots.into_values().filter(|tasks| tasks.len() > limit) {
            forget_surplus(draft, tasks, limit);
        }
    }
}

/// The newest task of a slot always stays: its end may be what keeps the slot from being filled again.
fn limit_of(service: &Service, limit: usize) -> usize {
    let attempts = service.spec.task.restart.as_ref().map_or(0, |policy| policy.max_attempts);
    let limit = match usize::try_from(attempts).unwrap_or(usize::MAX) {
        0 => limit,
        attempts => attempts.saturating_add(1),
    };
    limit.max(1)
}

fn forget_surplus(draft: &mut Draft, mut tasks: Vec<Arc<Task>>, limit: usize) {
    tasks.sort_by_key(|task| (task.meta.created_version, Reverse(task.desired), task.id.clone()));
    let surplus = tasks.len() - limit;
    let dead = |task: &Arc<Task>| {
        let state = task.status.state;
        let unwanted = task.desired > TaskState::Complete;
        unwanted && (state.is_terminal() || state < TaskState::Assigned)
    };
    let newest = tasks.last().map(|task| task.id.clone());
    let forgettable = tasks.iter().filter(|task| dead(task) && Some(&task.id) != newest.as_ref());
    for task in forgettable.take(surplus) {
        forget(draft, task);
    }
}
