//! Backups: what a cluster is at one moment in one sealed file, and a manager's store made from it. Knows no addresses but
//! what it is told, reads no log.
//!
//! A file is `SKEPBACK`, a version byte, the sealed record, and a SHA-256 of all before it. The sum tells a damaged file
//! from one that another key sealed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use openraft::vote::RaftLeaderIdExt as _;
use openraft::{BasicNode, Membership};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use skep_core::State;
use skep_core::id::NodeId;
use skep_core::time::Timestamp;
use thiserror::Error;
use zeroize::Zeroizing;

use super::codec::{self, CodecError};
use super::crypt::{DataKey, RecordKind};
use super::disk::{Change, Disk, LOG_FILE, Place};
use super::error::{RaftError, StoreError};
use super::snapshot::SnapshotStore;
use super::types::{LogId, SnapshotMeta, TypeConfig, Vote};

const MAGIC: &[u8; 9] = b"SKEPBACK\x01";
const SUM_BYTES: usize = 32;
const KEY_PREFIX: &str = "SKEPKEY-1-";

/// Why bytes are not a backup that can be used.
#[derive(Debug, Error)]
pub enum BackupError {
    /// They are something else.
    #[error("this is not a backup of skep")]
    Foreign,
    /// They were cut short or altered.
    #[error("the backup is damaged; take another one")]
    Damaged,
    /// They are whole, but sealed with another key.
    #[error("the key is not the one the backup was made with")]
    WrongKey,
    /// The content does not encode or decode.
    #[error("the backup cannot be read")]
    Codec(#[from] CodecError),
}

/// The text is not a key for backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this is not a key for backups, which begins with {KEY_PREFIX}")]
pub struct BackupKeyError;

/// The key that seals backups; its holder can read every secret in them.
#[derive(Clone, PartialEq, Eq)]
pub struct BackupKey(DataKey);

impl fmt::Debug for BackupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackupKey(<redacted>)")
    }
}

impl BackupKey {
    /// Draws a new key from the system's randomness.
    pub fn generate() -> Self {
        Self(DataKey::generate())
    }

    /// Reads the text of a key, with or without white space around it.
    ///
    /// # Errors
    /// Says that it is none.
    pub fn parse(text: &str) -> Result<Self, BackupKeyError> {
        let encoded = text.trim().strip_prefix(KEY_PREFIX).ok_or(BackupKeyError)?;
        let bytes = STANDARD_NO_PAD.decode(encoded).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| BackupKeyError)?;
        let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| BackupKeyError)?;
        Ok(Self(DataKey::from_bytes(bytes)))
    }

    /// Writes the key as text: `SKEPKEY-1-` and base64.
    pub fn to_text(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(STANDARD_NO_PAD.encode(self.0.as_bytes()));
        Zeroizing::new(format!("{KEY_PREFIX}{}", *encoded))
    }
}

/// What a cluster was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// When it was taken, by the clock of the manager that took it.
    pub made_at: Timestamp,
    /// The manager that took it, and that a restored one will be.
    pub node: NodeId,
    /// Everything, secrets and keys of the cluster included.
    pub state: Arc<State>,
}

impl Backup {
    /// Seals a backup as the bytes of a file.
    ///
    /// # Errors
    /// Says why it does not encode.
    pub fn seal(&self, key: &BackupKey) -> Result<Vec<u8>, BackupError> {
        let sealed = key.0.seal(RecordKind::Backup, 0, codec::encode(self)?);
        let mut bytes = Vec::with_capacity(MAGIC.len() + sealed.len() + SUM_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&sealed);
        let sum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&sum);
        Ok(bytes)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// Says why they cannot be used.
    pub fn open(bytes: &[u8], key: &BackupKey) -> Result<Self, BackupError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(BackupError::Foreign)?;
        let sealed_bytes = rest.len().checked_sub(SUM_BYTES).ok_or(BackupError::Damaged)?;
        let (sealed, sum) = rest.split_at_checked(sealed_bytes).ok_or(BackupError::Damaged)?;
        let summed = Sha256::new().chain_update(MAGIC).chain_update(sealed).finalize();
        if summed.as_slice() != sum {
            return Err(BackupError::Damaged);
        }
        let plain = key.0.open(RecordKind::Backup, 0, sealed).map_err(|_| BackupError::WrongKey)?;
        Ok(codec::decode(&plain)?)
    }
}

