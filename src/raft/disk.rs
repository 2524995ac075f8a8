//! The log's tables in redb: sealed records in, sealed records out. Keeps no order among writers
//! and caches nothing.
//!
//! redb detects most damage itself, but answers some of it with a panic. Every call runs under
//! `guarded`, which turns that into an error: a damaged disk must never take the process down.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use redb::backends::FileBackend;
use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};

use super::codec::{self, Format};
use super::crypt::{DataKey, RecordKind};
use super::durable_file;
use super::error::{StoreError, database};
use super::types::{Entry, LogId, Vote};

/// The database's name in a manager's directory.
pub(super) const LOG_FILE: &str = "raft.redb";

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<'_, u8, &[u8]> = TableDefinition::new("meta");

/// Pages kept in memory. Entries have their own cache, so that redb needs little.
const PAGE_CACHE_BYTES: usize = 2 << 20;

/// The tables, and the key that seals what is in them.
pub(super) struct Disk {
    database: Database,
    key: DataKey,
}

/// Where a store is, whose it is, and with what it is sealed.
#[derive(Clone)]
pub(super) struct Place {
    pub dir: PathBuf,
    pub key: DataKey,
    pub node_id: u64,
    #[cfg(test)]
    pub faults: std::sync::Arc<super::tests::faults::Faults>,
}

/// What a store held when it was opened.
pub(super) struct Found {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    /// Bytes of each entry's record, by index, without holes.
    pub sizes: Vec<(u64, u32)>,
    /// The newest entries, as many as fit into the cache.
    pub newest: Vec<Entry>,
}

/// One durable change to the tables.
pub(super) enum Change {
    /// Adds an entry's record.
    Put(u64, Vec<u8>),
    /// Removes all entries from an index on.
    Truncate(u64),
    /// Removes all entries up to an index, and remembers the last one's id.
    Purge(LogId),
    /// Replaces the vote.
    Vote(Vote),
    /// Replaces the last log id known to be committed.
    Committed(Option<LogId>),
}

impl Place {
    pub fn new(dir: PathBuf, key: DataKey, node_id: u64) -> Self {
        Self {
            dir,
            key,
            node_id,
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        }
    }

    /// Seals an entry's record.
    pub fn seal(&self, entry: &Entry) -> Result<Vec<u8>, StoreError> {
        let plain = codec::encode_entry(entry)?;
        Ok(self.key.seal(RecordKind::Entry, entry.log_id.index, plain))
    }

    #[cfg(not(test))]
    fn backend(&self, file: FileBackend) -> FileBackend {
        file
    }

    #[cfg(test)]
    fn backend(&self, file: FileBackend) -> super::tests::faults::FaultyFile {
        super::tests::faults::FaultyFile { file, faults: self.faults.clone() }
    }
}

