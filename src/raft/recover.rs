//! Makes a stopped node the only member of its group, for when the others are lost for good. Changes nothing but who
//! belongs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use openraft::vote::RaftLeaderIdExt as _;
use openraft::{BasicNode, EntryPayload, Membership};

use super::crypt::DataKey;
use super::disk::{Change, Disk, Place};
use super::error::{RaftError, StoreError};
use super::snapshot::SnapshotStore;
use super::types::{Entry, LogId, TypeConfig, Vote};

/// Writes a membership of this node alone behind all that its log holds, committed or not: a write that was acknowledged is
/// in it. Blocks; the node must not run.
///
/// # Errors
/// Says why the log cannot be used; it is as it was then.
pub fn force_new_group(
    dir: &Path,
    key: DataKey,
    node_id: u64,
    address: &str,
) -> Result<(), RaftError> {
    let snapshots = SnapshotStore::open(dir, key.clone())?;
    let place = Place::new(dir.to_owned(), key, node_id);
    let disk = Disk::open(&place)?;
    let found = disk.load(0)?;
    let snapshot = snapshots.load_newest(found.purged.map(|id| id.index))?;
    let covered = snapshot.and_then(|loaded| loaded.meta.last_log_id);
    let last = found.newest.last().map(|entry| entry.log_id).max(found.purged).max(covered);
    let Some(last) = last else {
        return Err(StoreError::Damaged("it is empty".to_owned()).into());
    };
    // A term of its own keeps the entry apart from any that another member may have written at its place.
    let term = found.vote.map_or(0, |vote| vote.leader_id.term).max(last.leader_id.term) + 1;
    let leader = openraft::alias::LeaderIdOf::<TypeConfig>::new_committed(term, node_id);
    let nodes = BTreeMap::from([(node_id, BasicNode { addr: address.to_owned() })]);
    let membership = Membership::new(vec![BTreeSet::from([node_id])], nodes)
        .map_err(|error| RaftError::Fatal(error.to_string()))?;
    let entry = Entry {
        log_id: LogId::new(leader, last.index + 1),
        payload: EntryPayload::Membership(membership),
    };
    let sealed = place.seal(&entry)?;
    let changes = [Change::Vote(Vote::new(term, node_id)), Change::Put(entry.log_id.index, sealed)];
    Ok(disk.commit(&changes, true)?)
}
