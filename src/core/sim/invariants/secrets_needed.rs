//! A node knows the secrets and configs of tasks that it is meant to run, and no others.

use std::collections::BTreeSet;

use super::Broken;
use crate::id::NodeId;
use crate::model::task::TaskState;
use crate::state::State;

pub(in crate::sim) const NAME: &str = "secrets are only where they are needed";

/// Looks at what a node is shown.
pub(in crate::sim) fn check(shown: &State, node: &NodeId) -> Result<(), Broken> {
    let running = shown.node_tasks(node).filter(|task| {
        let state = task.status.state;
        task.desired <= TaskState::Complete
            && state >= TaskState::Assigned
            && state <= TaskState::Running
    });
    let (mut secrets, mut configs) = (BTreeSet::new(), BTreeSet::new());
    for container in running.filter_map(|task| task.spec.container()) {
        secrets.extend(container.secrets.iter().map(|it| &it.id));
        configs.extend(container.configs.iter().map(|it| &it.id));
    }
    if let Some(told) = shown.secrets().keys().find(|id| !secrets.contains(id)) {
        return Err((NAME, format!("node {node} knows {told:?}, needs {secrets:?}")));
    }
    if let Some(told) = shown.configs().keys().find(|id| !configs.contains(id)) {
        return Err((NAME, format!("node {node} knows {told:?}, needs {configs:?}")));
    }
    Ok(())
}
