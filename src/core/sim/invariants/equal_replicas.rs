//! Whoever applies the same log comes to the same state, byte for byte, from the beginning or from a snapshot.

use super::Broken;
use crate::sim::Settings;
use crate::sim::log::Log;
use crate::state::State;

pub(in crate::sim) const NAME: &str = "replicas that applied the same log are equal";

pub(in crate::sim) fn check(
    settings: &Settings,
    log: &Log,
    snapshot: &[u8],
    state: &State,
) -> Result<(), Broken> {
    let bytes = (settings.encode)(state);
    if (settings.encode)(&log.replay(State::default())) != bytes {
        return Err((NAME, format!("the whole log gives another state at {}", state.index())));
    }
    let Some(early) = (settings.decode)(snapshot) else {
        return Err((NAME, "a snapshot cannot be read".to_owned()));
    };
    let from = early.index();
    let late = log.replay(early);
    if (settings.encode)(&late) != bytes || late != *state {
        let to = state.index();
        return Err((NAME, format!("the snapshot at {from} gives another state at {to}")));
    }
    Ok(())
}