impl Disk {
    /// Opens the store of a node, making it where it is missing.
    ///
    /// A new store gets its name once it is signed, so that a file cut to nothing is never taken
    /// for a new one.
    pub fn open(place: &Place) -> Result<Self, StoreError> {
        let dir = &place.dir;
        let path = dir.join(LOG_FILE);
        let io = |source| StoreError::Io { path: path.clone(), source };
        durable_file::create_private_dir(dir).map_err(io)?;
        if path.try_exists().map_err(io)? {
            return Self::open_file(&path, place);
        }
        let unfinished = dir.join(format!("{LOG_FILE}{}", durable_file::UNFINISHED));
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            Ok(()) | Err(_) => {}
        }
        durable_file::create_private(&unfinished).map_err(io)?;
        let disk = Self::open_file(&unfinished, place)?;
        std::fs::rename(&unfinished, &path).map_err(io)?;
        durable_file::sync_dir(dir).map_err(io)?;
        Ok(disk)
    }

    /// Opens the store again after a write to it failed.
    ///
    /// Pages that could not be written back may look written in the system's cache. They are
    /// dropped from it, so that the store is read as it is on disk.
    pub fn reopen(place: &Place) -> Result<Self, StoreError> {
        let path = place.dir.join(LOG_FILE);
        let io = |source| StoreError::Io { path: path.clone(), source };
        let file = durable_file::open_existing(&path).map_err(io)?;
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
            .map_err(|errno| io(errno.into()))?;
        Self::open_file(&path, place)
    }

    fn open_file(path: &Path, place: &Place) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        let file = durable_file::open_existing(path).map_err(io)?;
        let is_new = path.to_string_lossy().ends_with(durable_file::UNFINISHED);
        if !is_new && file.metadata().map_err(io)?.len() == 0 {
            return Err(StoreError::Damaged("the file is empty".to_owned()));
        }
        guarded(|| {
            let backend = place.backend(FileBackend::new(file).map_err(database)?);
            let database = Builder::new()
                .set_cache_size(PAGE_CACHE_BYTES)
                .set_check_integrity_on_open(true)
                .create_with_backend(backend)
                .map_err(database)?;
            let disk = Self { database, key: place.key.clone() };
            disk.check_format(place.node_id, is_new)?;
            Ok(disk)
        })
    }

    /// Checks who wrote the store and with which key, or signs a new one.
    fn check_format(&self, node_id: u64, is_new: bool) -> Result<(), StoreError> {
        let write = self.database.begin_write().map_err(database)?;
        {
            let mut meta = write.open_table(META).map_err(database)?;
            // Readers expect the table, even while it is empty.
            write.open_table(ENTRIES).map_err(database)?;
            let place = RecordKind::Format as u8;
            let found = meta.get(place).map_err(database)?.map(|sealed| sealed.value().to_vec());
            match found {
                Some(sealed) => {
                    let plain = self
                        .key
                        .open(RecordKind::Format, 0, &sealed)
                        .map_err(|_| StoreError::WrongKey)?;
                    let found = codec::decode_format(&plain)?.node_id;
                    return if found == node_id {
                        Ok(())
                    } else {
                        Err(StoreError::WrongNode { expected: node_id, found })
                    };
                }
                None if !is_new => {
                    return Err(StoreError::Damaged("the format record is missing".to_owned()));
                }
                None => {
                    let plain = codec::encode_format(&Format { node_id })?;
                    let sealed = self.key.seal(RecordKind::Format, 0, plain);
                    meta.insert(place, sealed.as_slice()).map_err(database)?;
                }
            }
        }
        write.commit().map_err(database)
    }

    /// Reads what is needed to go on where the store was left, with the newest entries up to a
    /// bound in bytes.
    pub fn load(&self, cache_bytes: u64) -> Result<Found, StoreError> {
        guarded(|| {
            let vote = self.meta(RecordKind::Vote, codec::decode_vote)?;
            let committed = self.meta(RecordKind::Committed, codec::decode_log_id)?;
            let purged = self.meta(RecordKind::Purged, codec::decode_log_id)?;
            let sizes = self.sizes(purged.as_ref())?;
            let newest = match sizes.last() {
                None => Vec::new(),
                Some((last, _)) => {
                    // The newest entry is read always: the log's end is known from it.
                    let first = first_fitting(&sizes, cache_bytes).unwrap_or(*last);
                    self.entries(first..last.saturating_add(1))?
                }
            };
            Ok(Found { vote, committed, purged, sizes, newest })
        })
    }

    /// Reads entries; those that are missing at either end of the range are left out.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<Entry>, StoreError> {
        guarded(|| self.entries(range))
    }

    fn entries(&self, range: Range<u64>) -> Result<Vec<Entry>, StoreError> {
        let read = self.database.begin_read().map_err(database)?;
        let table = read.open_table(ENTRIES).map_err(database)?;
        let mut entries = Vec::new();
        for record in table.range(range).map_err(database)? {
            let (index, sealed) = record.map_err(database)?;
            let index = index.value();
            let plain = self.key.open(RecordKind::Entry, index, sealed.value())?;
            let entry = codec::decode_entry(&plain)?;
            if entry.log_id.index != index {
                return Err(StoreError::Damaged(format!("entry {index} claims another place")));
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Finds the bytes of each record, and that none is missing.
    fn sizes(&self, purged: Option<&LogId>) -> Result<Vec<(u64, u32)>, StoreError> {
        let read = self.database.begin_read().map_err(database)?;
        let table = read.open_table(ENTRIES).map_err(database)?;
        let first = purged.map_or(0, |id| id.index + 1);
        let mut sizes = Vec::new();
        for (expected, record) in (first..).zip(table.iter().map_err(database)?) {
            let (index, sealed) = record.map_err(database)?;
            if index.value() != expected {
                return Err(StoreError::Hole { expected });
            }
            sizes.push((expected, record_size(sealed.value())));
        }
        Ok(sizes)
    }

    fn meta<T>(
        &self,
        kind: RecordKind,
        decode: fn(&[u8]) -> Result<T, codec::CodecError>,
    ) -> Result<Option<T>, StoreError> {
        let read = self.database.begin_read().map_err(database)?;
        let table = read.open_table(META).map_err(database)?;
        let Some(sealed) = table.get(kind as u8).map_err(database)? else { return Ok(None) };
        let plain = self.key.open(kind, 0, sealed.value())?;
        Ok(Some(decode(&plain)?))
    }

    /// Carries out changes in order, in one transaction.
    pub fn commit(&self, changes: &[Change], durable: bool) -> Result<(), StoreError> {
        guarded(|| {
            let mut write = self.database.begin_write().map_err(database)?;
            if !durable {
                write.set_durability(Durability::None).map_err(database)?;
            }
            for change in changes {
                self.change(&write, change)?;
            }
            write.commit().map_err(database)
        })
    }

    fn change(&self, write: &WriteTransaction, change: &Change) -> Result<(), StoreError> {
        let mut entries = write.open_table(ENTRIES).map_err(database)?;
        match change {
            Change::Put(index, sealed) => {
                entries.insert(index, sealed.as_slice()).map_err(database)?;
                Ok(())
            }
            Change::Truncate(from) => entries.retain_in(*from.., |_, _| false).map_err(database),
            Change::Purge(upto) => {
                entries.retain_in(..=upto.index, |_, _| false).map_err(database)?;
                self.put_meta(write, RecordKind::Purged, Some(codec::encode_log_id(upto)?))
            }
            Change::Vote(vote) => {
                self.put_meta(write, RecordKind::Vote, Some(codec::encode_vote(vote)?))
            }
            Change::Committed(id) => {
                let plain = id.as_ref().map(codec::encode_log_id).transpose()?;
                self.put_meta(write, RecordKind::Committed, plain)
            }
        }
    }

    fn put_meta(
        &self,
        write: &WriteTransaction,
        kind: RecordKind,
        plain: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let mut meta = write.open_table(META).map_err(database)?;
        match plain {
            Some(plain) => {
                let sealed = self.key.seal(kind, 0, plain);
                meta.insert(kind as u8, sealed.as_slice()).map_err(database)?;
            }
            None => {
                meta.remove(kind as u8).map_err(database)?;
            }
        }
        Ok(())
    }
}

/// Finds the first of the newest entries that fit together into so many bytes.
fn first_fitting(sizes: &[(u64, u32)], bytes_max: u64) -> Option<u64> {
    let mut room = bytes_max;
    let mut first = None;
    for (index, size) in sizes.iter().rev() {
        match room.checked_sub(u64::from(*size)) {
            Some(left) => room = left,
            None => break,
        }
        first = Some(*index);
    }
    first
}

/// Bytes of a record; no record comes near the bound.
pub(super) fn record_size(sealed: &[u8]) -> u32 {
    u32::try_from(sealed.len()).unwrap_or(u32::MAX)
}

/// Runs a database call and turns a panic in it into an error.
fn guarded<T>(call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // The closure's state is dropped with the failed call, so that nothing half-changed is looked
    // at again: after an error the writer opens the store anew or refuses all further work.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let reason = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("unknown reason");
        Err(StoreError::Damaged(reason.lines().next().unwrap_or_default().to_owned()))
    })
}
