//! The manager's side of the world: plans, judges nodes, writes to its disk, crashes. Plans as the real leader does.

use std::sync::Arc;
use std::time::Duration;

use super::faults::Faults;
use super::invariants::{self, Broken, Transition};
use super::log::{Pending, Proposer};
use super::world::World;
use super::{PlantedBug, bugs};
use crate::command::{Change, Command, Proposal};
use crate::id::{NodeId, TaskId};
use crate::model::node::{NodeState, NodeStatus};
use crate::model::task::TaskStatus;
use crate::plan::Planner;
use crate::state::State;
use crate::time::Timestamp;

/// Wait after a plan could not be committed although nothing contradicted it.
const RETRY: Duration = Duration::from_millis(200);

/// A node that managers have not heard of for so long counts as down.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// States kept so that a plan can be judged by what it was made from.
const RECENT_MAX: usize = 40;

/// What the leader remembers; a crash forgets it.
#[derive(Default)]
pub(super) struct Leader {
    planner: Planner,
    /// Index of the state that was last planned on.
    pub(super) planned: Option<u64>,
    /// When to plan although nothing has changed.
    pub(super) wake_at: Option<Timestamp>,
    /// Whether a plan is being written.
    waits: bool,
}

/// Statuses of a node that come later than newer ones.
pub(super) struct LateReport {
    pub(super) at: Timestamp,
    node: NodeId,
    statuses: Vec<(TaskId, TaskStatus)>,
}

impl World {
    /// Puts a command into the log; false if the disk is full.
    pub(super) fn propose(&mut self, command: Command, by: Proposer) -> bool {
        if self.full_until > self.now {
            if by == Proposer::User && self.settings.bug == Some(PlantedBug::RefusalHidden) {
                self.oracle.acknowledge(self.log.last_index() + 1, &command);
            }
            return false;
        }
        // The clock of a machine may go back, and the time in the log with it.
        let at = self.nodes[0].wall(self.now);
        self.log.propose(Proposal { at, command }, by);
        true
    }

    /// Plans, if there is a reason to; one plan is under way at a time.
    pub(super) fn lead(&mut self) {
        let now = self.now;
        let due = self.leader.wake_at.is_some_and(|at| at <= now);
        let due = due && self.settings.bug != Some(PlantedBug::WakeUpIgnored);
        if self.leader.waits || (self.leader.planned == Some(self.state.index()) && !due) {
            return;
        }
        let base = match self.settings.bug {
            Some(PlantedBug::ParallelismIgnored) => bugs::without_update_limits(&self.state),
            _ => self.state.clone(),
        };
        let wall = self.nodes[0].wall(now);
        let found = self.leader.planner.plan(&base, wall);
        self.leader.planned = Some(self.state.index());
        // The clock may be set while the leader sleeps: it sleeps as long as it said all the same.
        self.leader.wake_at = found.wake_at.map(|at| now.after(at.since(wall)));
        let mut changes = found.changes;
        if changes.is_empty() {
            return;
        }
        self.spoil_plan(&mut changes);
        self.report.plans += 1;
        let created = |change: &&Change| matches!(change, Change::CreateTask(_));
        self.report.tasks += changes.iter().filter(created).count() as u64;
        let based_on = self.state.index();
        if self.propose(Command::Plan { based_on, changes }, Proposer::Planner) {
            self.leader.waits = true;
        } else {
            self.retry_plan(RETRY);
        }
    }

    fn retry_plan(&mut self, wait: Duration) {
        self.leader.waits = false;
        let at = self.now.after(wait);
        self.leader.wake_at = Some(self.leader.wake_at.map_or(at, |held| held.min(at)));
    }

    /// Tells which nodes are down and which are back. One verdict a node is under way at a time.
    pub(super) fn judge_nodes(&mut self) {
        for place in 0..self.nodes.len() {
            let node = &mut self.nodes[place];
            if node.is_reached(self.now) {
                node.heard_at = self.now;
            }
            let silent = self.now.since(node.heard_at) >= SILENCE_MAX;
            let id = node.id.clone();
            let state = self.state.nodes().get(&id).map(|node| node.status.state);
            let verdict = match (silent, state) {
                (true, Some(NodeState::Ready)) => NodeState::Down,
                (false, Some(NodeState::Down)) => NodeState::Ready,
                _ => continue,
            };
            let status = Some(NodeStatus { state: verdict, ..NodeStatus::default() });
            let command = Command::ReportNode { id, description: None, status, manager: None };
            self.propose(command, Proposer::Nobody);
        }
    }

    /// Puts a batch of statuses of a node into the log, and perhaps keeps a copy that comes late.
    pub(super) fn report(&mut self, place: usize, statuses: Vec<(TaskId, TaskStatus)>) {
        let node = self.nodes[place].id.clone();
        if self.faults.stale_reports && self.random.percent(5) {
            let at = self.now.after(self.random.millis(5000));
            self.late.push(LateReport { at, node: node.clone(), statuses: statuses.clone() });
        }
        let command = Command::ReportTasks { node, statuses };
        if !self.propose(command, Proposer::Agent(place)) {
            self.nodes[place].answer(false, self.now.after(RETRY));
        }
    }

