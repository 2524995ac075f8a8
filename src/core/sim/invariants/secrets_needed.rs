//! A node knows the secrets and configs of tasks that it is meant to run, and no others.

use std::collections::BTreeSet;

use super::Broken;
use crate::model::task::TaskState;
use crate::sim::node::SimNode;
use crate::state::State;

pub(in crate::sim) const NAME: &str = "secrets are only where they are needed";

/// Looks at what a node was told that managers reach.
pub(in crate::sim) fn check(state: &State, node: &SimNode) -> Result<(), Broken> {
    let Some(assigned) = node.assigned() else { return Ok(()) };
    let running = state.node_tasks(&node.id).filter(|task| {
        let state = task.status.state;
        task.desired <= TaskState::Complete
            && state >= TaskState::Assigned
            && state <= TaskState::Running
    });
    let (mut secrets, mut configs) = (BTreeSet::new(), BTreeSet::new());
    for container in running.filter_map(|task| task.spec.container()) {
        let known = |id: &&crate::id::SecretId| state.secrets().contains_key(*id);
        secrets.extend(container.secrets.iter().map(|it| &it.id).filter(|id| known(id)));
        let known = |id: &&crate::id::ConfigId| state.configs().contains_key(*id);
        configs.extend(container.configs.iter().map(|it| &it.id).filter(|id| known(id)));
    }
    if !assigned.secrets.keys().eq(secrets.iter().copied()) {
        let told = assigned.secrets.keys();
        return Err((NAME, format!("node {} knows {told:?}, needs {secrets:?}", node.id)));
    }
    if !assigned.configs.keys().eq(configs.iter().copied()) {
        let told = assigned.configs.keys();
        return Err((NAME, format!("node {} knows {told:?}, needs {configs:?}", node.id)));
    }
    Ok(())
}
