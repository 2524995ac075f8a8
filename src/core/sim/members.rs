//! A manager's process: it starts from its disk, takes part in consensus, applies what is committed, crashes around any write.

use std::sync::Arc;
use std::time::Duration;

use super::PlantedBug;
use super::calls::{Ask, By, Outcome};
use super::consensus::{Entry, Mistakes, Payload, Peer, Store};
use super::invariants::{self, Broken, Transition};
use super::link::Link;
use super::machine::{Manager, Timer};
use super::net::Message;
use super::world::World;
use crate::command::Command;
use crate::state::{Rejected, State};
use crate::time::Timestamp;

/// How long a node tries to be taken into the group before it is a worker again.
const JOIN_MAX: Duration = Duration::from_secs(20);

/// Of the entries that a replica applies, the state after one in so many is compared.
const COMPARE_EVERY: u64 = 16;

impl World {
    fn mistakes(&self) -> Mistakes {
        Mistakes {
            half_commits: self.settings.bug == Some(PlantedBug::HalfCommits),
            votes_twice: self.settings.bug == Some(PlantedBug::VotesTwice),
            changes_overlap: self.settings.bug == Some(PlantedBug::ChangesOverlap),
        }
    }

    /// Starts the process of a machine.
    pub(super) fn start(&mut self, place: usize) -> Result<(), Broken> {
        let now = self.now;
        let mistakes = self.mistakes();
        let decode = self.settings.decode;
        let machine = &mut self.machines[place];
        machine.is_up = true;
        machine.wanted = None;
        machine.shown = None;
        // One that was not taken in yet is a worker still.
        let disk = machine.disk.take().filter(|(_, store)| !store.members().all.is_empty());
        let is_manager = disk.is_some();
        if let Some((id, store)) = disk {
            let snapshot = store.snapshot.clone();
            let state = decode(&snapshot.bytes).unwrap_or_default();
            let peer = Peer::new(id, store, mistakes, now, &mut self.random);
            let mut manager = Box::new(Manager::new(peer, state, snapshot.index));
            // Of the log it reads again, groups from before it was taken in tell nothing.
            manager.was_member = snapshot.members.all.contains_key(&id);
            machine.manager = Some(manager);
        }
        machine.link.forget();
        self.arm(place, Timer::Link, now);
        self.arm(place, Timer::Agent, now);
        if is_manager {
            self.arm(place, Timer::CatchUp, now);
            self.arm(place, Timer::Settle, now);
            self.settle(place)?;
        }
        Ok(())
    }

    /// Makes a worker a manager that has yet to be taken in.
    pub(super) fn become_manager(&mut self, place: usize) {
        let now = self.now;
        self.next_member += 1;
        let (id, mistakes) = (self.next_member, self.mistakes());
        let peer = Peer::new(id, Store::default(), mistakes, now, &mut self.random);
        self.stop_worker(place);
        let machine = &mut self.machines[place];
        let mut manager = Box::new(Manager::new(peer, State::default(), 0));
        manager.joins_until = now.after(JOIN_MAX);
        machine.manager = Some(manager);
        self.report.promotions += 1;
        self.turned_at = now;
        self.arm(place, Timer::CatchUp, now);
        self.arm(place, Timer::Settle, now);
        self.arm(place, Timer::Link, now);
    }

    /// Makes a manager that was taken out of the group, or not in, a worker.
    pub(super) fn become_worker(&mut self, place: usize) {
        let own = self.machines[place].node.id.clone();
        let Some(manager) = self.machines[place].manager.take() else { return };
        let others = manager.state.nodes().values().filter(|node| node.id != own);
        let others = others.filter_map(|node| {
            let address = node.manager.as_ref()?.addr.clone();
            Some((node.id.clone(), address))
        });
        let others: Vec<_> = others.collect();
        if !others.is_empty() {
            self.machines[place].link = Link::new(others);
        }
        self.stop_worker(place);
        self.report.demotions += 1;
        self.turned_at = self.now;
        self.arm(place, Timer::Link, self.now);
    }

