//! Mistakes made on purpose, so that the invariants can show that they notice. Nothing here runs without `Settings::bug`.

use std::sync::Arc;

use super::PlantedBug;
use super::world::World;
use crate::command::{Change, NewTask};
use crate::id::{NodeId, TaskId};
use crate::model::service::ServiceSpec;
use crate::model::task::{Task, TaskState};
use crate::state::State;

/// Returns a state in which updates may take all slots at once.
pub(super) fn without_update_limits(state: &State) -> State {
    let mut state = state.clone();
    let services: Vec<_> = state.services().values().cloned().collect();
    for mut service in services {
        let limitless = Arc::make_mut(&mut service);
        let mut spec = ServiceSpec::clone(&limitless.spec);
        for config in [&mut spec.update, &mut spec.rollback].into_iter().flatten() {
            config.parallelism = 0;
        }
        limitless.spec = Arc::new(spec);
        state.services.insert(service.id.clone(), service);
    }
    state
}

impl World {
    /// Breaks something in a plan.
    pub(super) fn spoil_plan(&self, changes: &mut Vec<Change>) {
        match self.settings.bug {
            Some(PlantedBug::SecondTaskInSlot) => {
                repeat_first_task(changes, self.ledger.last_index());
            }
            Some(PlantedBug::JobRunsAgain) => changes.extend(self.run_again()),
            Some(PlantedBug::HistoryForgotten) => changes.extend(self.forget_one(changes)),
            Some(_) | None => {}
        }
    }

    /// Fills a place of a job that is complete.
    fn run_again(&self) -> Option<Change> {
        let done = |task: &&Arc<Task>| {
            let service = task.service.as_ref().and_then(|id| self.ledger.state.services().get(id));
            let iteration = service.and_then(|service| service.job).map(|job| job.iteration);
            task.status.state == TaskState::Complete
                && iteration.is_some()
                && iteration == task.job_iteration
        };
        let done = self.ledger.state.tasks().values().find(done)?;
        Some(Change::CreateTask(NewTask {
            id: TaskId::from_seed(98, self.ledger.last_index()),
            service: done.service.clone()?,
            slot: done.slot.clone(),
            desired: TaskState::Complete,
            hold: None,
        }))
    }

    /// Forgets a task that ended and that nobody asked to forget.
    fn forget_one(&self, changes: &[Change]) -> Option<Change> {
        let touched = |id: &TaskId| {
            changes.iter().any(|change| match change {
                Change::PatchTask(patch) => patch.id == *id,
                Change::RemoveTask(removed) => removed == id,
                Change::CreateTask(_)
                | Change::PatchService(_)
                | Change::PatchNetwork(_)
                | Change::SetRole { .. }
                | Change::ForgetNode(_) => false,
            })
        };
        let ended = |task: &&Arc<Task>| {
            task.desired == TaskState::Shutdown
                && task.status.state.is_terminal()
                && !touched(&task.id)
        };
        let ended = self.ledger.state.tasks().values().find(ended)?;
        Some(Change::RemoveTask(ended.id.clone()))
    }

    /// Breaks something in a manager's copy of the state, once.
    pub(super) fn spoil_state(&mut self, place: usize) {
        let Some(manager) = &self.machines[place].manager else { return };
        if self.bug_done {
            return;
        }
        let state = &manager.state;
        let spoiled = match self.settings.bug {
            Some(PlantedBug::StateGoesBack) => take_back(state),
            Some(PlantedBug::TaskMoves) => move_task(state),
            Some(PlantedBug::AddressTwice) => share_address(state),
            Some(_) | None => None,
        };
        if let Some(task) = spoiled
            && let Some(manager) = &mut self.machines[place].manager
        {
            manager.state.tasks.insert(task.id.clone(), Arc::new(task));
            self.bug_done = true;
        }
    }
}

fn take_back(state: &State) -> Option<Task> {
    let started = |task: &&Arc<Task>| task.status.state == TaskState::Running;
    let mut task = Task::clone(state.tasks().values().find(started)?);
    task.status.state = TaskState::Preparing;
    Some(task)
}

fn move_task(state: &State) -> Option<Task> {
    let bound = |task: &&Arc<Task>| task.status.state == TaskState::Running;
    let mut task = Task::clone(state.tasks().values().find(bound)?);
    task.node = Some(NodeId::from_seed(7, 99));
    Some(task)
}

fn share_address(state: &State) -> Option<Task> {
    let live: Vec<&Arc<Task>> = state
        .tasks()
        .values()
        .filter(|task| !task.status.state.is_terminal() && !task.networks.is_empty())
        .collect();
    let [first, second, ..] = live.as_slice() else { return None };
    let mut task = Task::clone(second);
    task.networks.clone_from(&first.networks);
    Some(task)
}

/// Makes a plan fill a slot twice.
fn repeat_first_task(changes: &mut Vec<Change>, seed: u64) {
    let first = changes.iter().find_map(|change| match change {
        Change::CreateTask(new) => Some(new.clone()),
        Change::PatchTask(_)
        | Change::RemoveTask(_)
        | Change::PatchService(_)
        | Change::PatchNetwork(_)
        | Change::SetRole { .. }
        | Change::ForgetNode(_) => None,
    });
    if let Some(first) = first {
        changes.push(Change::CreateTask(NewTask { id: TaskId::from_seed(99, seed), ..first }));
    }
}
