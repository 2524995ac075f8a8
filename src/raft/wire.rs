//! What managers say to one another, as frames. The same rules as for records on disk (`codec`): our own structs, a version
//! byte first. Sends nothing.

use std::sync::Arc;

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use skep_core::{Proposal, Rejected};

use super::codec::{self, CodecError, StoredLogId, StoredVote, decode_entry, encode, encode_entry};
use super::error::{ChangeError, ProposeError};
use super::membership::Change;
use super::types::{Entry, TypeConfig, Vote};

/// Bytes of entries that one frame carries; a single entry may be larger.
pub(super) const APPEND_BYTES_MAX: usize = 1 << 20;

/// A request with its sender and the node it is meant for: an address may have come to belong to another.
pub(super) struct Asked {
    pub from: u64,
    pub to: u64,
    pub request: Request,
}

/// What one manager asks of another.
pub(super) enum Request {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    TransferLeader(TransferLeaderRequest<TypeConfig>),
    /// Asks the leader up to where a state must be to hold every write acknowledged so far.
    ReadIndex,
    /// Asks the leader to propose.
    Propose(Arc<Proposal>),
    /// Asks the leader to change the membership.
    Change(Change),
}

/// What it is answered.
#[derive(Debug)]
pub(super) enum Answer {
    Append(AppendEntriesResponse<TypeConfig>),
    Vote(VoteResponse<TypeConfig>),
    /// Whether the peer took the lead over.
    TransferLeader(bool),
    ReadIndex(u64),
    Proposed(u64, Result<(), Rejected>),
    ProposeFailed(ProposeError),
    Changed(Result<(), ChangeError>),
    /// A snapshot arrived; the vote tells whether its sender still leads.
    Snapshot(Vote),
    /// Whoever asked for a vote was removed from the group.
    NotMember,
    /// The frame was meant for another node.
    WrongNode(u64),
    /// This node's consensus stopped.
    Stopped(String),
}

/// What comes before the bytes of a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SnapshotHeader {
    pub from: u64,
    pub to: u64,
    vote: StoredVote,
    pub bytes: u64,
    pub sha256: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct SentRequest {
    from: u64,
    to: u64,
    body: SentBody,
}

#[derive(Serialize, Deserialize)]
enum SentBody {
    Append(SentAppend),
    Vote(SentVoteRequest),
    PreVote(SentVoteRequest),
    TransferLeader(SentTransfer),
    ReadIndex,
    Propose(Arc<Proposal>),
    Change(Change),
}

#[derive(Serialize, Deserialize)]
struct SentAppend {
    vote: StoredVote,
    prev: Option<StoredLogId>,
    committed: Option<StoredLogId>,
    entries: Vec<ByteBuf>,
}

#[derive(Serialize, Deserialize)]
struct SentVoteRequest {
    vote: StoredVote,
    last: Option<StoredLogId>,
    transfer: bool,
}

#[derive(Serialize, Deserialize)]
struct SentTransfer {
    from: StoredVote,
    to: u64,
    last: Option<StoredLogId>,
}

#[derive(Serialize, Deserialize)]
enum SentAnswer {
    Appended,
    AppendedUpTo(Option<StoredLogId>),
    Conflict,
    HigherVote(StoredVote),
    Vote { vote: StoredVote, granted: bool, last: Option<StoredLogId> },
    TransferLeader(bool),
    ReadIndex(u64),
    Proposed(u64, Result<(), Rejected>),
    ProposeFailed(ProposeError),
    Changed(Result<(), ChangeError>),
    Snapshot(StoredVote),
    NotMember,
    WrongNode(u64),
    Stopped(String),
}

/// Entries encoded for one frame.
pub(super) struct Batch {
    entries: Vec<ByteBuf>,
    /// How many of those given it holds.
    pub count: usize,
}

impl Batch {
    /// Takes as many entries as fit, and one at least.
    pub fn new(entries: &[Entry]) -> Result<Self, CodecError> {
        let mut batch = Self { entries: Vec::new(), count: 0 };
        let mut bytes = 0;
        for entry in entries {
            let encoded = encode_entry(entry)?;
            bytes += encoded.len();
            if batch.count > 0 && bytes > APPEND_BYTES_MAX {
                break;
            }
            batch.entries.push(ByteBuf::from(encoded));
            batch.count += 1;
        }
        Ok(batch)
    }
}

/// Encodes an append of a batch; `request` gives everything but the entries.
pub(super) fn encode_append(
    from: u64,
    to: u64,
    request: &AppendEntriesRequest<TypeConfig>,
    batch: Batch,
) -> Result<Vec<u8>, CodecError> {
    let body = SentBody::Append(SentAppend {
        vote: (&request.vote).into(),
        prev: request.prev_log_id.as_ref().map(Into::into),
        committed: request.leader_commit.as_ref().map(Into::into),
        entries: batch.entries,
    });
    encode(&SentRequest { from, to, body })
}

/// Encodes a request.
pub(super) fn encode_request(asked: &Asked) -> Result<Vec<u8>, CodecError> {
    let (from, to) = (asked.from, asked.to);
    let vote_request = |request: &VoteRequest<TypeConfig>| SentVoteRequest {
        vote: (&request.vote).into(),
        last: request.last_log_id.as_ref().map(Into::into),
        transfer: request.leadership_transfer,
    };
    let body = match &asked.request {
        Request::Append(request) => {
            return encode_append(from, to, request, Batch::new(&request.entries)?);
        }
        Request::Vote(request) => SentBody::Vote(vote_request(request)),
        Request::PreVote(request) => SentBody::PreVote(vote_request(request)),
        Request::TransferLeader(request) => SentBody::TransferLeader(SentTransfer {
            from: request.from_leader().into(),
            to: *request.to_node_id(),
            last: request.last_log_id().map(Into::into),
        }),
        Request::ReadIndex => SentBody::ReadIndex,
        Request::Propose(proposal) => SentBody::Propose(Arc::clone(proposal)),
        Request::Change(change) => SentBody::Change(change.clone()),
    };
    encode(&SentRequest { from, to, body })
}

