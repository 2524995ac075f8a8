//! What the leader does about managers: who is one, who leads, who answers. Knows the consensus group only as it is told of
//! it; changes neither.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::NodeId;
use crate::model::node::{ManagerStatus, Node, NodeState, Role};
use crate::state::State;

/// The consensus group, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// Consensus id of the leader.
    pub leader: u64,
    /// Addresses of all members by consensus id.
    pub members: BTreeMap<u64, String>,
    /// Members that answer.
    pub reachable: BTreeSet<u64>,
}

/// One thing to do. Each may be done again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManagerStep {
    /// Note what a manager is now.
    Report(NodeId, ManagerStatus),
    /// Take a member out of the group: its node is no manager any more, or is gone.
    Remove(u64),
    /// Note that the leader's own node works: it has no session with itself.
    Works(NodeId),
    /// Let a node's role follow the role wanted; for workers to be, once the group is without them.
    SetRole(NodeId, Role),
}

/// Finds what is to be done, the leader's own demotion last: after it, another node leads.
pub fn plan_managers(state: &State, group: &Group) -> Vec<ManagerStep> {
    let mut steps = Vec::new();
    let mut known = BTreeSet::new();
    for node in state.nodes().values() {
        let id = node.manager.as_ref().map(ManagerStatus::member);
        known.extend(id);
        match (node.spec.role, node.role) {
            (Role::Manager, Role::Worker) => {
                steps.push(ManagerStep::SetRole(node.id.clone(), Role::Manager));
            }
            (Role::Worker, Role::Manager) => match id {
                Some(id) if group.members.contains_key(&id) => steps.push(ManagerStep::Remove(id)),
                Some(_) | None => steps.push(ManagerStep::SetRole(node.id.clone(), Role::Worker)),
            },
            (Role::Manager, Role::Manager) | (Role::Worker, Role::Worker) => {
                steps.extend(report(node, group).or_else(|| lost(node, group)));
                if id == Some(group.leader) && node.status.state != NodeState::Ready {
                    steps.push(ManagerStep::Works(node.id.clone()));
                }
            }
        }
    }
    let orphans = group.members.keys().filter(|id| **id != group.leader && !known.contains(id));
    steps.extend(orphans.map(|id| ManagerStep::Remove(*id)));
    // First who leads, which says at once that nobody else does.
    steps.sort_by_key(|step| match step {
        ManagerStep::Report(_, status) if status.leader => 0,
        ManagerStep::Remove(id) if *id == group.leader => 2,
        ManagerStep::Report(..)
        | ManagerStep::Remove(_)
        | ManagerStep::Works(_)
        | ManagerStep::SetRole(..) => 1,
    });
    steps
}

fn report(node: &Node, group: &Group) -> Option<ManagerStep> {
    let manager = node.manager.as_ref()?;
    let raft_id = manager.member();
    let found = ManagerStatus {
        leader: raft_id == group.leader,
        reachable: group.reachable.contains(&raft_id),
        // One that joins is noted before it belongs to the group.
        addr: group.members.get(&raft_id)?.clone(),
        raft_id,
    };
    (found != *manager).then(|| ManagerStep::Report(node.id.clone(), found))
}

/// Finds a manager that a new cluster was made without: nobody removed it, so that it is to be forgotten as one.
fn lost(node: &Node, group: &Group) -> Option<ManagerStep> {
    let id = node.manager.as_ref()?.member();
    let gone = !group.members.contains_key(&id) && node.status.state == NodeState::Down;
    gone.then(|| ManagerStep::SetRole(node.id.clone(), Role::Manager))
}

/// Why a manager should not leave (contract api.md section 1), with how many managers answer and how many do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaveRisk {
    /// It is the only one.
    Last,
    /// The others would be too few.
    Quorum {
        /// Managers that would be left and answer.
        left: usize,
        /// Managers there are.
        all: usize,
    },
    /// The others would go on.
    None,
}

/// Finds what a manager's leaving would cost, from what the leader last noted.
pub fn leave_risk(state: &State) -> LeaveRisk {
    let managers = state.nodes().values().filter_map(|node| node.manager.as_ref());
    let (reachable, unreachable): (Vec<_>, Vec<_>) = managers.partition(|it| it.reachable);
    let (reachable, unreachable) = (reachable.len(), unreachable.len());
    if reachable <= 1 && unreachable == 0 {
        LeaveRisk::Last
    } else if reachable <= unreachable + 2 {
        LeaveRisk::Quorum { left: reachable.saturating_sub(1), all: reachable + unreachable }
    } else {
        LeaveRisk::None
    }
}

