//! Consensus: openraft over redb. Offers one handle, `RaftNode`; openraft's and redb's types stop
//! here.
//!
//! The log and its vote are in `raft.redb`, snapshots in `snapshots/`, all sealed with the data
//! key. The state is in memory and rebuilt at start from the newest snapshot and the log behind it.

mod backup;
mod codec;
mod crypt;
mod disk;
pub mod durable_file;
mod error;
mod hand_over;
pub mod keys;
mod log_store;
mod membership;
mod network;
mod propose;
mod quorum;
mod recover;
mod room;
mod serve;
mod silence;
mod snapshot;
mod state_machine;
mod supervise;
mod tail;
#[cfg(test)]
mod tests;
mod transport;
mod types;
mod wire;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{InitializeError, RaftError as ApiError};
use openraft::{BasicNode, Config, Raft, RaftMetrics, ServerState, SnapshotPolicy};
use parking_lot::Mutex;
use skep_core::State;
use tokio::sync::{broadcast, watch};

use skep_core::error::chain;

pub use backup::{
    Backup, BackupError, BackupKey, BackupKeyError, Checked, check_store, found_from,
};
pub use codec::{CodecError, Record, decode, encode};
pub use crypt::{CryptError, DataKey};
pub use error::{ChangeError, NoRoom, ProposeError, RaftError, SnapshotError, StoreError};
pub use keys::{KeyEncryptionKey, KeyError, Keys, LockedKey};
pub use membership::Change;
pub use quorum::{Members, quorum_of};
pub use recover::force_new_group;
pub use room::free_bytes;
pub use serve::FrameError;
pub use state_machine::AppliedEvents;
pub use supervise::Leadership;
pub use transport::{FRAME_BYTES_MAX, Lane, NoTransport, Peer, Transport, TransportError};

use disk::{LOG_FILE, Place};
use log_store::LogStore;
use network::{AddressBook, Peers};
use room::Room;
use snapshot::{Loaded, SnapshotStore};
use state_machine::StateMachine;
use supervise::{Bounds, Supervisor};
use types::TypeConfig;

type Consensus = Raft<TypeConfig, StateMachine>;

/// Events that a slow listener may lag behind before it loses the oldest.
const EVENTS_MAX: usize = 4096;

/// Entries that one frame may carry; their bytes bound it too.
const ENTRIES_A_FRAME: u64 = 256;

/// How long the log of a sole voter may take to be applied at start.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// How a node takes part in consensus.
#[derive(Debug, Clone)]
pub struct RaftOptions {
    /// Where log and snapshots are.
    pub dir: PathBuf,
    /// The node's consensus id, for ever the same.
    pub node_id: u64,
    /// The key that seals what is stored.
    pub key: DataKey,
    /// Entries between two snapshots.
    pub snapshot_interval: u64,
    /// Entries kept behind a snapshot, for followers that lag a little.
    pub entries_kept: u64,
    /// Bytes of log that bring the next snapshot forward.
    pub log_bytes_max: u64,
    /// Bytes of the newest entries kept in memory.
    pub cache_bytes_max: u64,
    /// Bytes that must be free on the disk before anything is proposed, so that what is under way
    /// and the next snapshot find room.
    pub free_bytes_min: u64,
    /// How often a leader tells that it lives.
    pub heartbeat_period: Duration,
    /// A leader holds its lead for one and a half times as long; from then on, followers wait once to one and a half times
    /// as long before they stand for election.
    pub election_timeout: Duration,
    /// How long a proposal, a read or a change of the group may take.
    pub request_timeout: Duration,
    /// How long nobody may have led for a call to wait for a leader still.
    pub leaderless_max: Duration,
    /// Writes that are to fail.
    #[cfg(test)]
    pub(crate) faults: Arc<tests::faults::Faults>,
}

