//! What consensus decided, seen from outside: every committed entry once, and the state that follows. Knows which replica
//! applied what, and holds all of them to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::consensus::{Entry, Members};
use crate::state::State;

/// States kept, so that a plan can be judged by what it was made from and a view by what it shows.
const RECENT_MAX: usize = 80;

/// What a plan was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlanBase {
    /// Index of that state.
    pub(super) index: u64,
    /// The term in which it was made.
    pub(super) term: u64,
}

/// Everything committed.
#[derive(Default)]
pub(super) struct Ledger {
    /// The first has index 1.
    pub(super) entries: Vec<Arc<Entry>>,
    /// After the last of them.
    pub(super) state: State,
    recent: BTreeMap<u64, State>,
    /// What each plan was made from, by ticket.
    pub(super) plans: BTreeMap<u64, PlanBase>,
    /// Index of the last plan that was carried out.
    pub(super) last_plan: u64,
    /// Who belongs to the group.
    pub(super) members: Members,
    /// Who led in each term.
    pub(super) leaders: BTreeMap<u64, usize>,
}

impl Ledger {
    pub(super) fn last_index(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(super) fn get(&self, index: u64) -> Option<&Arc<Entry>> {
        self.entries.get(usize::try_from(index.checked_sub(1)?).ok()?)
    }

    /// Takes the next entry, with the state that follows.
    pub(super) fn push(&mut self, entry: Arc<Entry>, state: State) {
        self.entries.push(entry);
        self.recent.insert(self.last_index(), state.clone());
        self.state = state;
        while self.recent.len() > RECENT_MAX {
            self.recent.pop_first();
        }
    }

    /// Returns the state after an entry, if it is not long ago.
    pub(super) fn recent(&self, index: u64) -> Option<&State> {
        self.recent.get(&index)
    }

    /// Returns the last entry of an earlier term than this.
    pub(super) fn last_before(&self, term: u64) -> u64 {
        self.entries.partition_point(|entry| entry.term < term) as u64
    }
}
