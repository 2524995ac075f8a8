//! The service `Dispatcher`: sessions of nodes, their heartbeats, what they must run and what came of it. Only the
//! leader serves it; whether a node is there is decided by [`skep_core::sessions`].
//!
//! A follower refuses and names the leader, see [`Dispatcher::lead`]: nodes go there.

mod assignments;
mod in_force;
mod judge;
mod session;
mod view;

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use skep_core::command::Command;
use skep_core::id::NodeId;
use skep_core::model::node::{Node, NodeAgent, NodeState, Role};
use skep_core::model::task::TaskStatus;
use skep_core::sessions::Sessions;
use skep_core::state::State;
use skep_core::time::Timestamp;
use skep_raft::RaftNode;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Request, Status};
use tracing::info;

use crate::clock;
use crate::node::propose_rpc;
use crate::rpc::convert;
use crate::rpc::glue::{Messages, RpcService, server_streaming, unary, unimplemented};
use crate::rpc::proto;
use crate::rpc::server::{member_of, peer_of};
use crate::rpc::{AGENT_KEY, LEADER_KEY};

pub use view::AgentService;

use in_force::InForce;

/// Connections of sessions waiting to be watched.
const OPENED_MAX: usize = 1024;

/// The leader's side of all agents.
pub struct Dispatcher {
    raft: Arc<RaftNode>,
    /// This node, whose own agent needs no session.
    node: NodeId,
    /// Absent while another manager leads.
    sessions: Mutex<Option<Sessions>>,
    /// Counts changes of the sessions, beats left out.
    changed: watch::Sender<u64>,
    /// What nodes lead packets by.
    in_force: InForce,
    opened: mpsc::Sender<Opened>,
    stop: CancellationToken,
}

/// A session whose connection is to be watched.
struct Opened {
    node: NodeId,
    session: String,
    closed: CancellationToken,
}

/// What the loop of [`judge`] takes.
pub struct OpenedSessions(mpsc::Receiver<Opened>);

impl Dispatcher {
    /// Prepares to serve; [`Dispatcher::run`] must run beside.
    ///
    /// `in_force` is the index of the state by which this node leads packets.
    pub fn new(
        raft: Arc<RaftNode>,
        node: NodeId,
        in_force: watch::Receiver<u64>,
        stop: CancellationToken,
    ) -> (Arc<Self>, OpenedSessions) {
        let (opened, receiver) = mpsc::channel(OPENED_MAX);
        let changed = watch::channel(0).0;
        let sessions = Mutex::default();
        let in_force = InForce::new(in_force);
        let dispatcher = Self { raft, node, sessions, changed, in_force, opened, stop };
        (Arc::new(dispatcher), OpenedSessions(receiver))
    }

    /// Does something with the sessions if this node leads. A follower names the leader instead.
    fn lead<T>(&self, act: impl FnOnce(&mut Sessions, Timestamp) -> T) -> Result<T, Status> {
        if !self.raft.is_leader() {
            return Err(self.not_leading());
        }
        let now = clock::uptime();
        let mut held = self.sessions.lock();
        let sessions = held.get_or_insert_with(|| self.take_over(now));
        Ok(act(sessions, now))
    }

    fn not_leading(&self) -> Status {
        let mut status = Status::unavailable("this manager does not lead; try another one");
        let leader = self.raft.leadership().borrow().leader;
        let address = leader.and_then(|id| self.raft.members().addresses.get(&id).cloned());
        if let Some(address) = address.and_then(|address| address.parse().ok()) {
            status.metadata_mut().insert(LEADER_KEY, address);
        }
        status
    }

    fn take_over(&self, now: Timestamp) -> Sessions {
        let state = self.raft.state();
        let heartbeat = state.cluster().map(|cluster| cluster.spec.heartbeat_period);
        let known: Vec<_> = state.nodes().values().filter_map(|node| self.expected(node)).collect();
        info!(nodes.count = known.len(), "waiting for the nodes to open sessions");
        Sessions::take_over(known, heartbeat.unwrap_or_default(), now)
    }

