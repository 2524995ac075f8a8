//! Keeps as many slots of replicated services filled as their specs ask for. Replaces and updates nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::draft::Draft;
use super::slots::{Slots, is_satisfied, is_wanted, slots_of};
use crate::command::ServicePatch;
use crate::id::NodeId;
use crate::model::service::{Service, ServiceMode, Slot};
use crate::model::task::{Task, TaskState};

pub(super) fn plan(draft: &mut Draft) {
    for service in draft.services() {
        if let ServiceMode::Replicated { replicas } = service.spec.mode {
            plan_service(draft, &service, replicas);
        }
    }
}

fn plan_service(draft: &mut Draft, service: &Arc<Service>, replicas: u64) {
    let slots = slots_of(&draft.state, &service.id);
    let (filled, mut empty): (Slots, Slots) =
        slots.into_iter().partition(|(_, tasks)| is_satisfied(service, tasks));
    let count = filled.len() as u64;
    let missing = replicas.saturating_sub(count);
    fill(draft, service, &filled, missing);
    keep_free(&filled, &mut empty, missing);
    for (slot, tasks) in empty {
        remove_slot(draft, service, &slot, &tasks);
    }
    if count > replicas {
        let keep = usize::try_from(replicas).unwrap_or(usize::MAX);
        for (slot, tasks) in in_order_of_worth(filled).into_iter().skip(keep) {
            remove_slot(draft, service, &slot, &tasks);
        }
    }
}

/// Makes tasks in the first free slots: not more than are missing, nor than one plan makes, nor far ahead of the nodes.
fn fill(draft: &mut Draft, service: &Service, filled: &Slots, missing: u64) {
    let waits = |tasks: &&Vec<Arc<Task>>| tasks.iter().any(|task| is_wanted(task)) && !runs(tasks);
    let waiting = filled.values().filter(waits).count() as u64;
    let count = usize::try_from(missing.min(draft.room_ahead(waiting))).unwrap_or(usize::MAX);
    let free = (1..).map(Slot::Number).filter(|slot| !filled.contains_key(slot));
    for slot in free.take(count) {
        if draft.makes_no_more() {
            return;
        }
        draft.create_task(&service.id, slot, TaskState::Running, None);
    }
}

/// Takes those out of the empty slots that are among the first so many free ones: they are filled now or soon.
fn keep_free(filled: &Slots, empty: &mut Slots, missing: u64) {
    let numbers = filled.keys().filter_map(|slot| match slot {
        Slot::Number(number) => Some(*number),
        Slot::Node(_) => None,
    });
    let taken: Vec<u64> = numbers.collect();
    empty.retain(|slot, _| match slot {
        Slot::Number(number) => {
            let below = taken.partition_point(|held| held < number) as u64;
            number.saturating_sub(1).saturating_sub(below) >= missing
        }
        Slot::Node(_) => true,
    });
}

/// Orders slots so that those to be given up come last: what does not run, then what crowds a node, then high numbers.
fn in_order_of_worth(filled: Slots) -> Vec<(Slot, Vec<Arc<Task>>)> {
    let mut slots: Vec<_> = filled.into_iter().map(|slot| (!runs(&slot.1), slot)).collect();
    slots.sort_by_key(|(idle, _)| *idle);
    let mut copies: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut ranked: Vec<_> = slots
        .into_iter()
        .map(|(idle, (slot, tasks))| {
            let rank = sole_node(&tasks).map_or(u64::MAX, |node| {
                let copies = copies.entry(node).or_default();
                *copies += 1;
                *copies
            });
            ((idle, rank, slot), tasks)
        })
        .collect();
    ranked.sort_by(|(left, _), (right, _)| left.cmp(right));
    ranked.into_iter().map(|((_, _, slot), tasks)| (slot, tasks)).collect()
}

fn runs(tasks: &[Arc<Task>]) -> bool {
    tasks.iter().any(|task| is_wanted(task) && task.status.state == TaskState::Running)
}

/// Returns the node of a slot's only wanted task.
fn sole_node(tasks: &[Arc<Task>]) -> Option<NodeId> {
    let mut wanted = tasks.iter().filter(|task| is_wanted(task));
    let only = wanted.next()?;
    if wanted.next().is_some() { None } else { only.node.clone() }
}

/// Gives up a slot with its history.
fn remove_slot(draft: &mut Draft, service: &Service, slot: &Slot, tasks: &[Arc<Task>]) {
    if draft.is_full() {
        return;
    }
    for task in tasks {
        draft.set_desired(task, TaskState::Remove);
    }
    if service.restarts.contains_key(slot) {
        draft.patch_service(ServicePatch {
            id: service.id.clone(),
            restarts: vec![(slot.clone(), None)],
            ..ServicePatch::default()
        });
    }
}
