//! Crashes, cuts, delays and losses, with clients writing and reading throughout.

use super::*;
use crate::ProposeError;

async fn finish(group: Group) -> TestResult {
    group.settle().await?;
    assert!(group.history.reads() > 0);
    group.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_leader_that_died_is_replaced_when_it_is_suspected() -> TestResult {
    let mut group = Group::new(3, 41).await?;
    let leader = group.leader_of(&[1, 2, 3]).await?;
    let others: Vec<u64> = [1, 2, 3].into_iter().filter(|id| *id != leader).collect();
    let term = group.node(leader).leadership().borrow().term;
    for other in &others {
        group.node(*other).suspect(leader).await;
        assert_eq!(group.node(*other).leadership().borrow().term, term);
        assert!(group.node(*other).is_led().await);
    }
    let dir = group.crash(leader).await?;
    let (one, other) = (group.node(others[0]), group.node(others[1]));
    tokio::join!(one.suspect(leader), other.suspect(leader));
    let next = group.leader_of(&others).await?;
    assert_ne!(next, leader);
    group.start(leader, dir).await?;
    group.settle().await?;
    group.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_leads_soon_after_the_leader_crashed() -> TestResult {
    let mut group = Group::new(3, 10).await?;
    for _ in 0..3 {
        let stop = CancellationToken::new();
        let leader = group.leader_of(&[1, 2, 3]).await?;
        let others = group.others(leader);
        let clients: Vec<_> = others.iter().map(|id| group.client(*id, &stop)).collect();
        group.writes(10).await?;
        let dir = group.crash(leader).await?;
        let began = Instant::now();
        group.writes(1).await?;
        eprintln!("{:?} without a write", began.elapsed());
        group.start(leader, dir).await?;
        group.writes(10).await?;
        stop.cancel();
        futures_util::future::join_all(clients).await;
    }
    finish(group).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_neither_writes_nor_reads() -> TestResult {
    let group = Group::new(3, 11).await?;
    let leader = group.leader_of(&[1, 2, 3]).await?;
    let others = group.others(leader);
    propose(&group.node(leader), 1_000_000..1_000_005).await?;
    group.links.isolate(&address(leader));
    let stop = CancellationToken::new();
    let clients: Vec<_> = others.iter().map(|id| group.client(*id, &stop)).collect();
    group.writes(10).await?;
    let node = group.node(leader);
    let read = node.read().await;
    assert!(matches!(read, Err(ProposeError::NoLeader | ProposeError::Timeout)), "{read:?}");
    let written = node.propose(proposal(2_000_000)).await;
    assert!(written.is_err(), "{written:?}");
    group.links.heal();
    group.writes(10).await?;
    stop.cancel();
    futures_util::future::join_all(clients).await;
    finish(group).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_does_not_unseat_the_leader() -> TestResult {
    let group = Group::new(3, 12).await?;
    let leader = group.leader_of(&[1, 2, 3]).await?;
    let away = group.others(leader)[0];
    let term = group.node(leader).leadership().borrow().term;
    group.links.isolate(&address(away));
    // Long enough for several elections: a cut-off node knows no leader once it stood for one.
    let node = group.node(away);
    let unanswered = node.propose(proposal(1)).await;
    assert!(unanswered.is_err(), "{unanswered:?}");
    propose(&group.node(leader), 10..100).await?;
    group.links.heal();
    let (index, outcome) = node.propose(proposal(2)).await?;
    outcome?;
    assert!(node.state().index() >= index);
    assert_eq!(group.leader_of(&[1, 2, 3]).await?, leader);
    assert_eq!(group.node(leader).leadership().borrow().term, term);
    group.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_one_way_stops_nobody_for_long() -> TestResult {
    let group = Group::new(3, 13).await?;
    let stop = CancellationToken::new();
    let clients: Vec<_> = [1, 2, 3].map(|id| group.client(id, &stop)).into();
    for _ in 0..2 {
        let leader = group.leader_of(&[1, 2, 3]).await?;
        let other = group.others(leader)[0];
        group.links.cut(&address(leader), &address(other));
        group.writes(20).await?;
        group.links.heal();
        group.links.cut(&address(other), &address(leader));
        group.writes(20).await?;
        group.links.heal();
    }
    stop.cancel();
    futures_util::future::join_all(clients).await;
    finish(group).await
}

/// Runs clients over links that lose and reorder, while nodes are cut off and crash by turns.
async fn suffer(mut group: Group, rounds: u32) -> TestResult {
    let stop = CancellationToken::new();
    let ids: Vec<u64> = group.nodes.keys().copied().collect();
    let mut clients: Vec<_> = ids.iter().map(|id| group.client(*id, &stop)).collect();
    for round in 0..rounds {
        let chosen = ids[group.links.chance(u32::try_from(ids.len())?) as usize];
        group.links.disturb(20, Duration::from_millis(15));
        match (round + group.links.chance(2)) % 3 {
            0 => group.links.isolate(&address(chosen)),
            1 => {
                let to = ids[group.links.chance(u32::try_from(ids.len())?) as usize];
                group.links.cut(&address(chosen), &address(to));
            }
            _ => {
                group.crash_and_restart(chosen).await?;
                clients.push(group.client(chosen, &stop));
            }
        }
        group.writes(12).await?;
        group.links.heal();
        group.writes(6).await?;
    }
    stop.cancel();
    futures_util::future::join_all(clients).await;
    finish(group).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_lose_nothing_whatever_happens() -> TestResult {
    suffer(Group::new(3, 20).await?, 5).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_nodes_lose_nothing_whatever_happens() -> TestResult {
    suffer(Group::new(5, 21).await?, 4).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_while_clients_write() -> TestResult {
    let mut group = Group::new(3, 22).await?;
    let stop = CancellationToken::new();
    let clients = [group.client(1, &stop), group.client(2, &stop)];
    group.links.disturb(5, Duration::from_millis(5));
    for id in 4..8 {
        group.add(id, 2).await?;
        group.writes(5).await?;
        let goes = id - 1;
        if goes > 2 {
            group.node(1).change(Change::Remove { id: goes }).await?;
            let (_, node) = group.nodes.remove(&goes).ok_or("gone")?;
            group.links.take(&address(goes));
            node.shutdown().await;
        }
        group.writes(5).await?;
    }
    group.links.heal();
    stop.cancel();
    futures_util::future::join_all(clients).await;
    assert_eq!(group.node(1).members().voters.len(), 3);
    finish(group).await
}
