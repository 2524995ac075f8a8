//! Keeps a task that is to stop until nobody is answered by it any more. Nobody new is led to it meanwhile: that ended with
//! the wish to stop it.

use std::sync::Arc;
use std::time::Duration;

use skep_core::State;
use skep_core::id::TaskId;
use skep_core::net::drain::{Drain, drain};
use tokio::sync::watch;
use tracing::{debug, info};

use super::kernel;
use crate::clock;

/// What all nodes need at most to lead nobody there any more, after this one has heard of it; Swarm waits as long.
const SETTLE: Duration = Duration::from_millis(500);

/// Between two looks at the connections, doubling from the first to the second.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));

/// The wait of tasks before they stop.
#[derive(Clone)]
pub struct Drains {
    states: watch::Receiver<Arc<State>>,
    /// Whether connections are led by the kernel here.
    kernel: bool,
}

impl Drains {
    /// Makes the wait of a node that knows the cluster by `states`.
    pub fn new(states: watch::Receiver<Arc<State>>, settings: &super::Settings) -> Self {
        Self { states, kernel: settings.kernel }
    }

    /// Waits until a task may be stopped.
    pub async fn wait(&self, task: &TaskId) {
        let wish = || -> Option<Drain> {
            let state = self.states.borrow().clone();
            drain(&state, state.tasks().get(task)?)
        };
        let Some(drain) = wish().filter(|_| self.kernel) else { return };
        let begun = clock::now();
        clock::sleep(SETTLE.min(drain.at_most)).await;
        let mut pause = LOOK.0;
        // A service that is removed meanwhile takes the reason to wait with it.
        while wish().is_some() {
            match kernel::is_busy(drain.addrs.clone()).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    debug!(%error, "connections cannot be listed");
                    break;
                }
            }
            if clock::now().since(begun) >= drain.at_most {
                info!(task.id = %task, "a task stops although it still has connections");
                break;
            }
            clock::sleep(pause).await;
            pause = (pause * 2).min(LOOK.1);
        }
    }
}
