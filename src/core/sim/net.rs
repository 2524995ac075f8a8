//! The links between machines: what is said, what gets through, and when. Streams keep their order; all else may not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::consensus::RaftMessage;
use super::random::Random;
use crate::command::Proposal;
use crate::id::{NodeId, TaskId};
use crate::model::task::TaskStatus;
use crate::time::Timestamp;
use crate::view::Part;

/// What machines say to one another.
#[derive(Debug, Clone)]
pub(super) enum Message {
    /// Consensus, from member to member.
    Raft { from: u64, to: u64, message: RaftMessage },
    /// A manager asks the leader to propose something.
    Propose { ticket: u64, proposal: Proposal },
    /// What became of it.
    Proposed { ticket: u64, answer: Answer },
    /// A manager asks the leader how far a read must see.
    AskIndex { ticket: u64 },
    /// So far; or the one asked does not know.
    Index { ticket: u64, index: Option<u64> },
    /// A node that is to be a manager asks to be taken into the group; one that `learns` asks for its vote.
    Join { node: NodeId, id: u64, place: usize, learns: bool },
    /// The leader of a term does not have it in the group: it was taken out, or is to be no manager.
    NotTaken { id: u64, term: u64 },
    /// A node asks for a session.
    Open { node: NodeId, attempt: u64 },
    /// It has one.
    Opened { attempt: u64, session: String, told: Told },
    /// This manager does not lead, or the session is not the current one.
    Refused { attempt: u64, leader: Option<usize> },
    /// A sign of life.
    Beat { node: NodeId, session: String },
    /// It was heard.
    Beaten { session: String },
    /// What tasks came to.
    Report { node: NodeId, session: String, ticket: u64, statuses: Vec<(TaskId, TaskStatus)> },
    /// It is in the state, or not.
    Reported { ticket: u64, taken: bool },
    /// A node asks to be shown what it needs.
    Follow { node: NodeId, session: String },
    /// It is shown that.
    Shown { session: String, anew: bool, index: u64, parts: Vec<Part> },
    /// Who manages changed.
    Tell { session: String, told: Told },
    /// A manager ends the session.
    Ended { session: String, leader: Option<usize> },
    /// The connection of a session broke.
    Closed { node: NodeId, session: String },
}

/// What a node is told beside its tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Told {
    pub(super) managers: Vec<(NodeId, String)>,
}

/// What became of a proposal that another manager made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was applied at this index, and carried out or rejected.
    Applied { index: u64, rejected: Option<crate::state::Rejected> },
    /// Nothing was written.
    NotLeader,
    /// Nobody knows.
    Unknown,
    /// There is no room on the disk.
    NoRoom,
}

impl Message {
    /// Tells whether it belongs to a stream, in which nothing gets lost or overtakes.
    fn is_streamed(&self) -> bool {
        match self {
            Self::Opened { .. }
            | Self::Shown { .. }
            | Self::Tell { .. }
            | Self::Ended { .. }
            | Self::Follow { .. }
            | Self::Closed { .. } => true,
            Self::Raft { .. }
            | Self::Propose { .. }
            | Self::Proposed { .. }
            | Self::AskIndex { .. }
            | Self::Index { .. }
            | Self::Join { .. }
            | Self::Open { .. }
            | Self::Refused { .. }
            | Self::Beat { .. }
            | Self::Beaten { .. }
            | Self::Report { .. }
            | Self::NotTaken { .. }
            | Self::Reported { .. } => false,
        }
    }

    /// Tells whether it may come twice: what asks for nothing that may not be done again.
    fn may_repeat(&self) -> bool {
        matches!(self, Self::Raft { .. } | Self::Beat { .. })
    }
}

/// Nothing that the first machines send reaches the second ones, until a time.
struct Cut {
    from: BTreeSet<usize>,
    to: BTreeSet<usize>,
    since: Timestamp,
    until: Timestamp,
}

impl Cut {
    fn joins(&self, from: usize, to: usize) -> bool {
        self.from.contains(&from) && self.to.contains(&to)
    }
}

