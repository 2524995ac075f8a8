//! What the log looks like to readers: its ends, the newest entries, the vote. Ahead of the disk
//! while writes are under way.

use std::collections::BTreeMap;
use std::ops::Range;

use super::disk::Found;
use super::types::{Entry, LogId, Vote};

/// The readable view of the log. An entry that is not in `cached` is on disk.
pub(super) struct Tail {
    cached: BTreeMap<u64, Cached>,
    /// Bytes of the records on disk, by index.
    sizes: BTreeMap<u64, u32>,
    cached_bytes: u64,
    stored_bytes: u64,
    cache_bytes_max: u64,
    last: Option<LogId>,
    pub purged: Option<LogId>,
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
}

struct Cached {
    entry: Entry,
    /// Bytes of its record, once that is on disk.
    durable: Option<u32>,
}

/// A range of entries: what the tail has of it, and what is left for the disk.
pub(super) struct Lookup {
    pub on_disk: Range<u64>,
    pub cached: Vec<Entry>,
}

impl Tail {
    pub fn new(found: Found, cache_bytes_max: u64) -> Self {
        let sizes: BTreeMap<u64, u32> = found.sizes.into_iter().collect();
        let mut cached = BTreeMap::new();
        let mut cached_bytes = 0;
        for entry in found.newest {
            let durable = sizes.get(&entry.log_id.index).copied();
            cached_bytes += u64::from(durable.unwrap_or_default());
            cached.insert(entry.log_id.index, Cached { entry, durable });
        }
        let last = cached.last_key_value().map(|(_, newest)| newest.entry.log_id).or(found.purged);
        let stored_bytes = sizes.values().map(|size| u64::from(*size)).sum();
        Self {
            cached,
            sizes,
            cached_bytes,
            stored_bytes,
            cache_bytes_max,
            last,
            purged: found.purged,
            vote: found.vote,
            committed: found.committed,
        }
    }

    /// Makes entries readable before they are durable.
    pub fn append(&mut self, entries: &[Entry]) {
        for entry in entries {
            let index = entry.log_id.index;
            self.cached.insert(index, Cached { entry: entry.clone(), durable: None });
        }
        if let Some(newest) = entries.last() {
            self.last = Some(newest.log_id);
        }
    }

    /// Notes that an entry's record is on disk, unless the entry was replaced since, and lets old
    /// entries go.
    pub fn stored(&mut self, id: &LogId, size: u32) {
        let Some(cached) = self.cached.get_mut(&id.index) else { return };
        if cached.entry.log_id != *id || cached.durable.is_some() {
            return;
        }
        cached.durable = Some(size);
        self.sizes.insert(id.index, size);
        self.cached_bytes += u64::from(size);
        self.stored_bytes += u64::from(size);
        self.evict();
    }

    /// Keeps the newest entry always: the log's end is read from it.
    fn evict(&mut self) {
        while self.cached_bytes > self.cache_bytes_max && self.cached.len() > 1 {
            let Some(oldest) = self.cached.first_entry() else { return };
            let Some(size) = oldest.get().durable else { return };
            self.cached_bytes -= u64::from(size);
            oldest.remove();
        }
    }

    /// Forgets all entries from an index on. `last` is the entry before it.
    pub fn truncate(&mut self, from: u64, last: Option<LogId>) {
        if self.last.as_ref().is_none_or(|newest| newest.index < from) {
            return;
        }
        let gone = self.cached.split_off(&from);
        self.forget(gone);
        let sizes = self.sizes.split_off(&from);
        self.stored_bytes -= sizes.values().map(|size| u64::from(*size)).sum::<u64>();
        self.last = last.max(self.purged);
    }

    /// Forgets all entries up to and with one.
    pub fn purge(&mut self, upto: LogId) {
        let next = upto.index.saturating_add(1);
        let kept = self.cached.split_off(&next);
        let gone = std::mem::replace(&mut self.cached, kept);
        self.forget(gone);
        let kept = self.sizes.split_off(&next);
        let gone = std::mem::replace(&mut self.sizes, kept);
        self.stored_bytes -= gone.values().map(|size| u64::from(*size)).sum::<u64>();
        if self.last.as_ref().is_none_or(|last| last.index < upto.index) {
            self.last = Some(upto);
        }
        self.purged = Some(upto);
    }

    fn forget(&mut self, gone: BTreeMap<u64, Cached>) {
        let bytes: u64 = gone.values().map(|cached| u64::from(cached.durable.unwrap_or(0))).sum();
        self.cached_bytes -= bytes;
    }

    /// Returns the entries of a range that are here, and which to read from disk.
    pub fn lookup(&self, range: Range<u64>) -> Lookup {
        let oldest = self.sizes.keys().next().into_iter().chain(self.cached.keys().next()).min();
        let start = oldest.copied().unwrap_or_default().max(range.start);
        let end = self.last.as_ref().map_or(0, |id| id.index + 1).min(range.end).max(start);
        let cached: Vec<Entry> =
            self.cached.range(start..end).map(|(_, cached)| cached.entry.clone()).collect();
        let boundary = self.cached.keys().next().copied().unwrap_or(end).clamp(start, end);
        Lookup { on_disk: start..boundary, cached }
    }

    /// Shortens a range to so many bytes of records, but never to nothing. What is not on disk yet does not count: there is
    /// little of it.
    pub fn bounded_end(&self, range: Range<u64>, bytes_max: u64) -> u64 {
        let mut bytes = 0;
        for (index, size) in self.sizes.range(range.clone()) {
            bytes += u64::from(*size);
            if bytes > bytes_max && *index > range.start {
                return *index;
            }
        }
        range.end
    }

    pub fn last(&self) -> Option<&LogId> {
        self.last.as_ref()
    }

    /// Bytes of all records of the log on disk.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }
}
