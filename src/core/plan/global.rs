//! Keeps one task of every global service on every node that fits. Replaces and updates nothing.

use std::sync::Arc;

use super::draft::Draft;
use super::restart::{STOP_WAIT_MAX, goal};
use super::scheduler::can_join;
use super::scheduler::constraint::Constraints;
use super::slots::{Slots, is_invalid, is_satisfied, is_wanted, may_run, slots_of};
use crate::id::NodeId;
use crate::model::node::{Availability, Node};
use crate::model::service::{NetworkAttachment, PublishMode, Service, ServiceMode, Slot};
use crate::model::task::{Hold, Task, TaskState};
use crate::state::State;
use crate::time::Timestamp;

pub(super) fn plan(draft: &mut Draft) {
    for service in draft.services() {
        if service.spec.mode == ServiceMode::Global {
            let slots = slots_of(&draft.state, &service.id);
            plan_nodes(draft, &service, &slots, is_satisfied);
        }
    }
}

/// Fills the nodes that fit and empties the others; `satisfied` tells whether a node needs no further task.
pub(super) fn plan_nodes(
    draft: &mut Draft,
    service: &Arc<Service>,
    slots: &Slots,
    satisfied: fn(&Service, &[Arc<Task>]) -> bool,
) {
    let constraints = Constraints::of(&service.spec.task);
    let overlay = needs_overlay(&draft.state, service);
    let nodes: Vec<Arc<Node>> = draft.state.nodes().values().cloned().collect();
    for node in &nodes {
        let slot = Slot::Node(node.id.clone());
        let tasks = slots.get(&slot).map_or(&[][..], Vec::as_slice);
        let fits = constraints.match_node(node) && can_join(node, overlay);
        if is_invalid(Some(node)) || !fits {
            shut_down(draft, tasks);
        } else if node.spec.availability != Availability::Pause && !satisfied(service, tasks) {
            if draft.makes_no_more() {
                return;
            }
            let hold = hold_for(draft, tasks);
            let ready = hold.as_ref().map(|_| TaskState::Ready);
            let desired = ready.unwrap_or(goal(service.spec.mode));
            draft.create_task(&service.id, slot, desired, hold);
        }
    }
    for (slot, tasks) in slots {
        if let Slot::Node(id) = slot {
            forget_if_gone(draft, id, tasks);
        }
    }
}

/// Tells whether tasks of a service join networks that span nodes.
fn needs_overlay(state: &State, service: &Service) -> bool {
    let spans = |joined: &NetworkAttachment| {
        state.networks().get(&joined.target).is_none_or(|network| !network.spec.predefined)
    };
    let ports = service.spec.endpoint.as_ref().map_or(&[][..], |endpoint| &endpoint.ports);
    service.spec.task.networks.iter().any(spans)
        || ports.iter().any(|port| port.mode == PublishMode::Ingress)
}

fn shut_down(draft: &mut Draft, tasks: &[Arc<Task>]) {
    for task in tasks.iter().filter(|task| is_wanted(task) && !task.status.state.is_terminal()) {
        if draft.is_full() {
            return;
        }
        draft.set_desired(task, TaskState::Shutdown);
    }
}

/// Makes a new task wait for one that a short drain told to stop.
fn hold_for(draft: &Draft, tasks: &[Arc<Task>]) -> Option<Hold> {
    let old = tasks.iter().find(|task| may_run(&draft.state, task))?;
    let give_up_at = draft.now.after(STOP_WAIT_MAX);
    Some(Hold { until: Timestamp::default(), after: Some(old.id.clone()), give_up_at })
}

fn forget_if_gone(draft: &mut Draft, node: &NodeId, tasks: &[Arc<Task>]) {
    if !draft.state.nodes().contains_key(node) {
        for task in tasks {
            if draft.is_full() {
                return;
            }
            draft.set_desired(task, TaskState::Remove);
        }
    }
}
