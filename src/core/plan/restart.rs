//! Replaces tasks that ended or lost their node, and lets replacements go when their delay is over. Counts attempts.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::draft::Draft;
use super::scheduler::constraint::Constraints;
use super::slots::{is_invalid, is_wanted, may_run, slots_of};
use super::update::is_dirty;
use crate::command::{ServicePatch, TaskPatch};
use crate::model::node::{Availability, NodeState};
use crate::model::service::{
    RestartCondition, RestartHistory, RestartPolicy, Service, ServiceMode,
};
use crate::model::task::{Hold, Task, TaskState};
use crate::time::Timestamp;

/// Wait before a replacement runs, if the policy does not say.
const DELAY_DEFAULT: Duration = Duration::from_secs(5);

/// Longest wait for the old task to stop.
pub(super) const STOP_WAIT_MAX: Duration = Duration::from_secs(60);

/// Times of attempts kept for a window at the most.
const RECENT_MAX: usize = 1024;

pub(super) fn plan(draft: &mut Draft) {
    for task in draft.tasks_where(is_wanted) {
        if needs_replacement(draft, &task) {
            if draft.makes_no_more() {
                break;
            }
            replace(draft, &task);
        }
    }
    for task in draft.tasks_where(|task| task.desired == TaskState::Ready) {
        if draft.is_full() {
            break;
        }
        release(draft, &task);
    }
}

/// Returns the state that a service's tasks should reach.
pub(super) const fn goal(mode: ServiceMode) -> TaskState {
    if mode.is_job() { TaskState::Complete } else { TaskState::Running }
}

/// Why a task that ended gets no successor; reads on from "not replaced: ".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    #[error("it completed, and the restart condition is on-failure")]
    Completed,
    #[error("it completed, as a job's task should")]
    JobDone,
    #[error("the restart condition is none")]
    Never,
    #[error("the restart policy's {0} attempts are used up")]
    AttemptsUsedUp(u64),
}

/// Tells whether the policy of a task replaces it after an end such as its own.
pub(super) fn should_restart(service: &Service, task: &Task) -> bool {
    refusal(service, task).is_none()
}

/// Tells why the policy of a task does not replace it after an end such as its own, if it does not.
pub(super) fn refusal(service: &Service, task: &Task) -> Option<Refusal> {
    let default = RestartPolicy::default();
    let policy = task.spec.restart.as_ref().unwrap_or(&default);
    let completed = task.status.state == TaskState::Complete;
    match policy.condition {
        RestartCondition::Any | RestartCondition::OnFailure
            if completed && service.spec.mode.is_job() =>
        {
            Some(Refusal::JobDone)
        }
        RestartCondition::OnFailure if completed => Some(Refusal::Completed),
        RestartCondition::None => Some(Refusal::Never),
        RestartCondition::Any | RestartCondition::OnFailure => {
            let used_up = attempts_used_up(service, task, policy);
            used_up.then_some(Refusal::AttemptsUsedUp(policy.max_attempts))
        }
    }
}

fn attempts_used_up(service: &Service, task: &Task, policy: &RestartPolicy) -> bool {
    if policy.max_attempts == 0 {
        return false;
    }
    let Some(history) = service.restarts.get(&task.slot) else { return false };
    if history.spec_version != task.spec_version {
        return false;
    }
    let used = match policy.window.filter(|window| !window.is_zero()) {
        None => history.attempts,
        Some(window) => {
            let ended_at = task.status.at;
            let inside = |at: &&Timestamp| **at <= ended_at && ended_at.since(**at) < window;
            history.recent.iter().filter(inside).count() as u64
        }
    };
    used >= policy.max_attempts
}

fn needs_replacement(draft: &mut Draft, task: &Task) -> bool {
    let Some(service) = service_of(draft, task) else { return false };
    let mode = service.spec.mode;
    if mode.is_job() && task.job_iteration != service.job.map(|job| job.iteration) {
        return false;
    }
    let ended = task.status.state.is_terminal();
    if ended {
        if mode.is_job() && task.status.state == TaskState::Complete {
            return false;
        }
        // A replacement that ended before its time is replaced when its time has come, or a bad image would spin.
        let until = task.hold.as_ref().map_or(Timestamp::default(), |hold| hold.until);
        if draft.reached(task.meta.created_at, until) {
            return true;
        }
        draft.wake(task.service.as_ref(), until);
        return false;
    }
    // Tasks of global services belong to their node: its planner stops them.
    let node = task.node.as_ref();
    !mode.is_global() && node.is_some_and(|id| is_invalid(draft.state.nodes().get(id)))
}

fn service_of(draft: &Draft, task: &Task) -> Option<Arc<Service>> {
    draft.state.services().get(task.service.as_ref()?).cloned()
}

