//! A node's way to the leader: a session opened, beaten, listened to, until anything of it fails; and what the node learns by it.
//! Managers that do not lead keep one too; what to run they learn from their own copy of the state.

use std::sync::Arc;
use std::time::Duration;

use super::PlantedBug;
use super::invariants::{self, Broken};
use super::machine::Timer;
use super::net::{Message, Told};
use super::world::World;
use crate::agent::ManagerList;
use crate::assign::assigned;
use crate::id::NodeId;
use crate::model::node::Role;
use crate::state::State;
use crate::time::Timestamp;
use crate::view::{Incoming, Part};

/// How long a manager may take to open a session.
const OPEN_MAX: Duration = Duration::from_secs(5);

/// Time between two beats, and how long an answer may take.
const BEAT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));

/// Wait of a manager before it tries the leader again.
const PRESENCE_RETRY: Duration = Duration::from_millis(300);

/// How long a report may take.
const REPORT_MAX: Duration = Duration::from_secs(15);

/// Wait after statuses did not get through.
const REPORT_RETRY: Duration = Duration::from_millis(100);

/// A node's way to the leader.
pub(super) struct Link {
    /// On disk.
    managers: ManagerList,
    stage: Stage,
    attempts: u64,
    incoming: Incoming,
    /// The report under way, and by when it has to have got through.
    reporting: Option<(u64, Timestamp)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Idle,
    /// It tries this machine next.
    Waits {
        to: usize,
    },
    Opening {
        to: usize,
        attempt: u64,
    },
    Open {
        to: usize,
        session: String,
        awaits: bool,
    },
}

/// Returns the address of a machine.
pub(super) fn address(place: usize) -> String {
    format!("m{place}")
}

fn place_of(address: &str) -> Option<usize> {
    address.strip_prefix('m')?.parse().ok()
}

impl Link {
    pub(super) fn new(managers: Vec<(NodeId, String)>) -> Self {
        Self {
            managers: ManagerList::new(managers),
            stage: Stage::Idle,
            attempts: 0,
            incoming: Incoming::default(),
            reporting: None,
        }
    }

    /// Forgets all but what is on disk.
    pub(super) fn forget(&mut self) {
        *self = Self { attempts: self.attempts, ..Self::new(self.managers.known().to_vec()) };
    }

    /// Tells it where else a manager is.
    pub(super) fn name(&mut self, place: usize) {
        let known = self.managers.known().to_vec();
        self.managers = ManagerList::new(known).with_named(vec![address(place)]);
    }

    /// Returns the session there is, and with whom.
    pub(super) fn session(&self) -> Option<(usize, &str)> {
        match &self.stage {
            Stage::Open { to, session, .. } => Some((*to, session)),
            Stage::Idle | Stage::Waits { .. } | Stage::Opening { .. } => None,
        }
    }

    /// Returns the managers known, by machine.
    pub(super) fn known(&self) -> Vec<usize> {
        self.managers.known().iter().filter_map(|(_, at)| place_of(at)).collect()
    }

    fn is_session(&self, session: &str) -> bool {
        self.session().is_some_and(|(_, held)| held == session)
    }
}

