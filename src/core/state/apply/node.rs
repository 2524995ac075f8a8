//! Commands on nodes.

use std::sync::Arc;
use std::time::Duration;

use super::cluster::replace;
use super::{Write, check_version, not_found};
use crate::id::NodeId;
use crate::managers::survives_demotion;
use crate::model::Kind;
use crate::model::cluster::Cluster;
use crate::model::node::{
    Availability, ManagerStatus, Node, NodeAgent, NodeCertificate, NodeDescription, NodeSpec,
    NodeState, NodeStatus, Role,
};
use crate::model::task::{TaskState, TaskStatus};
use crate::rotation::is_certified;
use crate::state::{Action, Event, Rejected, State};

/// What tasks of a removed node show (contract behaviour.md section 1).
const NODE_REMOVED: &str = "Task belonged to a node that has been deleted";

/// What tasks of a stock engine show that started anew: it removes its containers when it stops.
const ENGINE_RESTARTED: &str = "the engine of the node was restarted";

/// How long a removed node is remembered at the least, whatever validity certificates have now.
const REMOVED_MIN: Duration = Duration::from_secs(90 * 24 * 3600);

/// Notes what a node told of itself. While the root is replaced, a node that has no certificate of the next one is to ask for
/// it, even if the last one it asked for never arrived.
fn describe(node: &mut Node, told: &NodeDescription, cluster: Option<&Cluster>) {
    node.description = told.clone();
    let Some(root) = cluster.map(|cluster| &cluster.root_ca) else { return };
    if is_certified(root, told) {
        node.certificate.renew = false;
    } else if root.rotation.is_some() {
        node.certificate.renew = true;
    }
}

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
            if !self.has_manager_beside(id) {
                return Err(Rejected::LastManager);
            }
            if !survives_demotion(self, id) {
                return Err(Rejected::QuorumLost);
            }
        }
        if old.agent == Some(NodeAgent::Engine) && spec.role == Role::Manager {
            return Err(Rejected::EngineStaysWorker { id: id.to_string() });
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
        // One that is yet to come into the group may be the only one that stays, while the others are on their way out.
        let stays_alone = node.role == Role::Manager && !self.has_manager_beside(id);
        if node.manager.is_some() || stays_alone {
            return Err(Rejected::NodeIsManager { id: id.to_string() });
        }
        if !force && node.status.state == NodeState::Ready {
            return Err(Rejected::NodeNotDown { id: id.to_string() });
        }
        self.take_node_out(write, &node);
        Ok(())
    }

    fn has_manager_beside(&self, id: &NodeId) -> bool {
        self.nodes.values().any(|node| {
            node.id != *id && node.role == Role::Manager && node.spec.role == Role::Manager
        })
    }

    fn take_node_out(&mut self, write: &mut Write, node: &Node) {
        let id = &node.id;
        self.lose_tasks(write, id, NODE_REMOVED, |_| true);
        let joined = self.networks.values().filter(|network| network.gateways.contains_key(id));
        let joined: Vec<_> = joined.cloned().collect();
        for mut network in joined {
            let left = Arc::make_mut(&mut network);
            left.gateways.remove(id);
            write.touch(&mut left.meta);
            self.put_network(network);
        }
        write.tell(Kind::Node, Action::Remove, id, Event::node_name(node));
        self.drop_node(id);
        self.remember_removed(write, id);
    }

    fn lose_tasks(
        &mut self,
        write: &Write,
        node: &NodeId,
        message: &str,
        lost: impl Fn(TaskState) -> bool,
    ) {
        let tasks = self.node_tasks(node).filter(|task| lost(task.status.state));
        let tasks: Vec<_> = tasks.cloned().collect();
        for mut task in tasks {
            let lost = Arc::make_mut(&mut task);
            lost.status = TaskStatus {
                at: write.at,
                state: TaskState::Orphaned,
                message: message.to_owned(),
                ..TaskStatus::default()
            };
            write.touch(&mut lost.meta);
            self.put_task(task);
        }
    }

    /// Its certificate is refused until it must have run out; then there is nothing left to remember.
    fn remember_removed(&mut self, write: &Write, id: &NodeId) {
        let past: Vec<NodeId> = self
            .removed
            .iter()
            .filter(|(_, until)| **until <= write.at)
            .map(|(id, _)| id.clone())
            .collect();
        for id in past {
            self.removed.remove(&id);
        }
        let validity = self.cluster.as_ref().map_or(REMOVED_MIN, |it| it.spec.node_cert_expiry);
        self.removed.insert(id.clone(), write.at.after(validity.max(REMOVED_MIN)));
    }

    pub(super) fn admit_node(
        &mut self,
        write: &mut Write,
        id: &NodeId,
        role: Role,
        availability: Availability,
        request: &[u8],
    ) -> Result<(), Rejected> {
        if self.nodes.contains_key(id) || self.removed.contains_key(id) {
            return Err(Rejected::Malformed("the id is taken"));
        }
        if self.admitted(role, request).is_some() {
            return Ok(());
        }
        let certificate = NodeCertificate { request: request.to_vec(), renew: false };
        let spec = NodeSpec { role, availability, ..NodeSpec::default() };
        let node =
            Node { id: id.clone(), meta: write.made(), spec, role, certificate, ..Node::default() };
        write.tell(Kind::Node, Action::Create, id, Event::node_name(&node));
        self.put_node(Arc::new(node));
        Ok(())
    }

    pub(super) fn renew_node(
        &mut self,
        write: &mut Write,
        id: &NodeId,
        request: &[u8],
    ) -> Result<(), Rejected> {
        let certificate = NodeCertificate { request: request.to_vec(), renew: false };
        self.report_node(write, id, |node| node.certificate = certificate)
    }

    pub(super) fn register_node(
        &mut self,
        write: &mut Write,
        id: &NodeId,
        description: &NodeDescription,
        addr: &str,
        agent: &NodeAgent,
        restarted: bool,
    ) -> Result<(), Rejected> {
        let cluster = self.cluster.clone();
        self.report_node(write, id, |node| {
            describe(node, description, cluster.as_deref());
            node.status = NodeStatus {
                state: NodeState::Ready,
                message: String::new(),
                addr: addr.to_owned(),
            };
            node.agent = Some(agent.clone());
        })?;
        if restarted && *agent == NodeAgent::Engine {
            // What was only assigned the engine has never seen.
            let ran = |state| state > TaskState::Assigned && state <= TaskState::Running;
            self.lose_tasks(write, id, ENGINE_RESTARTED, ran);
        }
        Ok(())
    }

    /// Has all nodes ask for another certificate whose present one is not of the root that it shall be of now.
    pub(super) fn call_in_certificates(&mut self, write: &mut Write) {
        let Some(cluster) = self.cluster.clone() else { return };
        let other = |node: &&Arc<Node>| !is_certified(&cluster.root_ca, &node.description);
        for old in self.nodes.values().filter(other).cloned().collect::<Vec<_>>() {
            let mut new = Node::clone(&old);
            new.certificate.renew = true;
            self.change_node(write, &old, new);
        }
    }

    pub(super) fn judge_nodes(
        &mut self,
        write: &mut Write,
        verdicts: &[(NodeId, NodeState, String)],
    ) {
        for (id, state, reason) in verdicts {
            // A node that is gone needs no verdict.
            let _known = self.report_node(write, id, |node| {
                node.status.state = *state;
                node.status.message.clone_from(reason);
            });
        }
    }

    /// Forgets a node that never came. Its certificate is refused from then on.
    pub(super) fn forget_node(&mut self, write: &mut Write, id: &NodeId) -> Result<(), Rejected> {
        let node = self.node(id)?.clone();
        if node.agent.is_some() || node.manager.is_some() {
            return Err(Rejected::Malformed("a node that came is removed by users alone"));
        }
        self.take_node_out(write, &node);
        Ok(())
    }

    fn report_node(
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

    pub(super) fn note_node(
        &mut self,
        write: &mut Write,
        id: &NodeId,
        description: Option<&NodeDescription>,
        status: Option<&NodeStatus>,
        manager: Option<&ManagerStatus>,
    ) -> Result<(), Rejected> {
        if manager.is_some_and(|manager| manager.leader) {
            self.end_other_leads(write, id)?;
        }
        let cluster = self.cluster.clone();
        self.report_node(write, id, |node| {
            if let Some(description) = description {
                describe(node, description, cluster.as_deref());
            }
            replace(&mut node.status, status);
            if manager.is_some() {
                node.manager = manager.cloned();
            }
        })
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
        // One that becomes a manager is in no group yet.
        self.report_node(write, id, |node| {
            node.role = role;
            node.manager = None;
        })
    }

    /// Notes that none but one node leads.
    fn end_other_leads(&mut self, write: &mut Write, leader: &NodeId) -> Result<(), Rejected> {
        self.node(leader)?;
        let led = |node: &Node| node.manager.as_ref().is_some_and(|manager| manager.leader);
        let others = self.nodes.values().filter(|node| node.id != *leader && led(node));
        for old in others.cloned().collect::<Vec<_>>() {
            let mut new = Node::clone(&old);
            if let Some(manager) = &mut new.manager {
                manager.leader = false;
            }
            self.change_node(write, &old, new);
        }
        Ok(())
    }
}
