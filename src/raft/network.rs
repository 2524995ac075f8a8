//! openraft's way to other managers: turns its calls into frames for a `Transport`, and the answers back. Opens no
//! connection.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use openraft::alias::VoteOf;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use skep_core::State;
use skep_core::error::chain;
use tokio::sync::watch;

use super::codec::{self, CodecError};
use super::transport::{Lane, Peer, Transport, TransportError};
use super::types::{Snapshot, TypeConfig, Vote};
use super::wire::{self, Answer, Asked, Batch, Request, SnapshotHeader};

/// Bytes of a snapshot that one frame carries.
const CHUNK_BYTES: usize = 512 << 10;

/// The slowest link that still does, in bytes a second; large frames get their time from it.
const LINK_BYTES_MIN: u64 = 256 << 10;

/// How long a frame of entries may take beside what its size asks for.
const APPEND_LIMIT: Duration = Duration::from_secs(2);

/// How long a snapshot may take beside what its size asks for: the receiver writes it to its disk before it answers.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(60);

/// Where members are by the newest membership. Links outlive a change of address, so that they look here each time.
pub(super) type AddressBook = Arc<Mutex<BTreeMap<u64, String>>>;

/// Makes links to peers.
pub(super) struct Peers {
    pub node_id: u64,
    pub transport: Arc<dyn Transport>,
    pub addresses: AddressBook,
    /// Becomes true once a peer says that this node was removed.
    pub removed: watch::Sender<bool>,
}

/// The way to one peer, for one purpose.
pub(super) struct Link {
    node_id: u64,
    /// The peer, where it was when the link was made.
    made_for: Peer,
    addresses: AddressBook,
    lane: Lane,
    transport: Arc<dyn Transport>,
    removed: watch::Sender<bool>,
}

