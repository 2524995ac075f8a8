//! No container is stopped or started again without cause: each task starts one container, once.

use super::Broken;
use crate::agent::Health;
use crate::id::TaskId;
use crate::sim::agent::{SimNode, may_stop};
use crate::state::State;

pub(in crate::sim) const NAME: &str = "no container is restarted without cause";

/// Checks that every task has started one container at the most.
pub(in crate::sim) fn check(node: &SimNode) -> Result<(), Broken> {
    let again = node.engine.started.iter().find(|(_, containers)| containers.len() > 1);
    again.map_or(Ok(()), |(task, started)| Err((NAME, format!("task {task} started {started:?}"))))
}

/// Checks that a container was stopped for a reason.
pub(in crate::sim) fn check_stop(
    state: &State,
    task: &TaskId,
    health: Health,
) -> Result<(), Broken> {
    if may_stop(state, task, health) {
        return Ok(());
    }
    Err((NAME, format!("the container of task {task} was stopped while it was wanted")))
}
