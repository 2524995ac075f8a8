//! Runs jobs: so many tasks to their end, a few at a time, or one on every node. A new iteration starts all over.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::draft::Draft;
use super::global::plan_nodes;
use super::slots::{Slots, is_settled, is_wanted, newest, slots_of};
use crate::model::service::{Service, ServiceMode, Slot};
use crate::model::task::{Task, TaskState};

pub(super) fn plan(draft: &mut Draft) {
    for service in draft.services() {
        match service.spec.mode {
            ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
                let slots = current_slots(draft, &service);
                plan_replicated(draft, &service, &slots, max_concurrent, total_completions);
            }
            ServiceMode::GlobalJob => {
                let slots = current_slots(draft, &service);
                plan_nodes(draft, &service, &slots, is_done_or_active);
            }
            ServiceMode::Replicated { .. } | ServiceMode::Global => {}
        }
    }
}

/// Gives up what older iterations left running and returns the slots of the current one. Of a global job nothing older
/// stays to be seen, as in Docker; a replicated one keeps what ended.
fn current_slots(draft: &mut Draft, service: &Service) -> Slots {
    let iteration = service.job.map(|job| job.iteration);
    let keeps_ended = service.spec.mode != ServiceMode::GlobalJob;
    let mut slots = slots_of(&draft.state, &service.id);
    let mut stale = Vec::new();
    for tasks in slots.values_mut() {
        let (current, older): (Vec<_>, Vec<_>) =
            tasks.drain(..).partition(|task| task.job_iteration == iteration);
        *tasks = current;
        let ended = |task: &Arc<Task>| task.status.state.is_terminal();
        let left = |task: &Arc<Task>| task.desired < TaskState::Remove;
        stale.extend(older.into_iter().filter(|it| left(it) && !(keeps_ended && ended(it))));
    }
    for task in stale {
        if draft.is_full() {
            break;
        }
        draft.set_desired(&task, TaskState::Remove);
    }
    slots.retain(|_, tasks| !tasks.is_empty());
    slots
}

fn plan_replicated(
    draft: &mut Draft,
    service: &Service,
    slots: &Slots,
    max_concurrent: u64,
    total_completions: u64,
) {
    let active = slots.values().filter(|tasks| is_active(tasks)).count() as u64;
    let waiting = slots.values().filter(|tasks| waits(tasks)).count() as u64;
    let settled: BTreeSet<&Slot> = slots
        .iter()
        .filter(|(_, tasks)| is_done_or_active(service, tasks))
        .map(|(s, _)| s)
        .collect();
    let room = max_concurrent.saturating_sub(active).min(draft.room_ahead(waiting));
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let numbers = (0..total_completions).map(Slot::Number);
    for slot in numbers.filter(|slot| !settled.contains(slot)).take(room) {
        if draft.makes_no_more() {
            return;
        }
        draft.create_task(&service.id, slot, TaskState::Complete, None);
    }
}

/// Tells whether a slot has a task that has yet to run.
fn waits(tasks: &[Arc<Task>]) -> bool {
    tasks.iter().any(|task| is_wanted(task) && task.status.state < TaskState::Running)
}

fn is_active(tasks: &[Arc<Task>]) -> bool {
    tasks.iter().any(|task| is_wanted(task) && task.status.state != TaskState::Complete)
}

fn is_done_or_active(service: &Service, tasks: &[Arc<Task>]) -> bool {
    is_active(tasks)
        || tasks.iter().any(|task| task.status.state == TaskState::Complete)
        || newest(tasks).is_some_and(|task| is_settled(service, task))
}