impl Peers {
    fn link(&self, target: u64, node: &BasicNode, lane: Lane) -> Link {
        Link {
            node_id: self.node_id,
            made_for: Peer { id: target, address: node.addr.clone() },
            addresses: Arc::clone(&self.addresses),
            lane,
            transport: Arc::clone(&self.transport),
            removed: self.removed.clone(),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Link {
        self.link(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &BasicNode) -> Link {
        self.link(target, node, Lane::Urgent)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &BasicNode) -> Link {
        self.link(target, node, Lane::Snapshot)
    }
}

impl Link {
    fn peer(&self) -> Peer {
        let known = self.addresses.lock().get(&self.made_for.id).cloned();
        let address = known.unwrap_or_else(|| self.made_for.address.clone());
        Peer { id: self.made_for.id, address }
    }

    async fn ask(
        &self,
        lane: Lane,
        frame: Result<Vec<u8>, CodecError>,
        limit: Duration,
    ) -> Result<Answer, Unreachable<TypeConfig>> {
        let frame = frame.map_err(|error| unreachable(&error))?;
        let answer = self.transport.call(&self.peer(), lane, frame, limit).await;
        self.answer(answer)
    }

    fn answer(
        &self,
        answer: Result<Vec<u8>, TransportError>,
    ) -> Result<Answer, Unreachable<TypeConfig>> {
        let frame = answer.map_err(|error| unreachable(&error))?;
        wire::decode_answer(&frame).map_err(|error| unreachable(&error))
    }

    fn request(&self, request: Request) -> Result<Vec<u8>, CodecError> {
        wire::encode_request(&Asked { from: self.node_id, to: self.made_for.id, request })
    }

    async fn ask_for_vote(
        &self,
        request: Request,
        option: &RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let answer = self.ask(Lane::Urgent, self.request(request), option.hard_ttl()).await?;
        if let Answer::Vote(response) = answer {
            return Ok(response);
        }
        if matches!(answer, Answer::NotMember) {
            self.removed.send_replace(true);
        }
        Err(self.unexpected(&answer).into())
    }

    fn unexpected(&self, answer: &Answer) -> Unreachable<TypeConfig> {
        let Peer { id, address } = self.peer();
        Unreachable::from_string(match answer {
            Answer::WrongNode(found) => {
                format!("at {address} is node {found}, not node {id}")
            }
            Answer::Stopped(reason) => format!("node {id} at {address} stopped: {reason}"),
            Answer::NotMember => format!("node {id} at {address} says that this node was removed"),
            Answer::Append(_)
            | Answer::Vote(_)
            | Answer::TransferLeader(_)
            | Answer::ReadIndex(_)
            | Answer::Proposed(..)
            | Answer::ProposeFailed(_)
            | Answer::Changed(_)
            | Answer::Snapshot(_) => {
                format!("node {id} at {address} answered something else than it was asked")
            }
        })
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<Vote, Unreachable<TypeConfig>> {
        let (from, to) = (self.node_id, self.made_for.id);
        let encoded = tokio::task::spawn_blocking(move || {
            let plain = codec::encode_snapshot(&snapshot.meta, &snapshot.snapshot)?;
            let sum = Sha256::digest(&plain).into();
            let header = SnapshotHeader::new(from, to, &vote, plain.len() as u64, sum);
            Ok::<_, CodecError>((header.encode()?, plain))
        });
        let (header, plain) = encoded
            .await
            .map_err(|error| unreachable(&error))?
            .map_err(|error| unreachable(&error))?;
        let limit = SNAPSHOT_LIMIT + time_for(plain.len());
        let plain = Arc::new(plain);
        let count = plain.len().div_ceil(CHUNK_BYTES);
        let chunks = stream::iter(0..count).map(move |number| {
            let start = number * CHUNK_BYTES;
            plain[start..plain.len().min(start + CHUNK_BYTES)].to_vec()
        });
        let frames = stream::iter([header]).chain(chunks).boxed();
        let answer = self.transport.stream(&self.peer(), frames, limit).await;
        let answer = self.answer(answer)?;
        if let Answer::Snapshot(vote) = answer { Ok(vote) } else { Err(self.unexpected(&answer)) }
    }
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = Arc<State>;

    async fn append_entries(
        &mut self,
        mut rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let batch = Batch::new(&rpc.entries).map_err(|error| unreachable(&error))?;
        let given = rpc.entries.len();
        rpc.entries.truncate(batch.count);
        let last = rpc.entries.last().map(|entry| entry.log_id);
        let frame = wire::encode_append(self.node_id, self.made_for.id, &rpc, batch)
            .map_err(|error| unreachable(&error))?;
        // What openraft allows is meant for a heartbeat. Entries may take longer than that.
        let limit = match self.lane {
            Lane::Urgent => option.hard_ttl(),
            Lane::Log | Lane::Client | Lane::Snapshot => APPEND_LIMIT + time_for(frame.len()),
        };
        let answer = self.ask(self.lane, Ok(frame), limit).await?;
        let Answer::Append(response) = answer else {
            return Err(self.unexpected(&answer).into());
        };
        if response.is_success() && rpc.entries.len() < given {
            // openraft goes on from there.
            return Ok(AppendEntriesResponse::PartialSuccess(last));
        }
        Ok(response)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_for_vote(Request::Vote(rpc), &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_for_vote(Request::PreVote(rpc), &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot) => Ok(SnapshotResponse::new(sent?)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let expected = request.last_log_id().copied();
        let frame = self.request(Request::TransferLeader(request));
        let answer = self.ask(Lane::Urgent, frame, option.hard_ttl()).await?;
        let Answer::TransferLeader(taken) = answer else {
            return Err(self.unexpected(&answer).into());
        };
        let late = TransferLeaderError::LogNotFlushed { expected, actual: None };
        Ok(if taken { Ok(()) } else { Err(late) })
    }
}

/// Returns the time that so many bytes may take on the slowest link.
pub(super) fn time_for(bytes: usize) -> Duration {
    Duration::from_millis(bytes as u64 * 1000 / LINK_BYTES_MIN)
}

/// Every failure makes openraft pause before it tries again: an answer that cannot be read is no better than none.
fn unreachable(error: &(dyn std::error::Error + 'static)) -> Unreachable<TypeConfig> {
    Unreachable::from_string(chain(error))
}
