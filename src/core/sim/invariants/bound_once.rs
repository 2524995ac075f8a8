//! A task that has a node keeps it for ever.

use super::Transition;

pub(in crate::sim) const NAME: &str = "a task never changes its node";

pub(super) fn check(write: &Transition) -> Option<String> {
    write.before.tasks().values().find_map(|old| {
        let new = write.after.tasks().get(&old.id)?;
        let moved = old.node.is_some() && old.node != new.node;
        moved.then(|| format!("task {}: from {:?} to {:?}", old.id, old.node, new.node))
    })
}