impl World {
    /// Does what is due on a node's way to the leader.
    pub(super) fn link_timer(&mut self, place: usize) {
        let now = self.now;
        let roll = u32::try_from(self.random.below(1024)).unwrap_or(0);
        let machine = &mut self.machines[place];
        let node = machine.node.id.clone();
        match machine.link.stage.clone() {
            Stage::Idle => {
                let next = match &machine.manager {
                    Some(manager) => manager
                        .leader_place()
                        .filter(|to| *to != place)
                        .map(|to| (to, Duration::ZERO)),
                    None => {
                        let attempt = machine.link.managers.attempt(roll);
                        attempt.and_then(|it| Some((place_of(&it.address)?, it.wait)))
                    }
                };
                let (wait, stage) = match next {
                    Some((to, wait)) => (wait, Stage::Waits { to }),
                    None => (PRESENCE_RETRY, Stage::Idle),
                };
                machine.link.stage = stage;
                self.rearm(place, Timer::Link, now.after(wait));
            }
            Stage::Waits { to } => {
                machine.link.attempts += 1;
                let attempt = machine.link.attempts;
                machine.link.stage = Stage::Opening { to, attempt };
                self.send(place, to, Message::Open { node, attempt });
                // Nobody listens where no manager runs.
                let listens = self.machines[to].is_up && self.machines[to].manager.is_some();
                let refused = !listens && self.net.reaches(place, to, now);
                let limit = if refused { Duration::from_millis(2) } else { OPEN_MAX };
                self.rearm(place, Timer::Link, now.after(limit));
            }
            Stage::Opening { .. } | Stage::Open { awaits: true, .. } => {
                self.end_session(place, None);
            }
            Stage::Open { to, session, awaits: false } => {
                machine.link.stage = Stage::Open { to, session: session.clone(), awaits: true };
                self.send(place, to, Message::Beat { node, session });
                self.rearm(place, Timer::Link, now.after(BEAT.1));
            }
        }
    }

    /// Ends the session, or the try to get one; another one follows.
    fn end_session(&mut self, place: usize, leader: Option<usize>) {
        let now = self.now;
        let node = self.machines[place].node.id.clone();
        if let Some((to, session)) = self.machines[place].link.session() {
            let closed = Message::Closed { node, session: session.to_owned() };
            self.send(place, to, closed);
        }
        let machine = &mut self.machines[place];
        if let Some(leader) = leader.filter(|leader| *leader != place) {
            machine.link.managers.led_by(&address(leader));
        }
        machine.link.stage = Stage::Idle;
        let wait = if machine.manager.is_some() { PRESENCE_RETRY } else { Duration::ZERO };
        if machine.link.reporting.is_some() && machine.manager.is_none() {
            self.reports_answered(place, false);
        }
        self.rearm(place, Timer::Link, now.after(wait));
    }

    pub(super) fn session_opened(
        &mut self,
        place: usize,
        attempt: u64,
        session: String,
        told: Told,
    ) {
        let now = self.now;
        let node = self.machines[place].node.id.clone();
        let machine = &mut self.machines[place];
        let Stage::Opening { to, attempt: held } = machine.link.stage else { return };
        if held != attempt {
            return;
        }
        machine.link.stage = Stage::Open { to, session: session.clone(), awaits: false };
        machine.link.managers.opened(&address(to));
        machine.link.incoming.begin_anew();
        self.rearm(place, Timer::Link, now);
        self.take_told(place, told);
        if self.machines[place].manager.is_none() {
            if self.settings.bug == Some(PlantedBug::EmptyViewBelieved) {
                self.machines[place].shown = Some(State::default());
                self.assign(place);
            }
            self.send(place, to, Message::Follow { node, session });
            self.arm(place, Timer::Agent, now);
        }
    }

    pub(super) fn session_refused(&mut self, place: usize, attempt: u64, leader: Option<usize>) {
        if matches!(self.machines[place].link.stage, Stage::Opening { attempt: held, .. } if held == attempt)
        {
            self.end_session(place, leader);
        }
    }

    pub(super) fn session_ended(&mut self, place: usize, session: &str, leader: Option<usize>) {
        if self.machines[place].link.is_session(session) {
            self.end_session(place, leader);
        }
    }

    pub(super) fn beaten(&mut self, place: usize, session: &str) {
        let now = self.now;
        if let Stage::Open { session: held, awaits, .. } = &mut self.machines[place].link.stage
            && held == session
            && *awaits
        {
            *awaits = false;
            self.rearm(place, Timer::Link, now.after(BEAT.0));
        }
    }

    pub(super) fn take_told(&mut self, place: usize, told: Told) {
        self.machines[place].link.managers.learn(told.managers);
    }

    pub(super) fn tell(&mut self, place: usize, session: &str, told: Told) {
        if self.machines[place].link.is_session(session) {
            self.take_told(place, told);
        }
    }

