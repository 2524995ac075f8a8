//! Turns states into what a node must run, once they can be believed. What that is, the core says.

use std::sync::Arc;
use std::time::Duration;

use skep_core::assign::{Assigned, assigned};
use skep_core::id::NodeId;
use skep_core::state::State;
use skep_raft::RaftNode;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock;

/// Between two tries to learn what is current; without a quorum nothing tells.
const CATCH_UP_PERIOD: Duration = Duration::from_millis(50);

/// Assigns nothing before this node's copy of the state holds all that was ever acknowledged: by an older one it would end
/// what runs. A manager that starts, or has just come, learns that from the leader.
pub(super) async fn assign_once_current(
    raft: Arc<RaftNode>,
    node: NodeId,
    sender: watch::Sender<Option<Arc<Assigned>>>,
    stop: CancellationToken,
) {
    let current = catch_up(&raft, |state| state.nodes().contains_key(&node));
    tokio::select! {
        () = Box::pin(current) => {}
        () = stop.cancelled() => return,
    }
    assign(raft.watch(), node, sender, stop).await;
}

/// Waits until this node's copy of the state is as new as the leader's and `holds`. On the way there it passes through all that
/// was, such as an earlier time of the same node among the managers.
pub(super) async fn catch_up(raft: &RaftNode, holds: impl Fn(&State) -> bool) {
    while !raft.read().await.is_ok_and(|state| holds(&state)) {
        clock::sleep(CATCH_UP_PERIOD).await;
    }
}

/// Turns states into what a node must run, until `stop`.
pub(super) async fn assign(
    mut states: watch::Receiver<Arc<State>>,
    node: NodeId,
    sender: watch::Sender<Option<Arc<Assigned>>>,
    stop: CancellationToken,
) {
    let mut last: Option<Arc<State>> = None;
    loop {
        let state = states.borrow_and_update().clone();
        if last.as_ref().is_none_or(|last| may_change_assignment(last, &state)) {
            let wanted = assigned(&state, &node);
            sender.send_if_modified(|held| {
                let differs = held.as_ref().is_none_or(|held| !held.is_same(&wanted));
                if differs {
                    *held = Some(Arc::new(wanted));
                }
                differs
            });
        }
        last = Some(state);
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

fn may_change_assignment(last: &State, next: &State) -> bool {
    !(last.tasks().ptr_eq(next.tasks())
        && last.networks().ptr_eq(next.networks())
        && last.secrets().ptr_eq(next.secrets())
        && last.configs().ptr_eq(next.configs()))
}