    /// Returns the node's agent, if it ought to have a session.
    fn expected<'a>(&self, node: &'a Node) -> Option<(&'a NodeId, &'a NodeAgent)> {
        let agent = node.agent.as_ref()?;
        let is_expected = node.id != self.node && node.status.state != NodeState::Down;
        is_expected.then_some((&node.id, agent))
    }

    fn note_change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Tells whether a session may go on.
    fn check(&self, node: &NodeId, session: &str) -> Result<(), Status> {
        if self.lead(|sessions, _| sessions.is_current(node, session))? {
            return Ok(());
        }
        Err(Status::invalid_argument("session invalid"))
    }

    async fn open(
        &self,
        request: Request<proto::SessionRequest>,
    ) -> Result<(NodeId, String), Status> {
        let (peer, member) = (peer_of(&request)?, member_of(&request)?);
        let agent = agent_of(&request)?;
        let asked = request.into_inner();
        let node = member.node;
        // A manager says by other means what it is.
        let known = self.raft.state().nodes().get(&node).map(|known| known.description.clone());
        let description = match (&asked.description, known) {
            (None, Some(known)) if member.role == Role::Manager => known,
            (told, _) => convert::description(&told.clone().unwrap_or_default())?,
        };
        let description = Box::new(description);
        let _arrival = Arrival::begin(self, node.clone())?;
        let session = NodeId::from_entropy(clock::entropy()).to_string();
        let command = Command::RegisterNode {
            id: node.clone(),
            description,
            addr: peer.address.ip().to_canonical().to_string(),
            agent,
            // A node that had a session names it; one that started has none to name.
            restarted: asked.session_id.is_empty(),
        };
        propose_rpc(&self.raft, command).await?;
        self.lead(|sessions, now| sessions.open(node.clone(), session.clone(), now))?;
        let closed = peer.connection.closed;
        let opened = Opened { node: node.clone(), session: session.clone(), closed };
        self.opened.send(opened).await.map_err(|_| Status::unavailable("the manager stops"))?;
        info!(node.id = %node, peer.addr = %peer.address, "session opened");
        Ok((node, session))
    }

    fn beat(
        &self,
        request: Request<proto::HeartbeatRequest>,
    ) -> Result<proto::HeartbeatResponse, Status> {
        let node = member_of(&request)?.node;
        let session = request.into_inner().session_id;
        let beaten = self.lead(|sessions, now| sessions.beat(&node, &session, now))?;
        let period = beaten.map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(proto::HeartbeatResponse { period: prost_types::Duration::try_from(period).ok() })
    }

    async fn report(
        &self,
        request: Request<proto::UpdateTaskStatusRequest>,
    ) -> Result<proto::UpdateTaskStatusResponse, Status> {
        let node = member_of(&request)?.node;
        let report = request.into_inner();
        self.check(&node, &report.session_id)?;
        let mut statuses = convert::statuses(report.updates, clock::now());
        let state = self.raft.state();
        statuses.retain(|(id, status)| is_news(&state, &node, id, status));
        if !statuses.is_empty() {
            propose_rpc(&self.raft, Command::ReportTasks { node, statuses }).await?;
        }
        Ok(proto::UpdateTaskStatusResponse {})
    }
}

/// A node that is being registered, also when its call is given up meanwhile.
struct Arrival<'a> {
    dispatcher: &'a Dispatcher,
    node: NodeId,
}

impl<'a> Arrival<'a> {
    fn begin(dispatcher: &'a Dispatcher, node: NodeId) -> Result<Self, Status> {
        dispatcher.lead(|sessions, _| sessions.arrive(node.clone()))?;
        Ok(Self { dispatcher, node })
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        if let Some(sessions) = self.dispatcher.sessions.lock().as_mut() {
            sessions.leave_arrival(&self.node);
        }
        // What was held back may have to be said now.
        self.dispatcher.note_change();
    }
}

/// Engines say most things twice.
fn is_news(state: &State, node: &NodeId, id: &skep_core::id::TaskId, status: &TaskStatus) -> bool {
    state
        .tasks()
        .get(id)
        .is_some_and(|task| task.node.as_ref() == Some(node) && task.status != *status)
}

fn agent_of<T>(request: &Request<T>) -> Result<NodeAgent, Status> {
    let Some(version) = request.metadata().get(AGENT_KEY) else {
        return Ok(NodeAgent::Engine);
    };
    let version = version.to_str().ok().filter(|version| version.len() <= 64);
    let version = version.ok_or_else(|| Status::invalid_argument("the agent's version"))?;
    Ok(NodeAgent::Skep { version: version.to_owned() })
}

/// `docker.swarmkit.v1.Dispatcher`.
pub struct DispatcherService(pub Arc<Dispatcher>);

#[async_trait]
impl RpcService for DispatcherService {
    fn name(&self) -> &'static str {
        "docker.swarmkit.v1.Dispatcher"
    }

    async fn call(&self, method: &str, request: http::Request<Body>) -> http::Response<Body> {
        let dispatcher = &self.0;
        match method {
            "Session" => {
                server_streaming(request, |asked| async move {
                    let (node, session) = dispatcher.open(asked).await?;
                    let told: Messages<_> = session::messages(dispatcher.clone(), node, session);
                    Ok(told)
                })
                .await
            }
            "Heartbeat" => unary(request, |asked| async { dispatcher.beat(asked) }).await,
            "UpdateTaskStatus" => unary(request, |asked| dispatcher.report(asked)).await,
            "UpdateVolumeStatus" => {
                unary(request, |_: Request<proto::UpdateVolumeStatusRequest>| async {
                    Ok(proto::UpdateVolumeStatusResponse {})
                })
                .await
            }
            "Assignments" => {
                server_streaming(request, |asked| assignments::messages(dispatcher.clone(), asked))
                    .await
            }
            _ => unimplemented(),
        }
    }
}