    /// Ends what ran in the process for the old role; containers stay.
    fn stop_worker(&mut self, place: usize) {
        self.close_sessions(place);
        let machine = &mut self.machines[place];
        machine.node.crash();
        machine.life += 1;
        machine.timers.clear();
        machine.wanted = None;
        machine.shown = None;
        machine.link.forget();
        self.arm(place, Timer::Agent, self.now);
    }

    /// Ends the process of a machine, for a time. What was not written is lost, or some of it.
    pub(super) fn crash(&mut self, place: usize, away_ms: u64) {
        self.report.crashes += 1;
        let kept = self.random.below(4);
        let back_at = self.now.after(self.random.millis(away_ms));
        self.close_sessions(place);
        let machine = &mut self.machines[place];
        machine.is_up = false;
        machine.life += 1;
        machine.timers.clear();
        machine.paused_until = Timestamp::default();
        machine.trouble_until = machine.trouble_until.max(back_at);
        machine.trouble_since = self.now;
        machine.node.crash();
        machine.link.forget();
        if let Some(manager) = machine.manager.take() {
            let (id, mut store) = (manager.peer.id, manager.peer.store);
            store.crash(kept);
            if self.settings.bug == Some(PlantedBug::WriteLost) {
                store.truncate(store.last_index().saturating_sub(4).max(5));
            }
            machine.disk = Some((id, store));
        }
        self.arm(place, Timer::Start, back_at);
    }

    pub(super) fn consensus_timer(&mut self, place: usize) -> Result<(), Broken> {
        let now = self.now;
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        manager.peer.tick(now, &mut self.random);
        self.settle(place)
    }

    pub(super) fn synced(&mut self, place: usize) -> Result<(), Broken> {
        if self.faults.crashes && self.random.percent(1) {
            self.crash(place, 500);
            return Ok(());
        }
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        manager.peer.sync();
        self.settle(place)
    }

    /// Takes in what another member says.
    pub(super) fn hear_member(&mut self, place: usize, message: Message) -> Result<(), Broken> {
        let Message::Raft { from, to, message } = message else { return Ok(()) };
        let now = self.now;
        let full = self.machines[place].full_until > now;
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        let brings = matches!(&message, super::consensus::RaftMessage::Append { entries, .. } if !entries.is_empty());
        // What finds no room is not answered.
        if manager.peer.id != to || (full && brings) {
            return Ok(());
        }
        let before = manager.peer.store.last_index();
        manager.peer.handle(from, message, now, &mut self.random);
        if std::mem::take(&mut manager.peer.wrote) && self.faults.crashes && self.random.percent(1)
        {
            // What it wrote is there, or a part of it; nobody was told.
            manager.peer.out.clear();
            let after = manager.peer.store.last_index();
            if manager.peer.overwritten.is_none() && after > before {
                let reached = before + self.random.below(after - before + 1);
                manager.peer.store.truncate(reached + 1);
            }
            self.crash(place, 500);
            return Ok(());
        }
        self.settle(place)?;
        self.look_at_calls(place)
    }

    /// Carries out what consensus came to: messages, lost entries, committed ones, another leader.
    pub(super) fn settle(&mut self, place: usize) -> Result<(), Broken> {
        let now = self.now;
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        manager.peer.wrote = false;
        let unsynced =
            manager.peer.leads() && manager.peer.store.synced() < manager.peer.store.last_index();
        self.post(place);
        if unsynced {
            let slow = self.random.percent(5);
            let time = self.random.millis(if slow { 100 } else { 4 });
            self.arm(place, Timer::Sync, now.after(time));
        }
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        if let Some(from) = manager.peer.overwritten.take() {
            self.report.overwritten += 1;
            self.discard_calls(place, from)?;
        }
        let mut moved = self.install(place);
        while self.apply_next(place)? {
            moved = true;
        }
        self.note_lead(place)?;
        if moved {
            self.published(place)?;
        }
        let Some(manager) = &self.machines[place].manager else { return Ok(()) };
        let wake_at = manager.peer.wake_at();
        if manager.peer.removed {
            self.become_worker(place);
        } else {
            self.rearm(place, Timer::Consensus, wake_at);
        }
        Ok(())
    }