/// Decodes a request.
pub(super) fn decode_request(frame: &[u8]) -> Result<Asked, CodecError> {
    let SentRequest { from, to, body } = codec::decode(frame)?;
    let vote_request = |sent: SentVoteRequest| VoteRequest {
        vote: sent.vote.into(),
        last_log_id: sent.last.map(Into::into),
        leadership_transfer: sent.transfer,
    };
    let request = match body {
        SentBody::Append(sent) => {
            let entries: Result<Vec<Entry>, CodecError> =
                sent.entries.iter().map(|entry| decode_entry(entry)).collect();
            Request::Append(AppendEntriesRequest {
                vote: sent.vote.into(),
                prev_log_id: sent.prev.map(Into::into),
                entries: entries?,
                leader_commit: sent.committed.map(Into::into),
            })
        }
        SentBody::Vote(sent) => Request::Vote(vote_request(sent)),
        SentBody::PreVote(sent) => Request::PreVote(vote_request(sent)),
        SentBody::TransferLeader(sent) => Request::TransferLeader(TransferLeaderRequest::new(
            sent.from.into(),
            sent.to,
            sent.last.map(Into::into),
        )),
        SentBody::ReadIndex => Request::ReadIndex,
        SentBody::Propose(proposal) => Request::Propose(proposal),
        SentBody::Change(change) => Request::Change(change),
    };
    Ok(Asked { from, to, request })
}

/// Encodes an answer.
pub(super) fn encode_answer(answer: Answer) -> Result<Vec<u8>, CodecError> {
    let sent = match answer {
        Answer::Append(AppendEntriesResponse::Success) => SentAnswer::Appended,
        Answer::Append(AppendEntriesResponse::PartialSuccess(upto)) => {
            SentAnswer::AppendedUpTo(upto.as_ref().map(Into::into))
        }
        Answer::Append(AppendEntriesResponse::Conflict) => SentAnswer::Conflict,
        Answer::Append(AppendEntriesResponse::HigherVote(vote)) => {
            SentAnswer::HigherVote((&vote).into())
        }
        Answer::Vote(response) => SentAnswer::Vote {
            vote: (&response.vote).into(),
            granted: response.vote_granted,
            last: response.last_log_id.as_ref().map(Into::into),
        },
        Answer::TransferLeader(taken) => SentAnswer::TransferLeader(taken),
        Answer::ReadIndex(index) => SentAnswer::ReadIndex(index),
        Answer::Proposed(index, outcome) => SentAnswer::Proposed(index, outcome),
        Answer::ProposeFailed(error) => SentAnswer::ProposeFailed(error),
        Answer::Changed(outcome) => SentAnswer::Changed(outcome),
        Answer::Snapshot(vote) => SentAnswer::Snapshot((&vote).into()),
        Answer::NotMember => SentAnswer::NotMember,
        Answer::WrongNode(id) => SentAnswer::WrongNode(id),
        Answer::Stopped(reason) => SentAnswer::Stopped(reason),
    };
    encode(&sent)
}

/// Decodes an answer.
pub(super) fn decode_answer(frame: &[u8]) -> Result<Answer, CodecError> {
    Ok(match codec::decode(frame)? {
        SentAnswer::Appended => Answer::Append(AppendEntriesResponse::Success),
        SentAnswer::AppendedUpTo(upto) => {
            Answer::Append(AppendEntriesResponse::PartialSuccess(upto.map(Into::into)))
        }
        SentAnswer::Conflict => Answer::Append(AppendEntriesResponse::Conflict),
        SentAnswer::HigherVote(vote) => {
            Answer::Append(AppendEntriesResponse::HigherVote(vote.into()))
        }
        SentAnswer::Vote { vote, granted, last } => {
            Answer::Vote(VoteResponse::new(Vote::from(vote), last.map(Into::into), granted))
        }
        SentAnswer::TransferLeader(taken) => Answer::TransferLeader(taken),
        SentAnswer::ReadIndex(index) => Answer::ReadIndex(index),
        SentAnswer::Proposed(index, outcome) => Answer::Proposed(index, outcome),
        SentAnswer::ProposeFailed(error) => Answer::ProposeFailed(error),
        SentAnswer::Changed(outcome) => Answer::Changed(outcome),
        SentAnswer::Snapshot(vote) => Answer::Snapshot(vote.into()),
        SentAnswer::NotMember => Answer::NotMember,
        SentAnswer::WrongNode(id) => Answer::WrongNode(id),
        SentAnswer::Stopped(reason) => Answer::Stopped(reason),
    })
}

impl SnapshotHeader {
    /// Makes the header of a snapshot.
    pub fn new(from: u64, to: u64, vote: &Vote, bytes: u64, sha256: [u8; 32]) -> Self {
        Self { from, to, vote: vote.into(), bytes, sha256 }
    }

    /// Returns the sender's vote.
    pub fn vote(&self) -> Vote {
        self.vote.clone().into()
    }

    /// Encodes it.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        encode(self)
    }

    /// Decodes it.
    pub fn decode(frame: &[u8]) -> Result<Self, CodecError> {
        codec::decode(frame)
    }
}
