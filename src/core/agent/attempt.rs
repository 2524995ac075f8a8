//! What a task's worker decides beside its steps: whose status is newer, what is half made, what a dismissed task leaves.

use super::step::{Container, Step};
use crate::model::task::{Task, TaskState, TaskStatus};

/// Takes over a task as assigned, but for a status older than the one known here, reported or not.
pub fn merge(assigned: &Task, ours: TaskStatus) -> Task {
    let mut task = assigned.clone();
    if ours.state >= assigned.status.state {
        task.status = ours;
    }
    task
}

/// Tells whether a container was found that an earlier agent had not finished making: it may lack networks, which are
/// joined after it is made.
pub fn is_half_made(task: &Task, container: &Container) -> bool {
    *container == Container::Created && task.status.state < TaskState::Ready
}

/// Decides the next act for a task that is no longer assigned; `Done` once nothing of it is left.
pub fn step_dismissed(container: &Container) -> Step {
    match container {
        Container::Absent => Step::Done,
        Container::Running { .. } => Step::Stop,
        Container::Created | Container::Exited { .. } => Step::Remove,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_status_counts() {
        let status = |state| TaskStatus { state, ..TaskStatus::default() };
        let assigned = |state| Task { status: status(state), ..Task::default() };
        let merged = |theirs, ours| merge(&assigned(theirs), status(ours)).status.state;
        assert_eq!(merged(TaskState::Assigned, TaskState::Running), TaskState::Running);
        assert_eq!(merged(TaskState::Orphaned, TaskState::Running), TaskState::Orphaned);
    }

    #[test]
    fn a_dismissed_task_leaves_nothing() {
        let running = Container::Running { health: super::super::Health::Unchecked };
        assert_eq!(step_dismissed(&running), Step::Stop);
        assert_eq!(step_dismissed(&Container::Created), Step::Remove);
        assert_eq!(step_dismissed(&Container::Absent), Step::Done);
    }
}
