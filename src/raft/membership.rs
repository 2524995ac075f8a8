//! Who belongs to the consensus group, and how that changes: one step at a time, each one log entry. Decides not whether a
//! node should belong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::{Instant as _, WatchReceiver};
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError as ApiError};
use openraft::raft::Precondition;
use openraft::{
    BasicNode, ChangeMembers, EntryPayload, Membership, RaftMetrics, ReadPolicy, ServerState,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::RaftNode;
use super::error::{ChangeError, ProposeError};
use super::propose::Retries;
use super::quorum::Members;
use super::transport::TransportError;
use super::types::TypeConfig;
use super::wire::{Answer, Request};
use skep_core::error::chain;

/// Entries that a learner may lack to become a voter.
const PROMOTE_LAG_MAX: u64 = 100;

/// How long one attempt to promote waits for the learner.
const CATCH_UP_MAX: Duration = Duration::from_secs(15);

/// How long one of the others may take to say who leads, while this node does not know.
const HINT_LIMIT: Duration = Duration::from_secs(2);

/// A change of the group. Each may be asked for again: what is so already is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Sends a new node the log, without a vote. Ids of nodes that were removed are never to be used again.
    AddLearner {
        /// Its consensus id.
        id: u64,
        /// Where it is.
        address: String,
    },
    /// Gives a learner that has caught up a vote.
    Promote {
        /// Its consensus id.
        id: u64,
    },
    /// Takes a node out of the group. A leader hands over first.
    Remove {
        /// Its consensus id.
        id: u64,
    },
    /// Notes that a node moved.
    SetAddress {
        /// Its consensus id.
        id: u64,
        /// Where it is now.
        address: String,
    },
}

/// What is to be proposed for a change.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Nothing: it is so already.
    Done,
    Membership(Membership<u64, BasicNode>),
    /// A new address, which openraft wants to be told apart.
    Address(BTreeMap<u64, BasicNode>),
}

impl RaftNode {
    /// Changes the group, on whichever node leads. Waits until the change is committed, as long as a request
    /// may take.
    ///
    /// # Errors
    /// Says why the group is as it was, or that this is not known.
    pub async fn change(&self, change: Change) -> Result<(), ChangeError> {
        let mut retries = Retries::new(self);
        for attempt in 0.. {
            let mut outcome = match self.change_here(&change, retries.deadline).await {
                Err(ChangeError::Propose(ProposeError::NotLeader { leader, address })) => {
                    let request = Request::Change(change.clone());
                    changed(self.ask(leader, &address, request, retries.deadline).await)
                }
                outcome => outcome,
            };
            if is_elsewhere(&outcome) {
                outcome = self.change_through(attempt, &change, retries.deadline).await;
            }
            if !is_elsewhere(&outcome) {
                self.note_own_removal(&outcome);
                return outcome;
            }
            if !retries.wait().await {
                break;
            }
        }
        Err(ProposeError::NoLeader.into())
    }

    /// A learner that was removed is sent nothing more, and asks for no votes: it hears of it when it asks for its own.
    fn note_own_removal(&self, outcome: &Result<(), ChangeError>) {
        if matches!(outcome, Err(ChangeError::NotMember(id)) if *id == self.inner.node_id) {
            self.inner.removed.send_replace(true);
        }
    }

    /// Asks one of the others, and whom that one says to lead: to a node that moved nobody comes who could tell.
    async fn change_through(
        &self,
        attempt: usize,
        change: &Change,
        deadline: Instant,
    ) -> Result<(), ChangeError> {
        let members = self.members().addresses;
        let others: Vec<_> = members.iter().filter(|(id, _)| **id != self.inner.node_id).collect();
        let Some((other, address)) = others.get(attempt % others.len().max(1)) else {
            return Err(ProposeError::NoLeader.into());
        };
        let deadline = deadline.min(Instant::now() + HINT_LIMIT);
        let request = || Request::Change(change.clone());
        match changed(self.call(**other, address, request(), deadline).await) {
            Err(ChangeError::Propose(ProposeError::NotLeader { leader, address }))
                if leader != self.inner.node_id =>
            {
                changed(self.call(leader, &address, request(), deadline).await)
            }
            outcome => outcome,
        }
    }

    /// Changes the group if this node leads.
    pub(super) async fn change_here(
        &self,
        change: &Change,
        deadline: Instant,
    ) -> Result<(), ChangeError> {
        let _one_at_a_time = timeout_at(deadline, self.inner.changing.lock())
            .await
            .map_err(|_| ProposeError::NoLeader)?;
        self.check_leads()?;
        match change {
            Change::Remove { id } if *id == self.inner.node_id => {
                self.quorum_without(*id).await?;
                self.transfer_leadership().await;
                // Whoever leads now removes this node.
                return Err(self.elsewhere().into());
            }
            Change::Remove { id } => self.quorum_without(*id).await?,
            Change::Promote { id } => self.caught_up(*id, deadline).await?,
            Change::AddLearner { .. } | Change::SetAddress { .. } => {}
        }
        let mut retries = Retries::until(self, deadline);
        loop {
            match self.try_change(change, deadline).await {
                // One that leads no more, and has yet to hear so, may not know of the newest members.
                Err(ChangeError::NotMember(id)) => {
                    self.read_index_here(ReadPolicy::ReadIndex, deadline).await?;
                    return Err(ChangeError::NotMember(id));
                }
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => return Err(error),
            }
            if !retries.wait().await {
                return Err(ProposeError::NoLeader.into());
            }
        }
    }

