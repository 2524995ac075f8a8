//! A slot has one task that is meant to run; two while an update starts the new one first.

use std::collections::{BTreeMap, BTreeSet};

use super::Transition;
use crate::id::ServiceId;
use crate::model::service::{Service, Slot, UpdateOrder};
use crate::model::task::TaskState;

pub(in crate::sim) const NAME: &str = "at most one wanted task a slot";

/// Remembers which services ever asked for the new task to start first.
#[derive(Default)]
pub(super) struct OneWanted {
    start_first: BTreeSet<ServiceId>,
}

impl OneWanted {
    pub(super) fn check(&mut self, write: &Transition) -> Option<String> {
        let asking = write.after.services().values().filter(|service| starts_first(service));
        self.start_first.extend(asking.map(|service| service.id.clone()));
        let mut wanted: BTreeMap<(&ServiceId, &Slot), Vec<String>> = BTreeMap::new();
        for task in write.after.tasks().values() {
            let live = task.desired <= TaskState::Complete && !task.status.state.is_terminal();
            if let Some(service) = task.service.as_ref().filter(|_| live) {
                wanted.entry((service, &task.slot)).or_default().push(task.id.to_string());
            }
        }
        wanted.into_iter().find_map(|((service, slot), tasks)| {
            let allowed = if self.start_first.contains(service) { 2 } else { 1 };
            let crowded = tasks.len() > allowed;
            crowded.then(|| format!("service {service} {slot:?}: {tasks:?}"))
        })
    }
}

fn starts_first(service: &Service) -> bool {
    let orders = [service.spec.update, service.spec.rollback];
    orders.into_iter().flatten().any(|how| how.order == UpdateOrder::StartFirst)
}