/// Makes the store of a manager that is the only member of its group and begins where `state` ends. Blocks; there must be
/// no store yet.
///
/// # Errors
/// Says why it cannot be written.
pub fn found_from(
    dir: &Path,
    key: DataKey,
    node_id: u64,
    address: &str,
    state: &Arc<State>,
) -> Result<(), RaftError> {
    if dir.join(LOG_FILE).exists() {
        return Err(RaftError::AlreadyInitialised);
    }
    let leader = openraft::alias::LeaderIdOf::<TypeConfig>::new_committed(1, node_id);
    let last = LogId::new(leader, state.index());
    let nodes = BTreeMap::from([(node_id, BasicNode { addr: address.to_owned() })]);
    let membership = Membership::new(vec![BTreeSet::from([node_id])], nodes)
        .map_err(|error| RaftError::Fatal(error.to_string()))?;
    let meta = SnapshotMeta {
        last_log_id: Some(last),
        last_membership: super::types::Membership::new(Some(last), membership),
    };
    SnapshotStore::open(dir, key.clone())?.save(&meta, state)?;
    let disk = Disk::open(&Place::new(dir.to_owned(), key, node_id))?;
    let changes =
        [Change::Vote(Vote::new(1, node_id)), Change::Purge(last), Change::Committed(Some(last))];
    Ok(disk.commit(&changes, true)?)
}

/// What was found in a manager's store.
#[derive(Debug)]
pub struct Checked {
    /// Index of the snapshot used, if there is one.
    pub snapshot: Option<u64>,
    /// Entries of the log that were read behind it.
    pub entries: u64,
    /// Those of them that are not known to be committed; another member may have others in their place.
    pub uncommitted: u64,
    /// What a start makes of them.
    pub state: State,
}

/// Reads all of a stopped manager's store as a start does, and every entry of its log. Blocks.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_store(dir: &Path, key: DataKey, node_id: u64) -> Result<Checked, RaftError> {
    /// Entries that are in memory at a time.
    const BATCH: u64 = 256;
    if !dir.join(LOG_FILE).exists() {
        return Err(StoreError::Damaged("the file is missing".to_owned()).into());
    }
    let snapshots = SnapshotStore::open(dir, key.clone())?;
    let disk = Disk::open(&Place::new(dir.to_owned(), key, node_id))?;
    let found = disk.load(0)?;
    let snapshot = snapshots.load_newest(found.purged.map(|id| id.index))?;
    let covered = snapshot.as_ref().and_then(|it| it.meta.last_log_id).map(|id| id.index);
    let mut state = snapshot.map_or_else(State::default, |loaded| State::clone(&loaded.state));
    let first = found.purged.map_or(0, |id| id.index + 1);
    let end = found.sizes.last().map_or(first, |(last, _)| last + 1);
    let committed = found.committed.map(|id| id.index).max(covered);
    let (mut entries, mut uncommitted) = (0, 0);
    let mut from = first;
    while from < end {
        let upto = from.saturating_add(BATCH).min(end);
        for entry in disk.read(from..upto)? {
            let index = entry.log_id.index;
            if covered.is_some_and(|covered| index <= covered) {
                continue;
            }
            entries += 1;
            uncommitted += u64::from(committed.is_none_or(|committed| index > committed));
            if let openraft::EntryPayload::Normal(proposal) = &entry.payload {
                // What was refused when it was committed is refused again.
                let _ = state.apply(index, &proposal.0);
            }
        }
        from = upto;
    }
    Ok(Checked { snapshot: covered, entries, uncommitted, state })
}