/// Tells whether enough managers would be left that answer if `node` were none, from what the leader last noted. Those on their
/// way out do not count.
pub fn survives_demotion(state: &State, node: &NodeId) -> bool {
    let others = state.nodes().values().filter(|other| other.id != *node);
    let others = others.filter(|other| other.spec.role == Role::Manager);
    let others: Vec<_> = others.filter_map(|other| other.manager.as_ref()).collect();
    let reachable = others.iter().filter(|manager| manager.reachable).count();
    others.is_empty() || reachable > others.len() / 2
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::node::{NodeSpec, NodeStatus};

    /// A manager or worker to be, with its consensus id.
    fn node(number: u64, wanted: Role, role: Role, raft_id: Option<u64>) -> Node {
        let status = |raft_id| ManagerStatus {
            leader: raft_id == 1,
            reachable: true,
            addr: format!("10.0.0.{raft_id}:2377"),
            raft_id,
        };
        Node {
            id: NodeId::from_seed(number, 0),
            spec: NodeSpec { role: wanted, ..NodeSpec::default() },
            role,
            manager: raft_id.map(status),
            status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
            ..Node::default()
        }
    }

    fn state(nodes: Vec<Node>) -> State {
        let mut state = State::default();
        nodes.into_iter().for_each(|node| state.put_node(Arc::new(node)));
        state
    }

    fn group(leader: u64, members: &[u64], reachable: &[u64]) -> Group {
        let address = |id: &u64| (*id, format!("10.0.0.{id}:2377"));
        Group {
            leader,
            members: members.iter().map(address).collect(),
            reachable: reachable.iter().copied().collect(),
        }
    }

    fn managers(count: u64) -> Vec<Node> {
        (1..=count).map(|id| node(id, Role::Manager, Role::Manager, Some(id))).collect()
    }

    #[test]
    fn what_is_as_noted_asks_for_nothing() {
        assert_eq!(plan_managers(&state(managers(3)), &group(1, &[1, 2, 3], &[1, 2, 3])), []);
    }

    #[test]
    fn a_leader_works_whatever_was_last_said_of_it() {
        let mut nodes = managers(2);
        nodes.iter_mut().for_each(|node| node.status.state = NodeState::Down);
        let steps = plan_managers(&state(nodes), &group(1, &[1, 2], &[1, 2]));
        assert_eq!(steps, [ManagerStep::Works(NodeId::from_seed(1, 0))]);
    }

    #[test]
    fn a_new_leader_and_a_silent_manager_are_noted() {
        let steps = plan_managers(&state(managers(3)), &group(2, &[1, 2, 3], &[2, 3]));
        let noted: Vec<_> = steps
            .iter()
            .map(|step| match step {
                ManagerStep::Report(_, it) => (it.raft_id, it.leader, it.reachable),
                ManagerStep::Remove(_) | ManagerStep::SetRole(..) | ManagerStep::Works(_) => {
                    panic!("{step:?}")
                }
            })
            .collect();
        assert_eq!(noted, [(2, true, true), (1, false, false)]);
    }

    #[test]
    fn a_manager_outside_the_group_is_one_that_joins_until_it_is_down() {
        let mut nodes = managers(3);
        let group = group(1, &[1, 2], &[1, 2]);
        assert_eq!(plan_managers(&state(nodes.clone()), &group), []);
        nodes[2].status.state = NodeState::Down;
        let forgotten = ManagerStep::SetRole(NodeId::from_seed(3, 0), Role::Manager);
        assert_eq!(plan_managers(&state(nodes), &group), [forgotten]);
    }

    #[test]
    fn roles_follow_the_roles_wanted_and_the_leader_goes_last() {
        let mut nodes = managers(4);
        nodes[0].spec.role = Role::Worker;
        nodes[1].spec.role = Role::Worker;
        nodes[2].spec.role = Role::Worker;
        nodes.push(node(5, Role::Manager, Role::Worker, None));
        // 3 has left the group already; 9 belongs to no node.
        let steps = plan_managers(&state(nodes), &group(1, &[1, 2, 4, 9], &[1, 2, 4]));
        let id = |number| NodeId::from_seed(number, 0);
        let expected = [
            ManagerStep::Remove(2),
            ManagerStep::SetRole(id(3), Role::Worker),
            ManagerStep::SetRole(id(5), Role::Manager),
            ManagerStep::Remove(9),
            ManagerStep::Remove(1),
        ];
        assert_eq!(steps.len(), expected.len());
        assert!(expected.iter().all(|step| steps.contains(step)), "{steps:?}");
        assert_eq!(steps.last(), Some(&ManagerStep::Remove(1)));
    }

    #[test]
    fn demotion_leaves_a_quorum() {
        let survives = |count, silent: &[usize], demoted: u64| {
            let mut nodes = managers(count);
            for place in silent {
                nodes[*place].manager.as_mut().expect("a manager").reachable = false;
            }
            survives_demotion(&state(nodes), &NodeId::from_seed(demoted, 0))
        };
        assert!(survives(2, &[], 1) && survives(3, &[], 1) && survives(3, &[0], 1));
        assert!(!survives(2, &[1], 1) && !survives(3, &[2], 1) && survives(5, &[4], 1));
        assert!(!survives(5, &[3, 4], 1) && survives(5, &[3, 4], 4));
    }

    #[test]
    fn leaving_is_weighed_as_docker_does() {
        let risk = |count, silent: u64| {
            let mut nodes = managers(count);
            for node in nodes.iter_mut().rev().take(usize::try_from(silent).unwrap_or(0)) {
                node.manager.as_mut().expect("a manager").reachable = false;
            }
            leave_risk(&state(nodes))
        };
        assert_eq!(risk(1, 0), LeaveRisk::Last);
        assert_eq!(risk(2, 0), LeaveRisk::Quorum { left: 1, all: 2 });
        assert_eq!(risk(3, 0), LeaveRisk::None);
        assert_eq!(risk(3, 1), LeaveRisk::Quorum { left: 1, all: 3 });
        assert_eq!(risk(5, 1), LeaveRisk::None);
        assert_eq!(risk(5, 2), LeaveRisk::Quorum { left: 2, all: 5 });
    }
}
