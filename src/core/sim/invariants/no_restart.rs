//! No container is stopped or started again without cause: each task starts one container, once.

use super::Broken;
use crate::agent::Health;
use crate::model::task::TaskState;
use crate::sim::node::{SimNode, Stopped};
use crate::state::State;

pub(in crate::sim) const NAME: &str = "no container is restarted without cause";

/// Checks that every task has started one container at the most.
pub(in crate::sim) fn check(node: &SimNode) -> Result<(), Broken> {
    let again = node.host.engine.started.iter().find(|(_, containers)| containers.len() > 1);
    again.map_or(Ok(()), |(task, started)| Err((NAME, format!("task {task} started {started:?}"))))
}

/// Checks that a container was stopped for a reason: it is unhealthy, its task has ended or is to end, or is gone.
pub(in crate::sim) fn check_stop(state: &State, stopped: &Stopped) -> Result<(), Broken> {
    let task = &stopped.task;
    let unwanted = state
        .tasks()
        .get(task)
        .is_none_or(|task| task.desired > TaskState::Complete || task.status.state.is_terminal());
    if unwanted || stopped.ended || stopped.health == Health::Unhealthy {
        return Ok(());
    }
    Err((NAME, format!("the container of task {task} was stopped while it was wanted")))
}
