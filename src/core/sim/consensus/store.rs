//! What a member has on its disk: its vote, its log, a snapshot. Outlives crashes, but for what was not written yet.

use std::sync::Arc;

use super::{Entry, Members, Payload};

/// A state as a snapshot holds it.
#[derive(Debug, Clone, Default)]
pub(in crate::sim) struct Snapshot {
    pub(in crate::sim) index: u64,
    pub(in crate::sim) term: u64,
    pub(in crate::sim) members: Members,
    pub(in crate::sim) bytes: Vec<u8>,
}

/// A member's disk.
#[derive(Debug, Clone, Default)]
pub(in crate::sim) struct Store {
    pub(super) term: u64,
    pub(super) vote: Option<u64>,
    /// Up to where entries were known to be committed when something was last written.
    pub(super) committed: u64,
    pub(in crate::sim) snapshot: Arc<Snapshot>,
    /// What came before the first entry kept.
    base: (u64, u64),
    base_members: Members,
    entries: Vec<Arc<Entry>>,
    /// Index up to which entries are on disk; those of a leader are sent before.
    pub(super) synced: u64,
}

impl Store {
    /// Makes the disk of a member that has had these entries for long.
    pub(in crate::sim) fn founded(snapshot: Snapshot, entries: Vec<Arc<Entry>>) -> Self {
        let last = entries.len() as u64;
        Self {
            term: 1,
            vote: None,
            committed: last,
            base: (0, 0),
            base_members: snapshot.members.clone(),
            snapshot: Arc::new(snapshot),
            entries,
            synced: last,
        }
    }

    /// Returns index and term of the last entry.
    pub(super) fn last(&self) -> (u64, u64) {
        let term = self.entries.last().map_or(self.base.1, |entry| entry.term);
        (self.base.0 + self.entries.len() as u64, term)
    }

    pub(in crate::sim) fn last_index(&self) -> u64 {
        self.last().0
    }

    pub(super) fn base(&self) -> u64 {
        self.base.0
    }

    pub(in crate::sim) fn get(&self, index: u64) -> Option<&Arc<Entry>> {
        let place = usize::try_from(index.checked_sub(self.base.0 + 1)?).ok()?;
        self.entries.get(place)
    }

    /// Returns the term of an entry, or of what came before the first one.
    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.base.0 { Some(self.base.1) } else { self.get(index).map(|it| it.term) }
    }

    /// Returns the group as the newest entry says, with that entry's index.
    pub(super) fn members_at(&self) -> (u64, &Members) {
        let found =
            self.entries.iter().enumerate().rev().find_map(|(place, entry)| match &entry.payload {
                Payload::Members(members) => Some((self.base.0 + 1 + place as u64, members)),
                Payload::Blank | Payload::Write { .. } => None,
            });
        found.unwrap_or((self.base.0, &self.base_members))
    }

    pub(in crate::sim) fn members(&self) -> &Members {
        self.members_at().1
    }

    pub(super) fn push(&mut self, entry: Arc<Entry>) -> u64 {
        self.entries.push(entry);
        self.last_index()
    }

    /// Drops all entries from `index` on.
    pub(in crate::sim) fn truncate(&mut self, index: u64) {
        let kept = index.saturating_sub(self.base.0 + 1);
        self.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        self.synced = self.synced.min(self.last_index());
        self.committed = self.committed.min(self.last_index());
    }

    pub(in crate::sim) fn synced(&self) -> u64 {
        self.synced
    }

    /// Drops all entries up to `index`.
    fn purge(&mut self, index: u64) {
        let count = index.saturating_sub(self.base.0);
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.entries.len());
        for entry in self.entries.drain(..count) {
            self.base = (self.base.0 + 1, entry.term);
            if let Payload::Members(members) = &entry.payload {
                self.base_members = members.clone();
            }
        }
    }

    /// Takes a snapshot of what was applied, and keeps `kept` entries that it covers.
    pub(in crate::sim) fn take_snapshot(&mut self, index: u64, bytes: Vec<u8>, kept: u64) {
        let Some(term) = self.term_at(index) else { return };
        let members = self.members_before(index);
        self.snapshot = Arc::new(Snapshot { index, term, members, bytes });
        self.purge(index.saturating_sub(kept));
    }

    fn members_before(&self, index: u64) -> Members {
        let count = usize::try_from(index.saturating_sub(self.base.0)).unwrap_or(usize::MAX);
        let found = self.entries.iter().take(count).rev().find_map(|entry| match &entry.payload {
            Payload::Members(members) => Some(members),
            Payload::Blank | Payload::Write { .. } => None,
        });
        found.unwrap_or(&self.base_members).clone()
    }

    /// Puts a snapshot in place of the log up to it.
    pub(super) fn install(&mut self, snapshot: &Arc<Snapshot>) {
        if self.term_at(snapshot.index) == Some(snapshot.term) {
            self.purge(snapshot.index);
        } else {
            self.entries.clear();
            self.base = (snapshot.index, snapshot.term);
            self.base_members = snapshot.members.clone();
        }
        self.snapshot = snapshot.clone();
        self.synced = self.last_index();
        self.committed = self.committed.max(snapshot.index);
    }

    /// Loses what was not written, but for up to `kept` entries of it.
    pub(in crate::sim) fn crash(&mut self, kept: u64) {
        let reached = self.last_index().min(self.synced + kept);
        self.truncate(reached + 1);
        self.synced = self.last_index();
    }
}
