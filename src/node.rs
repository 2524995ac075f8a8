//! How this node stands to a cluster; owns every task of the process and its shutdown.
//!
//! | task | owner | ends when |
//! | --- | --- | --- |
//! | API sockets | `run` | `shutdown` is cancelled |
//! | engine version watch | `run` | `shutdown` is cancelled |
//! | roles | `run` | `shutdown` is cancelled |
//! | the tasks of a manager or worker | `Member`, `Worker` (see there) | the node leaves, its role changes, or `shutdown` is cancelled |

mod assigner;
mod attach;
mod certificates;
mod data_dir;
mod enrol;
mod force;
mod identity;
mod init;
mod join;
mod leave;
mod machine;
mod member;
mod restore;
mod roles;
mod upkeep;
mod worker;

use std::sync::Arc;

use anyhow::Context;
use skep_api::backend::{BackendError, Membership};
use skep_api::services::Listing;
use skep_core::error::chain;
use skep_core::id::NodeId;
use skep_core::model::node::Role;
use skep_core::state::State;
use skep_raft::keys::{self, KeyEncryptionKey, Keys, LockedKey};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::api::{EngineProxy, listen};
use crate::config::Config;
use crate::dataplane::{self, KernelError};
use crate::manager::{SwarmAddresses, host_addresses};

pub use data_dir::{DataDir, IdentityError};
pub use identity::Identity;
pub use machine::{Machine, OpenFiles};
pub use member::{Member, Surroundings, propose, propose_rpc, unreachable_leader};
pub use restore::{RestoreError, restore};

use join::way_to;
use member::Consensus;
use worker::Worker;

/// How this node stands to a cluster, with what it needs in that standing.
pub enum Standing {
    /// In no cluster.
    Inactive,
    /// Joining one.
    Pending,
    /// A manager.
    Active(Arc<Member>),
    /// A worker.
    Worker(Arc<Worker>),
    /// A member whose keys are locked.
    Locked(Identity, LockedKey),
    /// A member that could not start.
    Failed(Identity, String),
}

impl Standing {
    /// Stops what runs in it. Containers stay.
    async fn stop(&self) {
        match self {
            Self::Active(member) => member.stop().await,
            Self::Worker(worker) => worker.stop().await,
            Self::Inactive | Self::Pending | Self::Locked(..) | Self::Failed(..) => {}
        }
    }
}

/// The node of this process.
pub struct Node {
    around: Surroundings,
    /// The way to the engine for everything that is not ours.
    pub proxy: Arc<EngineProxy>,
    standing: watch::Sender<Arc<Standing>>,
    /// The list of services as it was written last.
    pub listing: Listing,
    /// Held while the standing changes.
    changing: Mutex<()>,
}

/// Runs the daemon until `shutdown`; calls `ready` with the node once every socket is bound.
///
/// # Errors
/// Says why it could not start.
pub async fn run(
    config: Config,
    machine: Machine,
    shutdown: CancellationToken,
    ready: impl FnOnce(&Arc<Node>),
) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let data = DataDir::open(&config.data_dir)?;
    let proxy = Arc::new(EngineProxy::new(&config.engine));
    let around = Surroundings { config: config.clone(), data, machine, proxy: proxy.clone() };
    let node = Arc::new(Node {
        around,
        proxy: proxy.clone(),
        standing: watch::channel(Arc::new(Standing::Inactive)).0,
        listing: Listing::default(),
        changing: Mutex::new(()),
    });
    if let Err(failure) = proxy.refresh().await {
        warn!(error = %failure, "waiting for the engine");
    }
    let version = tokio::spawn(proxy.watch_version(shutdown.clone()));
    node.resume().await?;
    let roles = node.clone();
    let end = shutdown.clone();
    let roles = tokio::spawn(async move { roles.follow_roles(end).await });
    let sockets = listen(&config.hosts, node.clone(), shutdown.clone())
        .await
        .context("cannot serve the Docker API")?;
    for host in &config.hosts {
        info!(host = %host, "serving the Docker API");
    }
    ready(&node);
    shutdown.cancelled().await;
    sockets.finish().await;
    roles.await.context("the watch over the node's role failed")?;
    node.stop().await;
    version.await.context("the engine's version watch failed")?;
    Ok(())
}

impl Node {
    /// Takes up what the data directory says: membership, a leave that was cut off, or nothing.
    async fn resume(&self) -> anyhow::Result<()> {
        let data = &self.around.data;
        if let Some(left) = data.leaving()? {
            self.clear_away(&left).await?;
        }
        let Some(identity) = data.identity()? else {
            // What an init left behind that never finished.
            data.erase()?;
            return Ok(());
        };
        if identity.role == Role::Worker {
            let managers = data.managers()?.into_iter().map(|(_, address)| address);
            self.begin_work(self.at_home(identity, managers));
            return Ok(());
        }
        match keys::load(&data.raft())? {
            Keys::Locked(locked) => {
                warn!(node.id = %identity.node, "the keys are locked; run `docker swarm unlock`");
                self.stand(Standing::Locked(identity, locked));
            }
            Keys::Unlocked(key) => {
                let standing = match self.start(identity.clone(), key).await {
                    Ok(member) => Standing::Active(member),
                    Err(failure) => {
                        error!(error = %failure, "the cluster could not be taken up");
                        Standing::Failed(identity, failure.to_string())
                    }
                };
                self.stand(standing);
            }
        }
        Ok(())
    }

    async fn start(
        &self,
        identity: Identity,
        key: skep_raft::DataKey,
    ) -> Result<Arc<Member>, BackendError> {
        let consensus = Consensus::open(&self.around.data, key, identity.raft_id).await?;
        let members = consensus.raft.members().addresses;
        let own = identity.raft_id;
        let others = members.into_iter().filter(move |(id, _)| *id != own);
        let identity = self.at_home(identity, others.map(|(_, address)| address));
        Ok(Arc::new(Member::start(&self.around, identity, consensus).await?))
    }

