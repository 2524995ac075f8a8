//! The receiving side: answers frames of other managers. The layer above decides who may send any.

use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use openraft::async_runtime::WatchReceiver;
use openraft::raft::VoteRequest;
use openraft::{RaftMetrics, ReadPolicy};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::RaftNode;
use super::codec::{self, CodecError};
use super::types::{LogId, LogProposal, Snapshot, TypeConfig};
use super::wire::{self, Answer, Asked, Request, SnapshotHeader};
use skep_core::error::chain;

/// Bytes of the largest snapshot taken.
const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;

/// Says why a frame has no answer.
#[derive(Debug, Error)]
pub enum FrameError {
    /// It does not decode, or the answer does not encode.
    #[error("the frame cannot be read")]
    Codec(#[from] CodecError),
    /// The stream broke off.
    #[error("the snapshot broke off")]
    Broken(#[source] io::Error),
    /// The snapshot is not what its header says.
    #[error("the snapshot is damaged: {0}")]
    Damaged(&'static str),
    /// Another snapshot is being taken in.
    #[error("another snapshot is under way")]
    Busy,
}

impl RaftNode {
    /// Answers a frame of another manager.
    ///
    /// # Errors
    /// Says why there is no answer.
    pub async fn handle(&self, frame: &[u8]) -> Result<Vec<u8>, FrameError> {
        let Asked { from, to, request } = wire::decode_request(frame)?;
        let answer = if to == self.inner.node_id {
            Box::pin(self.carry_out(from, request)).await
        } else {
            Answer::WrongNode(self.inner.node_id)
        };
        Ok(wire::encode_answer(answer)?)
    }

    async fn carry_out(&self, from: u64, request: Request) -> Answer {
        let stopped = |error: &dyn std::error::Error| Answer::Stopped(chain(error));
        let raft = &self.inner.raft;
        match request {
            Request::Append(request) => {
                raft.append_entries(request).await.map_or_else(|e| stopped(&e), Answer::Append)
            }
            Request::Vote(request) if self.was_removed(from, &request) => Answer::NotMember,
            Request::PreVote(request) if self.was_removed(from, &request) => Answer::NotMember,
            Request::Vote(request) => {
                raft.vote(request).await.map_or_else(|e| stopped(&e), Answer::Vote)
            }
            Request::PreVote(request) => {
                raft.pre_vote(request).await.map_or_else(|e| stopped(&e), Answer::Vote)
            }
            Request::TransferLeader(request) => match raft.handle_transfer_leader(request).await {
                Ok(taken) => Answer::TransferLeader(taken.is_ok()),
                Err(error) => stopped(&error),
            },
            Request::ReadIndex => {
                match self.read_index_here(ReadPolicy::ReadIndex, self.deadline()).await {
                    Ok(index) => Answer::ReadIndex(index),
                    Err(error) => Answer::ProposeFailed(error),
                }
            }
            Request::Propose(proposal) => {
                match self.propose_here(&LogProposal(proposal), self.deadline()).await {
                    Ok((index, outcome)) => Answer::Proposed(index, outcome.map(drop)),
                    Err(error) => Answer::ProposeFailed(error),
                }
            }
            Request::Change(change) => {
                Answer::Changed(self.change_here(&change, self.deadline()).await)
            }
        }
    }

    /// Tells whether a candidate is surely no member any more: a membership without it was committed behind the end of its
    /// log, which it will never be sent.
    fn was_removed(&self, candidate: u64, request: &VoteRequest<TypeConfig>) -> bool {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        excludes(&metrics, candidate, request.last_log_id.as_ref())
    }

    /// Takes a snapshot in, one at a time.
    ///
    /// # Errors
    /// Says why there is no answer; the state is as it was then.
    pub async fn receive_snapshot<S>(&self, mut frames: S) -> Result<Vec<u8>, FrameError>
    where
        S: Stream<Item = io::Result<Vec<u8>>> + Unpin + Send,
    {
        let _one_at_a_time = self.inner.receiving.try_lock().map_err(|_| FrameError::Busy)?;
        let first = frames.next().await.ok_or(FrameError::Damaged("it is empty"))?;
        let header = SnapshotHeader::decode(&first.map_err(FrameError::Broken)?)?;
        if header.to != self.inner.node_id {
            return Ok(wire::encode_answer(Answer::WrongNode(self.inner.node_id))?);
        }
        if header.bytes > SNAPSHOT_BYTES_MAX {
            return Err(FrameError::Damaged("it is too large"));
        }
        let mut plain = Vec::new();
        while let Some(chunk) = frames.next().await {
            plain.extend_from_slice(&chunk.map_err(FrameError::Broken)?);
            if plain.len() as u64 > header.bytes {
                return Err(FrameError::Damaged("it is longer than announced"));
            }
        }
        if (plain.len() as u64) < header.bytes {
            return Err(FrameError::Damaged("it is shorter than announced"));
        }
        tracing::info!(snapshot.bytes = plain.len(), peer = header.from, "snapshot received");
        let sha256 = header.sha256;
        let decoded = tokio::task::spawn_blocking(move || {
            if Sha256::digest(&plain).as_slice() != sha256 {
                return Err(FrameError::Damaged("its sum does not match"));
            }
            Ok(codec::decode_snapshot(&plain)?)
        });
        let decoded = decoded.await.map_err(|_| FrameError::Damaged("it cannot be decoded"))?;
        let (meta, state) = decoded?;
        let snapshot = Snapshot { meta, snapshot: Arc::clone(&state) };
        let installed =
            Box::pin(self.inner.raft.install_full_snapshot(header.vote(), snapshot)).await;
        Ok(wire::encode_answer(match installed {
            Ok(response) => Answer::Snapshot(response.vote),
            Err(error) => Answer::Stopped(chain(&error)),
        })?)
    }
}

fn excludes(metrics: &RaftMetrics<TypeConfig>, node: u64, log_end: Option<&LogId>) -> bool {
    let committed = &metrics.committed_membership_config;
    committed.log_id().as_ref() > log_end
        && committed.membership().voter_ids().next().is_some()
        && committed.membership().get_node(&node).is_none()
}