fn replace(draft: &mut Draft, task: &Arc<Task>) {
    let Some(service) = service_of(draft, task) else { return };
    let covered = is_covered(draft, &service, task) || is_complete(draft, task);
    draft.set_desired(task, TaskState::Shutdown);
    if covered || is_lost_global(draft, &service, task) || !should_restart(&service, task) {
        return;
    }
    let hold = hold_for(draft, task);
    let goal = goal(service.spec.mode);
    let desired = if hold.is_some() { TaskState::Ready } else { goal };
    draft.create_task(&service.id, task.slot.clone(), desired, hold);
    record(draft, &service, task);
}

/// Tells whether a task of a global service ended on a node that its service has left: nothing replaces it there.
fn is_lost_global(draft: &Draft, service: &Service, task: &Task) -> bool {
    let node = task.node.as_ref().and_then(|id| draft.state.nodes().get(id));
    let fits = || node.is_some_and(|node| Constraints::of(&service.spec.task).match_node(node));
    service.spec.mode.is_global() && (is_invalid(node) || !fits())
}

/// Tells whether another task of the slot does what a replacement would do. An update that starts the new task first
/// has two wanted tasks in a slot: a dead old one needs no successor, a dead new one does.
fn is_covered(draft: &Draft, service: &Service, task: &Task) -> bool {
    let dirty = |task: &Task| {
        let node = task.node.as_ref().and_then(|id| draft.state.nodes().get(id));
        is_dirty(service, task, node.map(Arc::as_ref))
    };
    let slots = slots_of(&draft.state, &service.id);
    let others = slots.get(&task.slot).into_iter().flatten();
    let mut others = others.filter(|other| other.id != task.id && is_wanted(other));
    others.any(|other| !dirty(other) || dirty(task))
}

/// Tells whether the place of a job is complete without this task: one that was given up with its node came to its end there
/// all the same.
fn is_complete(draft: &Draft, task: &Task) -> bool {
    let (Some(service), Some(_)) = (&task.service, task.job_iteration) else { return false };
    draft.state.service_tasks(service).any(|other| {
        other.slot == task.slot
            && other.job_iteration == task.job_iteration
            && other.status.state == TaskState::Complete
    })
}

/// Returns what a replacement has to wait for, if anything.
fn hold_for(draft: &Draft, old: &Task) -> Option<Hold> {
    let node = old.node.as_ref().and_then(|id| draft.state.nodes().get(id));
    // A task that lost its node through no fault of its own is replaced at once.
    let lost = old.status.state == TaskState::Orphaned;
    let blameless = lost
        || !old.status.state.is_terminal()
            && node.is_none_or(|node| {
                node.spec.availability == Availability::Drain
                    || node.status.state == NodeState::Down
            });
    let delay = if blameless {
        Duration::ZERO
    } else {
        old.spec.restart.as_ref().and_then(|policy| policy.delay).unwrap_or(DELAY_DEFAULT)
    };
    let after = may_run(&draft.state, old).then(|| old.id.clone());
    if delay.is_zero() && after.is_none() {
        return None;
    }
    let until = if delay.is_zero() { Timestamp::default() } else { draft.now.after(delay) };
    Some(Hold { until, after, give_up_at: draft.now.after(STOP_WAIT_MAX) })
}

/// Remembers an attempt, if the policy limits them.
fn record(draft: &mut Draft, service: &Service, task: &Task) {
    let Some(policy) = service.spec.task.restart.as_ref() else { return };
    if policy.max_attempts == 0 {
        return;
    }
    let mut history = service
        .restarts
        .get(&task.slot)
        .filter(|history| history.spec_version == service.spec_version)
        .cloned()
        .unwrap_or(RestartHistory { spec_version: service.spec_version, ..Default::default() });
    history.attempts = history.attempts.saturating_add(1);
    if let Some(window) = policy.window.filter(|window| !window.is_zero()) {
        let now = draft.now;
        history.recent.retain(|at| now.since(*at) < window);
        history.recent.push(now);
        let keep = usize::try_from(policy.max_attempts).unwrap_or(RECENT_MAX).min(RECENT_MAX);
        let surplus = history.recent.len().saturating_sub(keep);
        history.recent.drain(..surplus);
    }
    draft.patch_service(ServicePatch {
        id: service.id.clone(),
        restarts: vec![(task.slot.clone(), Some(history))],
        ..ServicePatch::default()
    });
}

/// Lets a held task go when nothing keeps it any more.
fn release(draft: &mut Draft, task: &Arc<Task>) {
    let Some(service) = service_of(draft, task) else { return };
    if task.status.state.is_terminal() {
        return;
    }
    if let Some(hold) = &task.hold {
        let since = task.meta.created_at;
        if !draft.reached(since, hold.until) {
            draft.wake(task.service.as_ref(), hold.until);
            return;
        }
        let old = hold.after.as_ref().and_then(|id| draft.state.tasks().get(id));
        let blocked = old.is_some_and(|old| may_run(&draft.state, old));
        if blocked && !draft.reached(since, hold.give_up_at) {
            draft.wake(task.service.as_ref(), hold.give_up_at);
            return;
        }
    }
    draft.patch_task(TaskPatch {
        id: task.id.clone(),
        desired: Some(goal(service.spec.mode)),
        hold: Some(None),
        ..TaskPatch::default()
    });
}
