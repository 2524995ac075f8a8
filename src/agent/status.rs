//! Hands the newest status of each task over, in batches, until it is accepted.

use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use skep_core::agent::ReportQueue;
use skep_core::id::TaskId;
use skep_core::model::task::TaskStatus;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::clock;

/// Waits between two tries, doubling from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Takes what tasks came to, on its way to the cluster's state.
#[async_trait]
pub trait ReportSink: Send + Sync + 'static {
    /// Puts statuses through; returns when they are in the state. After an error they are handed over again.
    async fn report(&self, statuses: Vec<(TaskId, TaskStatus)>) -> Result<(), ReportError>;
}

/// Why statuses did not get through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReportError(pub String);

/// Statuses that are not reported yet.
#[derive(Default)]
pub(super) struct Reports {
    waiting: Mutex<ReportQueue>,
    changed: Notify,
}

impl Reports {
    /// Adds a status in place of any earlier one of the task.
    pub(super) fn put(&self, task: TaskId, status: TaskStatus) {
        self.waiting.lock().put(task, status);
        self.changed.notify_one();
    }

    /// Hands statuses over until shut down.
    pub(super) async fn run(&self, sink: &dyn ReportSink, shutdown: &CancellationToken) {
        let mut wait = RETRY.0;
        while !shutdown.is_cancelled() {
            let batch = self.waiting.lock().take();
            if batch.is_empty() {
                tokio::select! {
                    () = self.changed.notified() => {}
                    () = shutdown.cancelled() => {}
                }
                continue;
            }
            let sent = tokio::select! {
                sent = sink.report(batch.clone()) => sent,
                () = shutdown.cancelled() => return,
            };
            if let Err(error) = sent {
                debug!(%error, "statuses not accepted yet");
                self.waiting.lock().put_back(batch);
                tokio::select! {
                    () = clock::sleep(wait) => {}
                    () = shutdown.cancelled() => {}
                }
                wait = (wait * 2).min(RETRY.1);
            } else {
                wait = RETRY.0;
            }
        }
    }
}
