//! Keeps a task that is to stop until nobody is answered by it any more. Nobody new is led to it meanwhile: that ended with
//! the wish to stop it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skep_core::State;
use skep_core::id::TaskId;
use skep_core::net::drain::{Drain, drain};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, info};

use super::kernel;
use crate::clock;

/// Wait after the nodes could not be asked: the leader may have changed.
const RETRY_PERIOD: Duration = Duration::from_millis(200);

/// Between two looks at the connections, doubling from the first to the second.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));

/// The way to all nodes that may lead packets to a task.
#[async_trait]
pub trait Leading: Send + Sync {
    /// Waits until each of them does so by the state of `index`, or a later one. Fails when they could not be asked.
    async fn await_in_force(&self, task: &TaskId, index: u64) -> Result<(), tonic::Status>;
}

/// The wait of tasks before they stop.
#[derive(Clone)]
pub struct Drains {
    states: watch::Receiver<Arc<State>>,
    leading: Arc<dyn Leading>,
    /// Whether connections are led by the kernel here.
    kernel: bool,
}

impl Drains {
    /// Makes the wait of a node that knows the cluster by `states`.
    pub fn new(
        states: watch::Receiver<Arc<State>>,
        leading: Arc<dyn Leading>,
        settings: &super::Settings,
    ) -> Self {
        Self { states, leading, kernel: settings.kernel }
    }

    /// Waits until a task may be stopped.
    pub async fn wait(&self, task: &TaskId) {
        let wish = || -> Option<Drain> {
            let state = self.states.borrow().clone();
            drain(&state, state.tasks().get(task)?)
        };
        let Some(drain) = wish() else { return };
        let begun = clock::uptime();
        let led = timeout(drain.at_most, self.await_leading(task));
        let (led, ()) = tokio::join!(led, clock::sleep(drain.at_least));
        if led.is_err() {
            info!(task.id = %task, "a task stops although not every node has said that it leads nobody there");
            return;
        }
        let mut pause = LOOK.0;
        // A service that is removed meanwhile takes the reason to wait with it.
        while self.kernel && wish().is_some() {
            match kernel::is_busy(drain.addrs.clone()).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    debug!(%error, "connections cannot be listed");
                    break;
                }
            }
            if clock::uptime().since(begun) >= drain.at_most {
                info!(task.id = %task, "a task stops although it still has connections");
                break;
            }
            clock::sleep(pause).await;
            pause = (pause * 2).min(LOOK.1);
        }
    }

    /// Waits until all nodes lead packets by what this one knows now.
    async fn await_leading(&self, task: &TaskId) {
        let index = self.states.borrow().index();
        while let Err(status) = self.leading.await_in_force(task, index).await {
            debug!(task.id = %task, reason = status.message(), "nodes cannot be asked whom they lead to");
            clock::sleep(RETRY_PERIOD).await;
        }
    }
}
