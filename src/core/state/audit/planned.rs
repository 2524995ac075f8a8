//! Rules that planners keep: `apply` cannot know better than the planner, so it lets breaches pass.

use std::collections::BTreeMap;

use super::Check;
use crate::id::{ServiceId, TaskId};
use crate::model::service::{PublishMode, Service, Slot, UpdateOrder};
use crate::model::task::{Task, TaskState};
use crate::state::State;

pub(super) const CHECKS: &[Check] = &[
    Check { name: "one-wanted-task-a-slot", run: one_wanted_task_a_slot },
    Check { name: "host-ports-once", run: host_ports_once },
    Check { name: "held-tasks-wait", run: held_tasks_wait },
    Check { name: "slots-fit-the-mode", run: slots_fit_the_mode },
];

/// Tells whether a task is meant to fill its slot and still can.
fn is_wanted(task: &Task) -> bool {
    task.desired <= TaskState::Complete && !task.status.state.is_terminal()
}

/// A slot has one task that is wanted; two while an update starts the new one first.
fn one_wanted_task_a_slot(state: &State, found: &mut Vec<String>) {
    let mut slots: BTreeMap<(&ServiceId, &Slot), Vec<&TaskId>> = BTreeMap::new();
    for task in state.tasks.values().filter(|task| is_wanted(task)) {
        if let Some(service) = &task.service {
            slots.entry((service, &task.slot)).or_default().push(&task.id);
        }
    }
    for ((service, slot), tasks) in slots {
        let Some(service) = state.services.get(service) else { continue };
        let allowed = if starts_first(service, slot, &tasks) { 2 } else { 1 };
        if tasks.len() > allowed {
            found.push(format!("{} of {slot:?} is to be filled by {tasks:?}", service.id));
        }
    }
}

fn starts_first(service: &Service, slot: &Slot, tasks: &[&TaskId]) -> bool {
    let orders = [&service.spec.update, &service.spec.rollback];
    let may = orders.into_iter().flatten().any(|how| how.order == UpdateOrder::StartFirst);
    let updated = service.progress.as_ref().and_then(|progress| progress.slots.get(slot));
    may && updated.is_some_and(|slot| tasks.contains(&&slot.task))
}

/// On one node, a host-mode port is published by one wanted task.
fn host_ports_once(state: &State, found: &mut Vec<String>) {
    let mut seen = BTreeMap::new();
    for task in state.tasks.values().filter(|task| is_wanted(task)) {
        let Some(node) = &task.node else { continue };
        if task.status.state < TaskState::Assigned {
            continue;
        }
        let ports = task.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
        for port in ports.filter(|port| port.mode == PublishMode::Host && port.published != 0) {
            if let Some(other) = seen.insert((node, port.protocol, port.published), &task.id) {
                let number = port.published;
                found.push(format!("tasks {other} and {} have port {number}", task.id));
            }
        }
    }
}

/// Only a task that waits at ready is held back.
fn held_tasks_wait(state: &State, found: &mut Vec<String>) {
    for task in state.tasks.values() {
        if task.hold.is_some() && task.desired != TaskState::Ready {
            found.push(format!("task {} is held back but not kept at ready", task.id));
        }
    }
}

/// Global services fill nodes, others numbered places.
fn slots_fit_the_mode(state: &State, found: &mut Vec<String>) {
    for task in state.tasks.values() {
        let service = task.service.as_ref().and_then(|id| state.services.get(id));
        let Some(service) = service else { continue };
        let on_node = match &task.slot {
            Slot::Number(_) => false,
            Slot::Node(node) => {
                if task.node.as_ref() != Some(node) {
                    found.push(format!("task {} fills a node but is not on it", task.id));
                }
                true
            }
        };
        if on_node != service.spec.mode.is_global() {
            found.push(format!("task {} has a slot of another mode", task.id));
        }
    }
}
