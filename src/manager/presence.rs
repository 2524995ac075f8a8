//! Keeps a session with the leader while another manager leads: by it this node counts as one that works, and gives the output
//! of its tasks, as any other node does. What to run it learns from its own copy of the state.

use std::sync::Arc;
use std::time::Duration;

use skep_raft::RaftNode;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::agent::link::{Way, hold};
use crate::clock;

/// Wait after a session could not be had or broke.
const RETRY_PERIOD: Duration = Duration::from_millis(300);

/// Keeps sessions until `stop`.
pub async fn run(raft: Arc<RaftNode>, way: Arc<Way>, stop: CancellationToken) {
    let mut leadership = raft.leadership();
    let mut session = String::new();
    loop {
        let leader = leadership.borrow_and_update().leader.filter(|id| *id != raft.node_id());
        let mut states = raft.watch();
        let kept = async {
            let Some(leader) = leader else { return std::future::pending().await };
            let Some(address) = raft.members().addresses.get(&leader).cloned() else {
                // One that has just come knows the leader before it knows the members.
                let _stopped = states.changed().await;
                return;
            };
            let ended = hold(&way, &address, &mut session, None, || ()).await;
            debug!(reason = ended.message(), "no session with the leader");
            // It may have died. A leader that lives is heard of before it is time to try again.
            tokio::join!(raft.suspect(leader), clock::sleep(RETRY_PERIOD));
        };
        tokio::select! {
            () = kept => {}
            changed = leadership.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}