    /// Lets copies of statuses come that were on their way for long.
    pub(super) fn deliver_late(&mut self) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.late).into_iter().partition(|report| report.at <= self.now);
        self.late = later;
        for LateReport { node, statuses, .. } in due {
            self.propose(Command::ReportTasks { node, statuses }, Proposer::Nobody);
        }
    }

    /// Writes entries under way and applies them. The daemon may crash around each write.
    pub(super) fn commit(&mut self) -> Result<(), Broken> {
        while self.log.has_pending() {
            if self.faults.crashes && self.random.percent(1) {
                return self.crash_manager();
            }
            let Some((index, entry)) = self.log.commit_one() else { break };
            self.apply(index, &entry)?;
        }
        if self.random.percent(10) {
            self.snapshot = (self.settings.encode)(&self.state);
        }
        invariants::check_promises(&self.oracle, &self.state)
    }

    fn apply(&mut self, index: u64, entry: &Pending) -> Result<(), Broken> {
        let before = self.state.clone();
        let mut proposal = entry.proposal.clone();
        if self.settings.bug == Some(PlantedBug::ReplicaDiverges) {
            proposal.at = Timestamp(proposal.at.0 + 1);
        }
        let outcome = self.log.apply(&mut self.state, index, &proposal);
        let command = &entry.proposal.command;
        match entry.by {
            Proposer::User if outcome.is_ok() => {
                self.oracle.acknowledge(index, command);
                self.report.commands += 1;
            }
            Proposer::Planner => {
                self.leader.waits = false;
                if outcome.is_err() {
                    self.report.stale_plans += 1;
                    self.retry_plan(Duration::ZERO);
                }
            }
            Proposer::Agent(place) => self.nodes[place].answer(true, Timestamp::default()),
            Proposer::User | Proposer::Nobody => {}
        }
        self.spoil_state();
        let (base, changes) = match (command, &outcome) {
            (Command::Plan { based_on, changes }, Ok(_)) => {
                (self.recent.get(based_on), &changes[..])
            }
            _ => (None, &[][..]),
        };
        let reports = matches!(command, Command::ReportTasks { .. });
        let write = Transition { before: &before, after: &self.state, base, changes, reports };
        self.invariants.check(&write)?;
        self.remember();
        Ok(())
    }

    fn remember(&mut self) {
        self.recent.insert(self.state.index(), self.state.clone());
        while self.recent.len() > RECENT_MAX {
            self.recent.pop_first();
        }
    }

    /// Crashes the manager's daemon, its agent included. What was being written may or may not have been.
    pub(super) fn crash_manager(&mut self) -> Result<(), Broken> {
        self.report.crashes += 1;
        self.leader = Leader::default();
        let kept = usize::try_from(self.random.below(4)).unwrap_or(0);
        let before = self.log.last_index();
        for proposer in self.log.crash(kept) {
            if let Proposer::Agent(place) = proposer {
                self.nodes[place].answer(false, self.now.after(RETRY));
            }
        }
        // Nothing is promised of objects that entries written in the crash changed.
        for command in self.log.commands_after(before) {
            self.oracle.unsure(&command);
        }
        if self.settings.bug == Some(PlantedBug::WriteLost) {
            (0..5).for_each(|_| self.log.lose_last());
        } else {
            // Entries that were written in the crash, which nobody saw being applied.
            let replayed = self.log.replay(self.state.clone());
            let write = Transition {
                before: &self.state,
                after: &replayed,
                base: None,
                changes: &[],
                reports: false,
            };
            self.invariants.check(&write)?;
        }
        // A daemon that comes back knows its snapshot and its log.
        let snapshot = (self.settings.decode)(&self.snapshot).unwrap_or_default();
        let usable = snapshot.index() <= self.log.last_index();
        self.state = self.log.replay(if usable { snapshot } else { State::default() });
        self.crash_node(0, 300);
        for node in &mut self.nodes {
            node.heard_at = self.now;
        }
        self.remember();
        invariants::check_promises(&self.oracle, &self.state)
    }

    /// Crashes the agent of a node, for less than `away_ms`.
    pub(super) fn crash_node(&mut self, place: usize, away_ms: u64) {
        let back_at = self.now.after(self.random.millis(away_ms));
        self.nodes[place].crash(back_at);
        if place != 0 {
            self.report.crashes += 1;
        }
    }

    /// Ends all faults, those under way included.
    pub(super) fn end_faults(&mut self) {
        self.faults = Faults::NONE;
        self.full_until = self.now;
        for node in &mut self.nodes {
            node.cut_until = node.cut_until.min(self.now);
        }
    }

    /// Returns what a node is to know, made once for each state.
    pub(super) fn assignment(&mut self, place: usize) -> Arc<crate::assign::Assigned> {
        let index = self.state.index();
        if let Some((known, held)) = &self.assignments[place]
            && *known == index
        {
            return held.clone();
        }
        let mut wanted = crate::assign::assigned(&self.state, &self.nodes[place].id);
        if self.settings.bug == Some(PlantedBug::SecretsEverywhere) {
            let all = self.state.secrets().iter();
            wanted.secrets.extend(all.map(|(id, secret)| (id.clone(), secret.clone())));
        }
        let same = self.assignments[place].take().map(|(_, held)| held);
        let wanted = same.filter(|held| held.is_same(&wanted)).unwrap_or_else(|| Arc::new(wanted));
        self.assignments[place] = Some((index, wanted.clone()));
        wanted
    }
}
