//! What one manager applied as an entry of the log, every manager applies as that entry, whoever leads.

use std::sync::Arc;

use super::Broken;
use crate::sim::consensus::Entry;
use crate::sim::ledger::Ledger;

pub(in crate::sim) const NAME: &str = "a committed entry stays";

pub(in crate::sim) fn check(ledger: &Ledger, index: u64, entry: &Arc<Entry>) -> Result<(), Broken> {
    match ledger.get(index) {
        Some(known) if Arc::ptr_eq(known, entry) => Ok(()),
        known => Err((NAME, format!("entry {index} was {known:?} and is {entry:?}"))),
    }
}
