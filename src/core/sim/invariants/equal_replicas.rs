//! Whoever applies the same log comes to the same state, byte for byte, from the beginning or from a snapshot.

use super::Broken;
use crate::sim::Settings;
use crate::sim::consensus::Payload;
use crate::sim::ledger::Ledger;
use crate::sim::machine::Manager;
use crate::state::State;

pub(in crate::sim) const NAME: &str = "replicas that applied the same log are equal";

/// Compares a replica with the first one that came so far.
pub(in crate::sim) fn check(
    ledger: &Ledger,
    index: u64,
    state: &State,
    place: usize,
) -> Result<(), Broken> {
    match ledger.recent(index) {
        Some(known) if known != state => {
            Err((NAME, format!("machine {place} has another state at {index}")))
        }
        Some(_) | None => Ok(()),
    }
}

/// Compares a replica of a world at rest with the whole log, and its snapshot with the log behind it.
pub(in crate::sim) fn check_rest(
    settings: &Settings,
    ledger: &Ledger,
    manager: &Manager,
) -> Result<(), Broken> {
    let bytes = (settings.encode)(&manager.state);
    if (settings.encode)(&replay(ledger, State::default(), 0, manager.applied)) != bytes {
        let index = manager.applied;
        return Err((NAME, format!("the whole log gives another state at {index}")));
    }
    let snapshot = &manager.peer.store.snapshot;
    // One that was taken in from the first entry on has no snapshot.
    let bytes_held = if snapshot.index == 0 {
        (settings.encode)(&State::default())
    } else {
        snapshot.bytes.clone()
    };
    let Some(early) = (settings.decode)(&bytes_held) else {
        return Err((NAME, "a snapshot cannot be read".to_owned()));
    };
    let late = replay(ledger, early, snapshot.index, manager.applied);
    if (settings.encode)(&late) != bytes || late != manager.state {
        let (from, to) = (snapshot.index, manager.applied);
        return Err((NAME, format!("the snapshot at {from} gives another state at {to}")));
    }
    Ok(())
}

/// Applies the entries after `from` up to `to`.
fn replay(ledger: &Ledger, mut state: State, from: u64, to: u64) -> State {
    for index in from + 1..=to {
        if let Some(entry) = ledger.get(index)
            && let Payload::Write { proposal, .. } = &entry.payload
        {
            // A rejected entry is as much a part of history as any other.
            let _outcome = state.apply(index, proposal);
        }
    }
    state
}