    /// Tries once; false when another change is still under way.
    async fn try_change(&self, change: &Change, deadline: Instant) -> Result<bool, ChangeError> {
        self.check_leads()?;
        let (stored, committed) = {
            let metrics = self.inner.raft.metrics();
            let metrics = metrics.borrow_watched();
            let stored = metrics.membership_config.clone();
            let committed = stored.log_id() == metrics.committed_membership_config.log_id();
            (stored, committed)
        };
        if !committed {
            return Ok(false);
        }
        let attempt = match next(stored.membership(), change)? {
            Next::Done => return Ok(true),
            Next::Membership(membership) => {
                let as_read =
                    Precondition::LastMembershipLogId { last_membership_log_id: *stored.log_id() };
                let proposed =
                    self.inner.raft.append_membership(membership, EntryPayload::Blank, [as_read]);
                timeout_at(deadline, Box::pin(proposed)).await
            }
            Next::Address(nodes) => {
                let changed =
                    self.inner.raft.change_membership(ChangeMembers::SetNodes(nodes), true);
                timeout_at(deadline, Box::pin(changed)).await
            }
        };
        match attempt {
            Err(_) => Err(ProposeError::Timeout.into()),
            Ok(Ok(_)) => Ok(true),
            Ok(Err(ApiError::Fatal(error))) => Err(ProposeError::Stopped(chain(&error)).into()),
            Ok(Err(ApiError::APIError(error))) => match error {
                ClientWriteError::ForwardToLeader(_) => Err(self.elsewhere().into()),
                // The change can be asked for again, whatever became of the entry.
                ClientWriteError::LogEntryDiscarded(_) => Err(ProposeError::Unknown.into()),
                ClientWriteError::PreconditionFailed(_)
                | ClientWriteError::ChangeMembershipError(
                    ChangeMembershipError::InProgress(_)
                    | ChangeMembershipError::UncommittedLeaderLog(_),
                ) => Ok(false),
                ClientWriteError::ChangeMembershipError(error) => {
                    Err(ChangeError::Refused(error.to_string()))
                }
            },
        }
    }

    /// Hands the lead over to the voter that has most of the log. Returns whether another node leads.
    pub async fn transfer_leadership(&self) -> bool {
        let heir = {
            let metrics = self.inner.raft.metrics();
            let metrics = metrics.borrow_watched();
            if metrics.state != ServerState::Leader {
                return metrics.current_leader.is_some();
            }
            self.heir(&metrics)
        };
        let Some(heir) = heir else { return false };
        if self.inner.raft.trigger().transfer_leader(heir).await.is_err() {
            return false;
        }
        let node_id = self.inner.node_id;
        let handed_over = |metrics: &RaftMetrics<TypeConfig>| {
            metrics.current_leader.is_some_and(|leader| leader != node_id)
        };
        let wait = self.inner.raft.wait(Some(self.inner.election_timeout * 2));
        Box::pin(wait.metrics(handed_over, "another leader")).await.is_ok()
    }

    fn heir(&self, metrics: &RaftMetrics<TypeConfig>) -> Option<u64> {
        let answering = self.answering(metrics)?;
        let voters = metrics.membership_config.membership().voter_ids();
        let matched = |id: &u64| {
            let replication = metrics.replication.as_ref();
            replication.and_then(|known| known.get(id)).and_then(Option::as_ref).map(|at| at.index)
        };
        voters
            .filter(|id| *id != self.inner.node_id && answering.contains(id))
            .max_by_key(|id| (matched(id), std::cmp::Reverse(*id)))
    }

    /// Returns who belongs to the group, as this node knows it.
    pub fn members(&self) -> Members {
        let metrics = self.inner.raft.metrics();
        members(&metrics.borrow_watched())
    }

    /// Tells which members answered the leader lately; `None` on a node that does not lead.
    pub fn reachable(&self) -> Option<BTreeSet<u64>> {
        let metrics = self.inner.raft.metrics();
        self.answering(&metrics.borrow_watched())
    }

