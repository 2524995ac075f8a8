//! openraft's log storage: the readable tail in memory, the writer's queue behind it. Touches the
//! disk only to read old entries.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};

use super::disk::{Disk, Place};
use super::error::{StoreError, io_error};
use super::room::{Room, Writing};
use super::tail::Tail;
use super::types::{Entry, LogId, TypeConfig, Vote};
use super::writer::{QUEUE_MAX, Write, Writer};

/// Bytes of entries read at once to be sent; a single entry may be larger.
const READ_BYTES_MAX: u64 = 4 << 20;

/// What readers and the writer share.
pub(super) struct Shared {
    pub tail: Mutex<Tail>,
    /// Gone once the writer stopped, and while it could not be opened again for lack of room.
    pub disk: RwLock<Option<Disk>>,
    pub room: Arc<Room>,
    /// Transactions committed.
    pub commits: AtomicU64,
    /// Holds the writer back before it carries out a batch.
    #[cfg(test)]
    pub gate: Mutex<()>,
}

/// The log of a node. Copies are the same log.
#[derive(Clone)]
pub(super) struct LogStore {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Write>,
}

/// A reader of the log; does not keep the writer alive.
#[derive(Clone)]
pub(super) struct LogReader {
    shared: Arc<Shared>,
}

impl LogStore {
    /// Opens the log in a directory and starts its writer. Blocks.
    pub fn open(
        place: Place,
        cache_bytes: u64,
        room: Arc<Room>,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let disk = Disk::open(&place)?;
        let tail = Tail::new(disk.load(cache_bytes)?, cache_bytes);
        let shared = Arc::new(Shared {
            tail: Mutex::new(tail),
            disk: RwLock::new(Some(disk)),
            room,
            commits: AtomicU64::new(0),
            #[cfg(test)]
            gate: Mutex::new(()),
        });
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let path = place.dir.clone();
        let writer = Writer::spawn(Arc::clone(&shared), place, requests)
            .map_err(|source| StoreError::Io { path, source })?;
        Ok((Self { shared, queue }, writer))
    }

    /// Lets the writer finish what it has and close the database.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.queue.send(Write::Stop { done }).await.is_ok() {
            // An error means that the writer was gone before, which is as good.
            let _ = stopped.await;
        }
    }

    /// Returns the id of the last purged entry.
    pub fn purged(&self) -> Option<LogId> {
        self.shared.tail.lock().purged
    }

    /// Checks that log and snapshot reach what was known to be committed, so that a lost end is
    /// noticed.
    pub fn check_reaches_committed(&self, snapshot: Option<&LogId>) -> Result<(), StoreError> {
        let tail = self.shared.tail.lock();
        let index = |id: Option<&LogId>| id.map(|id| id.index);
        let reached = index(tail.last()).max(index(snapshot));
        if index(tail.committed.as_ref()) > reached {
            return Err(StoreError::Hole { expected: reached.map_or(0, |reached| reached + 1) });
        }
        Ok(())
    }

    /// Returns the bytes of the log on disk.
    pub fn stored_bytes(&self) -> u64 {
        self.shared.tail.lock().stored_bytes()
    }

    /// Returns how many transactions were committed since the log was opened.
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn reader(&self) -> LogReader {
        LogReader { shared: Arc::clone(&self.shared) }
    }

    async fn send(&self, request: Write) -> io::Result<()> {
        let closed = || io_error(&StoreError::Closed("stopped".to_owned()));
        self.queue.send(request).await.map_err(|_| closed())
    }
}

impl LogReader {
    /// Reads entries from disk. A store that the writer is about to open again is waited for.
    async fn read_disk(&self, wanted: Range<u64>) -> io::Result<Vec<Entry>> {
        loop {
            let mut writing = self.shared.room.writing();
            let (shared, range) = (Arc::clone(&self.shared), wanted.clone());
            let read = tokio::task::spawn_blocking(move || match shared.disk.read().as_ref() {
                Some(disk) => disk.read(range),
                None if shared.room.is_held() => Err(StoreError::Interrupted),
                None => Err(StoreError::Closed("stopped".to_owned())),
            });
            match read.await.map_err(io::Error::other)? {
                Err(error) if error.lacks_room() && *writing.borrow() != Writing::Ended => {
                    // The writer met the same failure and is bound to say what became of it.
                    if *writing.borrow() == Writing::Works && writing.changed().await.is_err() {
                        return Err(io_error(&error));
                    }
                    // The sender is held by `self`.
                    let _ = writing.wait_for(|writing| *writing != Writing::Held).await;
                }
                read => return read.map_err(|error| io_error(&error)),
            }
        }
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        let lookup = self.shared.tail.lock().lookup(half_open(&range));
        if lookup.on_disk.is_empty() {
            return Ok(lookup.cached);
        }
        let mut entries = self.read_disk(lookup.on_disk.clone()).await?;
        check_whole(&entries, &lookup.on_disk, self.shared.tail.lock().purged.as_ref())
            .map_err(|error| io_error(&error))?;
        entries.extend(lookup.cached);
        Ok(entries)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let end = self.shared.tail.lock().bounded_end(start..end, READ_BYTES_MAX);
        self.try_get_log_entries(start..end).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.tail.lock().vote)
    }
}

/// Checks that what the disk gave has no hole; its beginning may have been purged while it was
/// read.
fn check_whole(
    entries: &[Entry],
    wanted: &Range<u64>,
    purged: Option<&LogId>,
) -> Result<(), StoreError> {
    let first_kept = purged.map_or(0, |id| id.index + 1).max(wanted.start);
    let mut expected = entries.first().map_or(wanted.end, |entry| entry.log_id.index);
    if expected > first_kept {
        return Err(StoreError::Hole { expected: first_kept });
    }
    for entry in entries {
        if entry.log_id.index != expected {
            return Err(StoreError::Hole { expected });
        }
        expected += 1;
    }
    if expected < wanted.end { Err(StoreError::Hole { expected }) } else { Ok(()) }
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let tail = self.shared.tail.lock();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last().cloned() })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, saved) = oneshot::channel();
        self.send(Write::Vote { vote: *vote, done }).await?;
        saved.await.map_err(|_| io_error(&StoreError::Closed("stopped".to_owned())))??;
        self.shared.tail.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.shared.tail.lock().committed = committed;
        self.send(Write::Committed { id: committed }).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.tail.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, done: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.shared.tail.lock().append(&entries);
        self.send(Write::Append { entries, done }).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.as_ref().map_or(0, |id| id.index.saturating_add(1));
        self.shared.tail.lock().truncate(from, last);
        self.send(Write::Truncate { from }).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.shared.tail.lock().purge(upto);
        self.send(Write::Purge { upto }).await
    }
}
