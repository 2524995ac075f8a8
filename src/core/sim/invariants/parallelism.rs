//! An update has no more slots under way than its spec allows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Transition;
use crate::id::ServiceId;
use crate::model::node::{Availability, NodeState};
use crate::model::service::{Service, Slot, UpdateConfig, UpdateState};
use crate::model::task::{Task, TaskState};
use crate::plan::constraint;
use crate::state::State;

pub(in crate::sim) const NAME: &str = "update parallelism is kept";

/// Remembers the slots whose task was told to stop and has no successor that came up.
#[derive(Default)]
pub(super) struct Parallelism {
    under_way: BTreeMap<ServiceId, (u64, BTreeSet<Slot>)>,
}

impl Parallelism {
    pub(super) fn check(&mut self, write: &Transition) -> Option<String> {
        for service in write.after.services().values() {
            let fresh = (service.spec_version, BTreeSet::new());
            let known = self.under_way.entry(service.id.clone()).or_insert_with(|| fresh.clone());
            if known.0 != service.spec_version {
                *known = fresh;
            }
            known.1.retain(|slot| !is_up(write.after, service, slot));
            if let Some(base) = write.base {
                known.1.extend(victims(write, base, service));
            }
            let allowed = allowed(service);
            if allowed > 0 && known.1.len() as u64 > allowed {
                let slots = &known.1;
                return Some(format!("service {}: {slots:?}, {allowed} allowed", service.id));
            }
        }
        self.under_way.retain(|service, _| write.after.services().contains_key(service));
        None
    }
}

/// Tells whether a task of the current spec has come up in a slot, or the slot is to be filled no more.
fn is_up(state: &State, service: &Service, slot: &Slot) -> bool {
    let mut tasks = state.service_tasks(&service.id).filter(|task| task.slot == *slot).peekable();
    tasks.peek().is_none()
        || tasks.any(|task| {
            let current = task.spec_version == service.spec_version;
            current
                && (task.status.state >= TaskState::Running || task.desired > TaskState::Complete)
        })
}

/// Returns the slots whose task was told to stop for no other reason than that it is outdated.
fn victims(write: &Transition, base: &State, service: &Service) -> Vec<Slot> {
    let stopped = |old: &Arc<Task>| {
        let Some(new) = write.after.tasks().get(&old.id) else { return false };
        old.desired <= TaskState::Running
            && new.desired == TaskState::Shutdown
            && old.status.state < TaskState::Complete
            && new.status.state < TaskState::Complete
            && old.spec_version != service.spec_version
            && stays(base, service, old)
            // What ran when this was planned may have ended since: that is the next plan's business.
            && ![base, write.after].iter().any(|at| has_running_successor(at, service, old))
    };
    let tasks = write.before.service_tasks(&service.id);
    tasks.filter(|task| stopped(task)).map(|task| task.slot.clone()).collect()
}

/// Tells whether a task's node would let it be.
fn stays(base: &State, service: &Service, task: &Task) -> bool {
    let Some(id) = &task.node else { return true };
    let Some(node) = base.nodes().get(id) else { return false };
    let placement = service.spec.task.placement.as_ref();
    let constraints = placement.map_or(&[][..], |placement| &placement.constraints);
    node.status.state != NodeState::Down
        && node.spec.availability != Availability::Drain
        && constraints.iter().all(|text| constraint::parse(text).is_ok_and(|it| it.matches(node)))
}

/// Tells whether the slot has a task that runs and is meant to: that a second one goes takes nothing away.
fn has_running_successor(state: &State, service: &Service, old: &Task) -> bool {
    state.service_tasks(&service.id).any(|task| {
        task.slot == old.slot
            && task.id != old.id
            && task.desired <= TaskState::Running
            && task.status.state == TaskState::Running
    })
}

fn allowed(service: &Service) -> u64 {
    let phase = service.update_status.as_ref().map(|status| status.state);
    let rolls_back =
        matches!(phase, Some(UpdateState::RollbackStarted | UpdateState::RollbackPaused));
    let config = if rolls_back { service.spec.rollback } else { service.spec.update };
    config.unwrap_or(UpdateConfig { parallelism: 1, ..UpdateConfig::default() }).parallelism
}
