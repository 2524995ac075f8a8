//! Gives up tasks whose node is gone or has long been down. Does not judge whether a node is down.

use std::time::Duration;

use super::draft::Draft;
use super::slots::is_on_node;
use crate::model::node::NodeState;
use crate::model::task::TaskState;

/// A node that has been down for so long has lost its tasks (contract behaviour.md section 7).
const ORPHAN_AFTER: Duration = Duration::from_secs(24 * 3600);

const NODE_DELETED: &str = "Task belonged to a node that has been deleted";

pub(super) fn plan(draft: &mut Draft) {
    for task in draft.tasks_where(is_on_node) {
        let node = task.node.as_ref().and_then(|id| draft.state.nodes().get(id));
        let message = match node {
            None => NODE_DELETED.to_owned(),
            Some(node) if node.status.state == NodeState::Down => {
                let at = node.meta.updated_at.after(ORPHAN_AFTER);
                if at > draft.now {
                    draft.wake(task.service.as_ref(), at);
                    continue;
                }
                task.status.message.clone()
            }
            Some(_) => continue,
        };
        let status = draft.status(&task, TaskState::Orphaned, &message, &task.status.error);
        draft.set_status(&task, status);
    }
}
