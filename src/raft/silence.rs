//! How long nobody has led, as far as a node can tell by itself, and what it does when the connection of the leader breaks.

use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::{Instant as _, WatchReceiver};
use tokio::time::sleep;

use super::RaftNode;

/// Between two attempts to be elected. The leases of the others end a little later or sooner.
const ATTEMPT_PERIOD: Duration = Duration::from_millis(50);

/// Attempts of one voter before it is the next one's turn: as long as a vote takes on a busy machine, so that two do not take
/// the votes from each other.
const ATTEMPTS_A_TURN: usize = 3;

impl RaftNode {
    /// Tells whether somebody leads whom a majority hears, as far as this node knows.
    pub async fn is_led(&self) -> bool {
        self.leaderless_for().await <= self.silence_max()
    }

    /// Tells whether nobody has led for so long that a call would wait in vain.
    pub(super) async fn is_given_up(&self) -> bool {
        self.leaderless_for().await > self.inner.leaderless_max
    }

    /// Stands for election as soon as the others may hear of it, for the leader's connection broke: its process died. Ends when
    /// the leader is heard of, another term begins or the usual election is due. Nobody votes against a leader that lives.
    pub async fn suspect(&self, leader: u64) {
        let mut leadership = self.leadership();
        let term = {
            let known = leadership.borrow_and_update();
            if known.leader != Some(leader) {
                return;
            }
            known.term
        };
        let mut voters = self.members().voters;
        voters.remove(&leader);
        let Some(rank) = voters.iter().position(|voter| *voter == self.inner.node_id) else {
            return;
        };
        let raft = &self.inner.raft;
        let last_heard = || raft.with_raft_state(|state| state.vote_last_modified());
        let heard = last_heard().await.ok().flatten();
        let stands = async {
            let lease = self.inner.election_timeout * 3 / 2;
            let mut attempts = 0;
            while last_heard().await.ok().flatten() == heard {
                // Until its lease is over nobody votes against the leader.
                if heard.is_none_or(|at| at.elapsed() >= lease) {
                    let is_turn = attempts / ATTEMPTS_A_TURN % voters.len() == rank;
                    if is_turn && raft.trigger().elect(true).await.is_err() {
                        return;
                    }
                    attempts += 1;
                }
                sleep(ATTEMPT_PERIOD).await;
            }
        };
        tokio::select! {
            () = stands => {}
            () = sleep(self.silence_max()) => {}
            _ = leadership.wait_for(|known| known.term != term) => {}
        }
    }

    /// Tells for how long nobody has led that a majority hears.
    async fn leaderless_for(&self) -> Duration {
        let opened = self.inner.opened_at.elapsed();
        let quorum_acked = {
            let metrics = self.inner.raft.metrics();
            let metrics = metrics.borrow_watched();
            let voters = metrics.membership_config.membership().voter_ids();
            let alone = voters.eq([self.inner.node_id]);
            match metrics.state {
                ServerState::Leader if alone => return Duration::ZERO,
                ServerState::Leader => {
                    Some(metrics.last_quorum_acked.as_ref().map(|at| at.elapsed()))
                }
                ServerState::Learner
                | ServerState::Follower
                | ServerState::Candidate
                | ServerState::Shutdown => None,
            }
        };
        let heard = match quorum_acked {
            Some(acked) => acked,
            None => {
                let heard = self.inner.raft.with_raft_state(|state| state.vote_last_modified());
                heard.await.ok().flatten().map(|at| at.elapsed())
            }
        };
        heard.map_or(opened, |silent| silent.min(opened))
    }
}
