//! Neither what a task should do nor what it did ever goes back.

use super::Transition;

pub(in crate::sim) const NAME: &str = "states never go back";

pub(super) fn check(write: &Transition) -> Option<String> {
    write.before.tasks().values().find_map(|old| {
        let new = write.after.tasks().get(&old.id)?;
        let back = new.status.state < old.status.state || new.desired < old.desired;
        let states = |task: &crate::model::task::Task| (task.desired, task.status.state);
        back.then(|| format!("task {}: from {:?} to {:?}", old.id, states(old), states(new)))
    })
}
