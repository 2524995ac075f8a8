//! One manager's disk is full: the others lead and go on.

use std::io::ErrorKind::StorageFull;

use super::*;
use crate::ProposeError;

/// Writes through a node. Where the lead moves meanwhile, what became of a write may not be known: it is made again.
async fn written(node: &RaftNode, number: u64) -> TestResult {
    loop {
        match node.propose(proposal(number)).await {
            Err(ProposeError::Unknown) => {}
            Ok((_, Ok(_) | Err(skep_core::Rejected::NameTaken { .. }))) => return Ok(()),
            Ok((_, Err(rejected))) => return Err(rejected.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_room_leaves_the_lead() -> TestResult {
    let group = Group::new(3, 61).await?;
    let leader = group.leader_of(&[1, 2, 3]).await?;
    group.node(leader).inner.room.require(u64::MAX / 2);
    // Through the one that has no room as well: what it does not lead, it need not write first.
    for (number, id) in (0..).zip([leader, 1, 2, 3]) {
        written(&group.node(id), number).await?;
    }
    assert_ne!(group.leader_of(&[1, 2, 3]).await?, leader);
    group.settle().await?;
    group.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_has_room_changes_are_refused() -> TestResult {
    let group = Group::new(3, 62).await?;
    for id in [1, 2, 3] {
        group.node(id).inner.room.require(u64::MAX / 2);
    }
    for (number, id) in (0..).zip([1, 2, 3, 1, 2, 3]) {
        let refused = written(&group.node(id), number).await.err().ok_or("written")?;
        assert!(refused.to_string().starts_with("no space left on device"), "{refused}");
        assert!(group.node(id).read().await?.secrets().is_empty());
    }
    for id in [1, 2, 3] {
        group.node(id).inner.room.require(0);
    }
    group.node(1).propose(proposal(9)).await?.1?;
    group.settle().await?;
    group.stop().await;
    Ok(())
}

/// Not even a vote can be written, so that the old leader cannot follow either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_takes_nothing_is_replaced() -> TestResult {
    let group = Group::new(3, 63).await?;
    let leader = group.leader_of(&[1, 2, 3]).await?;
    let others = group.others(leader);
    let stop = CancellationToken::new();
    let clients: Vec<_> = others.iter().map(|id| group.client(*id, &stop)).collect();
    group.writes(5).await?;
    group.faults[&leader].fail_after(0, StorageFull);
    let node = group.node(leader);
    let refused = loop {
        match node.propose(proposal(1_000_000)).await {
            Err(error @ ProposeError::NoRoom(_)) => break error,
            Err(ProposeError::Waits(_)) => {}
            outcome => return Err(format!("{outcome:?}").into()),
        }
    };
    assert!(refused.to_string().starts_with("no space left on device"), "{refused}");
    let led = group.leader_of(&others).await?;
    assert_ne!(led, leader);
    group.writes(20).await?;
    let read = node.read().await;
    assert!(matches!(read, Err(ProposeError::NoRoom(_))), "{read:?}");

    group.faults[&leader].end();
    written(&node, 2_000_000).await?;
    stop.cancel();
    futures_util::future::join_all(clients).await;
    group.settle().await?;
    group.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_disk_takes_nothing_holds_nobody_up() -> TestResult {
    let group = Group::new(3, 64).await?;
    let leader = group.leader_of(&[1, 2, 3]).await?;
    let full = group.others(leader)[0];
    group.faults[&full].fail_after(0, StorageFull);
    let stop = CancellationToken::new();
    let clients: Vec<_> = [1, 2, 3].map(|id| group.client(id, &stop)).into();
    group.writes(60).await?;
    group.faults[&full].end();
    group.writes(20).await?;
    stop.cancel();
    futures_util::future::join_all(clients).await;
    group.settle().await?;
    group.stop().await;
    Ok(())
}