    /// Sends what consensus has to say.
    fn post(&mut self, place: usize) {
        let Some(manager) = &mut self.machines[place].manager else { return };
        let from = manager.peer.id;
        let out = std::mem::take(&mut manager.peer.out);
        for (to, message) in out {
            if let Some(at) = self.place_of(to) {
                self.send(place, at, Message::Raft { from, to, message });
            }
        }
    }

    /// Finds the machine of a member.
    fn place_of(&self, id: u64) -> Option<usize> {
        self.machines.iter().position(|machine| {
            let lives = machine.manager.as_ref().map(|manager| manager.peer.id);
            lives.or(machine.disk.as_ref().map(|(id, _)| *id)) == Some(id)
        })
    }

    /// Takes a snapshot in, if one came: whoever looks at the state has to be told as of any entry.
    fn install(&mut self, place: usize) -> bool {
        let decode = self.settings.decode;
        let Some(manager) = &mut self.machines[place].manager else { return false };
        let Some(snapshot) = manager.peer.installed.take() else { return false };
        self.report.snapshots += 1;
        manager.state = decode(&snapshot.bytes).unwrap_or_default();
        manager.applied = snapshot.index;
        manager.was_member |= snapshot.members.all.contains_key(&manager.peer.id);
        true
    }

    /// Notes who leads, and begins what leaders do.
    fn note_lead(&mut self, place: usize) -> Result<(), Broken> {
        let now = self.now;
        let Some(manager) = &mut self.machines[place].manager else { return Ok(()) };
        let term = manager.peer.term();
        if manager.peer.leads() {
            invariants::check_leader(&mut self.ledger, term, place)?;
        }
        let ready = manager.is_ready()
            || (self.settings.bug == Some(PlantedBug::PlansTooSoon) && manager.peer.leads());
        match (ready, manager.ready) {
            (true, Some((known, _))) if known == term => {}
            (true, _) => {
                manager.ready = Some((term, now));
                manager.leader.forget();
                manager.sessions = None;
                manager.streams.clear();
                self.report.terms += 1;
                for timer in [Timer::Lead, Timer::Judge, Timer::Roster] {
                    self.arm(place, timer, now);
                }
            }
            (false, Some(_)) => {
                manager.ready = None;
                self.stop_leading(place);
            }
            (false, None) => {}
        }
        Ok(())
    }

    /// Applies the next committed entry, if there is one.
    fn apply_next(&mut self, place: usize) -> Result<bool, Broken> {
        let stamps = self.settings.bug == Some(PlantedBug::ReplicaDiverges);
        let Some(manager) = &mut self.machines[place].manager else { return Ok(false) };
        if manager.applied >= manager.peer.commit {
            return Ok(false);
        }
        let index = manager.applied + 1;
        let Some(entry) = manager.peer.store.get(index).cloned() else {
            return Err((invariants::COMMITTED_STAYS, format!("entry {index} is missing")));
        };
        manager.applied = index;
        let mut outcome = Ok(());
        match &entry.payload {
            Payload::Blank => {}
            Payload::Members(members) => {
                let is_member = members.all.contains_key(&manager.peer.id);
                manager.peer.removed |= manager.was_member && !is_member;
                manager.was_member |= is_member;
            }
            Payload::Write { proposal, .. } => {
                let mut proposal = proposal.clone();
                proposal.at = Timestamp(proposal.at.0 + i64::from(stamps));
                outcome = manager.state.apply(index, &proposal).map(drop);
            }
        }
        let written = manager.written.remove(&index);
        self.note_applied(place, index, &entry, &outcome)?;
        self.maybe_snapshot(place);
        if let Some(waits) = written {
            let ours = matches!(&entry.payload, Payload::Write { ticket, .. } if *ticket == waits);
            let done = Outcome::Done { index, rejected: outcome.err() };
            self.end_call(place, waits, if ours { done } else { Outcome::Unknown })?;
        }
        Ok(true)
    }

