//! A running member of a cluster: starts its tasks in order and stops them in reverse. Decides nothing.
//!
//! | task | ends when | what it does |
//! | --- | --- | --- |
//! | events | `stop` | remembers cluster events (`manager::events`) |
//! | dispatcher | `stop` | judges which nodes are there (`manager::dispatcher`) |
//! | leader | `stop` | plans and proposes (`manager::leader`) |
//! | roster | `stop` | notes who is a manager and who answers, removes who is none any more (`manager::roster`) |
//! | rotation | `stop` | ends the root's rotation (`manager::rotation`) |
//! | settle | `stop` | asks for this node's vote, tells its new address (`manager::roster`) |
//! | presence | `stop` | keeps a session with the leader, by which this node counts as one that works and gives its output |
//! | assigner | `stop` | turns each state into what this node must run |
//! | agent | `stop` | runs it (`agent`) |
//! | data plane | `stop` | names and published ports (`dataplane`) |
//! | upkeep | `stop` | certificate, key wrapping, description (`upkeep`) |
//! | server | `stop` | serves other nodes on the cluster's port (`rpc::server`) |

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use skep_api::backend::BackendError;
use skep_core::command::{Command, Proposal};
use skep_core::id::{NodeId, TaskId};
use skep_core::model::task::TaskStatus;
use skep_core::state::{Applied, Rejected};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::assigner::assign_once_current;
use super::data_dir::DataDir;
use super::enrol::plain;
use super::identity::Identity;
use super::machine::Machine;
use super::upkeep;
use crate::agent::link::{self, Way};
use crate::agent::relay::Relays;
use crate::agent::status::{ReportError, ReportSink};
use crate::agent::{Agent, AgentDeps};
use crate::api::EngineProxy;
use crate::clock;
use crate::config::Config;
use crate::dataplane::{DataPlane, Drains, Endpoints, Leading, Tell};
use crate::manager::ca::{Authority, NodeService, RootService};
use crate::manager::clocks::PeerClocks;
use crate::manager::dispatcher::{AgentService, Dispatcher, DispatcherService};
use crate::manager::events::{self, EventLog};
use crate::manager::group::RaftService;
use crate::manager::log_broker::{LogBroker, LogService};
use crate::manager::log_relay::LogRelay;
use crate::manager::peers::Peers;
use crate::manager::relay::{Relay, RelayService};
use crate::manager::resource_allocator::ResourceAllocator;
use crate::manager::signer::Signer;
use crate::manager::streams::Reader;
use crate::manager::{leader, presence, roster, rotation};
use crate::rpc::authorize::Gate;
use crate::rpc::glue::RpcService;
use crate::rpc::server::Server;
use crate::rpc::tls::Tls;
use skep_core::error::chain;
use skep_raft::{DataKey, ProposeError, RaftError, RaftNode, RaftOptions};

/// How long a change of the unlock key may take to reach the disk.
const KEY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// What every member of this process shares.
#[derive(Clone)]
pub struct Surroundings {
    /// What the daemon was told.
    pub config: Arc<Config>,
    /// The folder of its state.
    pub data: DataDir,
    /// What the machine offers.
    pub machine: Machine,
    /// The way to the engine for calls of its own API.
    pub proxy: Arc<EngineProxy>,
}

/// A running member.
pub struct Member {
    /// Which node of which cluster it is.
    pub identity: Identity,
    /// Consensus.
    pub raft: Arc<RaftNode>,
    /// Cluster events.
    pub events: Arc<EventLog>,
    /// The credentials for calls between nodes.
    pub tls: Arc<Tls>,
    /// The ways to the output of tasks.
    pub logs: Arc<Reader>,
    /// The ways to the containers of tasks.
    pub relay: Arc<Relay>,
    /// What signs certificates of nodes.
    pub signer: Arc<Signer>,
    /// Key of what is on disk.
    key: DataKey,
    /// Index up to which the key on disk is wrapped as the state asks for.
    kept: watch::Receiver<u64>,
    stop: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
}

/// Consensus of a node that is about to be a member.
pub struct Consensus {
    /// Consensus.
    pub raft: Arc<RaftNode>,
    /// Key of what is on disk.
    pub key: DataKey,
    /// The credentials for calls between nodes.
    tls: Arc<Tls>,
    /// What other managers tell of their clocks.
    clocks: Arc<PeerClocks>,
}

