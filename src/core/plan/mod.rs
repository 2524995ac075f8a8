//! Decides what to do next: runs the planners in order, each on the state as the ones before it would leave it.

mod allocator;
mod draft;
mod enforcer;
mod global;
mod jobs;
mod limits;
mod nodes;
mod planner;
mod reaper;
mod replicated;
mod restart;
mod scheduler;
mod slots;
#[cfg(test)]
mod tests;
mod touched;
mod update;
pub mod why;

use crate::command::Change;
use crate::id::{ServiceId, TaskId};
use crate::state::State;
use crate::time::Timestamp;
use draft::Draft;
use touched::Touched;

pub use limits::Limits;
pub use planner::Planner;
pub use scheduler::constraint;
pub use update::is_dirty;

/// What to do, when to look again, and why something asked for was not done.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Changes in order, for one `Command::Plan`.
    pub changes: Vec<Change>,
    /// When a plan may say something new although the state has not changed.
    pub wake_at: Option<Timestamp>,
    /// Why things asked for were not done.
    pub reasons: Vec<Reason>,
}

/// Why something asked for was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The service concerned.
    pub service: Option<ServiceId>,
    /// The task concerned.
    pub task: Option<TaskId>,
    /// The explanation, as `docker service ps` shows it.
    pub text: String,
}

/// The planners in the order they run.
const PLANNERS: [fn(&mut Draft); 11] = [
    nodes::plan,
    enforcer::plan,
    replicated::plan,
    global::plan,
    jobs::plan,
    // Before the replacement of what failed: an update that turns back replaces it by another spec.
    update::plan,
    restart::plan,
    allocator::plan,
    scheduler::plan,
    allocator::gateways::plan,
    reaper::plan,
];

/// Rounds until a plan is taken to be going in circles. One round does the work and one finds nothing left to do;
/// a few more are needed where a late planner's change is an early planner's cause.
const ROUNDS_MAX: usize = 12;

/// Plans from the whole state at time `now`. A plan that comes to its limits leaves the rest to the next one.
///
/// # Panics
/// When a planner relies on something that does not hold; the caller drops the plan and reports it.
pub fn plan(state: &State, now: Timestamp) -> Plan {
    settle(state, now).finish()
}

/// Runs the planners on the whole state.
fn settle(state: &State, now: Timestamp) -> Draft {
    run(Draft::new(state, Touched::Everything, Limits::default(), now))
}

/// Runs the planners until they find nothing more to do.
fn run(mut draft: Draft) -> Draft {
    for _ in 0..ROUNDS_MAX {
        let before = draft.begin_round();
        for planner in PLANNERS {
            planner(&mut draft);
        }
        if draft.changes_len() == before {
            return draft;
        }
    }
    panic!("the planners do not settle: {:?}", draft.finish().changes);
}
