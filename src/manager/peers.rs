//! The way to other managers: frames of consensus over channels of the node protocol. Knows not what is in a frame.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::uri::PathAndQuery;
use parking_lot::Mutex;
use skep_raft::{FRAME_BYTES_MAX, Lane, Peer, Transport, TransportError};
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::clocks::{HEADER, PeerClocks};
use crate::rpc::client::{Trust, channel};
use crate::rpc::proto::Frame;
use crate::rpc::tls::Tls;
use skep_core::error::chain;

/// Bytes of a message beside the frame in it.
const MESSAGE_OVERHEAD: usize = 64;

/// Channels held; past it, all are made anew. Addresses of managers change rarely.
const CHANNELS_MAX: usize = 256;

/// Channels to other managers, one a lane: what is large on one connection must not delay what is urgent.
pub struct Peers {
    tls: Arc<Tls>,
    clocks: Arc<PeerClocks>,
    channels: Mutex<BTreeMap<(String, Lane), Channel>>,
}

impl Peers {
    /// Prepares channels that use the node's credentials; `clocks` is what peers tell of theirs.
    pub fn new(tls: Arc<Tls>, clocks: Arc<PeerClocks>) -> Self {
        Self { tls, clocks, channels: Mutex::default() }
    }

    fn grpc(&self, address: &str, lane: Lane) -> Result<Grpc<Channel>, TransportError> {
        let mut channels = self.channels.lock();
        let key = (address.to_owned(), lane);
        if let Some(known) = channels.get(&key) {
            return Ok(sized(known.clone()));
        }
        if channels.len() >= CHANNELS_MAX {
            channels.clear();
        }
        let made = channel(address, Trust::Mutual(self.tls.clone()))
            .map_err(|error| unreachable(address, &error))?;
        channels.insert(key, made.clone());
        Ok(sized(made))
    }
}

fn sized(channel: Channel) -> Grpc<Channel> {
    Grpc::new(channel)
        .max_decoding_message_size(FRAME_BYTES_MAX + MESSAGE_OVERHEAD)
        .max_encoding_message_size(FRAME_BYTES_MAX + MESSAGE_OVERHEAD)
}

#[async_trait]
impl Transport for Peers {
    async fn call(
        &self,
        peer: &Peer,
        lane: Lane,
        frame: Vec<u8>,
        limit: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        let mut grpc = self.grpc(&peer.address, lane)?;
        within(&peer.address, limit, async {
            grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
            let path = PathAndQuery::from_static("/skep.v1.Raft/Call");
            let mut request = Request::new(Frame { data: frame });
            if let Some(time) = self.clocks.tell().and_then(|told| told.to_str().ok()?.parse().ok())
            {
                request.metadata_mut().insert(HEADER, time);
            }
            let codec = ProstCodec::<Frame, Frame>::default();
            let answer = grpc.unary(request, path, codec).await?;
            self.clocks.hear(answer.metadata().as_ref());
            Ok(answer.into_inner().data)
        })
        .await
    }

    async fn stream(
        &self,
        peer: &Peer,
        frames: BoxStream<'static, Vec<u8>>,
        limit: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        let mut grpc = self.grpc(&peer.address, Lane::Snapshot)?;
        within(&peer.address, limit, async {
            grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
            let path = PathAndQuery::from_static("/skep.v1.Raft/Snapshot");
            let request = Request::new(frames.map(|data| Frame { data }));
            let codec = ProstCodec::<Frame, Frame>::default();
            grpc.client_streaming(request, path, codec).await.map(|answer| answer.into_inner().data)
        })
        .await
    }
}

async fn within<T>(
    address: &str,
    limit: Duration,
    call: impl Future<Output = Result<T, Status>> + Send,
) -> Result<T, TransportError> {
    match tokio::time::timeout(limit, Box::pin(call)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) if surely_not_taken(&status) => Err(unreachable(address, &status)),
        Ok(Err(status)) => {
            Err(TransportError::Lost { address: address.to_owned(), reason: chain(&status) })
        }
        Err(_) => Err(TransportError::Lost {
            address: address.to_owned(),
            reason: "it took too long".to_owned(),
        }),
    }
}

/// Tells whether a call failed before consensus there saw it: no connection, or refused at the door.
fn surely_not_taken(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented)
}

fn unreachable(address: &str, error: &dyn Error) -> TransportError {
    TransportError::Unreachable { address: address.to_owned(), reason: chain(error) }
}
