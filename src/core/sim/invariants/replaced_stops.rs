//! A node runs nothing on that was replaced while it was away.

use super::converges::is_up;
use crate::sim::node::SimNode;
use crate::state::State;

pub(in crate::sim) const NAME: &str = "a node that is back runs nothing that was replaced";

/// Looks at a node of a world at rest.
pub(super) fn check(state: &State, node: &SimNode) -> Option<String> {
    node.host.engine.running().find_map(|container| {
        let task = state.tasks().get(&container.task);
        let (id, of) = (&container.id, &container.task);
        task.is_none_or(|task| !is_up(task)).then(|| format!("container {id} of task {of} runs on"))
    })
}
