//! Users ask any manager, and remember what they were told. A call whose answer is lost was neither done nor refused.

use super::PlantedBug;
use super::calls::{Ask, By, Outcome};
use super::invariants::{self, Broken};
use super::net::Message;
use super::node::Surroundings;
use super::world::World;
use super::{machine::Timer, workload};
use std::time::Duration;

impl World {
    /// Lets a user ask for something, or look.
    pub(super) fn ask(&mut self) {
        let now = self.now;
        let places = 0..self.machines.len();
        let serving: Vec<usize> = places
            .filter(|place| {
                let machine = &self.machines[*place];
                machine.runs(now) && machine.manager.as_ref().is_some_and(|it| it.was_member)
            })
            .collect();
        let Some(place) = self.random.pick(&serving) else { return };
        if self.random.percent(25) {
            let floor = self.oracle.floor();
            self.call(place, Ask::Read, By::Reader { floor });
            return;
        }
        // Mostly they looked before, elsewhere or long ago.
        let state = match &self.machines[place].manager {
            Some(manager) if self.random.percent(30) => manager.state.clone(),
            Some(_) | None => self.ledger.state.clone(),
        };
        if let Some(command) = workload::command(&mut self.random, &state, self.settings) {
            self.propose(place, command, By::User);
        }
    }

    pub(super) fn user_answered(&mut self, ask: &Ask, outcome: &Outcome) {
        let Ask::Write(proposal) = ask else { return };
        match outcome {
            Outcome::Done { index, rejected: None } => {
                self.report.commands += 1;
                self.oracle.acknowledge(*index, &proposal.command);
            }
            Outcome::NoRoom if self.settings.bug == Some(PlantedBug::RefusalHidden) => {
                self.oracle.acknowledge(self.ledger.last_index(), &proposal.command);
            }
            Outcome::Unknown => self.report.unknown += 1,
            Outcome::Done { rejected: Some(_), .. } | Outcome::NoLeader | Outcome::NoRoom => {}
        }
    }

    /// Tells a user that something is done that is only in the leader's log.
    pub(super) fn acknowledge(&mut self, place: usize, ticket: u64, index: u64) {
        let Some(manager) = &self.machines[place].manager else { return };
        let Some(call) = manager.calls.get(&ticket) else { return };
        if let Ask::Write(proposal) = &call.ask {
            self.oracle.acknowledge(index, &proposal.command);
        }
    }

    pub(super) fn user_read(
        &mut self,
        place: usize,
        floor: u64,
        outcome: &Outcome,
    ) -> Result<(), Broken> {
        let Some(manager) = &self.machines[place].manager else { return Ok(()) };
        if matches!(outcome, Outcome::Done { .. }) {
            let seen = manager.state.index();
            self.report.reads += 1;
            self.oracle.saw(seen);
            return invariants::check_read(floor, seen);
        }
        Ok(())
    }

    /// Lets a node's agent look at everything once and act on it.
    pub(super) fn tick_node(&mut self, place: usize) -> Result<(), Broken> {
        let now = self.now;
        let machine = &mut self.machines[place];
        let node = &mut machine.node;
        node.host.engine.advance(now);
        let deeds = node.tick(&mut Surroundings {
            assigned: machine.wanted.clone(),
            now,
            wall: node.wall(now),
            random: &mut self.random,
            faults: self.faults,
            bug: self.settings.bug,
        });
        self.report.adopted += deeds.adopted;
        self.report.containers += deeds.started;
        invariants::check_containers(node)?;
        for stopped in &deeds.stopped {
            invariants::check_stop(&self.ledger.state, stopped)?;
        }
        if deeds.crashed {
            self.crash(place, 500);
            return Ok(());
        }
        self.send_reports(place);
        if deeds.acted {
            self.moved_at = now;
            let at = now.after(Duration::from_millis(1) + self.random.millis(20));
            self.arm(place, Timer::Agent, at);
        } else if let Some(at) = self.machines[place].node.next_event(now) {
            self.arm(place, Timer::Agent, at);
        }
        Ok(())
    }

    /// Takes in what comes from another machine.
    pub(super) fn deliver(
        &mut self,
        from: usize,
        to: usize,
        message: Message,
    ) -> Result<(), Broken> {
        match message {
            Message::Raft { .. } => return self.hear_member(to, message),
            Message::Propose { ticket, proposal } => {
                self.call_as(to, ticket, Ask::Write(proposal), By::Manager { place: from });
            }
            Message::AskIndex { ticket } => {
                self.call_as(to, ticket, Ask::Read, By::Manager { place: from });
            }
            Message::Proposed { ticket, answer } => return self.proposed(to, ticket, answer),
            Message::Index { ticket, index } => return self.indexed(to, ticket, index),
            Message::Join { node, id, place, learns } => {
                return self.join(to, &node, (id, learns), place);
            }
            Message::NotTaken { id, term } => return self.not_taken(to, id, term),
            Message::Open { node, attempt } => self.open_session(to, from, node, attempt),
            Message::Opened { attempt, session, told } => {
                self.session_opened(to, attempt, session, told);
            }
            Message::Refused { attempt, leader } => self.session_refused(to, attempt, leader),
            Message::Beat { node, session } => self.beat(to, from, &node, session),
            Message::Beaten { session } => self.beaten(to, &session),
            Message::Report { node, session, ticket, statuses } => {
                self.take_report(to, from, (node, session, ticket), statuses);
            }
            Message::Reported { ticket, taken } => self.reported(to, ticket, taken),
            Message::Follow { node, session } => self.follow(to, node, session),
            Message::Shown { session, anew, index, parts } => {
                return self.shown(to, &session, (anew, index), parts);
            }
            Message::Tell { session, told } => self.tell(to, &session, told),
            Message::Ended { session, leader } => self.session_ended(to, &session, leader),
            Message::Closed { node, session } => self.session_closed(to, &node, &session),
        }
        Ok(())
    }
}
