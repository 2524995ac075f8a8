//! Of each slot as many ended tasks are kept as the cluster asks for, not fewer and, at rest, not more.

use std::collections::BTreeMap;

use super::Transition;
use crate::command::Change;
use crate::id::{ServiceId, TaskId};
use crate::model::service::{Service, Slot};
use crate::model::task::TaskState;
use crate::state::State;

pub(in crate::sim) const NAME: &str = "the history limit is kept";

/// Checks that a plan forgot only what is too much.
pub(super) fn check(write: &Transition) -> Option<String> {
    write.base?;
    let kept = |task: &crate::model::task::Task| task.desired < TaskState::Remove;
    write.before.tasks().values().find_map(|task| {
        let service = write.after.services().get(task.service.as_ref()?)?;
        if !kept(task) || write.after.tasks().contains_key(&task.id) {
            return None;
        }
        let slot = write.before.service_tasks(&service.id).filter(|it| it.slot == task.slot);
        if slot.into_iter().any(|it| is_given_up(write.changes, &it.id)) {
            return None;
        }
        let limit = limit(write.after, service);
        let left = write.after.service_tasks(&service.id);
        let left = left.filter(|other| other.slot == task.slot && kept(other)).count();
        (left < limit).then(|| format!("task {} is forgotten, {left} of {limit} are left", task.id))
    })
}

/// Tells whether a plan gave up a task, and so its slot. A plan may forget the oldest task of a slot first, and give up
/// the slot later, when it has taken back an update that asked for more of them.
fn is_given_up(changes: &[Change], task: &TaskId) -> bool {
    changes.iter().any(|change| match change {
        Change::PatchTask(patch) => patch.id == *task && patch.desired == Some(TaskState::Remove),
        Change::CreateTask(_)
        | Change::RemoveTask(_)
        | Change::PatchService(_)
        | Change::PatchNetwork(_)
        | Change::SetRole { .. }
        | Change::ForgetNode(_) => false,
    })
}

/// Checks that no slot has more tasks than the limit. The newest one always stays, also if an older one runs, as after an
/// update that started the new task first and was taken back.
pub(super) fn check_rest(state: &State) -> Option<String> {
    let mut slots: BTreeMap<(&ServiceId, &Slot), usize> = BTreeMap::new();
    for task in state.tasks().values().filter(|task| task.desired < TaskState::Remove) {
        if let Some(service) = &task.service {
            *slots.entry((service, &task.slot)).or_default() += 1;
        }
    }
    slots.into_iter().find_map(|((service, slot), count)| {
        let service = state.services().get(service)?;
        if service.spec.mode.is_job() {
            return None;
        }
        let limit = limit(state, service).max(2);
        (count > limit).then(|| format!("{} {slot:?} has {count} tasks of {limit}", service.id))
    })
}

/// One more than the attempts, where those are limited; one at the least.
fn limit(state: &State, service: &Service) -> usize {
    let attempts = service.spec.task.restart.as_ref().map_or(0, |policy| policy.max_attempts);
    let limit = match usize::try_from(attempts) {
        Ok(0) => state.cluster().map_or(0, |it| it.spec.task_history_retention_limit.max(0)),
        Ok(_) | Err(_) => i64::try_from(attempts).unwrap_or(i64::MAX).saturating_add(1),
    };
    usize::try_from(limit).unwrap_or(usize::MAX).max(1)
}
