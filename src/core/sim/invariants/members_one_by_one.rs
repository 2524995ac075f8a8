//! The group changes by one vote at a time, so that any majority of the old group meets any of the new one.

use super::Broken;
use crate::sim::consensus::{Entry, Members, Payload};
use crate::sim::ledger::Ledger;

pub(in crate::sim) const NAME: &str = "the group changes by one vote at a time";

/// Looks at an entry that was committed, with what the ones before it made of the group.
pub(in crate::sim) fn check(ledger: &mut Ledger, entry: &Entry) -> Result<(), Broken> {
    let Payload::Members(members) = &entry.payload else { return Ok(()) };
    let (old, new) = (&ledger.members.voters, &members.voters);
    let differ = old.symmetric_difference(new).count();
    if new.is_empty() || differ > 1 {
        return Err((NAME, format!("from {old:?} to {new:?}")));
    }
    ledger.members = members.clone();
    Ok(())
}

/// Looks at a change that a leader proposes, which must not be before the last one is committed.
pub(in crate::sim) fn check_proposed(settled: bool, members: &Members) -> Result<(), Broken> {
    if settled {
        return Ok(());
    }
    Err((NAME, format!("{members:?} is proposed while another change is under way")))
}
