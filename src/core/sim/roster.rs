//! Who is a manager: the leader's look at all of them, by `managers`, and each manager's care for its own place in the group.

use std::time::Duration;

use super::PlantedBug;
use super::calls::By;
use super::consensus::Members;
use super::invariants::{self, Broken};
use super::link::address;
use super::machine::Timer;
use super::net::Message;
use super::world::World;
use crate::command::{Change, Command};
use crate::id::NodeId;
use crate::managers::{Group, ManagerStep, plan_managers};
use crate::model::node::{ManagerStatus, NodeState, Role};

/// Between two looks: silence is no event.
const LOOK: Duration = Duration::from_millis(500);

impl World {
    /// Finds what is to be done about managers, and begins with it.
    pub(super) fn look_at_roster(&mut self, place: usize) -> Result<(), Broken> {
        let now = self.now;
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        if manager.ready.is_none() {
            return Ok(());
        }
        self.arm(place, Timer::Roster, now.after(LOOK));
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        if manager.roster_waits || !manager.roster.is_empty() {
            return Ok(());
        }
        let members = manager.peer.store.members().all.iter();
        let group = Group {
            leader: manager.peer.id,
            members: members.map(|(id, at)| (*id, address(*at))).collect(),
            reachable: manager.peer.reachable(now),
        };
        manager.roster_of = manager.state.index();
        manager.roster = plan_managers(&manager.state, &group).into();
        if self.settings.bug == Some(PlantedBug::QuorumRisked) {
            // While some do not answer, it sends those away that do.
            let (own, voters) = (group.leader, &manager.peer.store.members().voters);
            let silent = voters.iter().any(|id| !group.reachable.contains(id));
            let next = voters.iter().find(|id| **id != own && group.reachable.contains(id));
            manager.roster.extend(next.filter(|_| silent).copied().map(ManagerStep::Remove));
        }
        self.roster_step(place)
    }

    pub(super) fn roster_step_done(&mut self, place: usize) -> Result<(), Broken> {
        if let Some(manager) = &mut self.machines[place].manager {
            manager.roster_waits = false;
        }
        self.roster_step(place)
    }

    /// Takes the next steps, up to one that has to be waited for.
    fn roster_step(&mut self, place: usize) -> Result<(), Broken> {
        loop {
            let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
            let based_on = manager.roster_of;
            let Some(step) = manager.roster.pop_front() else { return Ok(()) };
            let command = match step {
                ManagerStep::Report(id, status) => {
                    let manager = Some(status);
                    Command::ReportNode { id, description: None, status: None, manager }
                }
                ManagerStep::Works(id) => {
                    let verdicts = vec![(id, NodeState::Ready, String::new())];
                    Command::JudgeNodes { verdicts }
                }
                ManagerStep::SetRole(id, role) => {
                    let changes = vec![Change::SetRole { id, role }];
                    Command::Plan { based_on, changes }
                }
                ManagerStep::Remove(id) => {
                    self.remove_member(place, id)?;
                    continue;
                }
            };
            manager.roster_waits = true;
            self.propose(place, command, By::Roster);
            return Ok(());
        }
    }

    /// Takes a member out of the group, unless too few would be left. A leader hands over first.
    fn remove_member(&mut self, place: usize, id: u64) -> Result<(), Broken> {
        let now = self.now;
        let careless = self.settings.bug == Some(PlantedBug::QuorumRisked);
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        let mut members: Members = manager.peer.store.members().clone();
        let reachable = manager.peer.reachable(now);
        let votes = members.voters.contains(&id);
        if votes && !careless && !members.survives_removal(id, &reachable) {
            return Ok(());
        }
        if id == manager.peer.id {
            manager.peer.hand_over(now);
            return self.settle(place);
        }
        members.voters.remove(&id);
        members.all.remove(&id);
        self.change_members(place, members, votes)
    }

    /// Proposes another group, if that can be done now.
    fn change_members(
        &mut self,
        place: usize,
        members: Members,
        weighs: bool,
    ) -> Result<(), Broken> {
        let now = self.now;
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        let settled = manager.peer.is_settled();
        if !manager.peer.change_members(members.clone()) {
            return Ok(());
        }
        manager.peer.broadcast(now);
        invariants::check_change(settled, &members)?;
        if weighs {
            invariants::check_quorum(self, place, &members)?;
        }
        self.settle(place)
    }

    /// A manager sees to it that it belongs to the group and has a vote.
    pub(super) fn see_to_place(&mut self, place: usize) {
        let now = self.now;
        self.arm(place, Timer::Settle, now.after(LOOK));
        let machine = &mut self.machines[place];
        let (node, known) = (machine.node.id.clone(), machine.link.known());
        let Some(manager) = &mut machine.manager else { return };
        let (id, members) = (manager.peer.id, manager.peer.store.members());
        if members.voters.contains(&id) {
            return;
        }
        if members.all.is_empty() && manager.joins_until <= now {
            return self.become_worker(place);
        }
        // One that was taken out hears of no leader any more.
        let learns = members.all.contains_key(&id);
        let others: Vec<_> = members.all.values().copied().filter(|at| *at != place).collect();
        let asked = if learns { others } else { known };
        manager.asked += 1;
        if let Some(to) = asked.get(manager.asked % asked.len().max(1)) {
            self.send(place, *to, Message::Join { node, id, place, learns });
        }
    }

    /// A manager hears that it does not belong to the group.
    pub(super) fn not_taken(&mut self, place: usize, id: u64, term: u64) -> Result<(), Broken> {
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        if manager.peer.id != id || term < manager.peer.term() {
            return Ok(());
        }
        manager.peer.removed = true;
        self.settle(place)
    }

    /// Takes a manager into the group, one step each time that it asks.
    pub(super) fn join(
        &mut self,
        at: usize,
        node: &NodeId,
        (id, learns): (u64, bool),
        place: usize,
    ) -> Result<(), Broken> {
        let Some(manager) = &mut self.machines[at].manager else { return Ok(()) };
        if manager.ready.is_none() {
            let leader = manager.leader_place().filter(|leader| *leader != at);
            if let Some(leader) = leader {
                self.send(at, leader, Message::Join { node: node.clone(), id, place, learns });
            }
            return Ok(());
        }
        let known = manager.state.nodes().get(node).filter(|it| it.role == Role::Manager);
        let was_taken_out = learns && !manager.peer.store.members().all.contains_key(&id);
        let Some(known) = known.filter(|_| !was_taken_out) else {
            let term = manager.peer.term();
            self.send(at, place, Message::NotTaken { id, term });
            return Ok(());
        };
        if known.manager.as_ref().is_none_or(|status| status.raft_id != id) {
            let addr = address(place);
            let status = ManagerStatus { leader: false, reachable: true, addr, raft_id: id };
            let command = Command::ReportNode {
                id: node.clone(),
                description: None,
                status: None,
                manager: Some(status),
            };
            self.propose(at, command, By::Nobody);
            return Ok(());
        }
        let mut members = manager.peer.store.members().clone();
        if members.voters.contains(&id) {
            return Ok(());
        }
        let is_known = members.all.insert(id, place).is_some();
        if is_known {
            if !manager.peer.is_caught_up(id) {
                return Ok(());
            }
            members.voters.insert(id);
        }
        self.change_members(at, members.clone(), false)?;
        if !is_known && self.settings.bug == Some(PlantedBug::ChangesOverlap) {
            // It gives the vote before the group has agreed to take the node in.
            members.voters.insert(id);
            self.change_members(at, members, false)?;
        }
        Ok(())
    }
}
