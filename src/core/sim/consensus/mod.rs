//! Consensus between managers, small and honest: terms, votes, a log that is replicated and whose tail may be overwritten, leases,
//! reads that a majority confirms, snapshots for those who lag, members that change. Stands in for what the shells use.

mod elect;
mod replicate;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::random::Random;
use crate::command::Proposal;
use crate::time::Timestamp;

pub(super) use store::{Snapshot, Store};

/// How often a leader tells that it lives.
const HEARTBEAT: Duration = Duration::from_millis(200);

/// How long nobody votes against a leader that was heard.
const LEASE: Duration = Duration::from_millis(600);

/// The shortest wait after that until a node stands for election; half as much more is left to chance.
const ELECTION_MS: u64 = 400;

/// How long a member may be silent and still counts as one that answers.
pub(super) const SILENCE_MAX: Duration = Duration::from_millis(1200);

/// Rounds of which a leader knows when it sent them: more than fit into any silence that counts.
const ROUNDS_MAX: usize = 256;

/// Entries in one message.
const ENTRIES_MAX: usize = 16;

/// One entry of the log.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) term: u64,
    pub(super) payload: Payload,
}

/// What an entry says.
#[derive(Debug, Clone)]
pub(super) enum Payload {
    /// A term begins.
    Blank,
    /// Who belongs to the group from here on.
    Members(Members),
    /// Something for the state. The ticket tells proposals apart.
    Write { ticket: u64, proposal: Proposal },
}

/// Who belongs to the group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Members {
    /// Those whose votes count.
    pub(super) voters: BTreeSet<u64>,
    /// All, with the machine each is on.
    pub(super) all: BTreeMap<u64, usize>,
}

impl Members {
    /// Tells whether so many voters agree that no others can agree on something else.
    pub(super) fn agree(&self, those: impl Iterator<Item = u64>) -> bool {
        let count = those.filter(|id| self.voters.contains(id)).count();
        count > self.voters.len() / 2
    }

    /// Tells whether the group could go on without one of its voters.
    pub(super) fn survives_removal(&self, removed: u64, reachable: &BTreeSet<u64>) -> bool {
        let mut left = self.clone();
        left.voters.remove(&removed);
        !left.voters.is_empty() && left.agree(reachable.iter().copied())
    }
}

/// What members say to one another.
#[derive(Debug, Clone)]
pub(super) enum RaftMessage {
    /// Asks for a vote, or whether there would be one.
    Ask { term: u64, last: (u64, u64), pre: bool, handover: bool },
    /// Answers it.
    Vote { term: u64, granted: bool, pre: bool },
    /// Brings entries, or only tells that the leader lives.
    Append { term: u64, prev: (u64, u64), entries: Vec<Arc<Entry>>, commit: u64, round: u64 },
    /// Up to where the log is the leader's; or from where on it is surely not.
    Appended { term: u64, fits: bool, index: u64, round: u64 },
    /// Brings what the log no longer holds.
    Install { term: u64, snapshot: Arc<Snapshot>, round: u64 },
    /// The leader asks its heir to stand for election.
    Elect { term: u64 },
    /// Whoever asked was removed from the group.
    NotMember,
}

/// Mistakes made on purpose.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mistakes {
    /// Half of the voters are enough to commit.
    pub(super) half_commits: bool,
    /// A vote is forgotten at once.
    pub(super) votes_twice: bool,
    /// Members change while an earlier change is under way.
    pub(super) changes_overlap: bool,
}

#[derive(Debug)]
enum Role {
    Follower,
    /// Stands for election, or asks whether it should.
    Candidate {
        pre: bool,
        votes: BTreeSet<u64>,
    },
    Leader(Leading),
}

#[derive(Debug, Default)]
struct Leading {
    /// Index of the entry that began the term.
    began_at: u64,
    next: BTreeMap<u64, u64>,
    matched: BTreeMap<u64, u64>,
    /// The last round that each member answered.
    acked: BTreeMap<u64, u64>,
    /// When what each member answered last was sent: an answer may have lain unread for long.
    heard: BTreeMap<u64, Timestamp>,
    /// When the rounds of late were sent.
    sent: BTreeMap<u64, Timestamp>,
    round: u64,
    beat_at: Timestamp,
}

