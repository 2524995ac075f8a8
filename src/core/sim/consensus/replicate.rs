//! The log: appended by the leader, sent to all, committed once a majority has it; and reads that a majority confirms.

use std::sync::Arc;

use super::{
    ENTRIES_MAX, Entry, HEARTBEAT, Members, Payload, Peer, ROUNDS_MAX, RaftMessage, Role, Snapshot,
};
use crate::sim::random::Random;
use crate::time::Timestamp;

impl Peer {
    /// Puts an entry into the log if this member leads, and returns its index. It is sent at once and written soon.
    pub(in crate::sim) fn append(&mut self, payload: Payload) -> Option<u64> {
        if !self.leads() {
            return None;
        }
        let entry = Arc::new(Entry { term: self.term(), payload });
        Some(self.store.push(entry))
    }

    /// Tells whether the last change of the group and the first entry of this leader's term are committed.
    pub(in crate::sim) fn is_settled(&self) -> bool {
        let (changed_at, _) = self.store.members_at();
        changed_at <= self.commit && self.began_at().is_some_and(|at| at <= self.commit)
    }

    /// Proposes another group, which must differ by one voter; false where that is not possible now.
    pub(in crate::sim) fn change_members(&mut self, members: Members) -> bool {
        (self.is_settled() || self.mistakes.changes_overlap)
            && self.append(Payload::Members(members)).is_some()
    }

    /// Tells whether a learner lacks little of the log.
    pub(in crate::sim) fn is_caught_up(&self, id: u64) -> bool {
        let Role::Leader(leading) = &self.role else { return false };
        leading.matched.get(&id).is_some_and(|matched| matched + 100 >= self.store.last_index())
    }

    /// Notes that all that was appended is on disk.
    pub(in crate::sim) fn sync(&mut self) {
        self.store.synced = self.store.last_index();
        let (id, synced) = (self.id, self.store.synced);
        if let Role::Leader(leading) = &mut self.role {
            leading.matched.insert(id, synced);
        }
        self.commit_more();
    }

    /// Sends each member what it lacks.
    pub(in crate::sim) fn broadcast(&mut self, now: Timestamp) {
        let Role::Leader(leading) = &mut self.role else { return };
        leading.round += 1;
        leading.sent.insert(leading.round, now);
        while leading.sent.len() > ROUNDS_MAX {
            leading.sent.pop_first();
        }
        leading.beat_at = now.after(HEARTBEAT);
        let mut others = self.store.members().all.clone();
        others.remove(&self.id);
        for member in others.into_keys() {
            self.send(member);
        }
    }

    fn send(&mut self, member: u64) {
        let (term, last) = (self.term(), self.store.last_index());
        let Role::Leader(leading) = &mut self.role else { return };
        let round = leading.round;
        let next = *leading.next.entry(member).or_insert(last + 1);
        let base = self.store.base();
        let message = match self.store.term_at(next - 1) {
            Some(prev_term) if next > base => {
                let entries = (next..=last).take(ENTRIES_MAX);
                let entries = entries.filter_map(|index| self.store.get(index).cloned()).collect();
                RaftMessage::Append {
                    term,
                    prev: (next - 1, prev_term),
                    entries,
                    commit: self.commit,
                    round,
                }
            }
            Some(_) | None => {
                RaftMessage::Install { term, snapshot: self.store.snapshot.clone(), round }
            }
        };
        self.out.push((member, message));
    }

    /// The leader brings entries.
    #[expect(clippy::too_many_arguments, reason = "the parts of one message")]
    pub(super) fn appending(
        &mut self,
        from: u64,
        term: u64,
        prev: (u64, u64),
        entries: Vec<Arc<Entry>>,
        commit: u64,
        round: u64,
        now: Timestamp,
        random: &mut Random,
    ) {
        if !self.heeds(from, term, now, random) {
            return;
        }
        let own = self.term();
        if prev.0 > self.store.last_index()
            || (prev.0 > self.store.base() && self.store.term_at(prev.0) != Some(prev.1))
        {
            let index = self.store.last_index().min(prev.0.saturating_sub(1)).max(self.commit);
            return self
                .out
                .push((from, RaftMessage::Appended { term: own, fits: false, index, round }));
        }
        let mut index = prev.0;
        for entry in entries {
            index += 1;
            if index <= self.store.base() || self.store.term_at(index) == Some(entry.term) {
                continue;
            }
            if index <= self.store.last_index() {
                self.store.truncate(index);
                self.overwritten = Some(self.overwritten.map_or(index, |held| held.min(index)));
            }
            self.store.push(entry);
            self.wrote = true;
        }
        self.store.synced = self.store.last_index();
        self.commit = self.commit.max(commit.min(index));
        if self.wrote {
            self.store.committed = self.commit;
        }
        self.out.push((from, RaftMessage::Appended { term: own, fits: true, index, round }));
    }

