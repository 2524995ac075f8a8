//! Gives pending tasks a node: filters, then spread. Gives no addresses.

pub mod constraint;
mod engine;
mod figures;
mod filter;
pub(super) use filter::can_join;
pub(super) mod resources;
mod spread;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::draft::Draft;
use super::slots::{is_on_node, is_wanted};
use super::why::NodeWhy;
use crate::command::TaskPatch;
use crate::id::{NodeId, ServiceId};
use crate::model::node::Node;
use crate::model::service::{PortProtocol, PublishMode};
use crate::model::task::{Task, TaskState};
use crate::state::State;
use crate::time::Timestamp;
use filter::{Failures, Wanted};
use resources::Free;

/// How long a failure counts against a node.
const FAILURE_WINDOW: Duration = Duration::from_secs(300);

const ASSIGNED: &str = "scheduler assigned task to node";
const CONFIRMED: &str = "scheduler confirmed task can run on preassigned node";
const NO_NODE: &str = "no suitable node";

/// A node as the scheduler sees it.
struct Candidate {
    node: Arc<Node>,
    free: Free,
    host_ports: BTreeSet<(PortProtocol, u16)>,
    /// Tasks that are meant to run on it.
    active: u64,
    by_service: BTreeMap<ServiceId, u64>,
    /// Recent failures by service and spec version.
    failures: BTreeMap<(ServiceId, u64), u64>,
}

pub(super) fn plan(draft: &mut Draft) {
    let mut waiting =
        draft.tasks_where(|task| task.status.state == TaskState::Pending && is_wanted(task));
    if waiting.is_empty() {
        return;
    }
    waiting.sort_by_key(|task| {
        (task.meta.created_version, task.service.clone(), task.slot.clone(), task.id.clone())
    });
    let mut nodes = candidates(&draft.state, draft.now);
    for task in waiting {
        if draft.is_full() {
            return;
        }
        match &task.node {
            Some(id) => confirm(draft, &mut nodes, &task, id),
            None => assign(draft, &mut nodes, &task),
        }
    }
}

/// Makes all checks for a task on every node it may go to, as the planner makes them.
pub(super) fn examine(state: &State, task: &Task, now: Timestamp) -> Vec<NodeWhy> {
    let wanted = Wanted::new(task);
    let nodes = candidates(state, now);
    let eligible = |node: &&Candidate| task.node.as_ref().is_none_or(|id| *id == node.node.id);
    let report = |node: &Candidate| NodeWhy {
        id: node.node.id.clone(),
        hostname: node.node.description.hostname.clone(),
        checks: filter::examine(state, &wanted, node),
    };
    nodes.iter().filter(eligible).map(report).collect()
}

fn candidates(state: &State, now: Timestamp) -> Vec<Candidate> {
    let node = |node: &Arc<Node>| {
        let mut candidate = Candidate {
            node: node.clone(),
            free: Free::of_node(node),
            host_ports: BTreeSet::new(),
            active: 0,
            by_service: BTreeMap::new(),
            failures: BTreeMap::new(),
        };
        for task in state.node_tasks(&node.id) {
            if is_on_node(task) {
                candidate.add(task);
            } else {
                candidate.note_failure(task, now);
            }
        }
        candidate
    };
    state.nodes().values().map(node).collect()
}

impl Candidate {
    fn add(&mut self, task: &Task) {
        self.free.charge(task);
        self.host_ports.extend(host_ports(task));
        if is_wanted(task) {
            self.active += 1;
            if let Some(service) = &task.service {
                *self.by_service.entry(service.clone()).or_default() += 1;
            }
        }
    }

    fn note_failure(&mut self, task: &Task, now: Timestamp) {
        let failed = matches!(task.status.state, TaskState::Failed | TaskState::Rejected);
        if let Some(service) = &task.service
            && failed
            && now.since(task.status.at) < FAILURE_WINDOW
        {
            *self.failures.entry((service.clone(), task.spec_version)).or_default() += 1;
        }
    }

    fn active_of(&self, service: Option<&ServiceId>) -> u64 {
        service.and_then(|service| self.by_service.get(service)).copied().unwrap_or(0)
    }

    fn failures_of(&self, task: &Task) -> u64 {
        let Some(service) = task.service.clone() else { return 0 };
        self.failures.get(&(service, task.spec_version)).copied().unwrap_or(0)
    }
}

/// Returns the ports of the node that a task takes. A port left to the engine takes none that is known.
fn host_ports(task: &Task) -> impl Iterator<Item = (PortProtocol, u16)> + '_ {
    let ports = task.endpoint.as_ref().map_or(&[][..], |endpoint| &endpoint.ports);
    ports
        .iter()
        .filter(|port| port.mode == PublishMode::Host && port.published != 0)
        .map(|port| (port.protocol, port.published))
}

fn assign(draft: &mut Draft, nodes: &mut [Candidate], task: &Arc<Task>) {
    let wanted = Wanted::new(task);
    let mut failures = Failures::default();
    let fitting: Vec<usize> =
        (0..nodes.len()).filter(|place| failures.check(&wanted, &nodes[*place])).collect();
    match spread::best(task, nodes, fitting) {
        Some(place) => bind(draft, &mut nodes[place], task, ASSIGNED),
        None => {
            let error = match failures.explain(&wanted) {
                text if text.is_empty() => NO_NODE.to_owned(),
                text => format!("{NO_NODE} ({text})"),
            };
            leave_pending(draft, task, error);
        }
    }
}

fn confirm(draft: &mut Draft, nodes: &mut [Candidate], task: &Arc<Task>, id: &NodeId) {
    let Some(node) = nodes.iter_mut().find(|node| node.node.id == *id) else {
        return leave_pending(draft, task, NO_NODE.to_owned());
    };
    let wanted = Wanted::new(task);
    let mut failures = Failures::default();
    if failures.check(&wanted, node) {
        bind(draft, node, task, CONFIRMED);
    } else {
        leave_pending(draft, task, failures.explain(&wanted));
    }
}

fn bind(draft: &mut Draft, candidate: &mut Candidate, task: &Arc<Task>, message: &str) {
    let claims = candidate.free.claims(task);
    let status = draft.status(task, TaskState::Assigned, message, "");
    draft.patch_task(TaskPatch {
        id: task.id.clone(),
        status: Some(status),
        node: task.node.is_none().then(|| candidate.node.id.clone()),
        generic_resources: (!claims.is_empty()).then_some(claims),
        ..TaskPatch::default()
    });
    if let Some(bound) = draft.state.tasks().get(&task.id) {
        candidate.add(bound);
    }
}

fn leave_pending(draft: &mut Draft, task: &Arc<Task>, error: String) {
    if task.status.error != error {
        let message = task.status.message.clone();
        let status = draft.status(task, TaskState::Pending, &message, &error);
        draft.set_status(task, status);
    }
    draft.explain(task.service.as_ref(), Some(&task.id), error);
}
