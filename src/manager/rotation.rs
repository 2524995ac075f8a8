//! Ends a rotation of the root once all nodes have moved to the next one, while this node leads. When that is so,
//! [`skep_core::rotation`] says.

use std::sync::Arc;
use std::time::Duration;

use skep_core::command::{Command, Proposal};
use skep_core::model::cluster::{Cluster, JoinTokens};
use skep_core::rotation::is_complete;
use skep_raft::RaftNode;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::cluster::new_token;
use crate::clock;

/// Wait after the end could not be committed.
const RETRY_PERIOD: Duration = Duration::from_millis(500);

/// Looks whenever the state or the leader changes, until `stop`.
pub async fn run(raft: Arc<RaftNode>, stop: CancellationToken) {
    let mut states = raft.watch();
    let mut leadership = raft.leadership();
    loop {
        let state = states.borrow_and_update().clone();
        let leads = leadership.borrow_and_update().ready;
        let heard = match state.cluster().filter(|_| leads && is_complete(&state)) {
            // Without a quorum a proposal waits long; a stop does not.
            Some(cluster) => tokio::select! {
                heard = finish(&raft, cluster) => heard,
                () = stop.cancelled() => return,
            },
            None => true,
        };
        let retry = async {
            if heard { std::future::pending().await } else { clock::sleep(RETRY_PERIOD).await }
        };
        tokio::select! {
            () = retry => {}
            changed = states.changed() => if changed.is_err() { return },
            changed = leadership.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

/// Proposes the end; tells whether it was heard.
async fn finish(raft: &RaftNode, cluster: &Cluster) -> bool {
    let Some(next) = &cluster.root_ca.rotation else { return true };
    let token = || new_token(&next.certificate_pem);
    let command = Command::FinishRotation {
        public_key: next.public_key.clone(),
        tokens: JoinTokens { worker: token(), manager: token() },
    };
    match raft.propose(Proposal { at: clock::now(), command }).await {
        Ok((_, Ok(_))) => info!("all nodes have moved to the new root"),
        // The next look is at a newer state.
        Ok((_, Err(rejected))) => debug!(reason = %rejected, "the state moved on"),
        Err(error) => {
            warn!(error = %error, "the end of the root's rotation was not committed");
            return false;
        }
    }
    true
}