    /// Takes what the leader shows this node.
    pub(super) fn shown(
        &mut self,
        place: usize,
        session: &str,
        (anew, index): (bool, u64),
        mut parts: Vec<Part>,
    ) -> Result<(), Broken> {
        let deaf = self.settings.bug == Some(PlantedBug::ReplacedRunsOn);
        let machine = &mut self.machines[place];
        if !machine.link.is_session(session) || machine.manager.is_some() {
            return Ok(());
        }
        if anew {
            machine.link.incoming.begin_anew();
            if deaf && let Some(held) = &machine.shown {
                // What it was told to run before it still runs.
                parts.extend(held.tasks().values().cloned().map(Part::Task));
            }
        }
        for part in parts {
            machine.link.incoming.take(part);
        }
        let state = machine.link.incoming.shown(index);
        let id = machine.node.id.clone();
        invariants::check_secrets(&state, &id)?;
        if !deaf {
            invariants::check_view(&self.ledger, &id, &state)?;
        }
        let machine = &mut self.machines[place];
        machine.shown = Some(State::clone(&state));
        let own = state.nodes().get(&id);
        let wanted =
            own.is_some_and(|it| it.role == Role::Manager && it.spec.role == Role::Manager);
        if wanted {
            self.become_manager(place);
        } else {
            self.assign(place);
        }
        Ok(())
    }

    /// Turns what a node knows into what it must run.
    pub(super) fn assign(&mut self, place: usize) {
        let machine = &mut self.machines[place];
        let state = match &machine.manager {
            Some(manager) if manager.is_current => Some(&manager.state),
            Some(_) => None,
            None => machine.shown.as_ref(),
        };
        let Some(state) = state else { return };
        let wanted = assigned(state, &machine.node.id);
        if machine.wanted.as_ref().is_none_or(|held| !held.is_same(&wanted)) {
            machine.wanted = Some(Arc::new(wanted));
            self.arm(place, Timer::Agent, self.now);
        }
    }

    /// Sends what tasks came to.
    pub(super) fn send_reports(&mut self, place: usize) {
        let now = self.now;
        let machine = &mut self.machines[place];
        if machine.manager.is_some() {
            let Some(statuses) = machine.node.send(now) else { return };
            let node = machine.node.id.clone();
            let command = crate::command::Command::ReportTasks { node, statuses };
            self.propose(place, command, super::calls::By::Agent);
            return;
        }
        if let Some((_, until)) = machine.link.reporting {
            if until <= now {
                self.reports_answered(place, false);
            } else {
                self.arm(place, Timer::Agent, until);
            }
            return;
        }
        let Some((to, session)) = machine.link.session() else { return };
        let session = session.to_owned();
        let Some(statuses) = machine.node.send(now) else { return };
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let node = machine.node.id.clone();
        let until = now.after(REPORT_MAX);
        machine.link.reporting = Some((ticket, until));
        self.arm(place, Timer::Agent, until);
        self.send(place, to, Message::Report { node, session, ticket, statuses });
    }

    pub(super) fn reported(&mut self, place: usize, ticket: u64, taken: bool) {
        if self.machines[place].link.reporting.is_some_and(|(held, _)| held == ticket) {
            self.reports_answered(place, taken);
        }
    }

    pub(super) fn reports_answered(&mut self, place: usize, taken: bool) {
        let at = self.now.after(REPORT_RETRY);
        let machine = &mut self.machines[place];
        machine.link.reporting = None;
        machine.node.answer(taken, at);
        self.arm(place, Timer::Agent, if taken { self.now } else { at });
    }

    /// Closes the connections of a process that ends.
    pub(super) fn close_sessions(&mut self, place: usize) {
        let node = self.machines[place].node.id.clone();
        if let Some((to, session)) = self.machines[place].link.session() {
            let closed = Message::Closed { node, session: session.to_owned() };
            self.send(place, to, closed);
        }
        let Some(manager) = &mut self.machines[place].manager else { return };
        let streams = std::mem::take(&mut manager.streams);
        for stream in streams.into_values() {
            let ended = Message::Ended { session: stream.session, leader: None };
            self.send(place, stream.place, ended);
        }
    }
}
