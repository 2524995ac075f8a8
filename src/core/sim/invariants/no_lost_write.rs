//! What a user was told is done stays done, whatever crashes.

use super::Broken;
use crate::sim::oracle::Oracle;
use crate::state::State;

pub(in crate::sim) const NAME: &str = "an acknowledged write is never lost";

pub(in crate::sim) fn check(oracle: &Oracle, state: &State) -> Result<(), Broken> {
    oracle.broken(state).map_or(Ok(()), |detail| Err((NAME, detail)))
}
