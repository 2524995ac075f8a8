//! The leader's side of nodes: sessions, verdicts, what each is shown. Decides as the real one does, by `sessions` and `view`.

use std::time::Duration;

use super::PlantedBug;
use super::calls::{Ask, By, Outcome};
use super::invariants::{self, Broken};
use super::machine::{Stream, Timer};
use super::net::{Message, Told};
use super::world::World;
use crate::command::Command;
use crate::id::{NodeId, TaskId};
use crate::model::node::{Node, NodeAgent, NodeState};
use crate::model::task::TaskStatus;
use crate::sessions::{Sessions, news};
use crate::state::State;
use crate::view::{Part, View, may_differ};

/// Wait after verdicts could not be written.
const RETRY: Duration = Duration::from_millis(200);

/// Returns what a node is told of the managers.
fn told(state: &State) -> Told {
    let managers = state.nodes().values().filter_map(|node| {
        let address = node.manager.as_ref()?.addr.clone();
        Some((node.id.clone(), address))
    });
    Told { managers: managers.collect() }
}

/// Returns the node's agent, if it ought to have a session.
fn expected<'a>(own: &NodeId, node: &'a Node) -> Option<(&'a NodeId, &'a NodeAgent)> {
    let agent = node.agent.as_ref()?;
    (node.id != *own && node.status.state != NodeState::Down).then_some((&node.id, agent))
}

impl World {
    /// Does something with the sessions, if this manager leads.
    fn with_sessions<T>(
        &mut self,
        place: usize,
        act: impl FnOnce(&mut Sessions, crate::time::Timestamp) -> T,
    ) -> Option<T> {
        let now = self.now;
        let machine = &mut self.machines[place];
        let own = machine.node.id.clone();
        let manager = machine.manager.as_mut()?;
        manager.ready?;
        let state = &manager.state;
        let sessions = manager.sessions.get_or_insert_with(|| {
            let heartbeat = state.cluster().map(|cluster| cluster.spec.heartbeat_period);
            let known = state.nodes().values().filter_map(|node| expected(&own, node));
            Sessions::take_over(known, heartbeat.unwrap_or_default(), now)
        });
        Some(act(sessions, now))
    }

    fn refuse(&mut self, place: usize, to: usize, attempt: u64) {
        let leader = self.machines[place].manager.as_ref().and_then(|it| it.leader_place());
        self.send(place, to, Message::Refused { attempt, leader });
    }

    /// A node asks for a session.
    pub(super) fn open_session(&mut self, place: usize, from: usize, node: NodeId, attempt: u64) {
        let leads = self.with_sessions(place, |_, _| ()).is_some();
        let known = self.machines[place].manager.as_ref();
        let known = known.and_then(|manager| manager.state.nodes().get(&node).cloned());
        let Some(known) = known.filter(|_| leads) else {
            return self.refuse(place, from, attempt);
        };
        let command = Command::RegisterNode {
            id: node.clone(),
            description: Box::new(known.description.clone()),
            addr: String::new(),
            agent: NodeAgent::Skep { version: "1".to_owned() },
            restarted: attempt == 1,
        };
        self.with_sessions(place, |sessions, _| sessions.arrive(node.clone()));
        self.propose(place, command, By::Register { node, place: from, attempt });
    }

    pub(super) fn registered(
        &mut self,
        place: usize,
        (node, from, attempt): (NodeId, usize, u64),
        outcome: &Outcome,
    ) {
        let done = matches!(outcome, Outcome::Done { rejected: None, .. });
        let session = format!("s{}", self.random.next());
        let name = session.clone();
        let opened =
            done && self.with_sessions(place, |it, now| it.open(node.clone(), name, now)).is_some();
        let manager = self.machines[place].manager.as_mut();
        if let Some(sessions) = manager.and_then(|manager| manager.sessions.as_mut()) {
            sessions.leave_arrival(&node);
        }
        let state = self.machines[place].manager.as_ref().map(|manager| manager.state.clone());
        let Some(state) = state.filter(|_| opened) else {
            return self.refuse(place, from, attempt);
        };
        let told = told(&state);
        let stream = Stream {
            session: session.clone(),
            place: from,
            view: None,
            seen: State::default(),
            told: told.clone(),
        };
        if let Some(manager) = &mut self.machines[place].manager {
            manager.streams.insert(node, stream);
        }
        self.report.sessions += 1;
        self.send(place, from, Message::Opened { attempt, session, told });
        self.arm(place, Timer::Judge, self.now);
    }

