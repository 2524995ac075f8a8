//! A small cluster for tests of planners: commands in, planned changes out as text. Plans nothing itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::command::{AuthFrom, Change, Command, Proposal};
use crate::id::{NetworkId, NodeId, ServiceId, TaskId};
use crate::model::Annotations;
use crate::model::cluster::Cluster;
use crate::model::network::{Network, NetworkSpec};
use crate::model::node::{
    Availability, Node, NodeDescription, NodeSpec, NodeState, NodeStatus, Role,
};
use crate::model::service::{Service, ServiceMode, ServiceSpec, Slot, TaskSpec};
use crate::model::task::{Task, TaskState, TaskStatus};
use crate::plan::{Plan, Planner, plan};
use crate::state::State;
use crate::state::audit::audit;
use crate::time::Timestamp;

/// A cluster whose log and clock the test moves on.
pub(in crate::plan) struct World {
    pub(in crate::plan) state: State,
    pub(in crate::plan) now: Timestamp,
    /// Tasks by the order they were made in, as `web.1a`, `web.1b`.
    labels: BTreeMap<TaskId, String>,
    planner: Planner,
}

pub(in crate::plan) fn node_id(number: u64) -> NodeId {
    NodeId::from_seed(1, number)
}

pub(in crate::plan) fn network_id(number: u64) -> NetworkId {
    NetworkId::from_seed(2, number)
}

pub(in crate::plan) fn ingress_id() -> NetworkId {
    network_id(1000)
}

fn named(name: &str) -> Annotations {
    Annotations { name: name.to_owned(), ..Annotations::default() }
}

pub(in crate::plan) fn node(number: u64) -> Node {
    Node {
        id: node_id(number),
        spec: NodeSpec { role: Role::Manager, ..NodeSpec::default() },
        role: Role::Manager,
        description: NodeDescription {
            hostname: format!("n{number}"),
            architecture: "x86_64".to_owned(),
            os: "linux".to_owned(),
            nano_cpus: 4_000_000_000,
            memory_bytes: 8 << 30,
            ..NodeDescription::default()
        },
        status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
        ..Node::default()
    }
}

impl World {
    /// Makes a cluster of so many ready nodes with an ingress network.
    pub(in crate::plan) fn new(nodes: u64) -> Self {
        let ingress = Network {
            id: ingress_id(),
            spec: NetworkSpec {
                annotations: named("ingress"),
                ingress: true,
                ..NetworkSpec::default()
            },
            ..Network::default()
        };
        let mut world = Self {
            state: State::default(),
            now: Timestamp::from_secs(1_000_000),
            labels: BTreeMap::new(),
            planner: Planner::default(),
        };
        world.run(Command::CreateCluster {
            cluster: Box::new(Cluster::default()),
            node: Box::new(node(1)),
            networks: vec![ingress],
        });
        for number in 2..=nodes {
            let mut extra = node(number);
            extra.meta.version = 1;
            world.state.nodes.insert(extra.id.clone(), Arc::new(extra));
        }
        world.plan();
        world
    }

    /// Carries out a command that must succeed.
    pub(in crate::plan) fn run(&mut self, command: Command) {
        let index = self.state.index() + 1;
        let result = self.state.apply(index, &Proposal { at: self.now, command });
        result.expect("the test gives a valid command");
    }

    /// Makes a service from `spec`.
    pub(in crate::plan) fn service(
        &mut self,
        name: &str,
        mode: ServiceMode,
        edit: impl FnOnce(&mut ServiceSpec, &mut TaskSpec),
    ) -> ServiceId {
        let id = ServiceId::from_seed(3, self.state.index());
        let mut spec = ServiceSpec { annotations: named(name), mode, ..ServiceSpec::default() };
        let mut task = TaskSpec::default();
        edit(&mut spec, &mut task);
        spec.task = Arc::new(task);
        self.run(Command::CreateService { id: id.clone(), spec: Box::new(spec) });
        id
    }

    /// Changes a service's spec as a user would.
    pub(in crate::plan) fn update(
        &mut self,
        id: &ServiceId,
        edit: impl FnOnce(&mut ServiceSpec, &mut TaskSpec),
    ) {
        let service = self.get(id);
        let mut spec = ServiceSpec::clone(&service.spec);
        let mut task = TaskSpec::clone(&spec.task);
        edit(&mut spec, &mut task);
        spec.task = Arc::new(task);
        self.run(Command::UpdateService {
            id: id.clone(),
            version: service.meta.version,
            spec: Box::new(spec),
            rollback: false,
            auth_from: AuthFrom::Spec,
        });
    }

