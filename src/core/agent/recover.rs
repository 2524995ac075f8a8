//! What to do with the containers found when the agent starts or looks again. Touches none of them.

use std::collections::BTreeMap;

use crate::assign::Assigned;
use crate::id::TaskId;

/// A container that carries this node's label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Engine id.
    pub container: String,
    /// The task it was made for; `None` if its label is no task id.
    pub task: Option<TaskId>,
    /// Whether it runs.
    pub running: bool,
}

/// What to do with containers found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// The container of each task that has one.
    pub adopt: BTreeMap<TaskId, String>,
    /// Containers to stop and remove: their tasks are no longer assigned, or have another container.
    pub discard: Vec<Found>,
}

/// Sorts containers into those of assigned tasks and leftovers. Of two containers of one task the running one stays.
pub fn recover(assigned: &Assigned, found: &[Found]) -> Recovery {
    let mut kept: BTreeMap<TaskId, &Found> = BTreeMap::new();
    let mut recovery = Recovery::default();
    for candidate in found {
        let task = candidate.task.as_ref().filter(|task| assigned.tasks.contains_key(*task));
        let Some(task) = task else {
            recovery.discard.push(candidate.clone());
            continue;
        };
        match kept.get(task) {
            None => {
                kept.insert(task.clone(), candidate);
            }
            Some(held) if candidate.running && !held.running => {
                recovery.discard.push((*held).clone());
                kept.insert(task.clone(), candidate);
            }
            Some(_) => recovery.discard.push(candidate.clone()),
        }
    }
    recovery.adopt =
        kept.into_iter().map(|(task, found)| (task, found.container.clone())).collect();
    recovery
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::Task;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn assigned(count: u64) -> Assigned {
        let mut set = Assigned::default();
        for number in 0..count {
            let id = TaskId::from_seed(1, number);
            set.tasks.insert(id.clone(), Arc::new(Task { id, ..Task::default() }));
        }
        set
    }

    #[test]
    fn running_one_of_two_stays() {
        let task = Some(TaskId::from_seed(1, 0));
        let one = Found { container: "a".into(), task: task.clone(), running: false };
        let two = Found { container: "b".into(), task, running: true };
        let recovery = recover(&assigned(1), &[one.clone(), two]);
        assert_eq!(recovery.adopt.values().collect::<Vec<_>>(), ["b"]);
        assert_eq!(recovery.discard, [one]);
    }

    proptest! {
        #[test]
        fn every_container_is_adopted_or_discarded(
            shape in prop::collection::vec((prop::option::of(0..6u64), any::<bool>()), 0..12),
        ) {
            let found: Vec<Found> = shape.into_iter().enumerate().map(|(number, (task, running))| Found {
                container: number.to_string(),
                task: task.map(|task| TaskId::from_seed(1, task)),
                running,
            }).collect();
            let assigned = assigned(4);
            let recovery = recover(&assigned, &found);
            prop_assert_eq!(recovery.adopt.len() + recovery.discard.len(), found.len());
            for (task, container) in &recovery.adopt {
                prop_assert!(assigned.tasks.contains_key(task));
                prop_assert!(recovery.discard.iter().all(|other| other.container != *container));
            }
        }
    }
}
