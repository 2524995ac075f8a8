//! openraft's own tests of log storage and state machine, run on ours.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use skep_core::State;
use tempfile::TempDir;
use tokio::sync::{broadcast, watch};

use super::{TestResult, key, place};
use crate::log_store::LogStore;
use crate::room::Room;
use crate::snapshot::SnapshotStore;
use crate::state_machine::StateMachine;
use crate::types::TypeConfig;

/// Builds stores whose readers find so many bytes of entries in memory.
struct Builder {
    cache_bytes: u64,
}

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let room = Arc::new(Room::new(dir.path().to_owned(), 0));
        let (log, _writer) =
            LogStore::open(place(dir.path(), 0), self.cache_bytes, Arc::clone(&room))
                .expect("a new log");
        let snapshots = SnapshotStore::open(dir.path(), key()).expect("a new directory");
        let (published, _) = watch::channel(Arc::new(State::default()));
        let machine = StateMachine::new(
            Arc::new(snapshots),
            room,
            None,
            published,
            broadcast::Sender::new(1),
        );
        Ok((dir, log, machine))
    }
}

#[tokio::test]
async fn storage_passes_the_suite() -> TestResult {
    Ok(Suite::test_all(Builder { cache_bytes: 1 << 20 }).await?)
}

#[tokio::test]
async fn storage_passes_the_suite_when_old_entries_are_on_disk_only() -> TestResult {
    Ok(Suite::test_all(Builder { cache_bytes: 0 }).await?)
}
