//! A plan in the making: the changes so far and the state as they would leave it. Decides nothing itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::limits::{Limits, weight};
use super::planner::{Wakes, earliest};
use super::touched::Touched;
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
    /// What is looked at.
    touched: Touched,
    /// What was changed.
    changed: Touched,
    /// Index of the state planned on.
    index: u64,
    /// Seed of new ids.
    seed: u64,
    limits: Limits,
    /// Number of ids made.
    ordinal: u64,
    changes: Vec<Change>,
    /// Bytes of them, about.
    bytes: usize,
    reasons: Vec<Reason>,
    wakes: Wakes,
}

impl Draft {
    pub(super) fn new(state: &State, touched: Touched, limits: Limits, now: Timestamp) -> Self {
        Self {
            state: state.clone(),
            now,
            cursors: BTreeMap::new(),
            touched,
            changed: Touched::default(),
            index: state.index(),
            seed: seed_of(state),
            limits,
            ordinal: 0,
            changes: Vec::new(),
            bytes: 0,
            reasons: Vec::new(),
            wakes: Wakes::new(),
        }
    }

    /// Forgets what an earlier round said of the future, which this round says anew. Returns the number of changes so far.
    pub(super) fn begin_round(&mut self) -> usize {
        self.reasons.clear();
        self.wakes.clear();
        self.changes.len()
    }

    /// Adds a change and carries it out on the draft's state.
    pub(super) fn push(&mut self, change: Change) {
        let index = self.index.saturating_add(1);
        self.note_changed(&change);
        if let Err(why) = self.state.apply_change(self.now, index, &change) {
            panic!("a planned change does not apply: {why}: {change:?}");
        }
        self.bytes += weight(&change);
        self.changes.push(change);
    }

    fn note_changed(&mut self, change: &Change) {
        let service = |id: &TaskId| self.state.tasks().get(id).and_then(|it| it.service.as_ref());
        match change {
            Change::CreateTask(new) => self.changed.add(Some(&new.service)),
            Change::PatchTask(patch) => self.changed.add(service(&patch.id)),
            Change::RemoveTask(id) => self.changed.add(service(id)),
            Change::PatchService(patch) => self.changed.add(Some(&patch.id)),
            // Where numbering has come to is noted with whatever got the numbers.
            Change::PatchNetwork(patch)
                if patch.allocation.is_none() && patch.gateways.is_empty() => {}
            Change::PatchNetwork(_) | Change::SetRole { .. } | Change::ForgetNode(_) => {
                self.concerns_everything()
            }
        }
    }

    /// Notes that what is done now may concern more than the services it is done to.
    pub(super) fn concerns_everything(&mut self) {
        self.changed = Touched::Everything;
    }

    /// Tells whether this plan does enough already. What is not begun for that is looked at by the next one.
    pub(super) fn is_full(&mut self) -> bool {
        let full = self.changes.len() >= self.limits.changes_per_plan
            || self.bytes >= self.limits.bytes_per_plan;
        if full {
            self.concerns_everything();
        }
        full
    }

    /// Tells whether this plan makes no more tasks, as `is_full` does.
    pub(super) fn makes_no_more(&mut self) -> bool {
        let spent = self.tasks_left() == 0;
        if spent {
            self.concerns_everything();
        }
        self.is_full() || spent
    }

    /// Returns how many tasks of a service may be made now of which `waiting` do not run yet: no more are made ahead of
    /// what nodes start than keeps them busy.
    pub(super) fn room_ahead(&self, waiting: u64) -> u64 {
        let nodes = self.state.nodes().len() as u64;
        let more = self.limits.tasks_ahead_per_node.saturating_mul(nodes);
        self.limits.tasks_ahead.saturating_add(more).saturating_sub(waiting)
    }

    fn tasks_left(&self) -> u64 {
        (self.limits.tasks_per_plan as u64).saturating_sub(self.ordinal)
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

    /// Tells whether a time has come that was set at `since`. A clock that was set back behind that would make it come
    /// much too late, or never: it counts as come then.
    pub(super) fn reached(&self, since: Timestamp, at: Timestamp) -> bool {
        at <= self.now || self.now < since
    }

    /// Asks for another look at a service at `at`, if that lies ahead.
    pub(super) fn wake(&mut self, service: Option<&ServiceId>, at: Timestamp) {
        if at > self.now {
            let held = self.wakes.entry(service.cloned()).or_insert(at);
            *held = at.min(*held);
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

    /// Tells whether everything is to be looked at, not only some services.
    pub(super) fn is_complete(&self) -> bool {
        self.touched == Touched::Everything
    }

    /// Returns the services to look at, so that the state can be changed while going through them.
    pub(super) fn services(&self) -> Vec<Arc<Service>> {
        let all = self.state.services();
        match &self.touched {
            Touched::Everything => all.values().cloned().collect(),
            Touched::Services(ids) => ids.iter().filter_map(|id| all.get(id).cloned()).collect(),
        }
    }

    /// Returns the tasks to look at that `wanted` picks, by id, so that the state can be changed while going through them.
    pub(super) fn tasks_where(&self, wanted: impl Fn(&Task) -> bool) -> Vec<Arc<Task>> {
        match &self.touched {
            Touched::Everything => {
                self.state.tasks().values().filter(|task| wanted(task)).cloned().collect()
            }
            Touched::Services(ids) => {
                let of = ids.iter().flat_map(|id| self.state.service_tasks(id));
                let mut tasks: Vec<_> = of.filter(|task| wanted(task)).cloned().collect();
                tasks.sort_by(|left, right| left.id.cmp(&right.id));
                tasks
            }
        }
    }

    pub(super) fn wakes(&self) -> &Wakes {
        &self.wakes
    }

    pub(super) fn changed(&self) -> &Touched {
        &self.changed
    }

    /// Returns why things were not done.
    pub(super) fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    pub(super) fn changes_len(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn finish(self) -> Plan {
        Plan { changes: self.changes, wake_at: earliest(&self.wakes), reasons: self.reasons }
    }
}

/// Mixes the cluster into the seed of a plan's ids: fresh clusters, whose logs begin alike, make other tasks.
fn seed_of(state: &State) -> u64 {
    let cluster = state.cluster().map_or("", |cluster| cluster.id.as_str());
    // FNV-1a; it need not be hard to guess, only the same on every manager.
    let hash = cluster.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.wrapping_add(state.index())
}