    pub(in crate::plan) fn edit_node(&mut self, number: u64, edit: impl FnOnce(&mut NodeSpec)) {
        let node = self.state.nodes().get(&node_id(number)).expect("the node exists").clone();
        let mut spec = node.spec.clone();
        edit(&mut spec);
        self.run(Command::UpdateNode { id: node.id.clone(), version: node.meta.version, spec });
    }

    pub(in crate::plan) fn availability(&mut self, number: u64, availability: Availability) {
        self.edit_node(number, |spec| spec.availability = availability);
    }

    pub(in crate::plan) fn node_state(&mut self, number: u64, state: NodeState) {
        self.run(Command::ReportNode {
            id: node_id(number),
            description: None,
            status: Some(NodeStatus { state, ..NodeStatus::default() }),
            manager: None,
        });
    }

    pub(in crate::plan) fn get(&self, id: &ServiceId) -> Arc<Service> {
        self.state.services().get(id).expect("the service exists").clone()
    }

    /// Plans, carries the plan out, checks that planning again finds nothing to do, and returns the plan.
    pub(in crate::plan) fn plan(&mut self) -> Plan {
        let found = plan(&self.state, self.now);
        for asked in ["at first", "after its plan came to nothing"] {
            let hinted = self.planner.plan(&self.state, self.now);
            assert_eq!(hinted, found, "looking only at what changed finds the same {asked}");
        }
        if !found.changes.is_empty() {
            let based_on = self.state.index();
            self.run(Command::Plan { based_on, changes: found.changes.clone() });
        }
        let again = plan(&self.state, self.now);
        assert_eq!(self.planner.plan(&self.state, self.now), again, "and so it does afterwards");
        assert_eq!(again.changes, [], "planning twice is planning once");
        assert_eq!(again.wake_at, found.wake_at, "the same wake-up is asked for");
        assert!(found.wake_at.is_none_or(|at| at > self.now), "a wake-up lies ahead");
        assert_eq!(audit(&self.state), []);
        self.label_tasks();
        found
    }

    fn label_tasks(&mut self) {
        let mut new: Vec<_> = self.state.tasks().values().cloned().collect();
        new.sort_by_key(|task| (task.meta.created_at, task.slot.clone(), task.id.clone()));
        for task in new {
            if self.labels.contains_key(&task.id) {
                continue;
            }
            let place = place(&task);
            let count = self.labels.values().filter(|label| place_of(label) == place).count();
            let number = u32::try_from(count).expect("tests make few tasks");
            let letter = char::from_u32(u32::from('a') + number).expect("tests make few tasks");
            self.labels.insert(task.id.clone(), format!("{place}{letter}"));
        }
    }

    /// Plans and returns what tasks and services are told, one line each, without the way a new task goes to its node.
    pub(in crate::plan) fn step(&mut self) -> String {
        let found = self.plan();
        let mut lines: Vec<String> =
            found.changes.iter().filter_map(|change| self.describe(change)).collect();
        lines.sort();
        lines.join("\n")
    }

    fn describe(&self, change: &Change) -> Option<String> {
        let label = |id: &TaskId| self.labels.get(id).cloned().unwrap_or_else(|| id.to_string());
        match change {
            Change::CreateTask(new) => {
                let held = if new.hold.is_some() { " held" } else { "" };
                Some(format!("{} new {}{held}", label(&new.id), new.desired.as_str()))
            }
            Change::PatchTask(patch) => {
                let desired = patch.desired.map(|state| format!("-> {}", state.as_str()));
                let status = patch.status.as_ref();
                let ended = status.filter(|status| status.state.is_terminal());
                let ended = ended.map(|status| format!("is {}", status.state.as_str()));
                let stuck = status.filter(|status| !status.error.is_empty());
                let stuck = stuck.map(|status| format!("! {}", status.error));
                desired.or(ended).or(stuck).map(|text| format!("{} {text}", label(&patch.id)))
            }
            Change::RemoveTask(id) => Some(format!("{} forgotten", label(id))),
            Change::PatchService(patch) => {
                let name = self.state.services().get(&patch.id).map(|it| it.spec.clone());
                let name = name.map(|spec| spec.annotations.name.clone()).unwrap_or_default();
                let message = patch.update_status.as_ref().map(|status| status.message.as_str());
                let message = message.map(|text| self.without_ids(text));
                message.map(|text| format!("{name}: {text}"))
            }
            Change::PatchNetwork(_) | Change::SetRole { .. } | Change::ForgetNode(_) => None,
        }
    }

    fn without_ids(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (id, label) in &self.labels {
            text = text.replace(id.as_str(), label);
        }
        text
    }

    /// Lets a task's node report a state.
    pub(in crate::plan) fn report(&mut self, label: &str, state: TaskState) {
        let task = self.task(label);
        self.report_of(&task, state);
    }