    /// A sign of life.
    pub(super) fn beat(&mut self, place: usize, from: usize, node: &NodeId, session: String) {
        let deaf = self.settings.bug == Some(PlantedBug::BeatsForgotten);
        let beaten = self.with_sessions(place, |sessions, now| {
            let current = sessions.is_current(node, &session);
            if deaf && current { Ok(Duration::ZERO) } else { sessions.beat(node, &session, now) }
        });
        match beaten {
            Some(Ok(_)) => self.send(place, from, Message::Beaten { session }),
            Some(Err(_)) => self.send(place, from, Message::Ended { session, leader: None }),
            None => {
                let leader = self.machines[place].manager.as_ref().and_then(|it| it.leader_place());
                self.send(place, from, Message::Ended { session, leader });
            }
        }
    }

    /// The connection of a session broke.
    pub(super) fn session_closed(&mut self, place: usize, node: &NodeId, session: &str) {
        self.with_sessions(place, |sessions, now| sessions.close(node, session, now));
        self.arm(place, Timer::Judge, self.now);
    }

    fn is_current(&mut self, place: usize, node: &NodeId, session: &str) -> bool {
        self.with_sessions(place, |sessions, _| sessions.is_current(node, session)) == Some(true)
    }

    /// What a node's tasks came to.
    pub(super) fn take_report(
        &mut self,
        place: usize,
        from: usize,
        (node, session, ticket): (NodeId, String, u64),
        mut statuses: Vec<(TaskId, TaskStatus)>,
    ) {
        if !self.is_current(place, &node, &session) {
            return self.send(place, from, Message::Reported { ticket, taken: false });
        }
        if let Some(manager) = &self.machines[place].manager {
            let tasks = manager.state.tasks();
            statuses.retain(|(id, status)| {
                tasks
                    .get(id)
                    .is_some_and(|it| it.node.as_ref() == Some(&node) && it.status != *status)
            });
        }
        if statuses.is_empty() {
            return self.send(place, from, Message::Reported { ticket, taken: true });
        }
        let command = Command::ReportTasks { node, statuses };
        if self.faults.stale_reports && self.random.percent(5) {
            self.delay_report(command.clone());
        }
        self.propose(place, command, By::Report { place: from, ticket });
    }

    /// Statuses that were on their way for long come once more, when newer ones are there.
    pub(super) fn report_late(&mut self, command: Command) {
        let ready = |machine: &super::machine::Machine| {
            machine.is_up && machine.manager.as_ref().is_some_and(|it| it.ready.is_some())
        };
        if let Some(place) = self.machines.iter().position(ready) {
            self.propose(place, command, By::Nobody);
        }
    }

    /// Judges nodes while this manager leads; one list of verdicts is under way at a time.
    pub(super) fn judge(&mut self, place: usize) -> Result<(), Broken> {
        let own = self.machines[place].node.id.clone();
        let Some(manager) = &self.machines[place].manager else { return Ok(()) };
        if manager.judges {
            return Ok(());
        }
        let state = manager.state.clone();
        let looked = self.with_sessions(place, |sessions, now| {
            if let Some(cluster) = state.cluster() {
                sessions.set_heartbeat(cluster.spec.heartbeat_period);
            }
            for (node, agent) in state.nodes().values().filter_map(|node| expected(&own, node)) {
                sessions.expect(node, agent, now);
            }
            sessions.look(now);
            (news(sessions, &state), sessions.wake_at())
        });
        let Some((verdicts, wake_at)) = looked else { return Ok(()) };
        if let Some(at) = wake_at {
            self.arm(place, Timer::Judge, at);
        }
        self.end_streams(place);
        if !verdicts.is_empty() {
            self.note_verdicts(place, &verdicts)?;
            if let Some(manager) = &mut self.machines[place].manager {
                manager.judges = true;
            }
            self.propose(place, Command::JudgeNodes { verdicts }, By::Judge);
        }
        Ok(())
    }

