//! A new leader plans only once it has applied everything that was committed before its term.

use super::Broken;
use crate::sim::ledger::Ledger;

pub(in crate::sim) const NAME: &str = "a new leader plans on all that was committed before";

pub(in crate::sim) fn check(ledger: &Ledger, term: u64, applied: u64) -> Result<(), Broken> {
    let committed = ledger.last_before(term);
    if applied >= committed {
        return Ok(());
    }
    Err((NAME, format!("in term {term} it plans on entry {applied} of {committed}")))
}
