//! The codec: what was written once must load for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::vote::RaftLeaderIdExt as _;
use openraft::{BasicNode, EntryPayload};
use skep_core::State;

use super::*;
use crate::CodecError;
use crate::codec::{
    decode_entry, decode_snapshot, decode_vote, encode_entry, encode_snapshot, encode_vote,
};
use crate::types::{Entry, LogId, LogProposal, Membership, SnapshotMeta, Vote};

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(openraft::alias::LeaderIdOf::<TypeConfig>::new_committed(term, 1), index)
}

fn membership() -> openraft::Membership<u64, BasicNode> {
    let nodes: BTreeMap<u64, BasicNode> =
        (1..4).map(|id| (id, BasicNode { addr: format!("10.0.0.{id}:2377") })).collect();
    let voters = vec![BTreeSet::from([1, 2]), BTreeSet::from([1])];
    openraft::Membership::new(voters, nodes).expect("every voter has an address")
}

fn entries() -> Vec<Entry> {
    let payloads = [
        EntryPayload::Blank,
        EntryPayload::Normal(LogProposal(Arc::new(proposal(1)))),
        EntryPayload::Membership(membership()),
    ];
    (7..)
        .zip(payloads)
        .map(|(index, payload)| Entry { log_id: log_id(3, index), payload })
        .collect()
}

fn snapshot() -> Result<(SnapshotMeta, Arc<State>), serde_json::Error> {
    let state = serde_json::from_value(serde_json::json!({
        "index": 9,
        "secrets": [{"id": "0000000000000000000000001",
            "spec": {"annotations": {"name": "name"}, "data": b"data"}}],
    }))?;
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(3, 9)),
        last_membership: Membership::new(Some(log_id(3, 8)), membership()),
    };
    Ok((meta, Arc::new(state)))
}

#[test]
fn what_is_encoded_decodes_to_the_same() -> TestResult {
    for entry in entries() {
        assert_eq!(decode_entry(&encode_entry(&entry)?)?, entry);
    }
    for committed in [false, true] {
        let vote = Vote { committed, ..Vote::new(4, 2) };
        assert_eq!(decode_vote(&encode_vote(&vote)?)?, vote);
    }
    let (meta, state) = snapshot()?;
    assert_eq!(decode_snapshot(&encode_snapshot(&meta, &state)?)?, (meta, state));
    let empty = SnapshotMeta::default();
    let (meta, _) = decode_snapshot(&encode_snapshot(&empty, &Arc::default())?)?;
    assert_eq!(meta, empty);
    Ok(())
}

#[test]
fn records_of_version_1_load() -> TestResult {
    let stored: [&[u8]; 3] = [
        include_bytes!("fixtures/entry-blank.v1"),
        include_bytes!("fixtures/entry-proposal.v1"),
        include_bytes!("fixtures/entry-membership.v1"),
    ];
    for (bytes, entry) in stored.into_iter().zip(entries()) {
        assert_eq!(decode_entry(bytes)?, entry);
    }
    let stored = include_bytes!("fixtures/snapshot.v1");
    assert_eq!(decode_snapshot(stored)?, snapshot()?);
    Ok(())
}

#[test]
fn other_records_are_typed_errors() -> TestResult {
    let bytes = encode_entry(&entries()[1])?;
    for len in 1..bytes.len() {
        assert!(matches!(decode_entry(&bytes[..len]), Err(CodecError::Decode(_))), "cut to {len}");
    }
    assert!(matches!(decode_entry(&[]), Err(CodecError::Empty)));
    let mut newer = bytes;
    newer[0] = 2;
    assert!(matches!(decode_entry(&newer), Err(CodecError::Newer { found: 2 })));
    Ok(())
}