    pub(super) fn judged(&mut self, place: usize, outcome: &Outcome) {
        if let Some(manager) = &mut self.machines[place].manager {
            manager.judges = false;
        }
        let done = matches!(outcome, Outcome::Done { .. });
        let wait = if done { Duration::ZERO } else { RETRY };
        self.arm(place, Timer::Judge, self.now.after(wait));
    }

    /// Ends the streams of sessions that are over.
    fn end_streams(&mut self, place: usize) {
        let Some(manager) = &mut self.machines[place].manager else { return };
        let Some(sessions) = &manager.sessions else { return };
        let over = |(node, stream): (&NodeId, &Stream)| {
            let over = !sessions.is_current(node, &stream.session);
            over.then(|| (node.clone(), stream.place, stream.session.clone()))
        };
        let ended: Vec<_> = manager.streams.iter().filter_map(over).collect();
        for (node, to, session) in ended {
            if let Some(manager) = &mut self.machines[place].manager {
                manager.streams.remove(&node);
            }
            self.send(place, to, Message::Ended { session, leader: None });
        }
    }

    /// A node asks to be shown what it needs: from a state that holds all that was acknowledged.
    pub(super) fn follow(&mut self, place: usize, node: NodeId, session: String) {
        if self.is_current(place, &node, &session) {
            self.call(place, Ask::Read, By::Follow { node, session });
        }
    }

    pub(super) fn follow_read(
        &mut self,
        place: usize,
        node: &NodeId,
        session: &str,
        outcome: &Outcome,
    ) -> Result<(), Broken> {
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        let Some(stream) = manager.streams.get_mut(node).filter(|it| it.session == *session) else {
            return Ok(());
        };
        if matches!(outcome, Outcome::Done { .. }) {
            stream.view = Some(View::new(node.clone()));
            self.show(place, node, true)
        } else {
            let (to, session) = (stream.place, session.to_owned());
            self.send(place, to, Message::Ended { session, leader: None });
            Ok(())
        }
    }

    /// Shows every node what is new.
    pub(super) fn show_all(&mut self, place: usize) -> Result<(), Broken> {
        let Some(manager) = &self.machines[place].manager else { return Ok(()) };
        let nodes: Vec<NodeId> = manager.streams.keys().cloned().collect();
        let told = told(&manager.state);
        for node in nodes {
            self.show(place, &node, false)?;
            let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
            let Some(stream) = manager.streams.get_mut(&node) else { continue };
            if stream.told != told {
                stream.told = told.clone();
                let (to, session) = (stream.place, stream.session.clone());
                self.send(place, to, Message::Tell { session, told: told.clone() });
            }
        }
        Ok(())
    }

    fn show(&mut self, place: usize, node: &NodeId, anew: bool) -> Result<(), Broken> {
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        let state = manager.state.clone();
        let Some(stream) = manager.streams.get_mut(node) else { return Ok(()) };
        let Some(view) = &mut stream.view else { return Ok(()) };
        if !anew && !may_differ(&stream.seen, &state) {
            return Ok(());
        }
        let mut parts = view.follow(&state);
        stream.seen = state.clone();
        if self.settings.bug == Some(PlantedBug::PartLost) {
            parts.retain(|part| anew || !matches!(part, Part::Status(..)));
        }
        if self.settings.bug == Some(PlantedBug::SecretsEverywhere) && anew {
            parts.extend(state.secrets().values().cloned().map(Part::Secret));
        }
        if anew || !parts.is_empty() {
            let (to, session) = (stream.place, stream.session.clone());
            self.send(place, to, Message::Shown { session, anew, index: state.index(), parts });
        }
        Ok(())
    }

    /// Holds verdicts against what is true.
    fn note_verdicts(
        &mut self,
        place: usize,
        verdicts: &[(NodeId, NodeState, String)],
    ) -> Result<(), Broken> {
        for (node, state, reason) in verdicts {
            if *state == NodeState::Down
                && let Some(at) = self.machines.iter().position(|it| it.node.id == *node)
                && let Some(detail) = invariants::check_verdict(self, place, at)
            {
                return Err((invariants::FAIR_VERDICTS, format!("{detail}: {reason}")));
            }
        }
        Ok(())
    }
}
