//! A running worker: starts its tasks and stops them. What it does is the cluster's word; without the cluster, what runs goes
//! on. Decides nothing.
//!
//! | task | ends when | what it does |
//! | --- | --- | --- |
//! | link | `stop` | keeps a session with the leader, takes what the node is shown (`agent::link`) |
//! | assigner | `stop` | turns what is shown into what this node must run, from the first time on |
//! | agent | `stop` | runs it (`agent`) |
//! | data plane | `stop` | names and published ports (`dataplane`) |
//! | certificates | `stop` | certificate, list of managers, description (`certificates`) |

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use skep_api::backend::BackendError;
use skep_core::agent::ManagerList;
use skep_core::assign::Assigned;
use skep_core::error::chain;
use skep_core::id::{NodeId, TaskId};
use skep_core::model::task::TaskStatus;
use skep_core::state::State;
use skep_raft::keys::{self, Keys};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{info, warn};

use super::assigner::assign;
use super::certificates::Certificates;
use super::data_dir::StoredCertificate;
use super::identity::Identity;
use super::member::Surroundings;
use crate::agent::link::{self, Manager, Open, Way};
use crate::agent::relay::Relays;
use crate::agent::status::{ReportError, ReportSink};
use crate::agent::{Agent, AgentDeps};
use crate::dataplane::{DataPlane, Drains, Endpoints, Leading, Tell};
use crate::rpc::tls::Tls;

/// A running worker.
pub struct Worker {
    /// Which node of which cluster it is.
    pub identity: Identity,
    managers: Arc<Mutex<ManagerList>>,
    /// Whether it was made a manager, and has the certificate of one.
    promoted: watch::Receiver<bool>,
    open: watch::Receiver<Option<Open>>,
    states: watch::Receiver<Arc<State>>,
    way: Arc<Way>,
    stop: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
}

impl Worker {
    /// Starts everything that a worker runs.
    ///
    /// # Errors
    /// Says why it cannot start.
    pub fn start(around: &Surroundings, identity: Identity) -> Result<Self, BackendError> {
        let internal = |error: &dyn std::error::Error| BackendError::Internal(chain(error));
        let machine = &around.machine;
        let files = (machine.open_files)(&identity.node)
            .map_err(|error| BackendError::Internal(format!("no place for secrets: {error}")))?;
        let held = around.data.certificate(None).or_else(|| unsealed(around));
        let held = held.ok_or_else(|| {
            BackendError::Internal("the certificate is missing; leave and join again".to_owned())
        })?;
        let tls = Arc::new(Tls::default());
        tls.replace(&held.chain_pem, &held.key_pem, &held.root_pem)
            .map_err(|error| internal(&error))?;
        let known = around.data.managers().map_err(|error| internal(&error))?;
        let named = around.config.managers.clone();
        let managers = Arc::new(Mutex::new(ManagerList::new(known).with_named(named)));
        let (views, states) = watch::channel(Arc::new(State::default()));
        let (describe, described) = watch::channel(None);
        let (told, heard) = watch::channel(None);
        let (open, sessions) = watch::channel(None);
        let tell = Tell::default();
        let stop = CancellationToken::new();
        let way = Arc::new(Way {
            node: identity.node.clone(),
            tls: tls.clone(),
            engine: machine.engine.clone(),
            relays: Relays::new(
                around.proxy.clone(),
                machine.engine.clone(),
                identity.node.clone(),
                stop.clone(),
            ),
            described,
            states: states.clone(),
            in_force: tell.in_force.subscribe(),
            told,
            open,
        });
        let mut tasks = JoinSet::new();
        let own_key = tell.key.subscribe();
        let certificates =
            Certificates::new(around, tls, held, managers.clone(), heard, (describe, own_key));
        let promoted = certificates.promoted();
        tasks.spawn(certificates.run(stop.clone()));
        tasks.spawn(link::run(way.clone(), managers.clone(), views, stop.clone()));
        let (sender, assigned) = watch::channel(None);
        let (node, end) = (identity.node.clone(), stop.clone());
        tasks.spawn(assign_once_shown(states.clone(), node, sender, end));
        tasks.spawn(Agent::run(AgentDeps {
            engine: machine.engine.clone(),
            node: identity.node.clone(),
            assigned: assigned.clone(),
            reports: Arc::new(Reporter(way.clone())),
            files,
            drains: Drains::new(
                states.clone(),
                Arc::new(Session(way.clone())),
                &machine.data_plane,
            ),
            endpoints: Endpoints::new(&machine.data_plane),
            shutdown: stop.clone(),
        }));
        let (node, addr) = (identity.node.clone(), identity.data_path);
        let plane = DataPlane::new(machine.data_plane.clone(), node, addr, tell);
        tasks.spawn(plane.run(states.clone(), assigned, stop.clone()));
        info!(node.id = %identity.node, cluster.id = %identity.cluster, "worker started");
        let tasks = Mutex::new(tasks);
        Ok(Self { identity, managers, promoted, open: sessions, states, way, stop, tasks })
    }

