//! A read sees every write that was acknowledged before it began, and all that any read before it saw.

use super::Broken;

pub(in crate::sim) const NAME: &str = "reads see all that was acknowledged before";

pub(in crate::sim) fn check(floor: u64, seen: u64) -> Result<(), Broken> {
    if seen >= floor {
        return Ok(());
    }
    Err((NAME, format!("a read sees entry {seen}, when {floor} was known to be there")))
}
