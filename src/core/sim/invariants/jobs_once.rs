//! Jobs complete as often as they were asked to: no place that is complete is filled again, and at rest all are complete.

use std::collections::BTreeSet;

use super::Transition;
use crate::model::service::{Service, ServiceMode, Slot};
use crate::model::task::TaskState;
use crate::state::State;

pub(in crate::sim) const NAME: &str = "jobs complete exactly as often as asked";

/// Checks that a plan filled no place that was complete when it was made.
pub(super) fn check(write: &Transition) -> Option<String> {
    let base = write.base?;
    write.after.services().values().find_map(|service| {
        service.job?;
        let base_service = base.services().get(&service.id)?;
        let complete = complete_slots(base, base_service);
        let mut new = write
            .after
            .service_tasks(&service.id)
            .filter(|task| !write.before.tasks().contains_key(&task.id));
        let again = new.find(|task| complete.contains(&task.slot))?;
        Some(format!("task {} fills {:?} of {} again", again.id, again.slot, service.id))
    })
}

/// Checks that all is done, and not more.
pub(super) fn check_rest(state: &State) -> Option<String> {
    let nodes = state.nodes().len() as u64;
    state.services().values().find_map(|service| {
        let wanted = match service.spec.mode {
            ServiceMode::Replicated { .. }
            | ServiceMode::Global
            | ServiceMode::ReplicatedJob { max_concurrent: 0, .. } => return None,
            ServiceMode::ReplicatedJob { total_completions, .. } => total_completions,
            ServiceMode::GlobalJob => nodes,
        };
        let complete = complete_slots(state, service).len() as u64;
        let name = &service.spec.annotations.name;
        (complete != wanted).then(|| format!("{name}: {complete} of {wanted} places"))
    })
}

/// Returns the places of a job that have completed in its current run.
fn complete_slots(state: &State, service: &Service) -> BTreeSet<Slot> {
    let iteration = service.job.map(|job| job.iteration);
    let complete = state
        .service_tasks(&service.id)
        .filter(|task| task.status.state == TaskState::Complete && task.job_iteration == iteration);
    complete.map(|task| task.slot.clone()).collect()
}