impl RaftOptions {
    /// Makes options with the usual bounds.
    pub fn new(dir: PathBuf, node_id: u64, key: DataKey) -> Self {
        Self {
            dir,
            node_id,
            key,
            snapshot_interval: 10_000,
            entries_kept: 500,
            log_bytes_max: 64 << 20,
            cache_bytes_max: 1 << 20,
            free_bytes_min: 4 << 20,
            heartbeat_period: Duration::from_millis(200),
            election_timeout: Duration::from_millis(400),
            request_timeout: Duration::from_secs(20),
            leaderless_max: Duration::from_secs(10),
            #[cfg(test)]
            faults: Arc::default(),
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            snapshot_interval: AtomicU64::new(self.snapshot_interval),
            entries_kept: AtomicU64::new(self.entries_kept),
            log_bytes_max: self.log_bytes_max,
        }
    }

    fn config(&self) -> Result<Config, RaftError> {
        let millis = |period: Duration| u64::try_from(period.as_millis()).unwrap_or(u64::MAX / 4);
        let config = Config {
            cluster_name: "skep".to_owned(),
            heartbeat_interval: millis(self.heartbeat_period),
            election_timeout_min: millis(self.election_timeout),
            election_timeout_max: millis(self.election_timeout).saturating_mul(3) / 2,
            max_payload_entries: ENTRIES_A_FRAME,
            install_snapshot_timeout: 60_000,
            // The supervisor decides both: the bounds may change while the node runs.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            enable_pre_vote: Some(true),
            // A leader that comes back could serve a state that misses its last commits: it is
            // elected anew instead.
            enable_leader_restore: Some(false),
            ..Config::default()
        };
        config.validate().map_err(|error| RaftError::Options(error.to_string()))
    }
}

/// A node's part in consensus. Copies are the same node.
#[derive(Clone)]
pub struct RaftNode {
    inner: Arc<Inner>,
}

struct Inner {
    node_id: u64,
    raft: Consensus,
    log: LogStore,
    snapshots: Arc<SnapshotStore>,
    room: Arc<Room>,
    bounds: Arc<Bounds>,
    state: watch::Receiver<Arc<State>>,
    events: broadcast::Sender<Arc<AppliedEvents>>,
    leadership: watch::Receiver<Leadership>,
    threads: Mutex<Option<(JoinHandle<()>, tokio::task::JoinHandle<()>)>>,
    transport: Arc<dyn Transport>,
    election_timeout: Duration,
    request_timeout: Duration,
    leaderless_max: Duration,
    opened_at: tokio::time::Instant,
    removed: watch::Sender<bool>,
    /// Held while the membership changes.
    changing: tokio::sync::Mutex<()>,
    /// Held while a snapshot comes in.
    receiving: tokio::sync::Mutex<()>,
    /// When this node last tried to leave the lead for lack of room. Held while it tries.
    handed_over: tokio::sync::Mutex<Option<tokio::time::Instant>>,
}

/// What is on disk, opened.
struct Storage {
    log: LogStore,
    writer: JoinHandle<()>,
    snapshots: Arc<SnapshotStore>,
    loaded: Option<Loaded>,
}