    /// The leader brings a snapshot.
    pub(super) fn installing(
        &mut self,
        from: u64,
        term: u64,
        snapshot: Arc<Snapshot>,
        round: u64,
        now: Timestamp,
        random: &mut Random,
    ) {
        if !self.heeds(from, term, now, random) {
            return;
        }
        if snapshot.index > self.commit {
            self.store.install(&snapshot);
            self.commit = snapshot.index;
            self.wrote = true;
            self.overwritten = Some(self.overwritten.map_or(1, |held| held.min(1)));
            self.installed = Some(snapshot.clone());
        }
        let (term, index) = (self.term(), snapshot.index);
        self.out.push((from, RaftMessage::Appended { term, fits: true, index, round }));
    }

    /// Tells whether a leader is one, and notes that it lives.
    fn heeds(&mut self, from: u64, term: u64, now: Timestamp, random: &mut Random) -> bool {
        if term < self.term() {
            let refused =
                RaftMessage::Appended { term: self.term(), fits: false, index: 0, round: 0 };
            self.out.push((from, refused));
            return false;
        }
        self.follow_term(term, now, random);
        if !self.leads() {
            self.role = Role::Follower;
        }
        self.leader = Some(from);
        self.heard_at = Some(now);
        self.await_election(now, random);
        true
    }

    /// A member tells how far its log goes.
    #[expect(clippy::too_many_arguments, reason = "the parts of one message")]
    pub(super) fn appended(
        &mut self,
        from: u64,
        term: u64,
        fits: bool,
        index: u64,
        round: u64,
        now: Timestamp,
        random: &mut Random,
    ) {
        if term > self.term() {
            return self.follow_term(term, now, random);
        }
        let last = self.store.last_index();
        let Role::Leader(leading) = &mut self.role else { return };
        if term < self.store.term || !self.store.members().all.contains_key(&from) {
            return;
        }
        if let Some(sent) = leading.sent.get(&round) {
            let heard = leading.heard.entry(from).or_default();
            *heard = (*heard).max(*sent);
        }
        let acked = leading.acked.entry(from).or_default();
        *acked = (*acked).max(round);
        let matched = leading.matched.entry(from).or_default();
        if fits {
            *matched = (*matched).max(index);
            let next = leading.next.entry(from).or_insert(index + 1);
            *next = (*next).max(index + 1);
            let lacks = *next <= last;
            self.commit_more();
            if lacks {
                self.send(from);
            }
        } else {
            leading.next.insert(from, (index + 1).max(*matched + 1));
            self.send(from);
        }
    }

    /// Commits what a majority has, once it has an entry of this term.
    fn commit_more(&mut self) {
        let Role::Leader(leading) = &self.role else { return };
        let voters = &self.store.members().voters;
        let reached = |id: &u64| leading.matched.get(id).copied().unwrap_or(0);
        let mut matched: Vec<u64> = voters.iter().map(reached).collect();
        matched.sort_unstable_by(|left, right| right.cmp(left));
        let needed =
            if self.mistakes.half_commits { voters.len() / 2 } else { voters.len() / 2 + 1 };
        let Some(index) = matched.get(needed.max(1) - 1).copied() else { return };
        if index > self.commit && self.store.term_at(index) == Some(self.term()) {
            self.commit = index;
            self.store.committed = index;
        }
    }

    /// Begins a read: returns the index that it must see and the round that a majority has to answer.
    pub(in crate::sim) fn begin_read(&mut self, now: Timestamp) -> Option<(u64, u64)> {
        let began = self.began_at()?;
        self.broadcast(now);
        let Role::Leader(leading) = &self.role else { return None };
        Some((self.commit.max(began), leading.round))
    }

    /// Tells whether a majority answered a round.
    pub(in crate::sim) fn is_confirmed(&self, round: u64) -> bool {
        let Role::Leader(leading) = &self.role else { return false };
        let acked = leading.acked.iter().filter(|(_, acked)| **acked >= round);
        self.store.members().agree(acked.map(|(id, _)| *id).chain([self.id]))
    }
}
