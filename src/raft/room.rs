//! Room on the disk: whether a proposal may enter, and what the node does while a write waits for
//! room. Writes nothing itself.
//!
//! No event tells that a disk has room again. So every proposal looks for itself, and a write that
//! found none is tried again after a pause, which a proposal that sees room cuts short.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::error::NoRoom;

/// The first and the longest pause between two tries of a write that found no room.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How the log's writer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Writing {
    /// Writes as it is asked to.
    Works,
    /// Holds a batch that found no room.
    Held,
    /// Writes no more.
    Ended,
}

/// The room of a manager's directory.
pub(super) struct Room {
    dir: PathBuf,
    /// Bytes that must be free before anything is proposed.
    bytes_min: AtomicU64,
    writing: watch::Sender<Writing>,
    /// Counts the looks that found room; a pause ends with it.
    looks: watch::Sender<u64>,
    /// Whether proposals were refused last, so that it is told once.
    refuses: AtomicBool,
    stopping: Mutex<bool>,
    woken: Condvar,
}

/// The growing pauses between tries.
pub(super) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(PAUSE_MIN)
    }
}

impl Pauses {
    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_MAX);
        pause
    }
}

impl Room {
    pub fn new(dir: PathBuf, bytes_min: u64) -> Self {
        Self {
            dir,
            bytes_min: AtomicU64::new(bytes_min),
            writing: watch::Sender::new(Writing::Works),
            looks: watch::Sender::new(0),
            refuses: AtomicBool::new(false),
            stopping: Mutex::new(false),
            woken: Condvar::new(),
        }
    }

    /// Lets a proposal in, or says how much room is missing. `snapshot_bytes` is what the next
    /// snapshot may need, for without one the log would only grow.
    pub async fn admit(&self, snapshot_bytes: u64) -> Result<(), NoRoom> {
        let needed_bytes = self.bytes_min().saturating_add(snapshot_bytes);
        // Where the system cannot tell, the write itself will.
        let free_bytes = free_bytes(&self.dir).unwrap_or(u64::MAX);
        if free_bytes < needed_bytes {
            let refusal = NoRoom { dir: self.dir.clone(), free_bytes, needed_bytes };
            if !self.refuses.swap(true, Ordering::Relaxed) {
                tracing::error!(error = %refusal, "changes are refused");
            }
            return Err(refusal);
        }
        if self.refuses.load(Ordering::Relaxed) && self.refuses.swap(false, Ordering::Relaxed) {
            tracing::info!("there is room on the disk again, changes are taken");
        }
        if !self.is_held() {
            return Ok(());
        }
        // There is room again: what waits for it goes first.
        self.wake();
        let mut writing = self.writing.subscribe();
        let goes_on = writing.wait_for(|writing| *writing != Writing::Held);
        match tokio::time::timeout(PAUSE_MAX, goes_on).await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.shortage()),
        }
    }

    /// Describes the room there is now.
    pub fn shortage(&self) -> NoRoom {
        NoRoom {
            dir: self.dir.clone(),
            free_bytes: free_bytes(&self.dir).unwrap_or_default(),
            needed_bytes: self.bytes_min(),
        }
    }

    fn bytes_min(&self) -> u64 {
        self.bytes_min.load(Ordering::Relaxed)
    }

    /// Asks for so many free bytes from now on.
    #[cfg(test)]
    pub fn require(&self, bytes_min: u64) {
        self.bytes_min.store(bytes_min, Ordering::Relaxed);
    }

    /// Watches the writer.
    pub fn writing(&self) -> watch::Receiver<Writing> {
        self.writing.subscribe()
    }

    /// Tells whether a write waits for room.
    pub fn is_held(&self) -> bool {
        *self.writing.borrow() == Writing::Held
    }

    /// Notes how the writer is.
    pub fn set(&self, writing: Writing) {
        self.writing.send_if_modified(|known| {
            let differs = *known != writing;
            *known = writing;
            differs
        });
    }

    /// Returns once a write waits for room.
    pub async fn held(&self) {
        // The sender lives as long as `self`.
        let _ = self.writing.subscribe().wait_for(|writing| *writing == Writing::Held).await;
    }

    /// Returns once a write has waited for room for so long that what is behind it may have come to a stop too. One that
    /// would find some is woken.
    pub async fn starved(&self) {
        loop {
            self.held().await;
            if free_bytes(&self.dir).is_ok_and(|free_bytes| free_bytes >= self.bytes_min()) {
                self.wake();
            }
            let mut writing = self.writing.subscribe();
            let goes_on = writing.wait_for(|writing| *writing != Writing::Held);
            if tokio::time::timeout(PAUSE_MAX, goes_on).await.is_err() {
                return;
            }
        }
    }

    /// Ends all pauses, for the node stops.
    pub fn stop(&self) {
        *self.stopping.lock() = true;
        self.wake();
    }

    fn wake(&self) {
        self.looks.send_modify(|looks| *looks += 1);
        self.woken.notify_all();
    }

    /// Waits before the next try; false when the node stops. Blocks.
    pub fn pause(&self, pauses: &mut Pauses) -> bool {
        let mut stopping = self.stopping.lock();
        if !*stopping {
            self.woken.wait_for(&mut stopping, pauses.next());
        }
        !*stopping
    }

    /// Waits before the next try; false when the node stops.
    pub async fn pause_async(&self, pauses: &mut Pauses) -> bool {
        let mut looks = self.looks.subscribe();
        if *self.stopping.lock() {
            return false;
        }
        // Either end of the wait means the same: try again.
        let _ = tokio::time::timeout(pauses.next(), looks.changed()).await;
        !*self.stopping.lock()
    }
}

/// Returns the bytes that are free where a directory is.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let found = statvfs(dir)?;
    Ok(found.blocks_available().saturating_mul(found.fragment_size()))
}

/// Tells whether the system refused for lack of room.
pub(super) fn lacks_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
