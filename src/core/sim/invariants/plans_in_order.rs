//! No plan is carried out over another that it does not know: that of a leader who was replaced, over the new one's.

use super::Broken;
use crate::command::Command;
use crate::sim::ledger::Ledger;
use crate::state::Rejected;

pub(in crate::sim) const NAME: &str = "a plan knows all plans that were carried out before";

pub(in crate::sim) fn check(
    ledger: &mut Ledger,
    ticket: u64,
    index: u64,
    command: &Command,
    outcome: &Result<(), Rejected>,
) -> Result<(), Broken> {
    if !matches!(command, Command::Plan { .. }) || outcome.is_err() {
        return Ok(());
    }
    let Some(base) = ledger.plans.get(&ticket).copied() else { return Ok(()) };
    let last = std::mem::replace(&mut ledger.last_plan, index);
    if base.index >= last {
        return Ok(());
    }
    let base = base.index;
    Err((NAME, format!("plan {index} was made from {base}; plan {last} came between")))
}