impl RaftNode {
    /// Opens the node's log and snapshots, with a way to the other managers. A sole voter comes back as the leader with its
    /// whole log applied.
    pub async fn open(
        options: RaftOptions,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, RaftError> {
        let config = Arc::new(options.config()?);
        let room = Arc::new(Room::new(options.dir.clone(), options.free_bytes_min));
        let Storage { log, writer, snapshots, loaded } = Storage::begin(&options, &room).await?;
        let (published, state) = watch::channel(Arc::new(State::default()));
        let events = broadcast::Sender::new(EVENTS_MAX);
        let machine = StateMachine::new(
            Arc::clone(&snapshots),
            Arc::clone(&room),
            loaded,
            published,
            events.clone(),
        );
        let removed = watch::Sender::new(false);
        let addresses = AddressBook::default();
        let peers = Peers {
            node_id: options.node_id,
            transport: Arc::clone(&transport),
            addresses: Arc::clone(&addresses),
            removed: removed.clone(),
        };
        let raft = Self::begin(config, peers, &log, machine).await?;
        let (leadership_sender, leadership) = watch::channel(Leadership::default());
        let bounds = Arc::new(options.bounds());
        let supervisor = Supervisor {
            node_id: options.node_id,
            raft: raft.clone(),
            log: log.clone(),
            bounds: Arc::clone(&bounds),
            leadership: leadership_sender,
            removed: removed.clone(),
            addresses,
        };
        let threads = Mutex::new(Some((writer, tokio::spawn(supervisor.run()))));
        let inner = Inner {
            node_id: options.node_id,
            raft,
            log,
            snapshots,
            room,
            bounds,
            state,
            events,
            leadership,
            threads,
            transport,
            election_timeout: options.election_timeout,
            request_timeout: options.request_timeout,
            leaderless_max: options.leaderless_max,
            opened_at: tokio::time::Instant::now(),
            removed,
            changing: tokio::sync::Mutex::default(),
            receiving: tokio::sync::Mutex::default(),
            handed_over: tokio::sync::Mutex::default(),
        };
        let node = Self { inner: Arc::new(inner) };
        if let Err(error) = node.recover().await {
            node.shutdown().await;
            return Err(error);
        }
        Ok(node)
    }

    /// Starts consensus; if it cannot, the log is closed, so that its files are free again.
    async fn begin(
        config: Arc<Config>,
        peers: Peers,
        log: &LogStore,
        machine: StateMachine,
    ) -> Result<Consensus, RaftError> {
        let started = Box::pin(Raft::new(peers.node_id, config, peers, log.clone(), machine)).await;
        if started.is_err() {
            log.stop().await;
        }
        started.map_err(|error| RaftError::Fatal(chain(&error)))
    }

    /// Makes a new cluster with this node as its one voter, reached at `address` by others, and
    /// waits until it leads.
    pub async fn initialize(&self, address: &str) -> Result<(), RaftError> {
        self.admit().await?;
        let members =
            BTreeMap::from([(self.inner.node_id, BasicNode { addr: address.to_owned() })]);
        match self.inner.raft.initialize(members).await {
            Ok(()) => self.recover().await,
            Err(ApiError::APIError(InitializeError::NotAllowed(_))) => {
                Err(RaftError::AlreadyInitialised)
            }
            Err(ApiError::APIError(InitializeError::NotInMembers(error))) => {
                Err(RaftError::Fatal(error.to_string()))
            }
            Err(ApiError::Fatal(error)) => Err(RaftError::Fatal(chain(&error))),
        }
    }

    /// Tells whether the node is part of a cluster.
    pub async fn is_initialized(&self) -> Result<bool, RaftError> {
        let answer = self.inner.raft.is_initialized().await;
        answer.map_err(|error| RaftError::Fatal(chain(&error)))
    }

    /// Makes a sole voter the leader without waiting for an election timeout, and waits until its
    /// log is applied.
    async fn recover(&self) -> Result<(), RaftError> {
        let node_id = self.inner.node_id;
        let fatal = |error| RaftError::Fatal(chain(&error));
        let is_sole_voter = self.inner.raft.with_raft_state(move |state| {
            state.membership_state.effective().voter_ids().eq([node_id])
        });
        if !is_sole_voter.await.map_err(fatal)? {
            return Ok(());
        }
        // The sole voter's vote waits for room as every write does. The node serves what it has
        // until then.
        self.inner.raft.trigger().elect(false).await.map_err(fatal)?;
        let applied = |metrics: &RaftMetrics<TypeConfig>| {
            metrics.state == ServerState::Leader
                && metrics.last_applied.as_ref().is_some_and(|applied| {
                    applied.leader_id.term == metrics.current_term
                        && Some(applied.index) == metrics.last_log_index
                })
        };
        let wait = self.inner.raft.wait(Some(RECOVERY_MAX));
        let recovered = tokio::select! {
            recovered = Box::pin(wait.metrics(applied, "log applied")) => recovered,
            () = self.inner.room.held() => return Ok(()),
        };
        match recovered {
            Ok(_) => Ok(()),
            Err(openraft::metrics::WaitError::Timeout(..)) => {
                Err(RaftError::SlowRecovery { seconds: RECOVERY_MAX.as_secs() })
            }
            Err(openraft::metrics::WaitError::ShuttingDown) => {
                Err(RaftError::Fatal(self.stop_reason()))
            }
        }
    }

    /// Returns the newest state this node has applied.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.inner.state.borrow())
    }

