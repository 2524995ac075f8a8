//! Commands on nodes.

use std::sync::Arc;

use super::{Write, check_version, not_found};
use crate::id::NodeId;
use crate::model::Kind;
use crate::model::node::{Node, NodeSpec, NodeState, Role};
use crate::model::task::{TaskState, TaskStatus};
use crate::state::{Action, Event, Rejected, State};

/// What tasks of a removed node show (contract behaviour.md section 1).
const NODE_REMOVED: &str = "Task belonged to a node that has been deleted";

impl State {
    fn node(&self, id: &NodeId) -> Result<&Arc<Node>, Rejected> {
        self.nodes.get(id).ok_or_else(|| not_found(Kind::Node, id))
    }

    fn change_node(&mut self, write: &mut Write, old: &Node, mut new: Node) {
        write.touch(&mut new.meta);
        write.events.push(Event::node_update(write.at, old, &new));
        self.put_node(Arc::new(new));
    }

    pub(super) fn update_node(
        &mut self,
        write: &mut Write,
        id: &NodeId,
        version: u64,
        spec: &NodeSpec,
    ) -> Result<(), Rejected> {
        let old = self.node(id)?.clone();
        if old.spec.role == Role::Manager && spec.role == Role::Worker {
            // A manager on its way out does not count: both of two could be demoted otherwise.
            let stays = |node: &Node| {
                node.id != *id && node.role == Role::Manager && node.spec.role == Role::Manager
            };
            if !self.nodes.values().any(|node| stays(node)) {
                return Err(Rejected::LastManager);
            }
        }
        check_version(old.meta, version)?;
        self.change_node(write, &old, Node { spec: spec.clone(), ..Node::clone(&old) });
        Ok(())
    }

    pub(super) fn remove_node(
        &mut self,
        write: &mut Write,
        id: &NodeId,
        force: bool,
    ) -> Result<(), Rejected> {
        let node = self.node(id)?.clone();
        if node.role == Role::Manager || node.manager.is_some() {
            return Err(Rejected::NodeIsManager { id: id.to_string() });
        }
        if !force && node.status.state == NodeState::Ready {
            return Err(Rejected::NodeNotDown { id: id.to_string() });
        }
        let tasks: Vec<_> = self.node_tasks(id).cloned().collect();
        for mut task in tasks {
            let lost = Arc::make_mut(&mut task);
            lost.status = TaskStatus {
                at: write.at,
                state: TaskState::Orphaned,
                message: NODE_REMOVED.to_owned(),
                ..TaskStatus::default()
            };
            write.touch(&mut lost.meta);
            self.put_task(task);
        }
        let joined = self.networks.values().filter(|network| network.gateways.contains_key(id));
        let joined: Vec<_> = joined.cloned().collect();
        for mut network in joined {
            let left = Arc::make_mut(&mut network);
            left.gateways.remove(id);
            write.touch(&mut left.meta);
            self.put_network(network);
        }
        write.tell(Kind::Node, Action::Remove, id, Event::node_name(&node));
        self.drop_node(id);
        Ok(())
    }

    pub(super) fn report_node(
        &mut self,
        write: &mut Write,
        id: &NodeId,
        change: impl FnOnce(&mut Node),
    ) -> Result<(), Rejected> {
        let old = self.node(id)?.clone();
        let mut new = Node::clone(&old);
        change(&mut new);
        if new != *old {
            self.change_node(write, &old, new);
        }
        Ok(())
    }

    pub(super) fn set_role(
        &mut self,
        write: &mut Write,
        id: &NodeId,
        role: Role,
    ) -> Result<(), Rejected> {
        if self.node(id)?.spec.role != role {
            return Err(Rejected::Malformed("the role follows the role wanted"));
        }
        self.report_node(write, id, |node| {
            node.role = role;
            if role == Role::Worker {
                node.manager = None;
            }
        })
    }
}
