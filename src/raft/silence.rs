//! How long nobody has led, as far as a node can tell by itself, and what it does when the connection of the leader breaks.

use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::{Instant as _, WatchReceiver};
use tokio::time::sleep;

use super::RaftNode;

/// Between two attempts to be elected of one voter after the other: about what a vote takes.
const TURN: Duration = Duration::from_millis(40);

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
        let voters = self.members().voters;
        let others = voters.iter().filter(|voter| **voter != leader);
        let Some(rank) = others.clone().position(|voter| *voter == self.inner.node_id) else {
            return;
        };
        // One voter after the other, so that two do not take the votes from each other.
        let turns = |count: usize| TURN * u32::try_from(count).unwrap_or(u32::MAX);
        let round = turns(others.count());
        let raft = &self.inner.raft;
        let last_heard = || raft.with_raft_state(|state| state.vote_last_modified());
        let heard = last_heard().await.ok();
        let stands = async {
            sleep(turns(rank)).await;
            while last_heard().await.ok() == heard && raft.trigger().elect(true).await.is_ok() {
                sleep(round).await;
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
