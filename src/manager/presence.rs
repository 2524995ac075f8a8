//! Keeps a session with the leader while another manager leads: by it this node counts as one that works, as any other node
//! does. What to run it learns from its own copy of the state.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use skep_raft::RaftNode;
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tracing::debug;

use crate::clock;
use crate::rpc::AGENT_KEY;
use crate::rpc::client::{Trust, channel};
use crate::rpc::proto::{HeartbeatRequest, HeartbeatResponse, SessionMessage, SessionRequest};
use crate::rpc::tls::Tls;

/// Wait after a session could not be had or broke.
const RETRY_PERIOD: Duration = Duration::from_millis(300);

/// Time between two heartbeats, where the leader names none.
const BEAT_PERIOD: Duration = Duration::from_secs(1);

/// Keeps sessions until `stop`.
pub async fn run(raft: Arc<RaftNode>, tls: Arc<Tls>, stop: CancellationToken) {
    let mut leadership = raft.leadership();
    let mut session = String::new();
    loop {
        let leader = leadership.borrow_and_update().leader.filter(|id| *id != raft.node_id());
        let address = leader.and_then(|id| raft.members().addresses.get(&id).cloned());
        let kept = async {
            if leader.is_none() {
                std::future::pending::<()>().await;
            }
            // The membership that names the leader may come after its first heartbeat.
            if let Some(address) = address {
                let ended = keep(&address, tls.clone(), &mut session).await;
                debug!(reason = ended.message(), "no session with the leader");
            }
            clock::sleep(RETRY_PERIOD).await;
        };
        tokio::select! {
            () = kept => {}
            changed = leadership.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

/// Opens a session and beats until it ends; returns why it did. `session` is the last one's id.
async fn keep(address: &str, tls: Arc<Tls>, session: &mut String) -> Status {
    let channel = match channel(address, Trust::Mutual(tls)) {
        Ok(channel) => channel,
        Err(error) => return Status::invalid_argument(error.to_string()),
    };
    match follow(channel, session).await {
        Ok(()) => Status::unavailable("the session ended"),
        Err(status) => status,
    }
}

async fn follow(channel: Channel, session: &mut String) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
    let asked = SessionRequest { description: None, session_id: session.clone() };
    let mut request = Request::new(asked);
    let version = MetadataValue::from_static(env!("CARGO_PKG_VERSION"));
    request.metadata_mut().insert(AGENT_KEY, version);
    let path = PathAndQuery::from_static("/docker.swarmkit.v1.Dispatcher/Session");
    let codec = ProstCodec::<SessionRequest, SessionMessage>::default();
    let mut messages = grpc.server_streaming(request, path, codec).await?.into_inner();
    let first = messages.message().await?.ok_or_else(|| Status::unavailable("no session"))?;
    session.clone_from(&first.session_id);
    let mut beat_at = clock::uptime();
    loop {
        tokio::select! {
            message = messages.message() => if message?.is_none() { return Ok(()) },
            () = clock::sleep(beat_at.since(clock::uptime())) => {
                let period = beat(channel.clone(), session).await?;
                beat_at = clock::uptime().after(period);
            }
        }
    }
}

async fn beat(channel: Channel, session: &str) -> Result<Duration, Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
    let path = PathAndQuery::from_static("/docker.swarmkit.v1.Dispatcher/Heartbeat");
    let request = Request::new(HeartbeatRequest { session_id: session.to_owned() });
    let codec = ProstCodec::<HeartbeatRequest, HeartbeatResponse>::default();
    let answered = tokio::time::timeout(BEAT_PERIOD * 2, grpc.unary(request, path, codec));
    let answer = answered.await.map_err(|_| Status::deadline_exceeded("no answer to a beat"))?;
    let period = answer?.into_inner().period.and_then(|period| period.try_into().ok());
    Ok(period.unwrap_or(BEAT_PERIOD))
}