/// One member, as long as its process lives.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: u64,
    pub(super) store: Store,
    role: Role,
    /// Who leads, as far as is known.
    pub(super) leader: Option<u64>,
    pub(super) commit: u64,
    election_at: Timestamp,
    heard_at: Option<Timestamp>,
    /// Messages to send once what was written is on disk.
    pub(super) out: Vec<(u64, RaftMessage)>,
    /// Where entries were overwritten since this was last looked at.
    pub(super) overwritten: Option<u64>,
    /// A snapshot that came in.
    pub(super) installed: Option<Arc<Snapshot>>,
    /// Entries that the last message made durable here.
    pub(super) wrote: bool,
    /// Whether the group said that this member is none any more.
    pub(super) removed: bool,
    mistakes: Mistakes,
}

impl Peer {
    /// Starts from what is on disk.
    pub(super) fn new(
        id: u64,
        store: Store,
        mistakes: Mistakes,
        now: Timestamp,
        random: &mut Random,
    ) -> Self {
        let commit = store.committed;
        let mut peer = Self {
            id,
            store,
            role: Role::Follower,
            leader: None,
            commit,
            election_at: now,
            heard_at: None,
            out: Vec::new(),
            overwritten: None,
            installed: None,
            wrote: false,
            removed: false,
            mistakes,
        };
        // A sole voter need not wait for anybody.
        if !peer.votes_alone() {
            peer.await_election(now, random);
        }
        peer
    }

    fn votes_alone(&self) -> bool {
        let voters = &self.store.members().voters;
        voters.len() == 1 && voters.contains(&self.id)
    }

    fn await_election(&mut self, now: Timestamp, random: &mut Random) {
        // Nobody votes twice unless two stand at the same time.
        let spread = if self.mistakes.votes_twice { 1 } else { ELECTION_MS / 2 };
        let chance = random.millis(spread) + Duration::from_millis(ELECTION_MS);
        self.election_at = now.after(LEASE + chance);
    }

    pub(super) fn term(&self) -> u64 {
        self.store.term
    }

    /// Tells whether it takes itself for the leader.
    pub(super) fn leads(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Returns the index of the entry that began this leader's term.
    pub(super) fn began_at(&self) -> Option<u64> {
        match &self.role {
            Role::Leader(leading) => Some(leading.began_at),
            Role::Follower | Role::Candidate { .. } => None,
        }
    }

    /// Returns when it has to be woken.
    pub(super) fn wake_at(&self) -> Timestamp {
        match &self.role {
            Role::Leader(leading) => leading.beat_at,
            Role::Follower | Role::Candidate { .. } => self.election_at,
        }
    }

    /// Members that answered this leader lately, itself among them.
    pub(super) fn reachable(&self, now: Timestamp) -> BTreeSet<u64> {
        let mut found = BTreeSet::from([self.id]);
        if let Role::Leader(leading) = &self.role {
            let lately = leading.heard.iter().filter(|(_, at)| now.since(**at) <= SILENCE_MAX);
            found.extend(lately.map(|(id, _)| *id));
        }
        found
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Timestamp, random: &mut Random) {
        if self.wake_at() > now {
            return;
        }
        match &self.role {
            Role::Leader(_) => self.broadcast(now),
            Role::Follower | Role::Candidate { .. } => {
                self.stand(!self.votes_alone(), false, now, random)
            }
        }
    }

    /// Takes a message in.
    pub(super) fn handle(
        &mut self,
        from: u64,
        message: RaftMessage,
        now: Timestamp,
        random: &mut Random,
    ) {
        match message {
            RaftMessage::Ask { term, last, pre, handover } => {
                self.asked(from, term, last, (pre, handover), now, random);
            }
            RaftMessage::Vote { term, granted, pre } => {
                self.voted(from, term, granted, pre, now, random);
            }
            RaftMessage::Append { term, prev, entries, commit, round } => {
                self.appending(from, term, prev, entries, commit, round, now, random);
            }
            RaftMessage::Appended { term, fits, index, round } => {
                self.appended(from, term, fits, index, round, now, random);
            }
            RaftMessage::Install { term, snapshot, round } => {
                self.installing(from, term, snapshot, round, now, random);
            }
            RaftMessage::Elect { term } => {
                if term == self.term() && !self.leads() {
                    self.stand(false, true, now, random);
                }
            }
            RaftMessage::NotMember => self.removed = true,
        }
    }

    /// Goes on to a later term, in which it follows.
    fn follow_term(&mut self, term: u64, now: Timestamp, random: &mut Random) {
        if term > self.store.term {
            self.store.term = term;
            self.store.vote = None;
            self.wrote = true;
            self.leader = None;
            if !matches!(self.role, Role::Follower) {
                self.role = Role::Follower;
                self.await_election(now, random);
            }
        }
    }
}