/// All links.
#[derive(Default)]
pub(super) struct Net {
    cuts: Vec<Cut>,
    /// Until when messages of these machines take long.
    slow: BTreeMap<usize, Timestamp>,
    /// When the last message of each stream came.
    streams: BTreeMap<(usize, usize), Timestamp>,
    /// Whether single messages get lost, come late, twice or in another order.
    pub(super) lossy: bool,
}

impl Net {
    pub(super) fn new(lossy: bool) -> Self {
        Self { lossy, ..Self::default() }
    }

    /// Cuts links in one direction.
    pub(super) fn cut(
        &mut self,
        from: BTreeSet<usize>,
        to: BTreeSet<usize>,
        (since, until): (Timestamp, Timestamp),
    ) {
        self.cuts.push(Cut { from, to, since, until });
    }

    /// Makes the links of a machine slow.
    pub(super) fn slow_down(&mut self, machine: usize, until: Timestamp) {
        self.slow.insert(machine, until);
    }

    /// Returns when all that is cut or slow is well again.
    pub(super) fn well_at(&self) -> Timestamp {
        let cuts = self.cuts.iter().map(|cut| cut.until);
        cuts.chain(self.slow.values().copied()).max().unwrap_or_default()
    }

    /// Returns until when nothing gets from one machine to the other, if that is so now.
    pub(super) fn cut_until(&self, from: usize, to: usize, now: Timestamp) -> Option<Timestamp> {
        let cuts = self.cuts.iter().filter(|cut| cut.until > now && cut.joins(from, to));
        cuts.map(|cut| cut.until).max()
    }

    /// Tells whether two machines reach each other.
    pub(super) fn reaches(&self, one: usize, other: usize, now: Timestamp) -> bool {
        self.cut_until(one, other, now).is_none() && self.cut_until(other, one, now).is_none()
    }

    /// Returns for how long nothing has got through in one of both directions.
    pub(super) fn cut_for(&self, one: usize, other: usize, now: Timestamp) -> Duration {
        let cuts = self
            .cuts
            .iter()
            .filter(|cut| cut.until > now && (cut.joins(one, other) || cut.joins(other, one)));
        cuts.map(|cut| now.since(cut.since)).max().unwrap_or_default()
    }

    /// Returns for how long nothing has been wrong between two machines.
    pub(super) fn well_for(&self, one: usize, other: usize, now: Timestamp) -> Duration {
        let cuts = self.cuts.iter().filter(|cut| cut.joins(one, other) || cut.joins(other, one));
        let slow = [one, other].into_iter().filter_map(|machine| self.slow.get(&machine));
        let last = cuts.map(|cut| cut.until).chain(slow.copied()).max();
        now.since(last.unwrap_or_default())
    }

    /// Returns when a message comes: never, once, or twice.
    pub(super) fn carry(
        &mut self,
        (from, to): (usize, usize),
        message: &Message,
        now: Timestamp,
        random: &mut Random,
    ) -> Vec<Timestamp> {
        let mut delay = Duration::from_micros(200 + random.below(2800));
        if from == to {
            return vec![now.after(delay)];
        }
        let is_slow = |machine| self.slow.get(&machine).is_some_and(|until| *until > now);
        if is_slow(from) || is_slow(to) {
            delay += random.millis(500);
        }
        if self.lossy && random.percent(4) {
            delay += random.millis(400);
        }
        let cut = self.cut_until(from, to, now);
        if message.is_streamed() {
            let last = self.streams.get(&(from, to)).copied().unwrap_or_default();
            let at = cut.unwrap_or(now).after(delay).max(Timestamp(last.0 + 1));
            self.streams.insert((from, to), at);
            return vec![at];
        }
        if cut.is_some() {
            return Vec::new();
        }
        if self.lossy && random.percent(2) {
            // What is sent over a connection comes later then; consensus has frames that do not.
            if matches!(message, Message::Raft { .. }) {
                return Vec::new();
            }
            delay += random.millis(800);
        }
        let mut times = vec![now.after(delay)];
        if self.lossy && message.may_repeat() && random.percent(2) {
            times.push(now.after(delay + random.millis(800)));
        }
        times
    }
}
