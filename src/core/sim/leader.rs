//! The leader plans, as the real one does: whenever the state changes or a plan asked to be woken, one plan at a time.

use std::time::Duration;

use super::calls::{By, Outcome};
use super::invariants::{self, Broken};
use super::ledger::PlanBase;
use super::machine::Timer;
use super::world::World;
use super::{PlantedBug, bugs};
use crate::command::{Change, Command};
use crate::plan::Planner;
use crate::time::Timestamp;

/// Wait after a plan could not be committed although nothing contradicted it.
const RETRY: Duration = Duration::from_millis(200);

/// What the leader remembers; whoever leads next begins anew.
#[derive(Default)]
pub(super) struct Leader {
    planner: Planner,
    /// Index of the state that was last planned on.
    pub(super) planned: Option<u64>,
    /// When to plan although nothing has changed.
    pub(super) wake_at: Option<Timestamp>,
    /// A plan that is about to be proposed.
    made: Option<(PlanBase, Vec<Change>)>,
    /// Whether a plan is about to be proposed or is being written.
    pub(super) waits: bool,
}

impl Leader {
    /// Forgets everything, but not that a plan is under way: the loop waits for it all the same.
    pub(super) fn forget(&mut self) {
        let (made, waits) = (self.made.take(), self.waits);
        *self = Self { made, waits, ..Self::default() };
    }

    /// Tells whether nothing is left to plan.
    pub(super) fn is_silent(&self, index: u64) -> bool {
        !self.waits && self.planned == Some(index) && self.wake_at.is_none()
    }
}

impl World {
    /// Plans, if there is a reason to; one plan is under way at a time.
    pub(super) fn lead(&mut self, place: usize) -> Result<(), Broken> {
        let now = self.now;
        let wall = self.machines[place].node.wall(now);
        let bug = self.settings.bug;
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        let Some((term, _)) = manager.ready else { return Ok(()) };
        let leader = &mut manager.leader;
        let due = leader.wake_at.is_some_and(|at| at <= now);
        let due = due && bug != Some(PlantedBug::WakeUpIgnored);
        let index = manager.state.index();
        if leader.waits {
            return Ok(());
        }
        if leader.planned == Some(index) && !due {
            if let Some(at) = leader.wake_at.filter(|at| *at > now) {
                self.arm(place, Timer::Lead, at);
            }
            return Ok(());
        }
        invariants::check_ready(&self.ledger, term, manager.applied)?;
        let base = match bug {
            Some(PlantedBug::ParallelismIgnored) => bugs::without_update_limits(&manager.state),
            _ => manager.state.clone(),
        };
        let found = leader.planner.plan(&base, wall);
        leader.planned = Some(index);
        // The clock may be set while the leader sleeps: it sleeps as long as it said all the same.
        leader.wake_at = found.wake_at.map(|at| now.after(at.since(wall)));
        let wake_at = leader.wake_at;
        let mut changes = found.changes;
        if !changes.is_empty() {
            leader.waits = true;
            self.spoil_plan(&mut changes);
            self.report.plans += 1;
            let created = |change: &&Change| matches!(change, Change::CreateTask(_));
            self.report.tasks += changes.iter().filter(created).count() as u64;
            let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
            manager.leader.made = Some((PlanBase { index, term }, changes));
            // A large state takes its time to plan on.
            let bound_ms = if self.random.percent(5) { 300 } else { 3 };
            let at = now.after(self.random.millis(bound_ms));
            self.arm(place, Timer::Propose, at);
            if self.faults.pauses && self.random.percent(2) {
                // Of all moments to stand still, the worst for a leader is before it proposes.
                self.pause(place, 4000);
            }
        }
        if let Some(at) = wake_at {
            self.arm(place, Timer::Lead, at);
        }
        Ok(())
    }

    /// Proposes what was planned, wherever the lead is by now.
    pub(super) fn propose_plan(&mut self, place: usize) {
        let Some(manager) = &mut self.machines[place].manager else { return };
        let Some((base, changes)) = manager.leader.made.take() else { return };
        let mut based_on = base.index;
        if self.settings.bug == Some(PlantedBug::PlanOfOldState) {
            // It claims to know all that is there.
            based_on = self.ledger.state.index();
        }
        let ticket = self.propose(place, Command::Plan { based_on, changes }, By::Planner);
        self.ledger.plans.insert(ticket, base);
    }

    pub(super) fn plan_answered(&mut self, place: usize, outcome: &Outcome) {
        let Some(manager) = &mut self.machines[place].manager else { return };
        manager.leader.waits = false;
        let wait = match outcome {
            Outcome::Done { rejected: None, .. } => None,
            Outcome::Done { rejected: Some(_), .. } => {
                self.report.stale_plans += 1;
                Some(Duration::ZERO)
            }
            Outcome::NoLeader | Outcome::NoRoom | Outcome::Unknown => Some(RETRY),
        };
        if let Some(wait) = wait {
            let at = self.now.after(wait);
            let held = manager.leader.wake_at;
            manager.leader.wake_at = Some(held.map_or(at, |held| held.min(at)));
            self.arm(place, Timer::Lead, at);
        } else {
            self.arm(place, Timer::Lead, self.now);
        }
    }

    /// Ends what only leaders do.
    pub(super) fn stop_leading(&mut self, place: usize) {
        let Some(manager) = &mut self.machines[place].manager else { return };
        manager.leader.forget();
        manager.sessions = None;
        manager.roster.clear();
        let hint = manager.leader_place();
        let streams = std::mem::take(&mut manager.streams);
        for stream in streams.into_values() {
            let ended = super::net::Message::Ended { session: stream.session, leader: hint };
            self.send(place, stream.place, ended);
        }
    }
}
