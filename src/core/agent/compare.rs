//! Compares what workers saw last with what the engine lists, for what no event told of. Touches nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::recover::{Found, recover};
use super::step::Container;
use crate::assign::Assigned;
use crate::id::{NetworkId, NodeId, TaskId};

/// What a worker saw last of its container, as far as a list of all containers tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sight {
    /// It has not looked yet.
    #[default]
    Nothing,
    /// There was none.
    Absent,
    /// It did not run.
    Idle,
    /// It ran.
    Running,
}

impl Sight {
    /// Returns what a look tells.
    pub fn of(container: &Container) -> Self {
        match container {
            Container::Absent => Self::Absent,
            Container::Created | Container::Exited { .. } => Self::Idle,
            Container::Running { .. } => Self::Running,
        }
    }

    /// Tells whether a look at the engine would tell something new; not before the first one.
    fn differs(self, listed: Option<bool>) -> bool {
        match self {
            Self::Nothing => false,
            Self::Absent => listed.is_some(),
            Self::Idle => listed != Some(false),
            Self::Running => listed != Some(true),
        }
    }
}

/// What follows from a list of containers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Comparison {
    /// Workers that have to look at their container.
    pub look: Vec<TaskId>,
    /// Containers to stop and remove.
    pub discard: Vec<Found>,
}

/// Finds the workers that saw something else last, and the containers that are nobody's.
pub fn compare(
    assigned: &Assigned,
    workers: &BTreeMap<TaskId, Sight>,
    found: &[Found],
) -> Comparison {
    let recovery = recover(assigned, found);
    let running: BTreeMap<&str, bool> =
        found.iter().map(|found| (found.container.as_str(), found.running)).collect();
    let differs = |task: &TaskId, sight: &Sight| {
        let container = recovery.adopt.get(task);
        sight.differs(container.and_then(|id| running.get(id.as_str()).copied()))
    };
    let look = workers.iter().filter(|(task, sight)| differs(task, sight));
    let look = look.map(|(task, _)| task.clone()).collect();
    // The worker of a dismissed task is removing its container; a second one of an assigned task is none of its worker's.
    let busy = |found: &Found| {
        found
            .task
            .as_ref()
            .is_some_and(|task| workers.contains_key(task) && !assigned.tasks.contains_key(task))
    };
    let discard = recovery.discard.into_iter().filter(|found| !busy(found)).collect();
    Comparison { look, discard }
}

/// Returns the tasks that have files although nothing needs them: no container, no assignment, no worker.
pub fn stale_files(
    assigned: &Assigned,
    workers: &BTreeMap<TaskId, Sight>,
    found: &[Found],
    files: Vec<TaskId>,
) -> Vec<TaskId> {
    let held: BTreeSet<&TaskId> = found.iter().filter_map(|found| found.task.as_ref()).collect();
    let needed = |task: &TaskId| {
        held.contains(task) || assigned.tasks.contains_key(task) || workers.contains_key(task)
    };
    files.into_iter().filter(|task| !needed(task)).collect()
}

/// Returns the networks that the node has to have: those of tasks that have not ended.
pub fn needed_networks(assigned: &Assigned, node: &NodeId) -> BTreeSet<NetworkId> {
    let live = assigned.tasks.values().filter(|task| !task.status.state.is_terminal());
    let of_tasks = live.flat_map(|task| task.networks.iter().map(|held| held.network.id.clone()));
    of_tasks.chain(assigned.standing(node).map(|network| network.id.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::Task;
    use std::sync::Arc;

    #[test]
    fn whoever_saw_something_else_looks_and_leftovers_go() {
        let task = |number| TaskId::from_seed(1, number);
        let found = |number, running| Found {
            container: format!("c{number}"),
            task: Some(task(number)),
            running,
        };
        let mut assigned = Assigned::default();
        for number in 0..4 {
            let id = task(number);
            assigned.tasks.insert(id.clone(), Arc::new(Task { id, ..Task::default() }));
        }
        // 0 died unseen, 1 is as it was, 2 vanished, 3 has not looked, 4 is being dismissed, 5 is nobody's.
        let workers = BTreeMap::from([
            (task(0), Sight::Running),
            (task(1), Sight::Running),
            (task(2), Sight::Idle),
            (task(3), Sight::Nothing),
            (task(4), Sight::Running),
        ]);
        let listed =
            [found(0, false), found(1, true), found(3, true), found(4, true), found(5, true)];
        let comparison = compare(&assigned, &workers, &listed);
        assert_eq!(BTreeSet::from_iter(comparison.look), BTreeSet::from([0, 2, 4].map(task)));
        assert_eq!(comparison.discard, [found(5, true)]);
        // 6 had files too, and a user removed its container.
        let files = (0..7).map(task).collect();
        assert_eq!(stale_files(&assigned, &workers, &listed, files), [task(6)]);
    }
}
