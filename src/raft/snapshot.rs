//! Snapshots on disk: sealed, summed, one file each, written whole or not at all. Decides neither
//! when nor of what.
//!
//! A file is `SKEPSNAP`, a version byte, the sealed record, and a SHA-256 of all before it. The sum
//! tells a damaged file from one that another key sealed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use skep_core::State;

use super::codec;
use super::crypt::{DataKey, RecordKind};
use super::durable_file;
use super::error::SnapshotError;
use super::types::SnapshotMeta;
use skep_core::error::chain;

/// The directory of snapshots in a manager's directory.
pub(super) const SNAPSHOT_DIR: &str = "snapshots";

const SUFFIX: &str = ".snapshot";
const MAGIC: &[u8; 9] = b"SKEPSNAP\x01";
const SUM_BYTES: usize = 32;

/// Snapshots kept. The older one helps as long as the log still reaches back to it.
const KEPT: usize = 2;

/// The snapshots of a node.
pub(super) struct SnapshotStore {
    dir: PathBuf,
    key: DataKey,
    /// Held while a file is written; true once the node stops.
    closed: Mutex<bool>,
    /// Bytes of the newest one.
    newest_bytes: AtomicU64,
    #[cfg(test)]
    pub faults: Arc<super::tests::faults::Faults>,
}

/// A snapshot as it was read or written.
#[derive(Clone)]
pub(super) struct Loaded {
    pub meta: SnapshotMeta,
    pub state: Arc<State>,
}

impl SnapshotStore {
    /// Opens the directory, making it where it is missing, and clears what a crash left unfinished.
    pub fn open(dir: &Path, key: DataKey) -> Result<Self, SnapshotError> {
        let dir = dir.join(SNAPSHOT_DIR);
        let store = Self {
            dir,
            key,
            closed: Mutex::new(false),
            newest_bytes: AtomicU64::new(0),
            #[cfg(test)]
            faults: Arc::default(),
        };
        store.prepare().map_err(|source| store.io(source))?;
        Ok(store)
    }

    #[cfg(test)]
    pub fn with_faults(self, faults: Arc<super::tests::faults::Faults>) -> Self {
        Self { faults, ..self }
    }

    fn prepare(&self) -> io::Result<()> {
        durable_file::create_private_dir(&self.dir)?;
        for file in std::fs::read_dir(&self.dir)? {
            let path = file?.path();
            if path.to_string_lossy().ends_with(durable_file::UNFINISHED) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Tells whether there is no snapshot file at all.
    pub fn is_empty(&self) -> Result<bool, SnapshotError> {
        self.indexes().map(|indexes| indexes.is_empty()).map_err(|source| self.io(source))
    }

    /// Reads the newest snapshot that is whole. `purged` is the last entry that the log has no
    /// more: a snapshot must reach it, or nothing can be rebuilt.
    pub fn load_newest(&self, purged: Option<u64>) -> Result<Option<Loaded>, SnapshotError> {
        let mut newest_error = None;
        for index in self.indexes().map_err(|source| self.io(source))?.into_iter().rev() {
            if purged.is_some_and(|purged| index < purged) {
                break;
            }
            match self.read(index) {
                Ok(loaded) => return Ok(Some(loaded)),
                Err(error) => {
                    tracing::warn!(
                        error = %chain(&error),
                        "snapshot unreadable, an older one and the log are used instead"
                    );
                    newest_error.get_or_insert(Box::new(error));
                }
            }
        }
        match purged {
            None => Ok(None),
            Some(needed) => Err(SnapshotError::TooOld { needed, newest: newest_error }),
        }
    }

    /// Writes a snapshot and removes those that are not needed any more. Blocks.
    pub fn save(&self, meta: &SnapshotMeta, state: &Arc<State>) -> Result<(), SnapshotError> {
        let index = meta.last_log_id.as_ref().map_or(0, |id| id.index);
        let name = file_name(index);
        let path = self.dir.join(&name);
        let plain = codec::encode_snapshot(meta, state)
            .map_err(|source| SnapshotError::Codec { path: path.clone(), source })?;
        let sealed = self.key.seal(RecordKind::Snapshot, index, plain);
        self.set_bytes(MAGIC.len() + sealed.len() + SUM_BYTES);
        let sum = Sha256::new().chain_update(MAGIC).chain_update(&sealed).finalize();

        let closed = self.closed.lock();
        if *closed {
            return Err(SnapshotError::Closed);
        }
        #[cfg(test)]
        self.faults.write().map_err(|source| SnapshotError::Io { path: path.clone(), source })?;
        durable_file::replace(&self.dir, &name, &[MAGIC, &sealed, &sum])
            .map_err(|source| SnapshotError::Io { path, source })?;
        self.prune().map_err(|source| self.io(source))
    }

    /// Returns the bytes of the newest snapshot that was read or is to be written.
    pub fn newest_bytes(&self) -> u64 {
        self.newest_bytes.load(Ordering::Relaxed)
    }

    fn set_bytes(&self, bytes: usize) {
        self.newest_bytes.store(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Waits for a write that is under way and refuses all that follow. Blocks.
    pub fn close(&self) {
        *self.closed.lock() = true;
    }

    /// Keeps files as they are while the guard lives.
    #[cfg(test)]
    pub fn hold(&self) -> parking_lot::MutexGuard<'_, bool> {
        self.closed.lock()
    }

    fn prune(&self) -> io::Result<()> {
        let mut indexes = self.indexes()?;
        indexes.truncate(indexes.len().saturating_sub(KEPT));
        for index in indexes {
            std::fs::remove_file(self.dir.join(file_name(index)))?;
        }
        durable_file::sync_dir(&self.dir)
    }

    fn read(&self, index: u64) -> Result<Loaded, SnapshotError> {
        let path = self.dir.join(file_name(index));
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(SnapshotError::Io { path, source }),
        };
        self.set_bytes(bytes.len());
        let Some(sealed) = checked(&bytes) else { return Err(SnapshotError::Damaged(path)) };
        let plain = match self.key.open(RecordKind::Snapshot, index, sealed) {
            Ok(plain) => plain,
            Err(source) => return Err(SnapshotError::Sealed { path, source }),
        };
        match codec::decode_snapshot(&plain) {
            Ok((meta, state)) => Ok(Loaded { meta, state }),
            Err(source) => Err(SnapshotError::Codec { path, source }),
        }
    }

    /// Lists the log indexes of the snapshots there are, oldest first.
    fn indexes(&self) -> io::Result<Vec<u64>> {
        let mut indexes = Vec::new();
        for file in std::fs::read_dir(&self.dir)? {
            let name = file?.file_name();
            let index = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            indexes.extend(index.and_then(|index| index.parse::<u64>().ok()));
        }
        indexes.sort_unstable();
        Ok(indexes)
    }

    fn io(&self, source: io::Error) -> SnapshotError {
        SnapshotError::Io { path: self.dir.clone(), source }
    }
}

fn file_name(index: u64) -> String {
    format!("{index:020}{SUFFIX}")
}

/// Returns the sealed record of a file whose frame and sum are right.
fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (summed, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM_BYTES)?)?;
    let sealed = summed.strip_prefix(MAGIC)?;
    (Sha256::digest(summed).as_slice() == sum).then_some(sealed)
}
