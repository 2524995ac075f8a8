//! Replaces outdated tasks, a few slots at a time, and pauses, goes on or goes back when new tasks fail.
//! What it must remember is in `Service::progress`; a new spec forgets it.

mod dirty;

use std::sync::Arc;
use std::time::Duration;

use super::draft::Draft;
use super::restart::STOP_WAIT_MAX;
use super::slots::{Slots, is_invalid, is_settled, is_wanted, may_run, newest, slots_of};
use crate::command::ServicePatch;
use crate::id::TaskId;
use crate::model::node::Availability;
use crate::model::service::{
    FailureAction, Service, Slot, SlotUpdate, UpdateConfig, UpdateOrder, UpdateProgress,
    UpdateState, UpdateStatus,
};
use crate::model::task::{Hold, Task, TaskState};
use crate::time::Timestamp;

pub use dirty::is_dirty;

/// How long a new task is watched, if the spec does not say.
const MONITOR_DEFAULT: Duration = Duration::from_secs(5);

pub(super) fn plan(draft: &mut Draft) {
    for service in draft.services() {
        if !service.spec.mode.is_job() {
            let slots = slots_of(&draft.state, &service.id);
            stop_outdated(draft, &service, &slots);
            if plan_service(draft, &service, &slots) == Outcome::TurnedBack
                && let Some(service) = draft.state.services().get(&service.id).cloned()
            {
                plan_service(draft, &service, &slots);
            }
        }
    }
}

/// What became of an update in one look.
#[derive(PartialEq, Eq)]
enum Outcome {
    /// It goes on, has ended, or never began.
    Steady,
    /// The service has its previous spec again, which is now to be brought about.
    TurnedBack,
}

/// Stops what an up-to-date task of the same slot replaces, once that runs: the second half of starting first. What
/// does not run itself has nothing to offer until then.
fn stop_outdated(draft: &mut Draft, service: &Service, slots: &Slots) {
    for tasks in slots.values().filter(|tasks| wanted(tasks).nth(1).is_some()) {
        if draft.is_full() {
            return;
        }
        let fresh = wanted(tasks).filter(|task| !dirty(draft, service, task));
        let Some(successor) = fresh.max_by_key(|task| (runs(task), &task.id)) else { continue };
        for task in wanted(tasks).filter(|task| task.id != successor.id) {
            if runs(successor) || !runs(task) {
                draft.set_desired(task, TaskState::Shutdown);
            }
        }
    }
}

fn runs(task: &Task) -> bool {
    task.status.state == TaskState::Running
}

fn wanted(tasks: &[Arc<Task>]) -> impl Iterator<Item = &Arc<Task>> {
    tasks.iter().filter(|task| is_wanted(task))
}

fn dirty(draft: &Draft, service: &Service, task: &Task) -> bool {
    let node = task.node.as_ref().and_then(|id| draft.state.nodes().get(id));
    is_dirty(service, task, node.map(Arc::as_ref))
}

fn plan_service(draft: &mut Draft, service: &Arc<Service>, slots: &Slots) -> Outcome {
    let phase = service.update_status.as_ref().map(|status| status.state);
    if matches!(phase, Some(UpdateState::Paused | UpdateState::RollbackPaused)) {
        return Outcome::Steady;
    }
    let outdated = outdated_slots(draft, service, slots);
    if service.progress.is_none() && outdated.is_empty() {
        if matches!(phase, Some(UpdateState::Updating | UpdateState::RollbackStarted)) {
            let status = completed(draft.now, begun(draft.now, service.update_status.as_ref()));
            write(draft, service, status, None);
        }
        return Outcome::Steady;
    }
    let mut run = Run::new(draft.now, service, outdated.len());
    run.advance(draft);
    if let Some(failed) = run.failure(draft) {
        return run.fail(draft, &failed);
    }
    run.start_slots(draft, slots, &outdated);
    run.finish_if_done(draft, &outdated);
    write(draft, service, run.status, run.progress);
    Outcome::Steady
}

/// Returns the slots whose task is outdated and has no successor yet, in order.
fn outdated_slots(draft: &Draft, service: &Service, slots: &Slots) -> Vec<Slot> {
    let outdated = |slot: &Slot, tasks: &[Arc<Task>]| {
        if !takes_updates(draft, slot) {
            return false;
        }
        match wanted(tasks).next() {
            None => newest(tasks)
                .is_some_and(|task| is_settled(service, task) && dirty(draft, service, task)),
            // An attempt with the current spec that ended for good is not repeated.
            Some(_) => {
                !tasks.iter().any(|task| task.spec_version == service.spec_version)
                    && wanted(tasks).all(|task| dirty(draft, service, task))
            }
        }
    };
    slots.iter().filter(|(slot, tasks)| outdated(slot, tasks)).map(|(s, _)| s.clone()).collect()
}

