//! When all has come to rest, no engine has anything left of tasks that are gone.

use crate::sim::node::SimNode;
use crate::state::State;

pub(in crate::sim) const NAME: &str = "nothing is left behind that no task owns";

pub(super) fn check(state: &State, node: &SimNode) -> Option<String> {
    let engine = &node.host.engine;
    let owned = |id| state.tasks().get(id).is_some_and(|task| task.node.as_ref() == Some(&node.id));
    if let Some(left) = engine.containers().find(|container| !owned(&container.task)) {
        return Some(format!("container {} of task {} is left", left.id, left.task));
    }
    let mut tasks = engine.containers().map(|container| &container.task).collect::<Vec<_>>();
    let all = tasks.len();
    tasks.dedup();
    if tasks.len() < all {
        return Some(format!("a task of {tasks:?} has two containers"));
    }
    if let Some(left) = engine.files.iter().find(|task| !owned(task)) {
        return Some(format!("files of task {left} are left"));
    }
    let joined = |network: &&crate::id::NetworkId| {
        let stands = state
            .networks()
            .get(*network)
            .is_some_and(|network| network.spec.ingress && network.gateways.contains_key(&node.id));
        stands
            || state.node_tasks(&node.id).any(|task| {
                task.networks.iter().any(|held| held.network.id == **network)
                    && !task.status.state.is_terminal()
            })
    };
    let left = engine.networks.iter().find(|network| !joined(network));
    left.map(|network| format!("network {network} is left"))
}
