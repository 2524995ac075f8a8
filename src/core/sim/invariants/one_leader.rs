//! A term has one leader.

use super::Broken;
use crate::sim::ledger::Ledger;

pub(in crate::sim) const NAME: &str = "a term has one leader at the most";

pub(in crate::sim) fn check(ledger: &mut Ledger, term: u64, place: usize) -> Result<(), Broken> {
    let known = *ledger.leaders.entry(term).or_insert(place);
    if known == place {
        return Ok(());
    }
    Err((NAME, format!("machines {known} and {place} lead in term {term}")))
}
