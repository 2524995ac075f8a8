//! What a user was told is done stays done, whoever leads and whatever crashes.

use super::Broken;
use crate::sim::ledger::Ledger;
use crate::sim::oracle::Oracle;

pub(in crate::sim) const NAME: &str = "an acknowledged write is never lost";

pub(in crate::sim) fn check(oracle: &Oracle, ledger: &Ledger) -> Result<(), Broken> {
    oracle.broken(&ledger.state).map_or(Ok(()), |detail| Err((NAME, detail)))
}
