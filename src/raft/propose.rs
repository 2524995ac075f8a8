//! Proposals and linearizable reads, from any manager: what another one leads is asked of it. Retries what surely wrote
//! nothing, as a leaderless moment asks for.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{
    ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError as ApiError,
};
use skep_core::{Applied, Proposal, Rejected, State};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::RaftNode;
use super::error::{NoRoom, ProposeError};
use super::supervise::{Leadership, leadership};
use super::transport::{Lane, Peer, TransportError};
use super::types::{LogProposal, TypeConfig};
use super::wire::{self, Answer, Asked, Request};
use skep_core::error::chain;

/// The first and the longest wait between two attempts.
const RETRY_MIN: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_millis(200);

/// How long the leader may take to tell how far a read must see, before it is taken for lost.
const READ_LIMIT: Duration = Duration::from_secs(2);

/// How long a leader that was replaced may take to say that it wrote nothing.
const ANSWER_GRACE: Duration = Duration::from_millis(250);

/// The waits between attempts, up to a deadline.
pub(super) struct Retries {
    pub deadline: Instant,
    pause: Duration,
    leadership: watch::Receiver<Leadership>,
}

impl Retries {
    /// Prepares retries for as long as a request may take.
    pub fn new(node: &RaftNode) -> Self {
        Self::until(node, node.deadline())
    }

    /// Prepares retries up to a deadline.
    pub fn until(node: &RaftNode, deadline: Instant) -> Self {
        Self { deadline, pause: RETRY_MIN, leadership: node.leadership() }
    }

    /// Waits before the next attempt, at most until the leader changes; false when there is no time for one.
    pub async fn wait(&mut self) -> bool {
        let next = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(RETRY_MAX);
        if next >= self.deadline {
            return false;
        }
        self.leadership.mark_unchanged();
        tokio::select! {
            () = sleep_until(next) => {}
            changed = self.leadership.changed() => if changed.is_err() { sleep_until(next).await },
        }
        true
    }
}

impl RaftNode {
    /// Proposes a command, through whoever leads, and waits until it is applied here. Returns its index and what the state
    /// made of it; what it did there, if another node leads, is told as events only.
    ///
    /// Attempts that surely wrote nothing are repeated until the request's time is up; a new leader refuses its first
    /// writes.
    ///
    /// # Errors
    /// Says why there is no outcome, and whether something may have been written.
    pub async fn propose(
        &self,
        proposal: Proposal,
    ) -> Result<(u64, Result<Applied, Rejected>), ProposeError> {
        let proposal = LogProposal(Arc::new(proposal));
        let mut retries = Retries::new(self);
        loop {
            let outcome = match self.propose_here(&proposal, retries.deadline).await {
                Err(ProposeError::NotLeader { leader, address }) => {
                    self.propose_there(&proposal, leader, &address, retries.deadline).await
                }
                outcome => outcome,
            };
            match outcome {
                Err(ProposeError::NoLeader | ProposeError::NotLeader { .. }) => {}
                outcome => return outcome,
            }
            self.check_electable()?;
            if self.is_given_up().await || !retries.wait().await {
                return Err(ProposeError::NoLeader);
            }
        }
    }

    /// Ends the retries when the leader that is waited for is this node, whose vote waits for room.
    fn check_electable(&self) -> Result<(), NoRoom> {
        let leaderless = self.inner.leadership.borrow().leader.is_none();
        if leaderless && self.inner.room.is_held() {
            return Err(self.inner.room.shortage());
        }
        Ok(())
    }

    /// Refuses what would fill the disk.
    pub(super) async fn admit(&self) -> Result<(), NoRoom> {
        self.inner.room.admit(self.inner.snapshots.newest_bytes()).await
    }

