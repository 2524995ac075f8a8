//! What a manager is asked to write or to read, by whomever, until there is an answer: through the leader, again where surely
//! nothing was written, as the shells do.

use std::time::Duration;

use super::PlantedBug;
use super::consensus::Payload;
use super::invariants::Broken;
use super::machine::Timer;
use super::net::{Answer, Message};
use super::world::World;
use crate::command::{Command, Proposal};
use crate::id::NodeId;
use crate::state::Rejected;
use crate::time::Timestamp;

/// How long a call may take.
const REQUEST_MAX: Duration = Duration::from_secs(20);

/// How long nobody may have led for a call to go on waiting.
const LEADERLESS_MAX: Duration = Duration::from_secs(10);

/// The first and the longest wait between two attempts.
const RETRY: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// How long the leader may take to say how far a read must see.
const READ_MAX: Duration = Duration::from_secs(2);

/// Who waits for the outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum By {
    User,
    /// A user who reads, and all that was acknowledged by then.
    Reader {
        floor: u64,
    },
    Planner,
    /// The agent of this manager.
    Agent,
    Judge,
    Roster,
    /// A node that opens a session.
    Register {
        node: NodeId,
        place: usize,
        attempt: u64,
    },
    /// A node that reports.
    Report {
        place: usize,
        ticket: u64,
    },
    /// A node that wants to be shown what it needs.
    Follow {
        node: NodeId,
        session: String,
    },
    /// Another manager; there is one attempt only.
    Manager {
        place: usize,
    },
    /// This manager, before its agent believes its copy of the state.
    CatchUp,
    Nobody,
}

/// What is asked.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    Write(Proposal),
    /// How far a read must see; then, but for other managers, to have applied that.
    Read,
}

#[derive(Debug, Clone)]
enum Stage {
    /// Waits before another attempt.
    Waits,
    /// It is in this manager's log.
    Written,
    /// Another manager was asked.
    Asked { leader: u64 },
    /// A majority is to confirm that this one leads.
    Confirming { index: u64, round: u64 },
    /// It has to be applied here.
    Applying { index: u64, rejected: Option<Rejected> },
}

/// A call under way.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) by: By,
    pub(super) ask: Ask,
    stage: Stage,
    until: Timestamp,
    /// By when another manager has to have answered.
    asked_until: Timestamp,
    pause: Duration,
    leaderless_since: Timestamp,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is committed and applied here; perhaps as something that was rejected. A read sees up to here.
    Done { index: u64, rejected: Option<Rejected> },
    /// Nothing was written.
    NoLeader,
    /// There is no room.
    NoRoom,
    /// Nobody knows.
    Unknown,
}

impl World {
    /// Has a manager propose a command with its time. Returns the ticket.
    pub(super) fn propose(&mut self, place: usize, command: Command, by: By) -> u64 {
        // The clock of a machine may go back, and the time in the log with it.
        let at = self.machines[place].node.wall(self.now);
        self.call(place, Ask::Write(Proposal { at, command }), by)
    }

    /// Begins a call on a manager.
    pub(super) fn call(&mut self, place: usize, ask: Ask, by: By) -> u64 {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.call_as(place, ticket, ask, by);
        ticket
    }

    pub(super) fn call_as(&mut self, place: usize, ticket: u64, ask: Ask, by: By) {
        let call = Call {
            by,
            ask,
            stage: Stage::Waits,
            until: self.now.after(REQUEST_MAX),
            asked_until: self.now,
            pause: RETRY.0,
            leaderless_since: self.now,
        };
        if let Some(manager) = &mut self.machines[place].manager {
            manager.calls.insert(ticket, call);
            // Whoever asks goes on first.
            self.arm(place, Timer::Call(ticket), self.now);
        }
    }

    /// Tries, tries again, or gives up.
    pub(super) fn call_timer(&mut self, place: usize, ticket: u64) -> Result<(), Broken> {
        let now = self.now;
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        let Some(call) = manager.calls.get_mut(&ticket) else { return Ok(()) };
        if call.until <= now {
            return self.end_call(place, ticket, Outcome::Unknown);
        }
        match call.stage {
            Stage::Waits => self.attempt(place, ticket),
            Stage::Asked { .. } if call.asked_until <= now => {
                if matches!(call.ask, Ask::Read) {
                    self.wait_call(place, ticket)
                } else {
                    self.end_call(place, ticket, Outcome::Unknown)
                }
            }
            Stage::Confirming { .. } if call.asked_until <= now => self.wait_call(place, ticket),
            Stage::Written
            | Stage::Asked { .. }
            | Stage::Confirming { .. }
            | Stage::Applying { .. } => {
                let until = call.until;
                self.arm(place, Timer::Call(ticket), until);
                Ok(())
            }
        }
    }

