//! What consensus asks of the way to other managers: one bounded frame there and one back, or a stream of frames there.
//! Knows no sockets.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use thiserror::Error;

/// Bytes of the largest frame that a transport must carry. Entries travel whole, so that this bounds an entry too.
pub const FRAME_BYTES_MAX: usize = 60 << 20;

/// Where a manager is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its consensus id.
    pub id: u64,
    /// `ip:port`, as the membership has it.
    pub address: String,
}

/// What a frame is for. Lanes must not wait for one another: a large entry or a snapshot that delays a heartbeat costs the
/// cluster its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Heartbeats and votes: small, and never late.
    Urgent,
    /// Log entries.
    Log,
    /// What one manager asks another for its clients.
    Client,
    /// Snapshots.
    Snapshot,
}

/// Says why no answer came.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransportError {
    /// The frame surely did not reach the peer.
    #[error("the manager at {address} cannot be reached: {reason}")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// The frame may have reached the peer.
    #[error("the manager at {address} did not answer: {reason}")]
    Lost {
        /// Where it should be.
        address: String,
        /// What went wrong.
        reason: String,
    },
}

/// The way to other managers. An answer is given to whoever asked or to nobody: a call that is dropped is given up.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends one frame and returns the peer's answer, in the time given.
    async fn call(
        &self,
        peer: &Peer,
        lane: Lane,
        frame: Vec<u8>,
        limit: Duration,
    ) -> Result<Vec<u8>, TransportError>;

    /// Sends frames, no faster than the peer takes them, and returns its answer to them all.
    async fn stream(
        &self,
        peer: &Peer,
        frames: BoxStream<'static, Vec<u8>>,
        limit: Duration,
    ) -> Result<Vec<u8>, TransportError>;
}

/// The way of a manager that is alone: to nobody.
#[derive(Debug, Clone, Copy)]
pub struct NoTransport;

#[async_trait]
impl Transport for NoTransport {
    async fn call(
        &self,
        peer: &Peer,
        _lane: Lane,
        _frame: Vec<u8>,
        _limit: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        Err(nobody(peer))
    }

    async fn stream(
        &self,
        peer: &Peer,
        _frames: BoxStream<'static, Vec<u8>>,
        _limit: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        Err(nobody(peer))
    }
}

fn nobody(peer: &Peer) -> TransportError {
    TransportError::Unreachable {
        address: peer.address.clone(),
        reason: "this manager has no way to others".to_owned(),
    }
}
