//! The one codec: what log entries and snapshots look like as bytes. Seals nothing and knows no
//! files.
//!
//! A record is a version byte and then MessagePack with field names, so that a later version may
//! add fields. The structs here are ours; openraft's own serde forms changed between its releases
//! and are not used.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::vote::RaftLeaderIdExt as _;
use openraft::{BasicNode, EntryPayload};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skep_core::{Proposal, State};
use thiserror::Error;

use super::types::{Entry, LogId, LogProposal, Membership, SnapshotMeta, Vote};

/// The version written. Versions up to it are read.
pub(super) const VERSION: u8 = 1;

/// Says why bytes are not a record.
#[derive(Debug, Error)]
pub enum CodecError {
    /// A newer version wrote it.
    #[error("the record has version {found}, newer than {VERSION}; run the version that wrote it")]
    Newer {
        /// The version found.
        found: u8,
    },
    /// The bytes do not decode.
    #[error("the record does not decode")]
    Decode(#[source] rmp_serde::decode::Error),
    /// The value does not encode.
    #[error("the record does not encode")]
    Encode(#[source] rmp_serde::encode::Error),
    /// There are no bytes.
    #[error("the record is empty")]
    Empty,
    /// It decodes, but to something that cannot be.
    #[error("the record is inconsistent: {0}")]
    Inconsistent(&'static str),
}

/// Who wrote a store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Format {
    /// Consensus id of the node.
    pub node_id: u64,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct StoredLogId {
    term: u64,
    node: u64,
    index: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct StoredVote {
    term: u64,
    node: u64,
    committed: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredMembership {
    log_id: Option<StoredLogId>,
    /// One set of voters, or two while the membership changes.
    voters: Vec<BTreeSet<u64>>,
    /// Addresses of voters and learners.
    nodes: BTreeMap<u64, String>,
}

#[derive(Serialize, Deserialize)]
enum StoredPayload {
    Blank,
    Proposal(Arc<Proposal>),
    Membership(StoredMembership),
}

#[derive(Serialize, Deserialize)]
struct StoredEntry {
    log_id: StoredLogId,
    payload: StoredPayload,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredSnapshot {
    last_log_id: Option<StoredLogId>,
    membership: StoredMembership,
    state: Arc<State>,
}

impl From<&LogId> for StoredLogId {
    fn from(id: &LogId) -> Self {
        Self { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
    }
}

impl From<StoredLogId> for LogId {
    fn from(id: StoredLogId) -> Self {
        Self::new(
            openraft::alias::LeaderIdOf::<super::types::TypeConfig>::new_committed(
                id.term, id.node,
            ),
            id.index,
        )
    }
}

impl From<&Vote> for StoredVote {
    fn from(vote: &Vote) -> Self {
        let leader = vote.leader_id;
        Self { term: leader.term, node: leader.node_id, committed: vote.committed }
    }
}

impl From<StoredVote> for Vote {
    fn from(stored: StoredVote) -> Self {
        Self { committed: stored.committed, ..Self::new(stored.term, stored.node) }
    }
}

impl StoredMembership {
    fn new(log_id: Option<&LogId>, membership: &openraft::Membership<u64, BasicNode>) -> Self {
        Self {
            log_id: log_id.map(Into::into),
            voters: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
        }
    }

    fn into_membership(self) -> Result<openraft::Membership<u64, BasicNode>, CodecError> {
        // A store that never saw a membership has no voters at all, which the checked constructor
        // refuses.
        if self.voters.is_empty() && self.nodes.is_empty() {
            return Ok(openraft::Membership::default());
        }
        let nodes: BTreeMap<u64, BasicNode> =
            self.nodes.into_iter().map(|(id, addr)| (id, BasicNode { addr })).collect();
        openraft::Membership::new(self.voters, nodes)
            .map_err(|_| CodecError::Inconsistent("a voter has no address"))
    }
}

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// An entry of the log.
    Entry,
    /// A vote.
    Vote,
    /// The place of an entry.
    LogId,
    /// Who wrote a store.
    Format,
    /// A state with its place.
    Snapshot,
}

impl Record {
    /// Reads a record and writes it as this version does, to tell whether bytes are one.
    ///
    /// # Errors
    /// Says why they are none.
    pub fn rewrite(self, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::Entry => encode_entry(&decode_entry(bytes)?),
            Self::Vote => encode_vote(&decode_vote(bytes)?),
            Self::LogId => encode_log_id(&decode_log_id(bytes)?),
            Self::Format => encode_format(&decode_format(bytes)?),
            Self::Snapshot => {
                let (meta, state) = decode_snapshot(bytes)?;
                encode_snapshot(&meta, &state)
            }
        }
    }
}

/// Encodes a log entry.
pub(super) fn encode_entry(entry: &Entry) -> Result<Vec<u8>, CodecError> {
    let payload = match &entry.payload {
        EntryPayload::Blank => StoredPayload::Blank,
        EntryPayload::Normal(proposal) => StoredPayload::Proposal(Arc::clone(&proposal.0)),
        EntryPayload::Membership(membership) => {
            StoredPayload::Membership(StoredMembership::new(None, membership))
        }
    };
    encode(&StoredEntry { log_id: (&entry.log_id).into(), payload })
}

/// Decodes a log entry.
pub(super) fn decode_entry(bytes: &[u8]) -> Result<Entry, CodecError> {
    let stored: StoredEntry = decode(bytes)?;
    let payload = match stored.payload {
        StoredPayload::Blank => EntryPayload::Blank,
        StoredPayload::Proposal(proposal) => EntryPayload::Normal(LogProposal(proposal)),
        StoredPayload::Membership(membership) => {
            EntryPayload::Membership(membership.into_membership()?)
        }
    };
    Ok(Entry { log_id: stored.log_id.into(), payload })
}

/// Encodes a vote.
pub(super) fn encode_vote(vote: &Vote) -> Result<Vec<u8>, CodecError> {
    encode(&StoredVote::from(vote))
}

/// Decodes a vote.
pub(super) fn decode_vote(bytes: &[u8]) -> Result<Vote, CodecError> {
    decode::<StoredVote>(bytes).map(Into::into)
}

/// Encodes a log id.
pub(super) fn encode_log_id(id: &LogId) -> Result<Vec<u8>, CodecError> {
    encode(&StoredLogId::from(id))
}

/// Decodes a log id.
pub(super) fn decode_log_id(bytes: &[u8]) -> Result<LogId, CodecError> {
    decode::<StoredLogId>(bytes).map(Into::into)
}

/// Encodes a store's format record.
pub(super) fn encode_format(format: &Format) -> Result<Vec<u8>, CodecError> {
    encode(format)
}

/// Decodes a store's format record.
pub(super) fn decode_format(bytes: &[u8]) -> Result<Format, CodecError> {
    decode(bytes)
}

/// Encodes a snapshot.
pub(super) fn encode_snapshot(
    meta: &SnapshotMeta,
    state: &Arc<State>,
) -> Result<Vec<u8>, CodecError> {
    let membership = &meta.last_membership;
    encode(&StoredSnapshot {
        last_log_id: meta.last_log_id.as_ref().map(Into::into),
        membership: StoredMembership::new(membership.log_id().as_ref(), membership.membership()),
        state: Arc::clone(state),
    })
}

/// Decodes a snapshot.
pub(super) fn decode_snapshot(bytes: &[u8]) -> Result<(SnapshotMeta, Arc<State>), CodecError> {
    let stored: StoredSnapshot = decode(bytes)?;
    let membership_at = stored.membership.log_id.map(Into::into);
    let meta = SnapshotMeta {
        last_log_id: stored.last_log_id.map(Into::into),
        last_membership: Membership::new(membership_at, stored.membership.into_membership()?),
    };
    Ok((meta, stored.state))
}

/// Encodes a value as a record.
///
/// # Errors
/// When it cannot be encoded.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![VERSION];
    rmp_serde::encode::write_named(&mut bytes, value).map_err(CodecError::Encode)?;
    Ok(bytes)
}

/// Decodes a record.
///
/// # Errors
/// Says why the bytes are no such record.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        None => Err(CodecError::Empty),
        Some((&VERSION, rest)) => rmp_serde::from_slice(rest).map_err(CodecError::Decode),
        Some((&found, _)) => Err(CodecError::Newer { found }),
    }
}