    /// Proposes once, if this node leads.
    pub(super) async fn propose_here(
        &self,
        proposal: &LogProposal,
        deadline: Instant,
    ) -> Result<(u64, Result<Applied, Rejected>), ProposeError> {
        // Only what is written here needs room here.
        let leads = self.inner.leadership.borrow().leader == Some(self.inner.node_id);
        if leads {
            self.admit_or_hand_over().await?;
        }
        let attempt = Box::pin(self.inner.raft.client_write(proposal.clone()));
        let answer = tokio::select! {
            answer = timeout_at(deadline, attempt) => answer,
            () = self.inner.room.held(), if leads => {
                return Err(ProposeError::Waits(self.inner.room.shortage()));
            }
            // Consensus itself waits for room, and is yet to look at it.
            () = self.inner.room.starved(), if !leads => return Err(ProposeError::Unknown),
        };
        match answer {
            Err(_) => Err(ProposeError::Timeout),
            Ok(Ok(response)) => {
                let outcome = response.data.0.unwrap_or_else(|| Ok(Applied::default()));
                Ok((response.log_id.index, outcome))
            }
            Ok(Err(ApiError::Fatal(error))) => Err(ProposeError::Stopped(chain(&error))),
            Ok(Err(ApiError::APIError(error))) => Err(match error {
                ClientWriteError::ForwardToLeader(forward) => self.forwarded(forward),
                ClientWriteError::LogEntryDiscarded(_) => ProposeError::Unknown,
                ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_) => {
                    ProposeError::Stopped(error.to_string())
                }
            }),
        }
    }

    /// Proposes once, through the node that leads, and waits until what was written is applied here.
    async fn propose_there(
        &self,
        proposal: &LogProposal,
        leader: u64,
        address: &str,
        deadline: Instant,
    ) -> Result<(u64, Result<Applied, Rejected>), ProposeError> {
        let request = Request::Propose(Arc::clone(&proposal.0));
        match self.ask(leader, address, request, deadline).await {
            Ok(Answer::Proposed(index, outcome)) => {
                // It is done, even if this node stops before it has seen it, for its own demotion is what it sees last, or
                // cannot see it for want of room.
                match self.applied(index, deadline).await {
                    Ok(()) | Err(ProposeError::Stopped(_) | ProposeError::NoRoom(_)) => {}
                    Err(error) => return Err(error),
                }
                Ok((index, outcome.map(|()| Applied::default())))
            }
            Ok(Answer::ProposeFailed(ProposeError::Stopped(_)) | Answer::Stopped(_)) => {
                Err(ProposeError::Unknown)
            }
            Ok(Answer::ProposeFailed(error)) => Err(error),
            // Another node, which did not look at it.
            Ok(Answer::WrongNode(_)) | Err(TransportError::Unreachable { .. }) => {
                Err(ProposeError::NoLeader)
            }
            Ok(_) | Err(TransportError::Lost { .. }) => Err(ProposeError::Unknown),
        }
    }

    /// Returns a state that holds every write acknowledged before the call, wherever that was.
    ///
    /// # Errors
    /// Says why there is none.
    pub async fn read(&self) -> Result<Arc<State>, ProposeError> {
        if self.leads_alone() {
            return Ok(self.state());
        }
        tokio::select! {
            state = self.read_in_group() => state,
            () = self.inner.room.starved() => Err(self.inner.room.shortage().into()),
        }
    }

    /// As [`Self::read`], in a group of several.
    async fn read_in_group(&self) -> Result<Arc<State>, ProposeError> {
        let mut retries = Retries::new(self);
        loop {
            let index = match self.read_index_here(ReadPolicy::ReadIndex, retries.deadline).await {
                Err(ProposeError::NotLeader { leader, address }) => {
                    self.read_index_there(leader, &address, retries.deadline).await
                }
                outcome => outcome,
            };
            match index {
                Ok(index) => {
                    self.applied(index, retries.deadline).await?;
                    return Ok(self.state());
                }
                Err(ProposeError::NoLeader | ProposeError::NotLeader { .. }) => {}
                // A leader that no majority answers has no answer either.
                Err(ProposeError::Timeout) if !self.is_led().await => {
                    return Err(ProposeError::NoLeader);
                }
                Err(error) => return Err(error),
            }
            self.check_electable()?;
            if self.is_given_up().await || !retries.wait().await {
                return Err(ProposeError::NoLeader);
            }
        }
    }

    /// Asks a majority, if this node leads, whether it still does, and returns up to where a state must be.
    pub(super) async fn read_index_here(
        &self,
        policy: ReadPolicy,
        deadline: Instant,
    ) -> Result<u64, ProposeError> {
        let attempt = Box::pin(self.inner.raft.get_read_linearizer(policy));
        match timeout_at(deadline, attempt).await {
            Err(_) => Err(ProposeError::Timeout),
            Ok(Ok(linearizer)) => Ok(linearizer.read_log_id().log_id().index),
            Ok(Err(ApiError::Fatal(error))) => Err(ProposeError::Stopped(chain(&error))),
            Ok(Err(ApiError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                Err(self.forwarded(forward))
            }
            Ok(Err(ApiError::APIError(LinearizableReadError::QuorumNotEnough(_)))) => {
                Err(ProposeError::NoLeader)
            }
        }
    }

    async fn read_index_there(
        &self,
        leader: u64,
        address: &str,
        deadline: Instant,
    ) -> Result<u64, ProposeError> {
        // A read changes nothing, so that it is asked again rather than waited for.
        let deadline = deadline.min(Instant::now() + READ_LIMIT);
        match self.ask(leader, address, Request::ReadIndex, deadline).await {
            Ok(Answer::ReadIndex(index)) => Ok(index),
            Ok(_) | Err(_) => Err(ProposeError::NoLeader),
        }
    }

    /// Waits until this node has applied an entry. One that has had no room for long may never get there.
    async fn applied(&self, index: u64, deadline: Instant) -> Result<(), ProposeError> {
        let limit = deadline.saturating_duration_since(Instant::now());
        let wait = self.inner.raft.wait(Some(limit));
        let applied = Box::pin(wait.applied_index_at_least(Some(index), "applied here"));
        let outcome = tokio::select! {
            biased;
            outcome = applied => outcome,
            () = self.inner.room.starved() => return Err(self.inner.room.shortage().into()),
        };
        match outcome {
            Ok(_) => Ok(()),
            Err(openraft::metrics::WaitError::Timeout(..)) => Err(ProposeError::Timeout),
            Err(openraft::metrics::WaitError::ShuttingDown) => {
                Err(ProposeError::Stopped(self.stop_reason()))
            }
        }
    }

    /// Asks the manager that leads something for a client.
    pub(super) async fn ask(
        &self,
        leader: u64,
        address: &str,
        request: Request,
        deadline: Instant,
    ) -> Result<Answer, TransportError> {
        let mut leadership = self.leadership();
        // One that hands the lead over answers to what it did not write.
        let proposes = matches!(request, Request::Propose(_));
        let grace = if proposes { ANSWER_GRACE } else { Duration::ZERO };
        let given_up = async {
            let elsewhere = |known: &Leadership| known.leader.is_some_and(|known| known != leader);
            let _moved = leadership.wait_for(elsewhere).await.map(drop);
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            answer = self.call(leader, address, request, deadline) => answer,
            // Nobody waits for long for a leader that was replaced: it may be gone without a word.
            () = given_up => Err(TransportError::Lost {
                address: address.to_owned(),
                reason: "it does not lead any more".to_owned(),
            }),
        }
    }

    /// Asks another manager something for a client, whoever leads.
    pub(super) async fn call(
        &self,
        peer: u64,
        address: &str,
        request: Request,
        deadline: Instant,
    ) -> Result<Answer, TransportError> {
        let unreadable = |error: &dyn std::error::Error| TransportError::Lost {
            address: address.to_owned(),
            reason: chain(error),
        };
        let asked = Asked { from: self.inner.node_id, to: peer, request };
        let frame = wire::encode_request(&asked).map_err(|error| unreadable(&error))?;
        let peer = Peer { id: peer, address: address.to_owned() };
        let limit = deadline.saturating_duration_since(Instant::now());
        let answer = self.inner.transport.call(&peer, Lane::Client, frame, limit).await?;
        wire::decode_answer(&answer).map_err(|error| unreadable(&error))
    }

    /// Returns by when a request that begins now must be answered.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.inner.request_timeout
    }

    /// Tells whether nobody else can have acknowledged a write, so that the state here holds all: a write is answered only
    /// after it was applied. While there is a learner the answer is no: consensus publishes its metrics after a batch of
    /// messages, and a learner could be a voter and lead before they are out.
    fn leads_alone(&self) -> bool {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let node_id = self.inner.node_id;
        leadership(node_id, &metrics).ready
            && metrics.membership_config.membership().nodes().map(|(id, _)| *id).eq([node_id])
    }

    /// Fails unless this node leads.
    pub(super) fn check_leads(&self) -> Result<(), ProposeError> {
        let metrics = self.inner.raft.metrics();
        let leads = metrics.borrow_watched().current_leader == Some(self.inner.node_id);
        if leads { Ok(()) } else { Err(self.elsewhere()) }
    }

    /// Says who leads instead of this node, as far as it knows.
    pub(super) fn elsewhere(&self) -> ProposeError {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        if let Err(error) = &metrics.running_state {
            return ProposeError::Stopped(chain(error));
        }
        let membership = metrics.membership_config.membership();
        let leader = metrics.current_leader.filter(|leader| *leader != self.inner.node_id);
        match leader.and_then(|leader| Some((leader, membership.get_node(&leader)?))) {
            Some((leader, node)) => ProposeError::NotLeader { leader, address: node.addr.clone() },
            None => ProposeError::NoLeader,
        }
    }

    fn forwarded(&self, forward: ForwardToLeader<TypeConfig>) -> ProposeError {
        match (forward.leader_id, forward.leader_node) {
            (Some(leader), Some(node)) if leader != self.inner.node_id => {
                ProposeError::NotLeader { leader, address: node.addr }
            }
            (Some(_) | None, _) => ProposeError::NoLeader,
        }
    }
}
