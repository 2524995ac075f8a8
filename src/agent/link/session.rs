//! One session with a manager: opened, beaten, listened to, until anything of it fails. Managers that do not lead keep one
//! too, by which they count as nodes that work; what to run they learn from their own copy of the state.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use skep_core::id::{NodeId, TaskId};
use skep_core::model::node::{NodeDescription, Role};
use skep_core::model::task::TaskStatus;
use skep_core::state::State;
use tokio::sync::watch;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::{Manager, in_force, logs, relay, view};
use crate::agent::relay::Relays;
use crate::clock;
use crate::engine::Engine;
use crate::rpc::client::{Trust, channel};
use crate::rpc::proto::{
    HeartbeatRequest, HeartbeatResponse, IssuanceState, SessionMessage, SessionRequest,
    UpdateTaskStatusRequest, UpdateTaskStatusResponse,
};
use crate::rpc::tls::Tls;
use crate::rpc::{AGENT_KEY, MESSAGE_BYTES_MAX, convert};

/// Time between two heartbeats, where the leader names none.
const BEAT_PERIOD: Duration = Duration::from_secs(1);

/// How long a manager may take to open a session.
const OPEN_LIMIT: Duration = Duration::from_secs(5);

/// How long a report may take to be committed.
const REPORT_LIMIT: Duration = Duration::from_secs(15);

/// What a node's sessions need and tell.
pub struct Way {
    /// This node.
    pub node: NodeId,
    /// Its credentials.
    pub tls: Arc<Tls>,
    /// The engine, for the output of tasks.
    pub engine: Arc<dyn Engine>,
    /// The way to the engine for managers.
    pub relays: Arc<Relays>,
    /// What the node tells of itself; `None` where it says so by other means.
    pub described: watch::Receiver<Option<NodeDescription>>,
    /// Where the node's tasks are found.
    pub states: watch::Receiver<Arc<State>>,
    /// Index of the state by which this node leads packets.
    pub in_force: watch::Receiver<u64>,
    /// What the manager told last.
    pub told: watch::Sender<Option<Told>>,
    /// The session there is.
    pub open: watch::Sender<Option<Open>>,
}

/// What a manager tells a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// All managers.
    pub managers: Vec<Manager>,
    /// The role the node is to have.
    pub role: Role,
    /// Whether it shall ask for another certificate.
    pub renew: bool,
    /// The roots to trust, PEM.
    pub root_pem: String,
}

/// An open session.
#[derive(Clone)]
pub struct Open {
    pub(super) channel: Channel,
    pub(super) id: String,
    pub(super) address: String,
}

impl Open {
    pub(super) async fn grpc(&self) -> Result<Grpc<Channel>, Status> {
        ready(&self.channel).await
    }
}

async fn ready(channel: &Channel) -> Result<Grpc<Channel>, Status> {
    let mut grpc = Grpc::new(channel.clone())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
    Ok(grpc)
}

/// Keeps a session with the manager at `address` until it ends; returns why it did. `last` is the id of the last session,
/// `views` takes what the node is shown, absent where it has a copy of the state; `opened` is told once there is one.
pub async fn hold(
    way: &Arc<Way>,
    address: &str,
    last: &mut String,
    views: Option<&watch::Sender<Arc<State>>>,
    opened: impl Fn(),
) -> Status {
    let channel = match channel(address, Trust::Mutual(way.tls.clone())) {
        Ok(channel) => channel,
        Err(error) => return Status::invalid_argument(error.to_string()),
    };
    // A node that is to be described anew opens another session on the same connection, so that it is not missed between.
    loop {
        // What changes from here on is news, while the session is being opened too.
        let mut described = way.described.clone();
        let description = described.borrow_and_update().as_ref().map(convert::wire_description);
        let request = SessionRequest { description, session_id: last.clone() };
        let ended = match open(way, address, &channel, request).await {
            Ok((open, messages)) => {
                opened();
                last.clone_from(&open.id);
                let ended = keep(way, &open, messages, views, described).await;
                way.open.send_replace(None);
                ended
            }
            Err(status) => Err(status),
        };
        match ended {
            Ok(()) => {}
            Err(status) => return status,
        }
    }
}

