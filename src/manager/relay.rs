//! The service `skep.v1.Relay`, and the way to it: requests about the container of a task go to the engine of the task's node.
//! Every node has a session with the leader and connects to it when the leader asks; other managers go by way of the leader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use http::uri::PathAndQuery;
use http::{Request, Response};
use parking_lot::Mutex;
use skep_api::backend::{BackendError, Body};
use skep_core::error::chain;
use skep_core::id::{NodeId, TaskId};
use skep_core::model::node::NodeState;
use skep_core::model::task::Task;
use skep_core::state::State;
use skep_raft::RaftNode;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};
use tracing::debug;

use crate::agent::relay::Relays;
use crate::api::exchange;
use crate::clock;
use crate::rpc::RELAY_KEY;
use crate::rpc::glue::{Messages, RpcService, server_streaming, streaming, unimplemented};
use crate::rpc::line::{Line, Pipe};
use crate::rpc::proto::{ListenRelaysRequest, Piece, RelayWish};
use crate::rpc::server::member_of;
use crate::rpc::tls::Tls;

/// How long a node may take to connect.
const NODE_LIMIT: Duration = Duration::from_secs(10);

/// How long the leader may take, the node's time and that of an election included.
const REACH_LIMIT: Duration = Duration::from_secs(15);

/// Wait after the leader could not be asked, where no other one is heard of.
const RETRY_PERIOD: Duration = Duration::from_millis(200);

/// How long a task may take to be known at the leader. It is as new as what the asker has seen.
const TASK_LIMIT: Duration = Duration::from_secs(3);

/// Wishes that nodes have not answered yet; more are refused.
const WISHES_MAX: usize = 1024;

/// The ways to the containers of tasks.
pub struct Relay {
    raft: Arc<RaftNode>,
    node: NodeId,
    tls: Arc<Tls>,
    own: Arc<Relays>,
    wishes: Mutex<BTreeMap<String, Wish>>,
    /// Counts changes of `wishes`.
    changed: watch::Sender<u64>,
    stop: CancellationToken,
}

/// A node that is asked to connect.
struct Wish {
    node: NodeId,
    task: TaskId,
    connected: oneshot::Sender<Line>,
}

/// Takes a wish back that nobody waits for any more.
struct Withdrawal<'a> {
    relay: &'a Relay,
    id: String,
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        self.relay.wishes.lock().remove(&self.id);
    }
}

impl Relay {
    /// Prepares to relay until `stop`; `own` is this node's own end.
    pub fn new(
        raft: Arc<RaftNode>,
        node: NodeId,
        tls: Arc<Tls>,
        own: Arc<Relays>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let changed = watch::channel(0).0;
        Arc::new(Self { raft, node, tls, own, wishes: Mutex::default(), changed, stop })
    }

    /// Sends a request about the container of a task to the engine of its node; returns the answer. What the request names as
    /// its container does not matter.
    ///
    /// # Errors
    /// Says why the node cannot be reached.
    pub async fn request(
        self: &Arc<Self>,
        task: &Arc<Task>,
        request: Request<Body>,
    ) -> Result<Response<Body>, BackendError> {
        let line = self.reach(task).await.map_err(|status| {
            BackendError::Unavailable(format!(
                "the container of task {} cannot be reached: {}",
                task.name(),
                status.message()
            ))
        })?;
        let broken = |error: hyper::Error| {
            BackendError::Unavailable(format!(
                "the node of task {} broke off: {}",
                task.name(),
                chain(&error)
            ))
        };
        let mut sender = exchange::handshake(Pipe::from(line)).await.map_err(broken)?;
        exchange::once(&mut sender, request).await.map_err(broken)
    }

