//! Frames between managers: what was said is heard, and anything else is a typed error.

use std::sync::Arc;

use openraft::EntryPayload;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::vote::RaftLeaderIdExt as _;
use skep_core::Rejected;
use skep_core::model::Kind;

use super::*;
use crate::types::{Entry, LogId, LogProposal, Vote};
use crate::wire::{
    Answer, Asked, Batch, Request, SnapshotHeader, decode_answer, decode_request, encode_answer,
    encode_request,
};
use crate::{Change, ChangeError, CodecError, ProposeError};

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(openraft::alias::LeaderIdOf::<TypeConfig>::new_committed(term, 1), index)
}

fn vote() -> Vote {
    Vote { committed: true, ..Vote::new(4, 2) }
}

fn entry(index: u64, bytes: usize) -> Entry {
    let Proposal { at, command: Command::CreateSecret { id, mut spec } } = proposal(index) else {
        unreachable!("it is a secret")
    };
    spec.data = Sensitive(vec![7; bytes]);
    let proposal = Proposal { at, command: Command::CreateSecret { id, spec } };
    let payload = EntryPayload::Normal(LogProposal(Arc::new(proposal)));
    Entry { log_id: log_id(3, index), payload }
}

fn requests() -> Vec<Request> {
    let ask =
        VoteRequest { vote: vote(), last_log_id: Some(log_id(3, 9)), leadership_transfer: true };
    vec![
        Request::Append(AppendEntriesRequest {
            vote: vote(),
            prev_log_id: Some(log_id(2, 6)),
            entries: vec![entry(7, 10), entry(8, 0)],
            leader_commit: None,
        }),
        Request::Vote(ask.clone()),
        Request::PreVote(ask),
        Request::TransferLeader(TransferLeaderRequest::new(vote(), 3, None)),
        Request::ReadIndex,
        Request::Propose(Arc::new(proposal(1))),
        Request::Change(Change::AddLearner { id: 5, address: "10.0.0.5:2377".to_owned() }),
    ]
}

fn answers() -> Vec<Answer> {
    let rejected = Rejected::NameTaken { kind: Kind::Secret, name: "key".to_owned() };
    vec![
        Answer::Append(AppendEntriesResponse::Success),
        Answer::Append(AppendEntriesResponse::PartialSuccess(Some(log_id(3, 7)))),
        Answer::Append(AppendEntriesResponse::Conflict),
        Answer::Append(AppendEntriesResponse::HigherVote(vote())),
        Answer::Vote(VoteResponse::new(vote(), None, true)),
        Answer::TransferLeader(true),
        Answer::ReadIndex(9),
        Answer::Proposed(9, Ok(())),
        Answer::Proposed(9, Err(rejected)),
        Answer::ProposeFailed(ProposeError::NotLeader { leader: 2, address: "a".to_owned() }),
        Answer::Changed(Err(ChangeError::NotCaughtUp(5))),
        Answer::Snapshot(vote()),
        Answer::NotMember,
        Answer::WrongNode(4),
        Answer::Stopped("why".to_owned()),
    ]
}

#[test]
fn what_is_said_is_heard() -> TestResult {
    for request in requests() {
        let frame = encode_request(&Asked { from: 1, to: 2, request })?;
        let heard = decode_request(&frame)?;
        assert_eq!((heard.from, heard.to), (1, 2));
        assert_eq!(encode_request(&heard)?, frame, "nothing is left out");
    }
    for answer in answers() {
        let said = format!("{answer:?}");
        let heard = decode_answer(&encode_answer(answer)?)?;
        assert_eq!(format!("{heard:?}"), said);
    }
    let header = SnapshotHeader::new(1, 2, &vote(), 77, [9; 32]);
    let heard = SnapshotHeader::decode(&header.encode()?)?;
    assert_eq!((heard.vote(), heard.bytes, heard.sha256), (vote(), 77, [9; 32]));
    Ok(())
}

#[test]
fn a_reason_that_is_a_bug_stays_with_its_manager() -> TestResult {
    let answer = Answer::Proposed(1, Err(Rejected::Malformed("the id is taken")));
    let heard = decode_answer(&encode_answer(answer)?)?;
    assert!(matches!(heard, Answer::Proposed(1, Err(Rejected::Malformed(_)))), "{heard:?}");
    Ok(())
}

#[test]
fn other_frames_are_typed_errors() -> TestResult {
    let request = Request::Propose(Arc::new(proposal(1)));
    let frame = encode_request(&Asked { from: 1, to: 2, request })?;
    for len in 1..frame.len() {
        assert!(
            matches!(decode_request(&frame[..len]), Err(CodecError::Decode(_))),
            "cut to {len}"
        );
    }
    assert!(matches!(decode_answer(&frame), Err(CodecError::Decode(_))));
    assert!(matches!(decode_request(&[]), Err(CodecError::Empty)));
    let mut newer = frame;
    newer[0] = 2;
    assert!(matches!(decode_request(&newer), Err(CodecError::Newer { found: 2 })));
    Ok(())
}

#[test]
fn a_frame_of_entries_is_bounded_and_never_empty() -> TestResult {
    let counts = |sizes: &[usize]| -> Result<usize, CodecError> {
        let entries: Vec<Entry> =
            (1..).zip(sizes).map(|(index, size)| entry(index, *size)).collect();
        Ok(Batch::new(&entries)?.count)
    };
    assert_eq!(counts(&[])?, 0);
    assert_eq!(counts(&[10; 40])?, 40);
    assert_eq!(counts(&[400_000, 400_000, 400_000])?, 2);
    assert_eq!(counts(&[3_000_000, 10])?, 1);
    assert_eq!(counts(&[10, 3_000_000])?, 1);
    Ok(())
}
