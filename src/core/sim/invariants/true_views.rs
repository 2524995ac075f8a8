//! What a node was shown in parts is what it would be shown as a whole.

use super::Broken;
use crate::id::NodeId;
use crate::sim::ledger::Ledger;
use crate::state::State;
use crate::view::View;

pub(in crate::sim) const NAME: &str = "a view fed by parts is the view made whole";

pub(in crate::sim) fn check(ledger: &Ledger, node: &NodeId, shown: &State) -> Result<(), Broken> {
    let Some(state) = ledger.recent(shown.index()) else { return Ok(()) };
    let mut whole = View::new(node.clone());
    whole.follow(state);
    if whole.shown() == shown {
        return Ok(());
    }
    let index = shown.index();
    Err((NAME, format!("node {node} at {index}: {shown:?} instead of {:?}", whole.shown())))
}
