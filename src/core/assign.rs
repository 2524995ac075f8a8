//! What one node must know: its tasks and the secrets, configs and networks they need. Sends nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::{ConfigId, NetworkId, NodeId, SecretId, TaskId};
use crate::model::network::Network;
use crate::model::secret::{Config, Secret};
use crate::model::task::{Task, TaskState};
use crate::state::State;

/// Everything that one node must know.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Assigned {
    /// Tasks bound to the node that it must run or stop.
    pub tasks: BTreeMap<TaskId, Arc<Task>>,
    /// Secrets of tasks that are meant to run.
    pub secrets: BTreeMap<SecretId, Arc<Secret>>,
    /// Configs of tasks that are meant to run.
    pub configs: BTreeMap<ConfigId, Arc<Config>>,
    /// Networks of those tasks, and that of the routing mesh once the node has a part in it, with the node's gateway in
    /// `Network::gateways`.
    pub networks: BTreeMap<NetworkId, Arc<Network>>,
}

impl Assigned {
    /// Lists the networks that the node has a bridge of whether or not its tasks need one: clients of the routing mesh
    /// come in everywhere.
    pub fn standing<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = &'a Arc<Network>> {
        self.networks.values().filter(|network| stands(network, node))
    }

    /// Tells whether two sets hold the very same objects. Objects that were only written anew count as others.
    pub fn is_same(&self, other: &Self) -> bool {
        fn same<K: PartialEq, T>(left: &BTreeMap<K, Arc<T>>, right: &BTreeMap<K, Arc<T>>) -> bool {
            let pairs = || left.iter().zip(right);
            left.len() == right.len()
                && pairs().all(|((left, a), (right, b))| Arc::ptr_eq(a, b) && left == right)
        }
        same(&self.tasks, &other.tasks)
            && same(&self.secrets, &other.secrets)
            && same(&self.configs, &other.configs)
            && same(&self.networks, &other.networks)
    }
}

/// One thing that a node is sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A task.
    Task(Arc<Task>),
    /// A secret.
    Secret(Arc<Secret>),
    /// A config.
    Config(Arc<Config>),
}

/// What a node that knows one set must be sent to know another.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Difference {
    /// To be known, secrets and configs before the tasks that need them.
    pub updated: Vec<Item>,
    /// To be forgotten, tasks before what they needed.
    pub removed: Vec<Item>,
}

impl Difference {
    /// Tells whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.updated.is_empty() && self.removed.is_empty()
    }
}

impl Assigned {
    /// Returns what a node must be sent that knows `known`, whatever it reported of it. Networks go with the tasks.
    pub fn since(&self, known: &Self) -> Difference {
        let secret_differs = |old: &Secret, new: &Secret| old.spec != new.spec;
        let config_differs = |old: &Config, new: &Config| old.spec != new.spec;
        let mut difference = Difference::default();
        let Difference { updated, removed } = &mut difference;
        updated.extend(newer(&known.secrets, &self.secrets, secret_differs).map(Item::Secret));
        updated.extend(newer(&known.configs, &self.configs, config_differs).map(Item::Config));
        updated.extend(newer(&known.tasks, &self.tasks, task_differs).map(Item::Task));
        removed.extend(gone(&known.tasks, &self.tasks).map(Item::Task));
        removed.extend(gone(&known.secrets, &self.secrets).map(Item::Secret));
        removed.extend(gone(&known.configs, &self.configs).map(Item::Config));
        difference
    }
}

fn newer<'a, K: Ord, T>(
    known: &'a BTreeMap<K, Arc<T>>,
    wanted: &'a BTreeMap<K, Arc<T>>,
    differs: impl Fn(&T, &T) -> bool + 'a,
) -> impl Iterator<Item = Arc<T>> + 'a {
    let changed = move |(id, new): &(&K, &Arc<T>)| {
        known.get(*id).is_none_or(|old| !Arc::ptr_eq(old, new) && differs(old, new))
    };
    wanted.iter().filter(changed).map(|(_, new)| new.clone())
}

fn gone<'a, K: Ord, T>(
    known: &'a BTreeMap<K, Arc<T>>,
    wanted: &'a BTreeMap<K, Arc<T>>,
) -> impl Iterator<Item = Arc<T>> + 'a {
    known.iter().filter(|(id, _)| !wanted.contains_key(*id)).map(|(_, old)| old.clone())
}

