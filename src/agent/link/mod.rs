//! A worker's way to the cluster: a session with whichever manager leads, opened again wherever it breaks. Which manager is
//! next, [`ManagerList`] says; without any, what runs goes on as it is.

mod attach;
mod in_force;
mod logs;
mod relay;
mod session;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use skep_core::agent::ManagerList;
use skep_core::id::NodeId;
use skep_core::state::State;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::clock;
use crate::rpc::LEADER_KEY;

pub use attach::{attach, detach};
pub use in_force::await_in_force;
pub use session::{Open, Told, Way, hold, report};

/// Tries without a session after which the log says so.
const TRIES_QUIET: u32 = 100;

/// Keeps a session until `stop`. What it is shown goes to `views`, new lists of managers into `managers`.
pub async fn run(
    way: Arc<Way>,
    managers: Arc<Mutex<ManagerList>>,
    views: watch::Sender<Arc<State>>,
    stop: CancellationToken,
) {
    let mut last = String::new();
    let tries = AtomicU32::new(0);
    let mut described = way.described.clone();
    tokio::select! {
        told = described.wait_for(Option::is_some) => if told.is_err() { return },
        () = stop.cancelled() => return,
    }
    loop {
        let attempt = managers.lock().attempt(roll());
        let Some(attempt) = attempt else {
            // Nothing to try: a worker is told of managers as it joins.
            return stop.cancelled().await;
        };
        let address = attempt.address;
        let trying = async {
            clock::sleep(attempt.wait).await;
            hold(&way, &address, &mut last, Some(&views), || {
                info!(manager.addr = %address, "session opened");
                tries.store(0, Ordering::Relaxed);
                managers.lock().opened(&address);
            })
            .await
        };
        let ended = tokio::select! {
            ended = trying => ended,
            () = stop.cancelled() => return,
        };
        debug!(manager.addr = %address, reason = ended.message(), "no session");
        if tries.fetch_add(1, Ordering::Relaxed) == TRIES_QUIET {
            warn!(
                reason = ended.message(),
                "no manager opens a session for this node; if those it knows were all replaced meanwhile, start it with \
                 --manager and the address of one"
            );
        }
        let leader = ended.metadata().get(LEADER_KEY).and_then(|address| address.to_str().ok());
        if let Some(leader) = leader.filter(|leader| *leader != address) {
            managers.lock().led_by(leader);
        }
    }
}

fn roll() -> u32 {
    let [a, b, c, d, ..] = clock::entropy().to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// A manager as the API names it: its node, and `ip:port`.
pub type Manager = (NodeId, String);
