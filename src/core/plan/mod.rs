//! Decides what to do next: runs the planners in order, each on the state as the ones before it would leave it.

use crate::command::Change;
use crate::id::{ServiceId, TaskId};
use crate::state::State;
use crate::time::Timestamp;

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

/// Plans from the whole state at time `now`.
pub fn plan(state: &State, now: Timestamp) -> Plan {
    let _ = (state, now);
    Plan::default()
}
