//! The log: entries that are written for good, and entries that a crash may lose; and how replicas apply them.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::command::{Command, Proposal};
use crate::model::node::Node;
use crate::state::{Applied, Rejected, State};

/// The log of the manager.
#[derive(Default)]
pub(super) struct Log {
    /// Entries that no crash loses; the first has index 1.
    committed: Vec<Proposal>,
    /// Entries being written.
    pending: VecDeque<Pending>,
    /// Nodes that join with the first entry: there is no command for that yet.
    pub(super) members: Vec<Arc<Node>>,
}

/// Who waits for the outcome of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proposer {
    User,
    /// The leader's planner.
    Planner,
    /// The agent of the node at this place.
    Agent(usize),
    /// Nobody.
    Nobody,
}

/// An entry being written.
pub(super) struct Pending {
    pub(super) proposal: Proposal,
    pub(super) by: Proposer,
}

impl Log {
    pub(super) fn propose(&mut self, proposal: Proposal, by: Proposer) {
        self.pending.push_back(Pending { proposal, by });
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn last_index(&self) -> u64 {
        self.committed.len() as u64
    }

    /// Writes the oldest entry for good and returns it with its index.
    pub(super) fn commit_one(&mut self) -> Option<(u64, Pending)> {
        let entry = self.pending.pop_front()?;
        self.committed.push(entry.proposal.clone());
        Some((self.last_index(), entry))
    }

    /// Loses what is not written, but for the first `kept` entries, which were written and never acknowledged. An entry
    /// that was written in part is lost with those after it. Returns who waits in vain.
    pub(super) fn crash(&mut self, kept: usize) -> Vec<Proposer> {
        let waiting = self.pending.iter().map(|entry| entry.by).collect();
        let kept = kept.min(self.pending.len());
        self.committed.extend(self.pending.drain(..).take(kept).map(|entry| entry.proposal));
        waiting
    }

    /// Loses the last entry although it was acknowledged; the cluster itself stays.
    pub(super) fn lose_last(&mut self) {
        if self.committed.len() > 1 {
            self.committed.pop();
        }
    }

    /// Returns the commands of all entries after `index`.
    pub(super) fn commands_after(&self, index: u64) -> Vec<Command> {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        self.committed.iter().skip(index).map(|entry| entry.command.clone()).collect()
    }

    /// Applies one entry as every replica does.
    pub(super) fn apply(
        &self,
        state: &mut State,
        index: u64,
        proposal: &Proposal,
    ) -> Result<Applied, Rejected> {
        let outcome = state.apply(index, proposal);
        if index == 1 {
            let members = self.members.iter().map(|node| (node.id.clone(), node.clone()));
            state.nodes.extend(members);
        }
        outcome
    }

    /// Applies all entries after that of `state`.
    pub(super) fn replay(&self, mut state: State) -> State {
        let applied = usize::try_from(state.index()).unwrap_or(usize::MAX);
        for (index, proposal) in (1_u64..).zip(&self.committed).skip(applied) {
            // A rejected entry is as much a part of history as any other.
            let _ = self.apply(&mut state, index, proposal);
        }
        state
    }
}
