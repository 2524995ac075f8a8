//! A plan in the making: the changes so far and the state as they would leave it. Decides nothing itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Plan, Reason};
use crate::command::{Change, NewTask, ServicePatch, TaskPatch};
use crate::id::{NetworkId, ServiceId, TaskId};
use crate::model::service::{Service, Slot};
use crate::model::task::{Hold, Task, TaskState, TaskStatus};
use crate::state::State;
use crate::time::Timestamp;

/// A plan in the making.
pub(super) struct Draft {
    /// The state as the changes so far would leave it.
    pub(super) state: State,
    /// The time of the plan.
    pub(super) now: Timestamp,
    /// The last address given out on each network by this plan.
    pub(super) cursors: BTreeMap<NetworkId, IpAddr>,
    /// Seed of new ids: the index of the state planned on.
    seed: u64,
    /// Number of ids made.
    ordinal: u64,
    changes: Vec<Change>,
    reasons: Vec<Reason>,
    wake_at: Option<Timestamp>,
}

impl Draft {
    pub(super) fn new(state: &State, now: Timestamp) -> Self {
        Self {
            state: state.clone(),
            now,
            cursors: BTreeMap::new(),
            seed: state.index(),
            ordinal: 0,
            changes: Vec::new(),
            reasons: Vec::new(),
            wake_at: None,
        }
    }

    /// Forgets what an earlier round said of the future, which this round says anew. Returns the number of changes so far.
    pub(super) fn begin_round(&mut self) -> usize {
        self.reasons.clear();
        self.wake_at = None;
        self.changes.len()
    }

    /// Adds a change and carries it out on the draft's state.
    pub(super) fn push(&mut self, change: Change) {
        let index = self.seed.saturating_add(1);
        if let Err(why) = self.state.apply_change(self.now, index, &change) {
            panic!("a planned change does not apply: {why}: {change:?}");
        }
        self.changes.push(change);
    }

    /// Makes a task and returns its id.
    pub(super) fn create_task(
        &mut self,
        service: &ServiceId,
        slot: Slot,
        desired: TaskState,
        hold: Option<Hold>,
    ) -> TaskId {
        let id = TaskId::from_seed(self.seed, self.ordinal);
        self.ordinal += 1;
        let service = service.clone();
        self.push(Change::CreateTask(NewTask { id: id.clone(), service, slot, desired, hold }));
        id
    }

    /// Changes parts of a task.
    pub(super) fn patch_task(&mut self, patch: TaskPatch) {
        self.push(Change::PatchTask(Box::new(patch)));
    }

    /// Sets how far a task should go, and lets go of what held it back. Does nothing to a task that should go further.
    pub(super) fn set_desired(&mut self, task: &Task, desired: TaskState) {
        let current = self.state.tasks().get(&task.id).cloned();
        let Some(current) = current.filter(|current| current.desired < desired) else { return };
        let hold = current.hold.is_some().then_some(None);
        let id = task.id.clone();
        self.patch_task(TaskPatch { id, desired: Some(desired), hold, ..TaskPatch::default() });
    }

    /// Returns a status like the task's with another state, message and error, dated now.
    pub(super) fn status(
        &self,
        task: &Task,
        state: TaskState,
        message: &str,
        error: &str,
    ) -> TaskStatus {
        TaskStatus {
            at: self.now,
            state,
            message: message.to_owned(),
            error: error.to_owned(),
            ..task.status.clone()
        }
    }

    /// Sets how far a task went.
    pub(super) fn set_status(&mut self, task: &Task, status: TaskStatus) {
        let id = task.id.clone();
        self.patch_task(TaskPatch { id, status: Some(status), ..TaskPatch::default() });
    }

    /// Changes parts of a service.
    pub(super) fn patch_service(&mut self, patch: ServicePatch) {
        self.push(Change::PatchService(Box::new(patch)));
    }

    /// Asks for another plan at `at`, if that lies ahead.
    pub(super) fn wake(&mut self, at: Timestamp) {
        if at > self.now {
            self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    /// Notes why something was not done.
    pub(super) fn explain(
        &mut self,
        service: Option<&ServiceId>,
        task: Option<&TaskId>,
        text: String,
    ) {
        self.reasons.push(Reason { service: service.cloned(), task: task.cloned(), text });
    }

    /// Returns all services, so that the state can be changed while going through them.
    pub(super) fn services(&self) -> Vec<Arc<Service>> {
        self.state.services().values().cloned().collect()
    }

    /// Returns the tasks that `wanted` picks, so that the state can be changed while going through them.
    pub(super) fn tasks_where(&self, wanted: impl Fn(&Task) -> bool) -> Vec<Arc<Task>> {
        self.state.tasks().values().filter(|task| wanted(task)).cloned().collect()
    }

    pub(super) fn changes_len(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn finish(self) -> Plan {
        Plan { changes: self.changes, wake_at: self.wake_at, reasons: self.reasons }
    }
}
