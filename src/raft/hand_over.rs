//! A leader whose disk is full leaves the lead to a manager that may have room, so that one full disk among several does not
//! stop the cluster. Does not look for room itself.

use std::time::Duration;

use tokio::time::Instant;

use super::RaftNode;
use super::error::ProposeError;

/// Least time between two attempts of a node: where all disks are full, the lead is not passed around without end.
const PERIOD: Duration = Duration::from_secs(30);

impl RaftNode {
    /// Lets a proposal in that would be written here. If there is no room for it, another manager is asked to lead and the
    /// proposal to go there.
    pub(super) async fn admit_or_hand_over(&self) -> Result<(), ProposeError> {
        let Err(shortage) = self.admit().await else { return Ok(()) };
        // Nothing was written: whoever leads now is asked next.
        if self.hand_over().await { Err(ProposeError::NoLeader) } else { Err(shortage.into()) }
    }

    /// Hands the lead over unless that was tried lately. Tells whether another node leads; calls wait for each other.
    async fn hand_over(&self) -> bool {
        let node_id = self.inner.node_id;
        let mut tried = self.inner.handed_over.lock().await;
        if self.inner.leadership.borrow().leader.is_some_and(|leader| leader != node_id) {
            return true;
        }
        let lately = tried.is_some_and(|at| at.elapsed() < PERIOD);
        let alone = self.members().voters.iter().all(|voter| *voter == node_id);
        if lately || alone {
            return false;
        }
        *tried = Some(Instant::now());
        let moved = self.transfer_leadership().await;
        tracing::warn!(moved, "the disk is full, another manager was asked to lead");
        moved
    }
}