impl Consensus {
    /// Opens log and snapshots and applies what was committed.
    ///
    /// # Errors
    /// Says why they cannot be used.
    pub async fn open(data: &DataDir, key: DataKey, raft_id: u64) -> Result<Self, BackendError> {
        let tls = Arc::new(Tls::default());
        // A member that was away must call others before it knows the cluster's state.
        if let Some(held) = data.certificate(Some(&key))
            && let Err(error) = tls.replace(&held.chain_pem, &held.key_pem, &held.root_pem)
        {
            warn!(error = %chain(&error), "the certificate cannot be used");
        }
        let options = RaftOptions::new(data.raft(), raft_id, key.clone());
        let clocks = Arc::new(PeerClocks::new(raft_id));
        let peers = Peers::new(tls.clone(), clocks.clone());
        let raft = RaftNode::open(options, Arc::new(peers))
            .await
            .map_err(|error| consensus_failed(&error))?;
        Ok(Self { raft: Arc::new(raft), key, tls, clocks })
    }
}

impl Member {
    /// Starts everything that a member runs. If it cannot, consensus is stopped, so that its files are free again.
    ///
    /// # Errors
    /// Says why the cluster's port cannot be had.
    pub async fn start(
        around: &Surroundings,
        identity: Identity,
        consensus: Consensus,
    ) -> Result<Self, BackendError> {
        let raft = consensus.raft.clone();
        let started = Self::try_start(around, identity, consensus).await;
        if started.is_err() {
            raft.shutdown().await;
        }
        started
    }

    async fn try_start(
        around: &Surroundings,
        identity: Identity,
        consensus: Consensus,
    ) -> Result<Self, BackendError> {
        let Consensus { raft, key, tls, clocks } = consensus;
        let listen = listen(identity.listen).await?;
        let machine = &around.machine;
        let files = (machine.open_files)(&identity.node)
            .map_err(|error| BackendError::Internal(format!("no place for secrets: {error}")))?;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let events = Arc::new(EventLog::default());
        tasks.spawn(events::record(events.clone(), raft.events(), stop.clone()));
        let tell = Tell::default();
        let (dispatcher, opened) = Dispatcher::new(
            raft.clone(),
            identity.node.clone(),
            tell.in_force.subscribe(),
            stop.clone(),
        );
        tasks.spawn(dispatcher.clone().run(opened));
        let logs = Arc::new(Reader {
            raft: raft.clone(),
            node: identity.node.clone(),
            engine: machine.engine.clone(),
            broker: LogBroker::new(raft.clone(), stop.clone()),
            tls: tls.clone(),
        });
        let (relays, relay) = relays(around, &identity, &raft, &tls, &stop);
        let signer = Arc::new(Signer::new(tls.clone(), clocks.clone()));
        let authority = Authority::new(raft.clone(), signer.clone());
        let group = RaftService::new(raft.clone(), clocks);
        let services =
            services(&raft, group, authority, dispatcher.clone(), logs.clone(), relay.clone());
        let gate = Gate::new(identity.cluster.clone(), raft.watch());
        let server = Server::new(tls.clone(), gate, services);
        tasks.spawn(server.run(listen, stop.clone()));
        manage(&mut tasks, &raft, identity.advertise.to_string(), &stop);
        let way = way(&logs, relays, tell.in_force.subscribe());
        tasks.spawn(presence::run(raft.clone(), way.clone(), stop.clone()));
        let leading = Group { raft: raft.clone(), dispatcher, way };

        let (sender, assignments) = watch::channel(None);
        tasks.spawn(assign_once_current(raft.clone(), identity.node.clone(), sender, stop.clone()));
        tasks.spawn(Agent::run(AgentDeps {
            engine: machine.engine.clone(),
            node: identity.node.clone(),
            assigned: assignments.clone(),
            reports: Arc::new(Reporter { raft: raft.clone(), node: identity.node.clone() }),
            files,
            drains: Drains::new(raft.watch(), Arc::new(leading), &machine.data_plane),
            endpoints: Endpoints::new(&machine.data_plane),
            shutdown: stop.clone(),
        }));
        let tunnel_key = tell.key.subscribe();
        let (node, addr) = (identity.node.clone(), identity.data_path);
        let plane = DataPlane::new(machine.data_plane.clone(), node, addr, tell);
        tasks.spawn(plane.run(raft.watch(), assignments, stop.clone()));
        let consensus = (raft.clone(), key.clone());
        let credentials = (tls.clone(), signer.clone());
        let keeper = upkeep::Upkeep::new(around, &identity, consensus, credentials, tunnel_key);
        let kept = keeper.kept();
        tasks.spawn(keeper.run(stop.clone()));

        info!(node.id = %identity.node, cluster.id = %identity.cluster, "member started");
        let tasks = Mutex::new(tasks);
        Ok(Self { identity, raft, events, tls, logs, relay, signer, key, kept, stop, tasks })
    }

