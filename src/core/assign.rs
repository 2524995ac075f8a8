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
    /// Networks of those tasks, with the node's gateway in `Network::gateways`.
    pub networks: BTreeMap<NetworkId, Arc<Network>>,
}

impl Assigned {
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
    set
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