    fn answering(&self, metrics: &RaftMetrics<TypeConfig>) -> Option<BTreeSet<u64>> {
        let heard = metrics.heartbeat.as_ref()?;
        let silence_max = self.silence_max();
        let mut answering: BTreeSet<u64> = heard
            .iter()
            .filter(|(_, at)| at.as_ref().is_some_and(|at| at.elapsed() <= silence_max))
            .map(|(id, _)| *id)
            .collect();
        answering.insert(self.inner.node_id);
        Some(answering)
    }

    /// Fails if the group could not go on without a node. A leader that is new has yet to hear of the others.
    async fn quorum_without(&self, id: u64) -> Result<(), ChangeError> {
        let mut retries = Retries::until(self, Instant::now() + self.silence_max());
        loop {
            let members = self.members();
            let reachable = self.reachable().ok_or_else(|| self.elsewhere())?;
            if !members.voters.contains(&id) || members.survives_removal(id, &reachable) {
                return Ok(());
            }
            if !retries.wait().await {
                return Err(ChangeError::WouldLoseQuorum);
            }
        }
    }

    /// How long a member may be silent and still counts as one that answers.
    pub(super) fn silence_max(&self) -> Duration {
        self.inner.election_timeout * 3
    }

    /// Waits until a learner has nearly the whole log.
    async fn caught_up(&self, id: u64, deadline: Instant) -> Result<(), ChangeError> {
        let limit = CATCH_UP_MAX.min(deadline.saturating_duration_since(Instant::now()));
        let reached = move |metrics: &RaftMetrics<TypeConfig>| {
            let Some(replication) = &metrics.replication else { return true };
            let membership = metrics.membership_config.membership();
            if membership.get_node(&id).is_none() || membership.voter_ids().any(|voter| voter == id)
            {
                return true;
            }
            let matched = replication.get(&id).and_then(Option::as_ref).map(|at| at.index + 1);
            let last = metrics.last_log_index.map_or(0, |index| index + 1);
            matched.is_some_and(|matched| matched + PROMOTE_LAG_MAX >= last)
        };
        let wait = self.inner.raft.wait(Some(limit));
        match Box::pin(wait.metrics(reached, "learner caught up")).await {
            Ok(_) => Ok(()),
            Err(openraft::metrics::WaitError::Timeout(..)) => Err(ChangeError::NotCaughtUp(id)),
            Err(openraft::metrics::WaitError::ShuttingDown) => {
                Err(ProposeError::Stopped(self.stop_reason()).into())
            }
        }
    }
}

/// Reads what became of a change that another node was asked for.
fn changed(answer: Result<Answer, TransportError>) -> Result<(), ChangeError> {
    match answer {
        Ok(Answer::Changed(outcome)) => outcome,
        // Asking again is safe.
        Ok(_) | Err(TransportError::Unreachable { .. } | TransportError::Lost { .. }) => {
            Err(ProposeError::NoLeader.into())
        }
    }
}

/// Tells whether a change is yet to find who leads.
fn is_elsewhere(outcome: &Result<(), ChangeError>) -> bool {
    matches!(
        outcome,
        Err(ChangeError::Propose(
            ProposeError::NoLeader | ProposeError::NotLeader { .. } | ProposeError::Unknown,
        ))
    )
}

/// Returns who belongs to the group as consensus last said.
pub(super) fn members(metrics: &RaftMetrics<TypeConfig>) -> Members {
    let membership = metrics.membership_config.membership();
    Members {
        voters: membership.voter_ids().collect(),
        addresses: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
    }
}

/// Finds what to propose for a change. Voters differ by one at most, so that any two quorums meet.
fn next(current: &Membership<u64, BasicNode>, change: &Change) -> Result<Next, ChangeError> {
    let mut voters: BTreeSet<u64> = current.voter_ids().collect();
    let mut nodes: BTreeMap<u64, BasicNode> =
        current.nodes().map(|(id, node)| (*id, node.clone())).collect();
    match change {
        Change::AddLearner { id, address } | Change::SetAddress { id, address } => {
            let node = BasicNode { addr: address.clone() };
            match (nodes.get(id), change) {
                (Some(known), _) if known.addr == *address => return Ok(Next::Done),
                (Some(_), _) => return Ok(Next::Address(BTreeMap::from([(*id, node)]))),
                (None, Change::SetAddress { .. }) => return Err(ChangeError::NotMember(*id)),
                (None, _) => drop(nodes.insert(*id, node)),
            }
        }
        Change::Promote { id } => {
            if !nodes.contains_key(id) {
                return Err(ChangeError::NotMember(*id));
            }
            if !voters.insert(*id) {
                return Ok(Next::Done);
            }
        }
        Change::Remove { id } => {
            if nodes.remove(id).is_none() {
                return Ok(Next::Done);
            }
            if voters.remove(id) && voters.is_empty() {
                return Err(ChangeError::WouldLoseQuorum);
            }
        }
    }
    let proposed = Membership::new(vec![voters], nodes);
    proposed.map(Next::Membership).map_err(|error| ChangeError::Refused(error.to_string()))
}