/// Tells whether a node would do something else; that it said something of the task is no news to it.
fn task_differs(old: &Task, new: &Task) -> bool {
    let Task {
        id,
        meta: _,
        service,
        service_annotations,
        spec,
        spec_version,
        slot,
        node,
        desired,
        status: _,
        endpoint,
        networks,
        generic_resources,
        job_iteration,
        hold: _,
    } = new;
    let same_spec = Arc::ptr_eq(spec, &old.spec) || *spec == old.spec;
    !same_spec
        || *id != old.id
        || *service != old.service
        || *service_annotations != old.service_annotations
        || *spec_version != old.spec_version
        || *slot != old.slot
        || *node != old.node
        || *desired != old.desired
        || *endpoint != old.endpoint
        || *networks != old.networks
        || *generic_resources != old.generic_resources
        || *job_iteration != old.job_iteration
}

/// Collects what `node` must know. A task that ended stays until it is forgotten, for its container keeps its output.
pub fn assigned(state: &State, node: &NodeId) -> Assigned {
    let mut set = Assigned::default();
    for task in state.node_tasks(node) {
        let status = task.status.state;
        if status < TaskState::Assigned || status == TaskState::Orphaned {
            continue;
        }
        add_dependencies(state, task, &mut set);
        set.tasks.insert(task.id.clone(), task.clone());
    }
    for network in state.networks().values().filter(|network| stands(network, node)) {
        set.networks.insert(network.id.clone(), network.clone());
    }
    set
}

fn stands(network: &Network, node: &NodeId) -> bool {
    network.spec.ingress && network.gateways.contains_key(node)
}

fn add_dependencies(state: &State, task: &Task, set: &mut Assigned) {
    for attachment in &task.networks {
        let id = &attachment.network.id;
        let network = state.networks().get(id).unwrap_or(&attachment.network);
        set.networks.insert(id.clone(), network.clone());
    }
    if task.desired > TaskState::Complete || task.status.state.is_terminal() {
        return;
    }
    let Some(container) = task.spec.container() else { return };
    for reference in &container.secrets {
        if let Some(secret) = state.secrets().get(&reference.id) {
            set.secrets.insert(secret.id.clone(), secret.clone());
        }
    }
    for reference in &container.configs {
        if let Some(config) = state.configs().get(&reference.id) {
            set.configs.insert(config.id.clone(), config.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::TaskStatus;

    fn task(number: u128, desired: TaskState, state: TaskState) -> Arc<Task> {
        let status = TaskStatus { state, ..TaskStatus::default() };
        let id = TaskId::from_entropy(number);
        Arc::new(Task { id, desired, status, ..Task::default() })
    }

    fn set(tasks: &[Arc<Task>], secrets: &[u128]) -> Assigned {
        let secret = |number: &u128| {
            let id = SecretId::from_entropy(*number);
            (id.clone(), Arc::new(Secret { id, ..Secret::default() }))
        };
        Assigned {
            tasks: tasks.iter().map(|task| (task.id.clone(), task.clone())).collect(),
            secrets: secrets.iter().map(secret).collect(),
            ..Assigned::default()
        }
    }

    #[test]
    fn only_what_a_node_has_to_do_differently_is_sent() {
        use TaskState::{Assigned as Bound, Running, Shutdown};
        let first = task(1, Running, Bound);
        let reported = task(1, Running, Running);
        let stopped = task(1, Shutdown, Running);
        let second = task(2, Running, Bound);
        let old = set(std::slice::from_ref(&first), &[7]);
        assert!(old.since(&old).is_empty());
        assert!(set(&[reported], &[7]).since(&old).is_empty());
        let found = set(&[stopped.clone(), second.clone()], &[8]).since(&old);
        let sent =
            |number| Item::Secret(set(&[], &[number]).secrets.into_values().next().expect("one"));
        let updated = vec![sent(8), Item::Task(stopped), Item::Task(second)];
        assert_eq!(found, Difference { updated, removed: vec![sent(7)] });
        let found = Assigned::default().since(&old);
        assert_eq!(
            found,
            Difference { updated: vec![], removed: vec![Item::Task(first), sent(7)] }
        );
    }
}