    fn attempt(&mut self, place: usize, ticket: u64) -> Result<(), Broken> {
        let now = self.now;
        let full = self.machines[place].full_until > now;
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        let Some(call) = manager.calls.get(&ticket).cloned() else { return Ok(()) };
        let leads = manager.peer.leads();
        match call.ask {
            Ask::Write(_) if leads && full => self.end_call(place, ticket, Outcome::NoRoom),
            Ask::Write(proposal) if leads => {
                let payload = Payload::Write { ticket, proposal };
                let index = manager.peer.append(payload);
                manager.written.extend(index.map(|index| (index, ticket)));
                manager.peer.broadcast(now);
                self.stage(place, ticket, Stage::Written, call.until);
                if self.settings.bug == Some(PlantedBug::AcknowledgedEarly) && call.by == By::User {
                    self.acknowledge(place, ticket, index.unwrap_or(0));
                }
                self.settle(place)
            }
            Ask::Read if leads => {
                let found = manager.peer.begin_read(now);
                let (index, round) = found.unwrap_or_default();
                let until = now.after(READ_MAX);
                self.stage(place, ticket, Stage::Confirming { index, round }, until);
                self.settle(place)?;
                self.look_at_calls(place)
            }
            ask @ (Ask::Write(_) | Ask::Read) => {
                let leader = manager.peer.leader.filter(|id| *id != manager.peer.id);
                let Some((leader, to)) = leader.zip(manager.leader_place()) else {
                    return self.wait_call(place, ticket);
                };
                if matches!(call.by, By::Manager { .. }) {
                    return self.end_call(place, ticket, Outcome::NoLeader);
                }
                let (message, until) = match ask {
                    Ask::Write(proposal) => (Message::Propose { ticket, proposal }, call.until),
                    Ask::Read => (Message::AskIndex { ticket }, now.after(READ_MAX)),
                };
                self.stage(place, ticket, Stage::Asked { leader }, until);
                self.send(place, to, message);
                Ok(())
            }
        }
    }

    fn stage(&mut self, place: usize, ticket: u64, stage: Stage, until: Timestamp) {
        let Some(manager) = &mut self.machines[place].manager else { return };
        if let Some(call) = manager.calls.get_mut(&ticket) {
            call.stage = stage;
            call.asked_until = until;
            call.leaderless_since = self.now;
            self.arm(place, Timer::Call(ticket), until);
        }
    }

    /// Tries again a little later, unless nobody has led for long.
    fn wait_call(&mut self, place: usize, ticket: u64) -> Result<(), Broken> {
        let now = self.now;
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        let Some(call) = manager.calls.get_mut(&ticket) else { return Ok(()) };
        let gives_up = now.since(call.leaderless_since) > LEADERLESS_MAX;
        if gives_up || matches!(call.by, By::Manager { .. }) {
            return self.end_call(place, ticket, Outcome::NoLeader);
        }
        call.stage = Stage::Waits;
        let at = now.after(call.pause);
        call.pause = (call.pause * 2).min(RETRY.1);
        self.arm(place, Timer::Call(ticket), at);
        Ok(())
    }

    /// Returns until when an answer to a call is waited for, if it is.
    fn asked(&self, place: usize, ticket: u64) -> Option<Timestamp> {
        let call = self.machines[place].manager.as_ref()?.calls.get(&ticket)?;
        matches!(call.stage, Stage::Asked { .. }).then_some(call.until)
    }

    /// Another manager's answer to a proposal.
    pub(super) fn proposed(
        &mut self,
        place: usize,
        ticket: u64,
        answer: Answer,
    ) -> Result<(), Broken> {
        let Some(until) = self.asked(place, ticket) else { return Ok(()) };
        match answer {
            Answer::Applied { index, rejected } => {
                self.stage(place, ticket, Stage::Applying { index, rejected }, until);
                self.look_at_calls(place)
            }
            Answer::NotLeader => self.wait_call(place, ticket),
            Answer::Unknown => self.end_call(place, ticket, Outcome::Unknown),
            Answer::NoRoom => self.end_call(place, ticket, Outcome::NoRoom),
        }
    }

    /// The leader's answer to a read.
    pub(super) fn indexed(
        &mut self,
        place: usize,
        ticket: u64,
        index: Option<u64>,
    ) -> Result<(), Broken> {
        let Some(until) = self.asked(place, ticket) else { return Ok(()) };
        match index {
            Some(index) => {
                self.stage(place, ticket, Stage::Applying { index, rejected: None }, until);
                self.look_at_calls(place)
            }
            None => self.wait_call(place, ticket),
        }
    }

