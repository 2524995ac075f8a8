//! Elections: asking whether there would be votes, asking for them, giving one a term.

use std::collections::{BTreeMap, BTreeSet};

use super::{LEASE, Leading, Payload, Peer, RaftMessage, Role};
use crate::sim::random::Random;
use crate::time::Timestamp;

impl Peer {
    /// Stands for election, or asks first whether it would be elected.
    pub(super) fn stand(&mut self, pre: bool, handover: bool, now: Timestamp, random: &mut Random) {
        self.await_election(now, random);
        // A learner has no vote, not even for itself.
        if self.removed || !self.store.members().voters.contains(&self.id) {
            return;
        }
        if !pre {
            self.store.term += 1;
            self.store.vote = Some(self.id);
            self.wrote = true;
        }
        self.leader = None;
        self.role = Role::Candidate { pre, votes: BTreeSet::from([self.id]) };
        let term = self.term() + u64::from(pre);
        let last = self.store.last();
        let others = self.store.members().voters.clone();
        for voter in others.into_iter().filter(|voter| *voter != self.id) {
            self.out.push((voter, RaftMessage::Ask { term, last, pre, handover }));
        }
        self.count_votes(now, random);
    }

    /// Somebody asks for a vote.
    pub(super) fn asked(
        &mut self,
        from: u64,
        term: u64,
        last: (u64, u64),
        (pre, handover): (bool, bool),
        now: Timestamp,
        random: &mut Random,
    ) {
        let (index, members) = self.store.members_at();
        if index <= self.commit && !members.all.contains_key(&from) && last.0 < index {
            return self.out.push((from, RaftMessage::NotMember));
        }
        let lives = self.leads() || self.heard_at.is_some_and(|at| now.since(at) < LEASE);
        if lives && !handover && !self.leads_alone_in_vain(now) {
            return self
                .out
                .push((from, RaftMessage::Vote { term: self.term(), granted: false, pre }));
        }
        let (held, held_term) = self.store.last();
        let is_new_enough = (last.1, last.0) >= (held_term, held);
        if pre {
            let granted = term > self.term() && is_new_enough;
            return self.out.push((from, RaftMessage::Vote { term: self.term(), granted, pre }));
        }
        self.follow_term(term, now, random);
        let free = self.store.vote.is_none_or(|vote| vote == from) || self.mistakes.votes_twice;
        let granted = term == self.term() && is_new_enough && free && !self.leads();
        if granted {
            self.store.vote = Some(from);
            self.wrote = true;
            self.await_election(now, random);
        }
        self.out.push((from, RaftMessage::Vote { term: self.term(), granted, pre }));
    }

    /// Tells whether it leads and no majority has answered for as long as a lease.
    fn leads_alone_in_vain(&self, now: Timestamp) -> bool {
        let Role::Leader(leading) = &self.role else { return false };
        let lately = leading.heard.iter().filter(|(_, at)| now.since(**at) < LEASE);
        let lately = lately.map(|(id, _)| *id).chain([self.id]);
        !self.store.members().agree(lately)
    }

    /// Somebody answers to the question for a vote.
    pub(super) fn voted(
        &mut self,
        from: u64,
        term: u64,
        granted: bool,
        pre: bool,
        now: Timestamp,
        random: &mut Random,
    ) {
        if term > self.term() {
            return self.follow_term(term, now, random);
        }
        if let Role::Candidate { pre: asks, votes } = &mut self.role
            && *asks == pre
            && granted
            && (pre || term == self.store.term)
        {
            votes.insert(from);
            self.count_votes(now, random);
        }
    }

    fn count_votes(&mut self, now: Timestamp, random: &mut Random) {
        let Role::Candidate { pre, votes } = &self.role else { return };
        if !self.store.members().agree(votes.iter().copied()) {
            return;
        }
        if *pre {
            self.stand(false, false, now, random);
        } else {
            self.lead(now);
        }
    }

    /// Begins to lead: the first entry of the term follows all that was committed before it.
    fn lead(&mut self, now: Timestamp) {
        let last = self.store.last_index();
        let all = self.store.members().all.clone();
        let next = all.keys().map(|id| (*id, last + 1)).collect();
        self.role = Role::Leader(Leading {
            began_at: last + 1,
            next,
            matched: BTreeMap::from([(self.id, self.store.synced)]),
            beat_at: now,
            ..Leading::default()
        });
        self.leader = Some(self.id);
        let _index = self.append(Payload::Blank);
        self.broadcast(now);
    }

    /// Asks the voter that has most of the log and answers to take over; tells whether there is one.
    pub(in crate::sim) fn hand_over(&mut self, now: Timestamp) -> bool {
        let answering = self.reachable(now);
        let Role::Leader(leading) = &self.role else { return false };
        let heir = self.store.members().voters.iter();
        let heir = heir.filter(|id| **id != self.id && answering.contains(id));
        let heir = heir.max_by_key(|id| leading.matched.get(id).copied());
        let Some(heir) = heir.copied() else { return false };
        let term = self.term();
        self.out.push((heir, RaftMessage::Elect { term }));
        true
    }
}