    /// Waits until the key on disk is wrapped as the state of now asks for: an unlock key that was handed out must lock.
    ///
    /// # Errors
    /// Says that it could not be written in time.
    pub async fn key_kept(&self) -> Result<(), BackendError> {
        let index = self.raft.state().index();
        let mut kept = self.kept.clone();
        let written = kept.wait_for(|kept| *kept >= index);
        match tokio::time::timeout(KEY_TIMEOUT, written).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(BackendError::NotManager),
            Err(_) => Err(BackendError::Internal(
                "the change was made, but the key on disk could not be written; see the daemon's log".to_owned(),
            )),
        }
    }

    /// Lends the key of what is on disk, for who opens it anew.
    pub fn key(&self) -> &DataKey {
        &self.key
    }

    /// Waits until the group is without this node.
    pub async fn removed(&self) {
        let mut removed = self.raft.removed();
        if removed.wait_for(|removed| *removed).await.is_err() {
            std::future::pending().await
        }
    }

    /// Hands the lead over, stops its tasks, then consensus. Containers stay as they are.
    pub async fn stop(&self) {
        if self.raft.is_leader() && self.raft.members().voters.len() > 1 {
            let moved = self.raft.transfer_leadership().await;
            info!(node.id = %self.identity.node, moved, "the leader stops");
        }
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                warn!(error = %error, "a task of the member failed");
            }
        }
        self.raft.shutdown().await;
        info!(node.id = %self.identity.node, "member stopped");
    }
}

/// Starts what a manager does for the cluster beside serving it.
fn manage(
    tasks: &mut JoinSet<()>,
    raft: &Arc<RaftNode>,
    advertise: String,
    stop: &CancellationToken,
) {
    tasks.spawn(leader::run(raft.clone(), stop.clone()));
    tasks.spawn(roster::run(raft.clone(), stop.clone()));
    tasks.spawn(rotation::run(raft.clone(), stop.clone()));
    tasks.spawn(roster::settle(raft.clone(), advertise, stop.clone()));
}

/// Opens the cluster's port.
async fn listen(addr: std::net::SocketAddr) -> Result<tokio::net::TcpListener, BackendError> {
    tokio::net::TcpListener::bind(addr).await.map_err(|error| {
        BackendError::Internal(format!(
            "manager stopped: failed to listen on remote API address: listen tcp {addr}: bind: {}",
            plain(&error)
        ))
    })
}

/// Stamps the time on a command and puts it through consensus.
///
/// # Errors
/// Says why it was not carried out.
pub async fn propose(raft: &RaftNode, command: Command) -> Result<Applied, BackendError> {
    let proposal = Proposal { at: clock::now(), command };
    match raft.propose(proposal).await {
        Ok((_, outcome)) => Ok(outcome?),
        Err(error) => Err(unreachable_leader(&error)),
    }
}

/// Puts a node's request through consensus.
///
/// # Errors
/// The status to answer with; none of them makes a node give up.
pub async fn propose_rpc(raft: &RaftNode, command: Command) -> Result<Applied, tonic::Status> {
    let proposal = Proposal { at: clock::now(), command };
    match raft.propose(proposal).await {
        Ok((_, Ok(applied))) => Ok(applied),
        Ok((_, Err(Rejected::NotFound { .. }))) => {
            Err(tonic::Status::not_found("the node is not known"))
        }
        Ok((_, Err(rejected))) => Err(tonic::Status::failed_precondition(rejected.to_string())),
        Err(error) => Err(tonic::Status::unavailable(error.to_string())),
    }
}