    /// Goes on with what waited for consensus to get further.
    pub(super) fn look_at_calls(&mut self, place: usize) -> Result<(), Broken> {
        let believes = self.settings.bug == Some(PlantedBug::ReadsUnconfirmed);
        let Some(manager) = &self.machines[place].manager else { return Ok(()) };
        let (peer, applied) = (&manager.peer, manager.applied);
        let mut ready = Vec::new();
        for (ticket, call) in &manager.calls {
            let next = match &call.stage {
                Stage::Applying { index, rejected } if *index <= applied => {
                    Some(Ok(Outcome::Done { index: *index, rejected: rejected.clone() }))
                }
                Stage::Confirming { index, round } if peer.leads() => {
                    let confirmed = peer.is_confirmed(*round) || believes;
                    confirmed.then_some(Err(Some(*index)))
                }
                // A leader that stepped down, or one that was replaced: who asks it waits no longer.
                Stage::Confirming { .. } => Some(Err(None)),
                Stage::Asked { leader } if peer.leader.is_some_and(|now| now != *leader) => {
                    match call.ask {
                        Ask::Read => Some(Err(None)),
                        Ask::Write(_) => Some(Ok(Outcome::Unknown)),
                    }
                }
                Stage::Asked { .. } | Stage::Applying { .. } | Stage::Written | Stage::Waits => {
                    None
                }
            };
            ready.extend(next.map(|next| (*ticket, next, call.by.clone(), call.until)));
        }
        for (ticket, next, by, until) in ready {
            match (next, by) {
                (Ok(outcome), _) => self.end_call(place, ticket, outcome)?,
                (Err(Some(index)), By::Manager { .. }) => {
                    self.end_call(place, ticket, Outcome::Done { index, rejected: None })?;
                }
                (Err(Some(index)), _) => {
                    self.stage(place, ticket, Stage::Applying { index, rejected: None }, until);
                    if applied >= index {
                        self.end_call(place, ticket, Outcome::Done { index, rejected: None })?;
                    }
                }
                (Err(None), _) => self.wait_call(place, ticket)?,
            }
        }
        Ok(())
    }

    /// Ends the calls whose entries were overwritten from an index on.
    pub(super) fn discard_calls(&mut self, place: usize, from: u64) -> Result<(), Broken> {
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        let lost: Vec<u64> = manager.written.split_off(&from).into_values().collect();
        for ticket in lost {
            self.end_call(place, ticket, Outcome::Unknown)?;
        }
        Ok(())
    }

    /// Ends a call.
    pub(super) fn end_call(
        &mut self,
        place: usize,
        ticket: u64,
        outcome: Outcome,
    ) -> Result<(), Broken> {
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        let Some(call) = manager.calls.remove(&ticket) else { return Ok(()) };
        self.machines[place].timers.remove(&Timer::Call(ticket));
        match call.by {
            By::User => self.user_answered(&call.ask, &outcome),
            By::Reader { floor } => return self.user_read(place, floor, &outcome),
            By::Planner => self.plan_answered(place, &outcome),
            By::Agent => {
                let taken = matches!(outcome, Outcome::Done { .. });
                self.reports_answered(place, taken);
            }
            By::Judge => self.judged(place, &outcome),
            By::Roster => return self.roster_step_done(place),
            By::Register { node, place: at, attempt } => {
                self.registered(place, (node, at, attempt), &outcome);
            }
            By::Report { place: at, ticket } => {
                let taken = matches!(outcome, Outcome::Done { .. });
                self.send(place, at, Message::Reported { ticket, taken });
            }
            By::Follow { node, session } => {
                return self.follow_read(place, &node, &session, &outcome);
            }
            By::Manager { place: at } => {
                let message = answer(ticket, &call.ask, outcome);
                self.send(place, at, message);
            }
            By::CatchUp => self.caught_up(place, &outcome),
            By::Nobody => {}
        }
        Ok(())
    }
}

/// Puts an outcome into words for another manager.
fn answer(ticket: u64, ask: &Ask, outcome: Outcome) -> Message {
    match (ask, outcome) {
        (Ask::Read, Outcome::Done { index, .. }) => Message::Index { ticket, index: Some(index) },
        (Ask::Read, Outcome::NoLeader | Outcome::NoRoom | Outcome::Unknown) => {
            Message::Index { ticket, index: None }
        }
        (Ask::Write(_), Outcome::Done { index, rejected }) => {
            Message::Proposed { ticket, answer: Answer::Applied { index, rejected } }
        }
        (Ask::Write(_), Outcome::NoLeader) => {
            Message::Proposed { ticket, answer: Answer::NotLeader }
        }
        (Ask::Write(_), Outcome::NoRoom) => Message::Proposed { ticket, answer: Answer::NoRoom },
        (Ask::Write(_), Outcome::Unknown) => Message::Proposed { ticket, answer: Answer::Unknown },
    }
}