    /// Finds a way, whoever leads. While nobody does, it waits for the next leader as other calls do.
    async fn reach(self: &Arc<Self>, task: &Arc<Task>) -> Result<Line, Status> {
        let mut leadership = self.raft.leadership();
        let trying = async {
            loop {
                leadership.borrow_and_update();
                match self.try_reach(task).await {
                    Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown) => {
                        debug!(reason = status.message(), "no way to the leader yet");
                    }
                    reached => return reached,
                }
                tokio::select! {
                    _ = leadership.changed() => {}
                    () = clock::sleep(RETRY_PERIOD) => {}
                }
            }
        };
        let reached = tokio::time::timeout(REACH_LIMIT, Box::pin(trying)).await;
        reached.map_err(|_| Status::deadline_exceeded("the leader does not answer"))?
    }

    async fn try_reach(self: &Arc<Self>, task: &Arc<Task>) -> Result<Line, Status> {
        if task.node.as_ref() == Some(&self.node) || self.raft.is_leader() {
            return self.connect(task).await;
        }
        let leader = self.raft.leadership().borrow().leader;
        let address = leader.and_then(|id| self.raft.members().addresses.get(&id).cloned());
        let address = address.ok_or_else(|| Status::unavailable("no leader is known"))?;
        let path = PathAndQuery::from_static("/skep.v1.Relay/Open");
        Line::dial(&address, &self.tls, path, task.id.as_str()).await
    }

    /// Connects with a node that is this one, or has its session here.
    async fn connect(self: &Arc<Self>, task: &Arc<Task>) -> Result<Line, Status> {
        let node = task.node.clone();
        let node = node.ok_or_else(|| Status::failed_precondition("it has no node yet"))?;
        if node == self.node {
            let (near, far) = Line::pair();
            // Ends with the line, or when this node stops.
            tokio::spawn(self.own.clone().serve(far, task.clone()));
            return Ok(near);
        }
        self.await_verdict(&node).await?;
        let id = NodeId::from_entropy(clock::entropy()).to_string();
        let (connected, line) = oneshot::channel();
        let wish = Wish { node: node.clone(), task: task.id.clone(), connected };
        {
            let mut wishes = self.wishes.lock();
            if wishes.len() >= WISHES_MAX {
                return Err(Status::resource_exhausted("too many wait for their nodes"));
            }
            wishes.insert(id.clone(), wish);
        }
        let _withdrawal = Withdrawal { relay: self, id };
        self.changed.send_modify(|count| *count += 1);
        match tokio::time::timeout(NODE_LIMIT, line).await {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(_)) | Err(_) => {
                Err(Status::deadline_exceeded(format!("node {node} does not answer")))
            }
        }
    }

    /// Waits until a node is known to be there or not: one whose connection broke may be on its way to a new leader.
    async fn await_verdict(&self, node: &NodeId) -> Result<(), Status> {
        let state_of = |state: &State| state.nodes().get(node).map(|node| node.status.state);
        let mut states = self.raft.watch();
        let judged = states.wait_for(|state| match state_of(state) {
            Some(NodeState::Disconnected | NodeState::Unknown) => false,
            Some(NodeState::Ready | NodeState::Down) | None => true,
        });
        match tokio::time::timeout(NODE_LIMIT, judged).await {
            Ok(Ok(state)) if state_of(&state) == Some(NodeState::Ready) => Ok(()),
            Ok(_) | Err(_) => {
                Err(Status::failed_precondition(format!("node {node} is not available")))
            }
        }
    }

    /// Returns a wish that a node does not know, and forgets those that are over.
    fn news(&self, node: &NodeId, known: &mut Vec<String>) -> Option<RelayWish> {
        let wishes = self.wishes.lock();
        known.retain(|id| wishes.contains_key(id));
        let mut of_node = wishes.iter().filter(|(_, wish)| wish.node == *node);
        let (id, wish) = of_node.find(|(id, _)| !known.contains(id))?;
        known.push(id.clone());
        Some(RelayWish { id: id.clone(), task_id: wish.task.to_string() })
    }

    fn listen(
        self: Arc<Self>,
        request: &tonic::Request<ListenRelaysRequest>,
    ) -> Result<Messages<RelayWish>, Status> {
        let node = member_of(request)?.node;
        let changed = self.changed.subscribe();
        let start = (self, node, changed, Vec::new());
        Ok(Box::pin(stream::unfold(Some(start), |held| async move {
            let (relay, node, mut changed, mut known) = held?;
            loop {
                changed.borrow_and_update();
                if let Some(wish) = relay.news(&node, &mut known) {
                    return Some((Ok(wish), Some((relay, node, changed, known))));
                }
                tokio::select! {
                    news = changed.changed() => if news.is_err() { return None },
                    () = relay.stop.cancelled() => {
                        return Some((Err(Status::unavailable("the manager stops")), None));
                    }
                }
            }
        })))
    }

    /// Takes the line that a node opened because it was asked to.
    fn serve(&self, request: tonic::Request<Streaming<Piece>>) -> Result<Messages<Piece>, Status> {
        let node = member_of(&request)?.node;
        let id = subject(&request)?.to_owned();
        let nobody = || Status::not_found("nobody waits for this");
        let mut wishes = self.wishes.lock();
        if wishes.get(&id).is_none_or(|wish| wish.node != node) {
            return Err(nobody());
        }
        let wish = wishes.remove(&id).ok_or_else(nobody)?;
        drop(wishes);
        let (line, pieces) = Line::new(request.into_inner().boxed());
        wish.connected.send(line).map_err(|_| nobody())?;
        Ok(pieces.map(Ok).boxed())
    }

    /// Connects another manager with a node.
    async fn open(
        self: &Arc<Self>,
        request: tonic::Request<Streaming<Piece>>,
    ) -> Result<Messages<Piece>, Status> {
        let unknown = || Status::not_found("the task is not known");
        let id: TaskId = subject(&request)?.parse().map_err(|_| unknown())?;
        if !self.raft.is_leader() {
            return Err(Status::unavailable("this manager does not lead"));
        }
        let mut states = self.raft.watch();
        let known = states.wait_for(|state| state.tasks().contains_key(&id));
        let found = match tokio::time::timeout(TASK_LIMIT, known).await {
            Ok(Ok(state)) => state.tasks().get(&id).cloned(),
            Ok(Err(_)) | Err(_) => None,
        };
        let node = self.connect(&found.ok_or_else(unknown)?).await?;
        let (asker, pieces) = Line::new(request.into_inner().boxed());
        let stop = self.stop.clone();
        // Ends with either side, or when this member stops.
        tokio::spawn(async move {
            tokio::select! {
                () = asker.join(node) => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(pieces.map(Ok).boxed())
    }
}

fn subject<T>(request: &tonic::Request<T>) -> Result<&str, Status> {
    let found = request.metadata().get(RELAY_KEY).and_then(|subject| subject.to_str().ok());
    found.ok_or_else(|| Status::invalid_argument("the call is about nothing"))
}

/// `skep.v1.Relay`.
pub struct RelayService(pub Arc<Relay>);

#[async_trait]
impl RpcService for RelayService {
    fn name(&self) -> &'static str {
        "skep.v1.Relay"
    }

    async fn call(
        &self,
        method: &str,
        request: http::Request<tonic::body::Body>,
    ) -> http::Response<tonic::body::Body> {
        let relay = &self.0;
        match method {
            "Open" => streaming(request, |pieces| relay.open(pieces)).await,
            "Serve" => {
                streaming(request, |pieces| {
                    let served = relay.serve(pieces);
                    async { served }
                })
                .await
            }
            "Listen" => {
                server_streaming(request, |asked| {
                    let listening = relay.clone().listen(&asked);
                    async { listening }
                })
                .await
            }
            _ => unimplemented(),
        }
    }
}