    /// Holds what a replica applied against what others did.
    fn note_applied(
        &mut self,
        place: usize,
        index: u64,
        entry: &Arc<Entry>,
        outcome: &Result<(), Rejected>,
    ) -> Result<(), Broken> {
        if index <= self.ledger.last_index() {
            invariants::check_entry(&self.ledger, index, entry)?;
            let Some(manager) = &self.machines[place].manager else { return Ok(()) };
            if index.is_multiple_of(COMPARE_EVERY) {
                return invariants::check_replica(&self.ledger, index, &manager.state, place);
            }
            return Ok(());
        }
        self.moved_at = self.now;
        self.spoil_state(place);
        let Some(manager) = &self.machines[place].manager else { return Ok(()) };
        let after = manager.state.clone();
        let before = std::mem::take(&mut self.ledger.state);
        invariants::check_membership(&mut self.ledger, entry)?;
        if let Payload::Write { ticket, proposal } = &entry.payload {
            let command = &proposal.command;
            invariants::check_plan(&mut self.ledger, *ticket, index, command, outcome)?;
            let (base, changes) = match (command, outcome) {
                (Command::Plan { based_on, changes }, Ok(())) => {
                    (self.ledger.recent(*based_on), &changes[..])
                }
                _ => (None, &[][..]),
            };
            let reports = matches!(command, Command::ReportTasks { .. });
            let write = Transition { before: &before, after: &after, base, changes, reports };
            self.invariants.check(&write)?;
            if outcome.is_ok() {
                self.oracle.commit(index, command);
            }
        }
        self.ledger.push(entry.clone(), after);
        invariants::check_promises(&self.oracle, &self.ledger)
    }

    fn maybe_snapshot(&mut self, place: usize) {
        if !self.random.percent(2) {
            return;
        }
        let (encode, kept) = (self.settings.encode, self.random.below(6));
        let Some(manager) = &mut self.machines[place].manager else { return };
        let (applied, bytes) = (manager.applied, encode(&manager.state));
        manager.peer.store.take_snapshot(applied, bytes, kept);
    }

    /// Tells all who look at a manager's copy of the state that it changed.
    fn published(&mut self, place: usize) -> Result<(), Broken> {
        let now = self.now;
        self.assign(place);
        let Some(manager) = &self.machines[place].manager else { return Ok(()) };
        if manager.ready.is_some() {
            for timer in [Timer::Lead, Timer::Judge, Timer::Roster] {
                self.arm(place, timer, now);
            }
            self.show_all(place)?;
        }
        self.look_at_calls(place)
    }

    /// Asks the leader what is current, until that is known here.
    pub(super) fn catch_up(&mut self, place: usize) {
        let Some(manager) = &mut self.machines[place].manager else { return };
        if self.settings.bug == Some(PlantedBug::OldStateBelieved) {
            manager.is_current = true;
            return self.assign(place);
        }
        self.call(place, Ask::Read, By::CatchUp);
    }

    pub(super) fn caught_up(&mut self, place: usize, outcome: &Outcome) {
        let id = self.machines[place].node.id.clone();
        let Some(manager) = &mut self.machines[place].manager else { return };
        let knows =
            matches!(outcome, Outcome::Done { .. }) && manager.state.nodes().contains_key(&id);
        if knows {
            manager.is_current = true;
            self.assign(place);
        } else {
            let at = self.now.after(Duration::from_millis(50));
            self.arm(place, Timer::CatchUp, at);
        }
    }
}
