//! Watches consensus: who leads, when a snapshot is due, which entries may go. Proposes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::async_runtime::WatchReceiver;
use openraft::{RaftMetrics, ServerState};
use tokio::sync::watch;

use super::Consensus;
use super::log_store::LogStore;
use super::network::AddressBook;
use super::types::{LogId, TypeConfig};

/// Who leads, as this node knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The term.
    pub term: u64,
    /// Consensus id of the leader, if one is known.
    pub leader: Option<u64>,
    /// Whether this node leads and has applied all that was committed before its term, so that it
    /// may plan.
    pub ready: bool,
}

/// When to take snapshots, and what of the log to keep behind them.
pub(super) struct Bounds {
    /// Entries between two snapshots.
    pub snapshot_interval: AtomicU64,
    /// Entries kept that a snapshot covers.
    pub entries_kept: AtomicU64,
    /// Bytes of log that bring a snapshot forward.
    pub log_bytes_max: u64,
}

/// The task that watches.
pub(super) struct Supervisor {
    pub node_id: u64,
    pub raft: Consensus,
    pub log: LogStore,
    pub bounds: Arc<Bounds>,
    pub leadership: watch::Sender<Leadership>,
    /// Becomes true once this node is no member any more.
    pub removed: watch::Sender<bool>,
    /// Follows the newest membership.
    pub addresses: AddressBook,
}

/// What was asked of consensus already, so that it is asked once.
#[derive(Default)]
struct Asked {
    snapshot: Option<u64>,
    purge: Option<u64>,
    /// Whether this node was seen to be a member.
    member: bool,
    /// The membership whose addresses are in use.
    addresses_of: Option<LogId>,
}

impl Supervisor {
    /// Runs until consensus stops. Returns why.
    pub async fn run(self) {
        let mut metrics = self.raft.metrics();
        let mut asked = Asked::default();
        loop {
            let (leadership, due) = {
                let metrics = metrics.borrow_watched();
                let leadership = leadership(self.node_id, &metrics);
                let stopped = metrics.running_state.is_err();
                self.note_membership(&metrics, &mut asked);
                (leadership, if stopped { None } else { Some(self.due(&metrics, &mut asked)) })
            };
            self.leadership
                .send_if_modified(|known| std::mem::replace(known, leadership) != leadership);
            let Some(due) = due else { return };
            if self.ask(due).await.is_err() || metrics.changed().await.is_err() {
                self.leadership.send_replace(Leadership {
                    ready: false,
                    leader: None,
                    ..leadership
                });
                return;
            }
        }
    }

    fn note_membership(&self, metrics: &RaftMetrics<TypeConfig>, asked: &mut Asked) {
        let stored = &metrics.membership_config;
        if asked.addresses_of != *stored.log_id() {
            asked.addresses_of = *stored.log_id();
            let nodes = stored.membership().nodes();
            *self.addresses.lock() = nodes.map(|(id, node)| (*id, node.addr.clone())).collect();
        }
        self.note_removal(metrics, asked);
    }

    /// Notes that a membership without this node was committed. A node that catches up passes through memberships from
    /// before it was added; those tell nothing.
    fn note_removal(&self, metrics: &RaftMetrics<TypeConfig>, asked: &mut Asked) {
        let committed = metrics.committed_membership_config.membership();
        let is_member = committed.get_node(&self.node_id).is_some();
        if asked.member && !is_member {
            self.removed.send_replace(true);
        }
        asked.member |= is_member;
    }

    /// Finds what is to be asked now: a snapshot, and up to where to purge.
    fn due(&self, metrics: &RaftMetrics<TypeConfig>, asked: &mut Asked) -> (bool, Option<u64>) {
        let applied = metrics.last_applied.as_ref().map(|id| id.index);
        let covered = metrics.snapshot.as_ref().map(|id| id.index);
        let purged = metrics.purged.as_ref().map(|id| id.index);
        let large = self.log.stored_bytes() > self.bounds.log_bytes_max;

        let next = |index: Option<u64>| index.map_or(0, |index| index + 1);
        let since = next(applied).saturating_sub(next(covered));
        let interval = self.bounds.snapshot_interval.load(Ordering::Relaxed).max(1);
        let under_way = asked.snapshot > covered;
        let purge_to = covered.and_then(|covered| {
            let kept = if large { 0 } else { self.bounds.entries_kept.load(Ordering::Relaxed) };
            covered.checked_sub(kept)
        });
        // While a covered part of the log is still to go, its bytes are no reason for another
        // snapshot.
        let purge_due = purge_to > purged;
        let snapshot = !under_way && since > 0 && (since >= interval || (large && !purge_due));
        if snapshot {
            asked.snapshot = applied;
        }
        let purge = purge_to.filter(|_| purge_due && purge_to > asked.purge);
        if purge.is_some() {
            asked.purge = purge;
        }
        (snapshot, purge)
    }

    async fn ask(
        &self,
        (snapshot, purge): (bool, Option<u64>),
    ) -> Result<(), openraft::errors::Fatal<TypeConfig>> {
        if snapshot {
            self.raft.trigger().snapshot().await?;
        }
        if let Some(upto) = purge {
            self.raft.trigger().purge_log(upto).await?;
        }
        Ok(())
    }
}

/// Tells who leads, as consensus last said.
pub(super) fn leadership(node_id: u64, metrics: &RaftMetrics<TypeConfig>) -> Leadership {
    let term = metrics.current_term;
    let leads = metrics.running_state.is_ok() && metrics.state == ServerState::Leader;
    // The first entry of a term follows everything that was committed before it.
    let applied_own = metrics
        .last_applied
        .as_ref()
        .is_some_and(|id| id.leader_id.term == term && id.leader_id.node_id == node_id);
    let leader = metrics.current_leader.filter(|_| metrics.running_state.is_ok());
    Leadership { term, leader, ready: leads && applied_own }
}