fn takes_updates(draft: &Draft, slot: &Slot) -> bool {
    match slot {
        Slot::Number(_) => true,
        Slot::Node(id) => {
            let node = draft.state.nodes().get(id);
            !is_invalid(node)
                && node.is_some_and(|node| node.spec.availability != Availability::Pause)
        }
    }
}

/// Returns the status of an update that is under way. One that repairs a slot after its end does not show.
fn begun(now: Timestamp, status: Option<&UpdateStatus>) -> UpdateStatus {
    let Some(status) = status else {
        return UpdateStatus {
            state: UpdateState::Updating,
            started_at: Some(now),
            completed_at: None,
            message: "update in progress".to_owned(),
        };
    };
    UpdateStatus { started_at: status.started_at.or(Some(now)), ..status.clone() }
}

fn completed(now: Timestamp, status: UpdateStatus) -> UpdateStatus {
    let (state, message) = match status.state {
        UpdateState::Updating => (UpdateState::Completed, "update completed"),
        UpdateState::RollbackStarted => (UpdateState::RollbackCompleted, "rollback completed"),
        UpdateState::Paused
        | UpdateState::Completed
        | UpdateState::RollbackPaused
        | UpdateState::RollbackCompleted => return status,
    };
    UpdateStatus { state, completed_at: Some(now), message: message.to_owned(), ..status }
}

/// Writes what has changed, in one change.
fn write(
    draft: &mut Draft,
    service: &Service,
    status: UpdateStatus,
    progress: Option<UpdateProgress>,
) {
    let update_status = (service.update_status.as_ref() != Some(&status)).then_some(status);
    let progress = (service.progress != progress).then_some(progress);
    if update_status.is_some() || progress.is_some() {
        let id = service.id.clone();
        draft.patch_service(ServicePatch { id, update_status, progress, ..Default::default() });
    }
}

/// One look at an update that is under way.
struct Run<'a> {
    service: &'a Service,
    config: UpdateConfig,
    monitor: Duration,
    status: UpdateStatus,
    /// Absent once the update has ended.
    progress: Option<UpdateProgress>,
}

impl<'a> Run<'a> {
    fn new(now: Timestamp, service: &'a Service, outdated: usize) -> Self {
        let status = begun(now, service.update_status.as_ref());
        let config = if status.state == UpdateState::RollbackStarted {
            service.spec.rollback
        } else {
            service.spec.update
        };
        let config = config.unwrap_or(UpdateConfig { parallelism: 1, ..UpdateConfig::default() });
        let progress = service.progress.clone().unwrap_or(UpdateProgress {
            spec_version: service.spec_version,
            dirty_slots: outdated as u64,
            ..UpdateProgress::default()
        });
        let monitor = config.monitor.unwrap_or(MONITOR_DEFAULT);
        Self { service, config, monitor, status, progress: Some(progress) }
    }

    fn slots_mut(&mut self) -> impl Iterator<Item = (&Slot, &mut SlotUpdate)> {
        self.progress.iter_mut().flat_map(|progress| progress.slots.iter_mut())
    }

    fn slots(&self) -> impl Iterator<Item = (&Slot, &SlotUpdate)> {
        self.progress.iter().flat_map(|progress| progress.slots.iter())
    }

    /// Notes which new tasks have come up, or have come to an end without that.
    fn advance(&mut self, draft: &Draft) {
        for (_, entry) in self.slots_mut() {
            let task = draft.state.tasks().get(&entry.task);
            let up = task.is_none_or(|task| {
                task.status.state >= TaskState::Running || task.desired > TaskState::Complete
            });
            if up && entry.running_at.is_none() {
                entry.running_at = Some(draft.now);
            }
        }
    }

    /// Counts new tasks that ended early. Returns the one with which there are more than the spec tolerates.
    fn failure(&mut self, draft: &Draft) -> Option<TaskId> {
        if self.config.failure_action == FailureAction::Continue {
            return None;
        }
        let monitor = self.monitor;
        let ended_early = |entry: &SlotUpdate| {
            let task = draft.state.tasks().get(&entry.task)?;
            let ended = match task.status.state {
                TaskState::Failed | TaskState::Rejected | TaskState::Complete => true,
                TaskState::New
                | TaskState::Pending
                | TaskState::Assigned
                | TaskState::Accepted
                | TaskState::Preparing
                | TaskState::Ready
                | TaskState::Starting
                | TaskState::Running
                | TaskState::Shutdown
                | TaskState::Remove
                | TaskState::Orphaned => false,
            };
            let ran = task.status.at.min(draft.now).since(entry.running_at?);
            (ended && ran <= monitor).then(|| task.id.clone())
        };
        let early: Vec<TaskId> = self.slots().filter_map(|(_, entry)| ended_early(entry)).collect();
        let ratio = self.config.max_failure_ratio;
        let progress = self.progress.as_mut()?;
        for task in early {
            let is_new = progress.failed.insert(task.clone());
            // Exact for any number of slots a cluster can hold.
            #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^24")]
            let share = progress.failed.len() as f32 / progress.dirty_slots.max(1) as f32;
            if is_new && share > ratio {
                return Some(task);
            }
        }
        None
    }