    /// Watches the state; it is published once for each batch of entries applied.
    pub fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.inner.state.clone()
    }

    /// Listens to the events of entries applied from now on. A listener that lags too far is told
    /// so.
    pub fn events(&self) -> broadcast::Receiver<Arc<AppliedEvents>> {
        self.inner.events.subscribe()
    }

    /// Watches who leads.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Tells whether this node leads and has applied all that was committed before its term.
    pub fn is_leader(&self) -> bool {
        self.inner.leadership.borrow().ready
    }

    /// Watches whether this node was removed from the group; once it was, it never comes back under its id.
    pub fn removed(&self) -> watch::Receiver<bool> {
        self.inner.removed.subscribe()
    }

    /// Returns the node's consensus id.
    pub fn node_id(&self) -> u64 {
        self.inner.node_id
    }

    /// Changes how many entries lie between snapshots and how many are kept behind one.
    pub fn set_snapshot_bounds(&self, interval: u64, entries_kept: u64) {
        self.inner.bounds.snapshot_interval.store(interval, Ordering::Relaxed);
        self.inner.bounds.entries_kept.store(entries_kept, Ordering::Relaxed);
    }

    /// Returns how many transactions the log committed since it was opened.
    pub fn log_commits(&self) -> u64 {
        self.inner.log.commits()
    }

    /// Stops consensus, writes what is still to be written and closes all files. May be called
    /// again. A node that is only dropped goes on, for its own tasks hold it.
    pub async fn shutdown(&self) {
        self.inner.room.stop();
        // The only error is that the task panicked, which leaves nothing to stop.
        let _ = self.inner.raft.shutdown().await;
        let Some((writer, supervisor)) = self.inner.threads.lock().take() else { return };
        let _ = supervisor.await;
        self.inner.log.stop().await;
        let snapshots = Arc::clone(&self.inner.snapshots);
        let closed = tokio::task::spawn_blocking(move || {
            snapshots.close();
            writer.join().is_ok()
        });
        if !closed.await.unwrap_or(false) {
            tracing::error!("the raft log's writer panicked");
        }
    }

    /// Says why consensus stopped.
    fn stop_reason(&self) -> String {
        match &self.inner.raft.metrics().borrow_watched().running_state {
            Ok(()) => "stopped".to_owned(),
            Err(error) => chain(error),
        }
    }
}

impl Storage {
    /// Opens away from the runtime's threads.
    async fn begin(options: &RaftOptions, room: &Arc<Room>) -> Result<Self, RaftError> {
        let (options, room) = (options.clone(), Arc::clone(room));
        tokio::task::spawn_blocking(move || Self::open(&options, room))
            .await
            .map_err(|error| RaftError::Fatal(error.to_string()))?
    }

    fn open(options: &RaftOptions, room: Arc<Room>) -> Result<Self, RaftError> {
        let snapshots = SnapshotStore::open(&options.dir, options.key.clone())?;
        #[cfg(test)]
        let snapshots = snapshots.with_faults(Arc::clone(&options.faults));
        let snapshots = Arc::new(snapshots);
        // A log that began anew would forget whom this node voted for.
        if !options.dir.join(LOG_FILE).exists() && !snapshots.is_empty()? {
            return Err(StoreError::Damaged("the file is missing".to_owned()).into());
        }
        let place = Place::new(options.dir.clone(), options.key.clone(), options.node_id);
        #[cfg(test)]
        let place = Place { faults: Arc::clone(&options.faults), ..place };
        let (log, writer) = LogStore::open(place, options.cache_bytes_max, room)?;
        let checked = Self::load(&log, &snapshots);
        match checked {
            Ok(loaded) => Ok(Self { log, writer, snapshots, loaded }),
            Err(error) => {
                // The writer ends with its queue. Waiting for it leaves the files closed.
                drop(log);
                let _ = writer.join();
                Err(error)
            }
        }
    }

    fn load(log: &LogStore, snapshots: &SnapshotStore) -> Result<Option<Loaded>, RaftError> {
        let loaded = snapshots.load_newest(log.purged().map(|id| id.index))?;
        let reached = loaded.as_ref().and_then(|loaded| loaded.meta.last_log_id);
        log.check_reaches_committed(reached.as_ref())?;
        Ok(loaded)
    }
}