    /// Follows the host to a new address: the one that the way to another manager begins at, or the only one there is. What it
    /// is, the group and the workers are told once the node runs.
    fn at_home(&self, identity: Identity, others: impl Iterator<Item = String>) -> Identity {
        let host = host_addresses();
        let on_the_way = || others.filter_map(|address| way_to(&address)).next();
        let only = || SwarmAddresses::resolve("0.0.0.0", "", "", &host).ok();
        let moved = identity.moved(&host, || on_the_way().or_else(|| Some(only()?.advertise.ip())));
        let Some(moved) = moved else { return identity };
        warn!(from = %identity.advertise, to = %moved.advertise, "the host's address changed");
        if let Err(error) = self.around.data.join(&moved) {
            warn!(error = %chain(&error), "the new address was not written");
        }
        moved
    }

    async fn stop(&self) {
        let _changing = self.changing.lock().await;
        self.standing().stop().await;
    }

    fn standing(&self) -> Arc<Standing> {
        self.standing.borrow().clone()
    }

    /// Watches how the node stands to a cluster.
    pub fn changes(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.subscribe()
    }

    fn stand(&self, standing: Standing) {
        self.standing.send_replace(Arc::new(standing));
    }

    /// Returns the member, if the node is one that serves.
    ///
    /// # Errors
    /// `NotManager` otherwise.
    pub fn member(&self) -> Result<Arc<Member>, BackendError> {
        match &*self.standing() {
            Standing::Active(member) if *member.raft.removed().borrow() => {
                Err(BackendError::NotManager)
            }
            Standing::Active(member) => Ok(member.clone()),
            Standing::Inactive
            | Standing::Pending
            | Standing::Worker(_)
            | Standing::Locked(..)
            | Standing::Failed(..) => Err(BackendError::NotManager),
        }
    }

    /// Returns which node of a cluster this is, and what it knows of the cluster without asking anyone.
    pub fn known(&self) -> Option<(NodeId, Arc<State>)> {
        match &*self.standing() {
            Standing::Active(member) => Some((member.identity.node.clone(), member.raft.state())),
            Standing::Worker(worker) => Some((worker.identity.node.clone(), worker.shown())),
            Standing::Inactive
            | Standing::Pending
            | Standing::Locked(..)
            | Standing::Failed(..) => None,
        }
    }

    /// Lists what is not as it should be of the host's part of the cluster's networks, in words; nothing outside a cluster.
    ///
    /// # Errors
    /// Fails where the kernel does not answer.
    pub async fn amiss(&self) -> Result<Vec<String>, KernelError> {
        let (identity, state) = match &*self.standing() {
            Standing::Active(member) => (member.identity.clone(), member.raft.state()),
            Standing::Worker(worker) => (worker.identity.clone(), worker.shown()),
            Standing::Inactive
            | Standing::Pending
            | Standing::Locked(..)
            | Standing::Failed(..) => return Ok(Vec::new()),
        };
        let settings = &self.around.machine.data_plane;
        dataplane::amiss(settings, &state, identity.node, identity.data_path).await
    }

    /// Tells how the node stands to a cluster.
    pub fn membership(&self) -> Membership {
        match &*self.standing() {
            Standing::Inactive => Membership::Inactive,
            Standing::Pending => Membership::Pending { node: None },
            // It is being made a worker.
            Standing::Active(member) if *member.raft.removed().borrow() => Membership::Pending {
                node: Some((
                    member.identity.node.clone(),
                    member.identity.advertise.ip().to_string(),
                )),
            },
            Standing::Worker(worker) => Membership::Worker {
                node: worker.identity.node.clone(),
                addr: worker.identity.advertise.ip().to_string(),
                managers: worker.managers(),
            },
            Standing::Active(member) => {
                let identity = &member.identity;
                let state = member.raft.state();
                let address = |node: &Arc<skep_core::model::node::Node>| {
                    Some((node.id.clone(), node.manager.as_ref()?.addr.clone()))
                };
                Membership::Manager {
                    node: identity.node.clone(),
                    addr: identity.advertise.ip().to_string(),
                    managers: state.nodes().values().filter_map(address).collect(),
                }
            }
            Standing::Locked(..) => Membership::Locked,
            Standing::Failed(identity, error) => Membership::Failed {
                node: Some((identity.node.clone(), identity.advertise.ip().to_string())),
                error: error.clone(),
                expired: false,
            },
        }
    }

    /// Unlocks the keys and starts the member.
    ///
    /// # Errors
    /// Says why the key does not fit or the member does not start.
    pub async fn unlock(&self, key: &str) -> Result<(), BackendError> {
        let _changing = self.changing.lock().await;
        let standing = self.standing();
        let (identity, locked) = match &*standing {
            Standing::Locked(identity, locked) => (identity, locked),
            Standing::Inactive | Standing::Pending | Standing::Worker(_) => {
                return Err(BackendError::NotManager);
            }
            Standing::Active(_) | Standing::Failed(..) => return Err(BackendError::NotLocked),
        };
        let key = skep_pki::UnlockKey::parse(key).map_err(|error| {
            let length = error == skep_pki::Error::UnlockKeyLength;
            if length { BackendError::WrongKey } else { BackendError::InvalidKey }
        })?;
        let key = locked
            .unlock(&KeyEncryptionKey::from_bytes(*key.bytes()))
            .map_err(|_| BackendError::WrongKey)?;
        let member = self.start(identity.clone(), key).await?;
        self.stand(Standing::Active(member));
        info!(node.id = %identity.node, "unlocked");
        Ok(())
    }
}