    /// Returns the managers it knows.
    pub fn managers(&self) -> Vec<Manager> {
        self.managers.lock().known().to_vec()
    }

    /// Returns what it is shown of the cluster.
    pub fn shown(&self) -> Arc<State> {
        self.states.borrow().clone()
    }

    /// Watches what it is shown of the cluster.
    pub fn states(&self) -> watch::Receiver<Arc<State>> {
        self.states.clone()
    }

    /// Lends its way to the managers.
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// Waits until it is to be a manager.
    pub async fn promoted(&self) {
        let mut promoted = self.promoted.clone();
        if promoted.wait_for(|promoted| *promoted).await.is_err() {
            std::future::pending().await
        }
    }

    /// Waits for a session; tells whether there is one in time.
    pub async fn connected(&self, limit: Duration) -> bool {
        let mut open = self.open.clone();
        let opened = open.wait_for(Option::is_some);
        matches!(tokio::time::timeout(limit, opened).await, Ok(Ok(_)))
    }

    /// Stops its tasks. Containers stay as they are.
    pub async fn stop(&self) {
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                warn!(error = %error, "a task of the worker failed");
            }
        }
        info!(node.id = %self.identity.node, "worker stopped");
    }
}

/// Assigns nothing before this node is shown something: what is known then is nothing, which would end everything that runs.
async fn assign_once_shown(
    states: watch::Receiver<Arc<State>>,
    node: NodeId,
    sender: watch::Sender<Option<Arc<Assigned>>>,
    stop: CancellationToken,
) {
    let mut first = states.clone();
    tokio::select! {
        seen = first.changed() => if seen.is_err() { return },
        () = stop.cancelled() => return,
    }
    assign(states, node, sender, stop).await;
}

/// Reads the certificate of a node that was cut off on its way to become a manager, whose key is sealed already.
fn unsealed(around: &Surroundings) -> Option<StoredCertificate> {
    let Ok(Keys::Unlocked(key)) = keys::load(&around.data.raft()) else { return None };
    around.data.reseal(&key, false).ok()?;
    around.data.certificate(None)
}

/// Reports of this node's tasks, on their way to the leader.
struct Reporter(Arc<Way>);

#[async_trait]
impl ReportSink for Reporter {
    async fn report(&self, statuses: Vec<(TaskId, TaskStatus)>) -> Result<(), ReportError> {
        let told = link::report(&self.0, &statuses).await;
        told.map_err(|status| ReportError(status.message().to_owned()))
    }
}

/// The way to all nodes, through the leader.
struct Session(Arc<Way>);

#[async_trait]
impl Leading for Session {
    async fn await_in_force(&self, task: &TaskId, index: u64) -> Result<(), Status> {
        link::await_in_force(&self.0, task, index).await
    }
}