/// Says in the API's terms why consensus gave no answer.
pub fn unreachable_leader(error: &ProposeError) -> BackendError {
    match error {
        ProposeError::NoLeader | ProposeError::NotLeader { .. } => BackendError::NoLeader,
        ProposeError::Timeout => BackendError::Timeout,
        ProposeError::Unknown => BackendError::Internal(error.to_string()),
        ProposeError::NoRoom(_) | ProposeError::Waits(_) => {
            BackendError::Unavailable(error.to_string())
        }
        ProposeError::Stopped(_) => BackendError::NotManager,
    }
}

/// Says in the API's terms why consensus did not begin.
pub fn consensus_failed(error: &RaftError) -> BackendError {
    match error {
        RaftError::NoRoom(_) => BackendError::Unavailable(error.to_string()),
        RaftError::Store(_)
        | RaftError::Snapshot(_)
        | RaftError::Options(_)
        | RaftError::AlreadyInitialised
        | RaftError::Fatal(_)
        | RaftError::SlowRecovery { .. } => BackendError::Internal(chain(error)),
    }
}

/// Reports of this node's tasks, on their way through consensus.
struct Reporter {
    raft: Arc<RaftNode>,
    node: NodeId,
}

#[async_trait]
impl ReportSink for Reporter {
    async fn report(&self, statuses: Vec<(TaskId, TaskStatus)>) -> Result<(), ReportError> {
        let command = Command::ReportTasks { node: self.node.clone(), statuses };
        let outcome = propose(&self.raft, command).await;
        outcome.map(drop).map_err(|error| ReportError(error.to_string()))
    }
}

/// The way to all nodes: from here while this manager leads, else through the one that does.
struct Group {
    raft: Arc<RaftNode>,
    dispatcher: Arc<Dispatcher>,
    way: Arc<Way>,
}

#[async_trait]
impl Leading for Group {
    async fn await_in_force(&self, task: &TaskId, index: u64) -> Result<(), tonic::Status> {
        let mut leadership = self.raft.leadership();
        leadership.borrow_and_update();
        let asked = async {
            if self.raft.is_leader() {
                self.dispatcher.await_in_force(task, index).await
            } else {
                link::await_in_force(&self.way, task, index).await
            }
        };
        tokio::select! {
            answered = asked => answered,
            _ = leadership.changed() => Err(tonic::Status::unavailable("another manager leads")),
        }
    }
}

/// Makes this node's end of relays, and the way to those of other nodes.
fn relays(
    around: &Surroundings,
    identity: &Identity,
    raft: &Arc<RaftNode>,
    tls: &Arc<Tls>,
    stop: &CancellationToken,
) -> (Arc<Relays>, Arc<Relay>) {
    let (proxy, engine) = (around.proxy.clone(), around.machine.engine.clone());
    let node = &identity.node;
    let own = Relays::new(proxy, engine, node.clone(), stop.clone());
    let relay = Relay::new(raft.clone(), node.clone(), tls.clone(), own.clone(), stop.clone());
    (own, relay)
}

/// Puts together what is served on the cluster's port.
fn services(
    raft: &Arc<RaftNode>,
    group: RaftService,
    authority: Arc<Authority>,
    dispatcher: Arc<Dispatcher>,
    logs: Arc<Reader>,
    relay: Arc<Relay>,
) -> Vec<Arc<dyn RpcService>> {
    vec![
        Arc::new(RootService(authority.clone())),
        Arc::new(NodeService(authority)),
        Arc::new(DispatcherService(dispatcher.clone())),
        Arc::new(AgentService(dispatcher)),
        Arc::new(LogService(logs.broker.clone())),
        Arc::new(LogRelay(logs)),
        Arc::new(RelayService(relay)),
        Arc::new(ResourceAllocator(raft.clone())),
        Arc::new(group),
    ]
}

/// What a manager's session with the leader needs: it is described by other means.
fn way(reader: &Reader, relays: Arc<Relays>, in_force: watch::Receiver<u64>) -> Arc<Way> {
    Arc::new(Way {
        relays,
        node: reader.node.clone(),
        tls: reader.tls.clone(),
        engine: reader.engine.clone(),
        described: watch::channel(None).1,
        states: reader.raft.watch(),
        in_force,
        told: watch::channel(None).0,
        open: watch::channel(None).0,
    })
}