/// Opens a session and takes its first message.
async fn open(
    way: &Way,
    address: &str,
    channel: &Channel,
    request: SessionRequest,
) -> Result<(Open, Streaming<SessionMessage>), Status> {
    let mut request = Request::new(request);
    let version = MetadataValue::from_static(env!("CARGO_PKG_VERSION"));
    request.metadata_mut().insert(AGENT_KEY, version);
    let opening = async {
        let path = PathAndQuery::from_static("/docker.swarmkit.v1.Dispatcher/Session");
        let codec = ProstCodec::<SessionRequest, SessionMessage>::default();
        let mut grpc = ready(channel).await?;
        let mut messages = grpc.server_streaming(request, path, codec).await?.into_inner();
        let first = messages.message().await?.ok_or_else(|| Status::unavailable("no session"))?;
        Ok::<_, Status>((first, messages))
    };
    let limit = tokio::time::timeout(OPEN_LIMIT, Box::pin(opening));
    let (first, messages) = limit.await.map_err(|_| Status::deadline_exceeded("no session"))??;
    let open = Open {
        channel: channel.clone(),
        id: first.session_id.clone(),
        address: address.to_owned(),
    };
    tell(way, first)?;
    way.open.send_replace(Some(open.clone()));
    Ok((open, messages))
}

/// Does everything that a session asks for. Ends well when the node has to describe itself anew.
async fn keep(
    way: &Arc<Way>,
    open: &Open,
    messages: Streaming<SessionMessage>,
    views: Option<&watch::Sender<Arc<State>>>,
    mut described: watch::Receiver<Option<NodeDescription>>,
) -> Result<(), Status> {
    let (ask, asked) = watch::channel(0);
    tokio::select! {
        ended = Box::pin(listen(way, messages)) => Err(ended),
        ended = Box::pin(beat(open)) => Err(ended),
        ended = Box::pin(view::follow(open, views, &ask)) => Err(ended),
        ended = Box::pin(in_force::tell(way, open, asked)) => Err(ended),
        ended = Box::pin(logs::serve(way, open)) => Err(ended),
        ended = Box::pin(relay::serve(way, open)) => Err(ended),
        Ok(()) = described.changed() => Ok(()),
    }
}

async fn listen(way: &Way, mut messages: Streaming<SessionMessage>) -> Status {
    loop {
        let told = match messages.message().await {
            Ok(Some(message)) => tell(way, message),
            Ok(None) => Err(Status::unavailable("the session ended")),
            Err(status) => Err(status),
        };
        if let Err(status) = told {
            return status;
        }
    }
}

fn tell(way: &Way, message: SessionMessage) -> Result<(), Status> {
    let node = message.node.unwrap_or_default();
    let role = convert::role_of(node.spec.unwrap_or_default().desired_role)?;
    let issuance = node.certificate.and_then(|certificate| certificate.status);
    let managers = message.managers.into_iter().filter_map(|manager| {
        let peer = manager.peer?;
        Some((peer.node_id.parse().ok()?, peer.addr))
    });
    let told = Told {
        managers: managers.collect(),
        role,
        renew: issuance.is_some_and(|it| it.state == i32::from(IssuanceState::Rotate)),
        root_pem: String::from_utf8(message.root_ca)
            .map_err(|_| Status::internal("the root is no text"))?,
    };
    way.told.send_replace(Some(told));
    Ok(())
}

async fn beat(open: &Open) -> Status {
    loop {
        match beat_once(open).await {
            Ok(period) => clock::sleep(period).await,
            Err(status) => return status,
        }
    }
}

async fn beat_once(open: &Open) -> Result<Duration, Status> {
    let path = PathAndQuery::from_static("/docker.swarmkit.v1.Dispatcher/Heartbeat");
    let request = Request::new(HeartbeatRequest { session_id: open.id.clone() });
    let codec = ProstCodec::<HeartbeatRequest, HeartbeatResponse>::default();
    let asked = async { open.grpc().await?.unary(request, path, codec).await };
    let answered = tokio::time::timeout(BEAT_PERIOD * 2, asked).await;
    let answer = answered.map_err(|_| Status::deadline_exceeded("no answer to a beat"))??;
    let period = answer.into_inner().period.and_then(|period| period.try_into().ok());
    Ok(period.unwrap_or(BEAT_PERIOD))
}

/// Reports what tasks came to, in the session there is or the next one.
///
/// # Errors
/// When the manager did not take it; it may be told again.
pub async fn report(way: &Way, statuses: &[(TaskId, TaskStatus)]) -> Result<(), Status> {
    let mut sessions = way.open.subscribe();
    let open = sessions.wait_for(Option::is_some).await.ok().and_then(|open| open.clone());
    let open = open.ok_or_else(|| Status::unavailable("the node stops"))?;
    let request = Request::new(UpdateTaskStatusRequest {
        session_id: open.id.clone(),
        updates: convert::wire_statuses(statuses),
    });
    let path = PathAndQuery::from_static("/docker.swarmkit.v1.Dispatcher/UpdateTaskStatus");
    let codec = ProstCodec::<UpdateTaskStatusRequest, UpdateTaskStatusResponse>::default();
    let asked = async { open.grpc().await?.unary(request, path, codec).await };
    let answered = tokio::time::timeout(REPORT_LIMIT, Box::pin(asked)).await;
    answered.map_err(|_| Status::deadline_exceeded("no answer to a report"))?.map(drop)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