    /// Lets the node of a task report a state.
    pub(in crate::plan) fn report_of(&mut self, task: &Task, state: TaskState) {
        let status = TaskStatus { at: self.now, state, ..task.status.clone() };
        let node = task.node.clone().expect("the task has a node");
        self.run(Command::ReportTasks { node, statuses: vec![(task.id.clone(), status)] });
    }

    /// Returns the labels of a service's tasks that have a node, in order.
    pub(in crate::plan) fn bound_tasks(&self, service: &ServiceId) -> Vec<String> {
        let bound = self.state.service_tasks(service).filter(|task| {
            task.node.is_some()
                && task.status.state >= TaskState::Assigned
                && !task.status.state.is_terminal()
        });
        let mut labels: Vec<String> =
            bound.filter_map(|task| self.labels.get(&task.id).cloned()).collect();
        labels.sort();
        labels
    }

    /// Lets every node bring its tasks as far as they should go, and plans after each step, until nothing moves.
    pub(in crate::plan) fn settle(&mut self) {
        for _ in 0..50 {
            let planned = !self.plan().changes.is_empty();
            if !self.advance() && !planned {
                return;
            }
        }
        panic!("the world does not settle: {}", self.show());
    }

    /// Lets every node bring its tasks as far as they should go; tells whether any moved.
    pub(in crate::plan) fn advance(&mut self) -> bool {
        let mut statuses: BTreeMap<NodeId, Vec<(TaskId, TaskStatus)>> = BTreeMap::new();
        for task in self.state.tasks().values() {
            if let (Some(state), Some(node)) = (next_state(task), &task.node) {
                let status = TaskStatus { at: self.now, state, ..task.status.clone() };
                statuses.entry(node.clone()).or_default().push((task.id.clone(), status));
            }
        }
        let moved = !statuses.is_empty();
        for (node, statuses) in statuses {
            self.run(Command::ReportTasks { node, statuses });
        }
        moved
    }

    /// Plans within limits until nothing is left to do; returns what each plan changes.
    pub(in crate::plan) fn plan_within(&mut self, planner: &mut Planner) -> Vec<Vec<Change>> {
        let mut plans = Vec::new();
        loop {
            let changes = planner.plan(&self.state, self.now).changes;
            if changes.is_empty() {
                assert_eq!(audit(&self.state), []);
                return plans;
            }
            assert!(plans.len() < 1_000, "plans within limits come to an end");
            let based_on = self.state.index();
            self.run(Command::Plan { based_on, changes: changes.clone() });
            plans.push(changes);
        }
    }

    pub(in crate::plan) fn task(&self, label: &str) -> Arc<Task> {
        let found = self.labels.iter().find(|(_, known)| *known == label);
        let (id, _) = found.unwrap_or_else(|| panic!("no task {label} in {}", self.show()));
        self.state.tasks().get(id).unwrap_or_else(|| panic!("{label} is forgotten")).clone()
    }

    pub(in crate::plan) fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    /// Sets the clock back.
    pub(super) fn set_back(&mut self, time: Duration) {
        self.now = Timestamp(self.now.0 - i64::try_from(time.as_nanos()).unwrap_or(0));
    }

    /// Lists all tasks with desired and actual state.
    pub(in crate::plan) fn show(&self) -> String {
        let mut lines: Vec<String> = self
            .state
            .tasks()
            .values()
            .map(|task| {
                let label = self.labels.get(&task.id).cloned().unwrap_or_default();
                let (desired, state) = (task.desired.as_str(), task.status.state.as_str());
                format!("{label} {desired} {state}")
            })
            .collect();
        lines.sort();
        lines.join("\n")
    }

    /// Checks what one plan does.
    #[track_caller]
    pub(in crate::plan) fn expect(&mut self, lines: &[&str]) {
        let mut lines = lines.to_vec();
        lines.sort_unstable();
        assert_eq!(self.step(), lines.join("\n"));
    }
}

/// Names the place of a task, as `web.1` or `web.n1`.
pub(in crate::plan) fn place(task: &Task) -> String {
    let name = &task.service_annotations.name;
    match &task.slot {
        Slot::Number(number) => format!("{name}.{number}"),
        Slot::Node(id) => {
            let number = (1..100).find(|number| node_id(*number) == *id).unwrap_or(0);
            format!("{name}.n{number}")
        }
    }
}

fn place_of(label: &str) -> &str {
    let last = label.chars().next_back().map_or(0, char::len_utf8);
    &label[..label.len() - last]
}

/// Returns the state that an agent brings a task to.
fn next_state(task: &Task) -> Option<TaskState> {
    let state = task.status.state;
    if task.node.is_none() || state < TaskState::Assigned || state.is_terminal() {
        return None;
    }
    let goal = if task.desired <= TaskState::Complete { task.desired } else { TaskState::Shutdown };
    (state < goal).then_some(goal)
}
