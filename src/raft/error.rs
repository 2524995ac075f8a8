//! What can go wrong in consensus, as types. Each message says what an operator can do, where
//! something can be done.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::codec::CodecError;
use super::crypt::CryptError;
use super::room::lacks_room;

/// Says why the log on disk cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The system refused a file operation.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The disk, or what this user may have of it, is used up.
    #[error("the disk of the raft log is full; make room there")]
    Full(#[source] io::Error),
    /// A write before this one failed, so that the store must be opened again.
    #[error("an earlier write to the raft log failed")]
    Interrupted,
    /// Another process has the store open.
    #[error("the raft log is in use by another process")]
    InUse,
    /// The database refused; often a damaged file.
    #[error("the raft log is unreadable; restore the state directory from a backup")]
    Database(#[source] Box<redb::Error>),
    /// The database gave up in a way it should not.
    #[error("the raft log is damaged ({0}); restore the state directory from a backup")]
    Damaged(String),
    /// A record was altered.
    #[error("the raft log is damaged; restore the state directory from a backup")]
    Sealed(#[from] CryptError),
    /// A record does not decode.
    #[error("the raft log holds a record that cannot be read")]
    Codec(#[from] CodecError),
    /// An entry is missing.
    #[error("the raft log lacks entry {expected}; restore the state directory from a backup")]
    Hole {
        /// The first missing index.
        expected: u64,
    },
    /// The key is not the one the store was written with.
    #[error("the data key does not fit the raft log; restore the key file from a backup")]
    WrongKey,
    /// Another node wrote the store.
    #[error("the raft log belongs to node {found}, not to node {expected}")]
    WrongNode {
        /// Who opens it.
        expected: u64,
        /// Who wrote it.
        found: u64,
    },
    /// The store was closed, or an earlier write failed.
    #[error("the raft log is closed: {0}")]
    Closed(String),
}

impl StoreError {
    /// Tells whether the same write may succeed once there is room and the store is opened again.
    pub fn lacks_room(&self) -> bool {
        match self {
            Self::Full(_) | Self::Interrupted => true,
            Self::Io { source, .. } => lacks_room(source),
            Self::InUse
            | Self::Database(_)
            | Self::Damaged(_)
            | Self::Sealed(_)
            | Self::Codec(_)
            | Self::Hole { .. }
            | Self::WrongKey
            | Self::WrongNode { .. }
            | Self::Closed(_) => false,
        }
    }
}

/// Says why no snapshot can be used or written.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The system refused a file operation.
    #[error("cannot use the snapshot {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is cut short or its checksum does not match.
    #[error("the snapshot {} is damaged", .0.display())]
    Damaged(PathBuf),
    /// The file is whole, but sealed with another key or for another place.
    #[error("the snapshot {} does not fit the data key or its name", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// What did not fit.
        #[source]
        source: CryptError,
    },
    /// The content does not decode or encode.
    #[error("the snapshot {} cannot be read", path.display())]
    Codec {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CodecError,
    },
    /// The newest usable snapshot ends before the log begins.
    #[error(
        "no readable snapshot reaches entry {needed}, where the raft log begins; restore the state \
         directory from a backup, or remove it and join the cluster again"
    )]
    TooOld {
        /// The entry before the first one in the log.
        needed: u64,
        /// Why the newest snapshot cannot be used, if there is one.
        #[source]
        newest: Option<Box<SnapshotError>>,
    },
    /// The node is stopping.
    #[error("snapshots are closed")]
    Closed,
}

impl SnapshotError {
    /// Tells whether the same write may succeed once there is room.
    pub fn lacks_room(&self) -> bool {
        match self {
            Self::Io { source, .. } => lacks_room(source),
            Self::Damaged(_)
            | Self::Sealed { .. }
            | Self::Codec { .. }
            | Self::TooOld { .. }
            | Self::Closed => false,
        }
    }
}

/// Says how much room is missing, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error(
    "no space left on device: {} has {} KiB free, and {} KiB must be free before anything is \
     changed; make room there and try again, what runs goes on",
    dir.display(),
    free_bytes / 1024,
    needed_bytes.div_ceil(1024)
)]
pub struct NoRoom {
    /// The directory whose disk is full.
    pub dir: PathBuf,
    /// Bytes that are free there.
    pub free_bytes: u64,
    /// Bytes that must be free there.
    pub needed_bytes: u64,
}

/// Says why a node cannot take part in consensus.
#[derive(Debug, Error)]
pub enum RaftError {
    /// The log.
    #[error("cannot use the raft log")]
    Store(#[from] StoreError),
    /// The snapshots.
    #[error("cannot use the raft snapshots")]
    Snapshot(#[from] SnapshotError),
    /// The settings contradict each other.
    #[error("the raft settings are invalid: {0}")]
    Options(String),
    /// The node is a member of a cluster already.
    #[error("this node is already part of a cluster")]
    AlreadyInitialised,
    /// The disk is too full to begin.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// Consensus stopped for good.
    #[error("raft stopped: {0}")]
    Fatal(String),
    /// The log was not applied in time.
    #[error("the raft log was not applied within {seconds} s")]
    SlowRecovery {
        /// How long it was waited for.
        seconds: u64,
    },
}

/// Says why a proposal has no outcome, or a read no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum ProposeError {
    /// No leader was found in time; nothing was written.
    #[error("the cluster has no leader")]
    NoLeader,
    /// Another node leads; nothing was written.
    #[error("node {leader} leads the cluster")]
    NotLeader {
        /// Consensus id of the leader.
        leader: u64,
        /// Its address.
        address: String,
    },
    /// The deadline passed; it may have been written or not.
    #[error("the cluster did not answer in time")]
    Timeout,
    /// Leadership moved while the proposal was under way; it may have been written or not.
    #[error("the leader changed; it is not known whether the change was made")]
    Unknown,
    /// The disk is full; nothing was written.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The disk filled up while the proposal was under way; it is written once there is room.
    #[error("the change waits for room on the disk and is made once there is some: {0}")]
    Waits(NoRoom),
    /// This node's consensus stopped.
    #[error("raft stopped: {0}")]
    Stopped(String),
}

/// Says why the consensus group was not changed.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum ChangeError {
    /// It could not be proposed.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// Too few voters that answer would be left.
    #[error("the group would lose its quorum")]
    WouldLoseQuorum,
    /// There is no such member.
    #[error("node {0} is not a member of the group")]
    NotMember(u64),
    /// The learner lacks too much of the log; it may be asked again.
    #[error("node {0} has not caught up with the log yet")]
    NotCaughtUp(u64),
    /// Consensus does not take it.
    #[error("the group cannot be changed: {0}")]
    Refused(String),
}

/// Wraps an error of the database, whichever of its many types it has.
pub(super) fn database(error: impl Into<redb::Error>) -> StoreError {
    let error = error.into();
    if matches!(error, redb::Error::DatabaseAlreadyOpen) {
        return StoreError::InUse;
    }
    if matches!(error, redb::Error::PreviousIo) {
        return StoreError::Interrupted;
    }
    if let redb::Error::Io(error) = error {
        return if lacks_room(&error) {
            StoreError::Full(error)
        } else {
            StoreError::Database(Box::new(redb::Error::Io(error)))
        };
    }
    StoreError::Database(Box::new(error))
}

/// Turns an error into the form that openraft's storage traits ask for, with its causes in the
/// text.
pub(super) fn io_error(error: &dyn std::error::Error) -> io::Error {
    io::Error::other(skep_core::error::chain(error))
}
