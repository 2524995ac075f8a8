//! Gives up tasks whose node is gone or has long been down. Does not judge whether a node is down.

use std::sync::Arc;
use std::time::Duration;

use super::draft::Draft;
use super::slots::is_on_node;
use crate::command::Change;
use crate::model::node::{Node, NodeState};
use crate::model::task::TaskState;

/// A node that has been down for so long has lost its tasks (contract behaviour.md section 7).
const ORPHAN_AFTER: Duration = Duration::from_secs(24 * 3600);

const NODE_DELETED: &str = "Task belonged to a node that has been deleted";

/// A node that was admitted and has not come after so long will not come.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

pub(super) fn plan(draft: &mut Draft) {
    forget_unseen(draft);
    orphan_tasks(draft);
}

fn forget_unseen(draft: &mut Draft) {
    if !draft.is_complete() {
        return;
    }
    let unseen = |node: &&Arc<Node>| {
        node.agent.is_none() && node.manager.is_none() && !node.certificate.request.is_empty()
    };
    let nodes: Vec<Arc<Node>> = draft.state.nodes().values().filter(unseen).cloned().collect();
    for node in nodes {
        let at = node.meta.created_at.after(FORGET_AFTER);
        if at <= draft.now {
            draft.push(Change::ForgetNode(node.id.clone()));
        } else {
            draft.wake(None, at);
        }
    }
}

fn orphan_tasks(draft: &mut Draft) {
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