    /// Stops or turns back.
    fn fail(self, draft: &mut Draft, task: &TaskId) -> Outcome {
        let cause = format!("due to failure or early termination of task {task}");
        let rolls_back = self.status.state == UpdateState::RollbackStarted;
        let goes_back = !rolls_back
            && self.config.failure_action == FailureAction::Rollback
            && self.service.previous_spec.is_some();
        let (state, message) = if rolls_back {
            (UpdateState::RollbackPaused, format!("rollback paused {cause}"))
        } else if goes_back {
            (UpdateState::RollbackStarted, format!("update rolled back {cause}"))
        } else {
            (UpdateState::Paused, format!("update paused {cause}"))
        };
        let status = UpdateStatus { state, message, completed_at: None, ..self.status };
        draft.patch_service(ServicePatch {
            id: self.service.id.clone(),
            update_status: Some(status),
            progress: Some(None),
            roll_back: goes_back,
            ..ServicePatch::default()
        });
        if goes_back { Outcome::TurnedBack } else { Outcome::Steady }
    }

    /// Returns how many slots are being updated: until the new task is up, and for the delay after that.
    fn busy(&self, draft: &mut Draft) -> u64 {
        let mut busy = 0;
        for (_, entry) in self.slots() {
            if let Some(since) = entry.running_at {
                let free_at = since.after(self.config.delay);
                if draft.reached(since, free_at) {
                    continue;
                }
                draft.wake(Some(&self.service.id), free_at);
            }
            busy += 1;
        }
        busy
    }

    /// Starts as many slots as may be under way at once.
    fn start_slots(&mut self, draft: &mut Draft, slots: &Slots, outdated: &[Slot]) {
        let parallelism = match self.config.parallelism {
            0 => u64::MAX,
            some => some,
        };
        let mut busy = self.busy(draft);
        for slot in outdated {
            if busy >= parallelism || draft.makes_no_more() {
                return;
            }
            let begun = self.slots().any(|(under_way, _)| under_way == slot);
            if begun {
                continue;
            }
            let tasks = slots.get(slot).map_or(&[][..], Vec::as_slice);
            let task = self.start_slot(draft, slot, tasks);
            if let Some(progress) = self.progress.as_mut() {
                progress.slots.insert(slot.clone(), SlotUpdate { task, running_at: None });
            }
            busy += 1;
        }
    }

    fn start_slot(&self, draft: &mut Draft, slot: &Slot, tasks: &[Arc<Task>]) -> TaskId {
        let id = &self.service.id;
        let start_first = match self.config.order {
            UpdateOrder::StartFirst => wanted(tasks).next().is_some(),
            UpdateOrder::StopFirst => false,
        };
        if start_first {
            // An update that overtakes another one may find two tasks: the better one bridges the time.
            let bridge = wanted(tasks).max_by_key(|task| (runs(task), &task.id));
            for task in wanted(tasks).filter(|task| Some(&task.id) != bridge.map(|it| &it.id)) {
                draft.set_desired(task, TaskState::Shutdown);
            }
            return draft.create_task(id, slot.clone(), TaskState::Running, None);
        }
        for task in wanted(tasks) {
            draft.set_desired(task, TaskState::Shutdown);
        }
        let old = tasks.iter().filter(|task| may_run(&draft.state, task));
        let old = old.max_by_key(|task| (is_wanted(task), task.meta.created_version, &task.id));
        let Some(old) = old else {
            return draft.create_task(id, slot.clone(), TaskState::Running, None);
        };
        let hold = Hold {
            until: Timestamp::default(),
            after: Some(old.id.clone()),
            give_up_at: draft.now.after(STOP_WAIT_MAX),
        };
        draft.create_task(id, slot.clone(), TaskState::Ready, Some(hold))
    }

    /// Ends the update once every slot is done and the last ones have been watched for a while.
    fn finish_if_done(&mut self, draft: &mut Draft, outdated: &[Slot]) {
        let busy = self.busy(draft);
        let (delay, monitor) = (self.config.delay, self.monitor);
        let now = draft.now;
        let Some(progress) = self.progress.as_mut() else { return };
        if busy > 0 || outdated.iter().any(|slot| !progress.slots.contains_key(slot)) {
            progress.slots_done_at = None;
            return;
        }
        let watch = if delay >= monitor { delay + Duration::from_secs(1) } else { monitor };
        let since = *progress.slots_done_at.get_or_insert(now);
        let done_at = since.after(watch);
        if draft.reached(since, done_at) {
            self.progress = None;
            self.status = completed(now, std::mem::take(&mut self.status));
        } else {
            draft.wake(Some(&self.service.id), done_at);
        }
    }
}
