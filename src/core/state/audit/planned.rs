//! Rules that planners keep: `apply` cannot know better than the planner, so it lets breaches pass.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use crate::id::{ServiceId, TaskId};
use crate::model::service::{PublishMode, Slot};
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

/// A slot has one task that is wanted; two of different specs while an update starts the new one first. Whether one did
/// cannot be told from the state: the spec that asked for it may have been replaced since.
fn one_wanted_task_a_slot(state: &State, found: &mut Vec<String>) {
    let mut slots: BTreeMap<(&ServiceId, &Slot), Vec<&Task>> = BTreeMap::new();
    for task in state.tasks.values().filter(|task| is_wanted(task)) {
        if let Some(service) = &task.service {
            slots.entry((service, &task.slot)).or_default().push(task);
        }
    }
    for ((service, slot), tasks) in slots {
        let specs: BTreeSet<u64> = tasks.iter().map(|task| task.spec_version).collect();
        if tasks.len() > specs.len().min(2) && state.services.contains_key(service) {
            let tasks: Vec<&TaskId> = tasks.into_iter().map(|task| &task.id).collect();
            found.push(format!("{service} of {slot:?} is to be filled by {tasks:?}"));
        }
    }
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
