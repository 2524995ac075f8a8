//! openraft's state machine: applies committed entries to the core's `State` and publishes it.
//! Holds no rule of its own.

use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use skep_core::State;
use skep_core::error::chain;
use skep_core::state::Event;
use tokio::sync::{broadcast, watch};

use super::error::io_error;
use super::room::{Pauses, Room};
use super::snapshot::{Loaded, SnapshotStore};
use super::types::{Entry, LogId, Membership, Outcome, Snapshot, SnapshotMeta, TypeConfig};

/// The events of one applied entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedEvents {
    /// Index of the entry.
    pub index: u64,
    /// What it did, in order; never empty.
    pub events: Vec<Event>,
}

/// The state of the cluster as this node has applied it.
pub(super) struct StateMachine {
    state: State,
    applied: Option<LogId>,
    membership: Membership,
    published: watch::Sender<Arc<State>>,
    events: broadcast::Sender<Arc<AppliedEvents>>,
    snapshots: Arc<SnapshotStore>,
    room: Arc<Room>,
    /// The newest snapshot; shares with the state what did not change since.
    newest: Arc<Mutex<Option<Loaded>>>,
}

/// A snapshot in the making: a copy of the state that nothing changes any more.
pub(super) struct SnapshotBuilder {
    loaded: Loaded,
    snapshots: Arc<SnapshotStore>,
    room: Arc<Room>,
    newest: Arc<Mutex<Option<Loaded>>>,
}

impl StateMachine {
    /// Starts from a snapshot, or empty.
    pub fn new(
        snapshots: Arc<SnapshotStore>,
        room: Arc<Room>,
        loaded: Option<Loaded>,
        published: watch::Sender<Arc<State>>,
        events: broadcast::Sender<Arc<AppliedEvents>>,
    ) -> Self {
        let mut machine = Self {
            state: State::default(),
            applied: None,
            membership: Membership::default(),
            published,
            events,
            snapshots,
            room,
            newest: Arc::new(Mutex::new(None)),
        };
        if let Some(loaded) = loaded {
            machine.restore(loaded);
        }
        machine
    }

    fn restore(&mut self, loaded: Loaded) {
        self.state = State::clone(&loaded.state);
        self.applied = loaded.meta.last_log_id;
        self.membership = loaded.meta.last_membership.clone();
        self.published.send_replace(Arc::clone(&loaded.state));
        *self.newest.lock() = Some(loaded);
    }

    /// Applies one entry. The rules are the core's; this only keeps the books.
    fn apply_entry(&mut self, entry: Entry, happened: &mut Vec<AppliedEvents>) -> Outcome {
        let index = entry.log_id.index;
        let outcome = match entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Normal(proposal) => Some(self.state.apply(index, &proposal.0)),
            EntryPayload::Membership(membership) => {
                self.membership = Membership::new(Some(entry.log_id), membership);
                None
            }
        };
        self.applied = Some(entry.log_id);
        if let Some(Ok(applied)) = &outcome
            && !applied.events.is_empty()
            && self.events.receiver_count() > 0
        {
            happened.push(AppliedEvents { index, events: applied.events.clone() });
        }
        Outcome(outcome)
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Arc<State>;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut happened = Vec::new();
        let mut responses = Vec::new();
        let mut result = Ok(());
        while let Some(next) = entries.next().await {
            match next {
                Ok((entry, responder)) => {
                    let outcome = self.apply_entry(entry, &mut happened);
                    responses.extend(responder.map(|responder| (responder, outcome)));
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        // One publication for the batch, and before anyone is answered: who proposed must see what
        // it wrote.
        self.published.send_replace(Arc::new(self.state.clone()));
        for events in happened {
            // Without listeners there is nobody to tell.
            let _ = self.events.send(Arc::new(events));
        }
        for (responder, outcome) in responses {
            responder.send(outcome);
        }
        result
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let meta =
            SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() };
        SnapshotBuilder {
            loaded: Loaded { meta, state: Arc::new(self.state.clone()) },
            snapshots: Arc::clone(&self.snapshots),
            room: Arc::clone(&self.room),
            newest: Arc::clone(&self.newest),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        state: Arc<State>,
    ) -> Result<(), io::Error> {
        let loaded = Loaded { meta: meta.clone(), state };
        save(&self.snapshots, &self.room, &loaded).await?;
        self.restore(loaded);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.newest.lock().clone().map(Loaded::into_snapshot))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = Arc<State>;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        save(&self.snapshots, &self.room, &self.loaded).await?;
        let mut newest = self.newest.lock();
        let known = newest.as_ref().map(|known| known.meta.last_log_id);
        if known.is_none_or(|known| known <= self.loaded.meta.last_log_id) {
            *newest = Some(self.loaded.clone());
        }
        Ok(self.loaded.clone().into_snapshot())
    }
}

impl Loaded {
    fn into_snapshot(self) -> Snapshot {
        Snapshot { meta: self.meta, snapshot: self.state }
    }
}

/// Writes a snapshot away from the runtime's threads, however long it takes until there is room for
/// it: consensus would stop on an error that passes. Only the node's stop ends the wait.
async fn save(snapshots: &Arc<SnapshotStore>, room: &Room, loaded: &Loaded) -> io::Result<()> {
    let mut pauses = Pauses::default();
    let mut waits = false;
    loop {
        let (store, loaded) = (Arc::clone(snapshots), loaded.clone());
        let saved = tokio::task::spawn_blocking(move || store.save(&loaded.meta, &loaded.state));
        match saved.await.map_err(io::Error::other)? {
            Err(error) if error.lacks_room() => {
                if !std::mem::replace(&mut waits, true) {
                    tracing::error!(error = %chain(&error), "a snapshot waits for room on the disk");
                }
                if !room.pause_async(&mut pauses).await {
                    return Err(io_error(&error));
                }
            }
            saved => return saved.map_err(|error| io_error(&error)),
        }
    }
}
