//! Proposals and reads through consensus, with the retries that a leaderless moment asks for.
//! Forwards nothing.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{
    ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError as ApiError,
};
use skep_core::{Applied, Proposal, Rejected, State};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::RaftNode;
use super::error::ProposeError;
use super::supervise::leadership;
use super::types::{LogProposal, TypeConfig};
use skep_core::error::chain;

/// How long a proposal or read may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// The first and the longest wait between two attempts.
const RETRY_MIN: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_millis(200);

/// The waits between attempts, up to a deadline.
struct Retries {
    deadline: Instant,
    pause: Duration,
}

impl Retries {
    fn new() -> Self {
        Self { deadline: Instant::now() + DEADLINE, pause: RETRY_MIN }
    }

    /// Waits before the next attempt; false when there is no time for one.
    async fn wait(&mut self) -> bool {
        let next = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(RETRY_MAX);
        if next >= self.deadline {
            return false;
        }
        sleep_until(next).await;
        true
    }
}

impl RaftNode {
    /// Proposes a command and waits until it is applied here. Returns its index and what the state
    /// made of it.
    ///
    /// Attempts that surely wrote nothing are repeated for 20 s; a new leader refuses its first
    /// writes.
    pub async fn propose(
        &self,
        proposal: Proposal,
    ) -> Result<(u64, Result<Applied, Rejected>), ProposeError> {
        let proposal = LogProposal(Arc::new(proposal));
        let mut retries = Retries::new();
        loop {
            let attempt = Box::pin(self.inner.raft.client_write(proposal.clone()));
            let forward = match timeout_at(retries.deadline, attempt).await {
                Err(_) => return Err(ProposeError::Timeout),
                Ok(Ok(response)) => {
                    let outcome = response.data.0.unwrap_or_else(|| Ok(Applied::default()));
                    return Ok((response.log_id.index, outcome));
                }
                Ok(Err(ApiError::Fatal(error))) => {
                    return Err(ProposeError::Stopped(chain(&error)));
                }
                Ok(Err(ApiError::APIError(error))) => match error {
                    ClientWriteError::ForwardToLeader(forward) => forward,
                    ClientWriteError::LogEntryDiscarded(_) => return Err(ProposeError::Unknown),
                    ClientWriteError::ChangeMembershipError(_)
                    | ClientWriteError::PreconditionFailed(_) => {
                        return Err(ProposeError::Stopped(error.to_string()));
                    }
                },
            };
            self.check_elsewhere(forward)?;
            if !retries.wait().await {
                return Err(ProposeError::NoLeader);
            }
        }
    }

    /// Returns a state that holds every write acknowledged before the call. Only the leader can.
    pub async fn read(&self) -> Result<Arc<State>, ProposeError> {
        if self.leads_alone() {
            return Ok(self.state());
        }
        let mut retries = Retries::new();
        loop {
            let attempt = Box::pin(self.inner.raft.ensure_linearizable(ReadPolicy::ReadIndex));
            match timeout_at(retries.deadline, attempt).await {
                Err(_) => return Err(ProposeError::Timeout),
                Ok(Ok(_)) => return Ok(self.state()),
                Ok(Err(ApiError::Fatal(error))) => {
                    return Err(ProposeError::Stopped(chain(&error)));
                }
                Ok(Err(ApiError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                    self.check_elsewhere(forward)?;
                }
                Ok(Err(ApiError::APIError(LinearizableReadError::QuorumNotEnough(_)))) => {}
            }
            if !retries.wait().await {
                return Err(ProposeError::NoLeader);
            }
        }
    }

    /// Tells whether nobody else can have acknowledged a write, so that the state here holds all: a write is answered only
    /// after it was applied. Consensus publishes its metrics after each thing it does, and another node cannot lead before
    /// this one has, in several steps, made it a voter.
    fn leads_alone(&self) -> bool {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let node_id = self.inner.node_id;
        leadership(node_id, &metrics).ready
            && metrics.membership_config.membership().voter_ids().eq([node_id])
    }

    /// Ends the retries when another node is known to lead.
    fn check_elsewhere(&self, forward: ForwardToLeader<TypeConfig>) -> Result<(), ProposeError> {
        match (forward.leader_id, forward.leader_node) {
            (Some(leader), Some(node)) if leader != self.inner.node_id => {
                Err(ProposeError::NotLeader { leader, address: node.addr })
            }
            (Some(_) | None, _) => Ok(()),
        }
    }
}
