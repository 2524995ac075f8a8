//! The leader's loop: look at the newest state, plan, propose, look again. Decides nothing itself.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use skep_core::command::{Command, Proposal};
use skep_core::plan::{Plan, Planner};
use skep_core::state::{Rejected, State};
use skep_core::time::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, debug_span, error, warn};

use crate::clock;
use skep_raft::{ProposeError, RaftNode};

/// Wait after a plan could not be committed although nothing contradicted it.
const RETRY_PERIOD: std::time::Duration = std::time::Duration::from_millis(200);

/// Wait after a plan found no room on the disk, for which there is no event.
const FULL_PERIOD: std::time::Duration = std::time::Duration::from_secs(1);

/// Plans whenever the state changes or a plan asked to be woken, until `shutdown`.
pub async fn run(raft: Arc<RaftNode>, shutdown: CancellationToken) {
    let mut states = raft.watch();
    let mut leadership = raft.leadership();
    let mut planner = Planner::default();
    loop {
        leadership.borrow_and_update();
        let state = states.borrow_and_update().clone();
        let wake_at = if raft.is_leader() {
            // Without a quorum a proposal waits long; a stop does not.
            tokio::select! {
                wake_at = step(&raft, &mut planner, &state) => wake_at,
                () = shutdown.cancelled() => return,
            }
        } else {
            // Whoever leads next, and this node if it leads again, looks at everything first.
            planner = Planner::default();
            None
        };
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return },
            changed = leadership.changed() => if changed.is_err() { return },
            () = wake(wake_at) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn wake(at: Option<Timestamp>) {
    match at {
        Some(at) => clock::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Plans once; returns when to look again if the state does not change before.
async fn step(raft: &RaftNode, planner: &mut Planner, state: &Arc<State>) -> Option<Timestamp> {
    let now = clock::now();
    let span = debug_span!("plan", index = state.index());
    let made = span.in_scope(|| contain(planner, state, now))?;
    for reason in &made.reasons {
        debug!(reason = %reason.text, service.id = ?reason.service, task.id = ?reason.task, "not done");
    }
    if made.changes.is_empty() {
        return made.wake_at;
    }
    let command = Command::Plan { based_on: state.index(), changes: made.changes };
    match raft.propose(Proposal { at: now, command }).instrument(span).await {
        // The state changed by it, so the watch wakes the loop.
        Ok((_, Ok(_))) => made.wake_at,
        Ok((_, Err(Rejected::StalePlan))) => {
            debug!("the state moved on while planning");
            Some(clock::now())
        }
        Ok((_, Err(rejected))) => {
            error!(error = %rejected, "a plan contradicts the state it was made from");
            Some(clock::now().after(RETRY_PERIOD))
        }
        // Consensus says once that it refuses, and waits as long as it lasts.
        Err(failure @ (ProposeError::NoRoom(_) | ProposeError::Waits(_))) => {
            debug!(error = %failure, "the plan waits for room");
            Some(clock::now().after(FULL_PERIOD))
        }
        Err(failure) => {
            warn!(error = %failure, "the plan was not committed");
            Some(clock::now().after(RETRY_PERIOD))
        }
    }
}

/// Runs the planners; a planner that panics is logged and its plan dropped, so that the rest of the manager lives on.
fn contain(planner: &mut Planner, state: &State, now: Timestamp) -> Option<Plan> {
    match std::panic::catch_unwind(AssertUnwindSafe(|| planner.plan(state, now))) {
        Ok(made) => Some(made),
        Err(cause) => {
            let text = cause
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| cause.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            error!(plan.index = state.index(), cause = text, "a planner panicked");
            None
        }
    }
}
