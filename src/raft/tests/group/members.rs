//! Joining, leaving, handing over: what the group is and who leads it.

use super::*;
use crate::{ChangeError, force_new_group};

fn voters(members: &Members) -> Vec<u64> {
    members.voters.iter().copied().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_manager_takes_writes_and_answers_reads() -> TestResult {
    let group = Group::new(3, 1).await?;
    for id in [1, 2, 3] {
        let node = group.node(id);
        let began = Instant::now();
        let (index, outcome) = node.propose(proposal(id)).await?;
        outcome?;
        group.history.wrote(began, index, id);
        assert!(node.state().index() >= index, "whoever wrote sees it");
        let again = node.propose(proposal(id)).await?.1;
        assert!(matches!(again, Err(skep_core::Rejected::NameTaken { .. })), "{again:?}");
        for reader in [1, 2, 3] {
            let began = Instant::now();
            let state = group.node(reader).read().await?;
            assert!(state.index() >= index);
            group.history.read(began, &state);
        }
    }
    assert_eq!(voters(&group.node(3).members()), [1, 2, 3]);
    group.settle().await?;
    group.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_far_behind_gets_a_snapshot() -> TestResult {
    let mut group = Group::new(1, 2).await?;
    let leader = group.node(1);
    propose(&leader, 0..150).await?;
    wait(&leader, "purge", |metrics| metrics.purged.is_some()).await?;
    group.add(2, 1).await?;
    assert!(group.links.snapshots() > 0);
    let late = group.node(2);
    assert_eq!(late.read().await?, leader.state());
    // It is on the receiver's disk under the receiver's own key.
    let (dir, _) = group.nodes.remove(&2).ok_or("gone")?;
    group.links.take(&address(2));
    late.shutdown().await;
    group.start(2, dir).await?;
    assert_eq!(group.node(2).read().await?, leader.state());
    group.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_entries_go_through_one_a_frame() -> TestResult {
    // Unoptimised ciphers take a second for a megabyte, several times over.
    let mut group = Group::with_timeout(2, 3, PATIENCE * 2).await?;
    let leader = group.leader_of(&[1, 2]).await?;
    let node = group.node(leader);
    let follower = group.others(leader)[0];
    let large = |number: u64| {
        let Proposal { at, command: Command::CreateSecret { id, mut spec } } = proposal(number)
        else {
            unreachable!("it is a secret")
        };
        spec.data = Sensitive(vec![7; (1 << 20) + 1]);
        Proposal { at, command: Command::CreateSecret { id, spec } }
    };
    for number in 0..2 {
        node.propose(large(number)).await?.1?;
    }
    let dir = group.crash(follower).await?;
    group.start(follower, dir).await?;
    assert_eq!(group.node(follower).read().await?.secrets().len(), 2);
    group.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_and_a_removed_leader_hands_over_first() -> TestResult {
    let group = Group::new(3, 4).await?;
    let stop = CancellationToken::new();
    let clients = [group.client(2, &stop), group.client(3, &stop)];
    let first = group.leader_of(&[1, 2, 3]).await?;
    assert!(group.node(first).transfer_leadership().await);
    let second = group.leader_of(&[1, 2, 3]).await?;
    assert_ne!(first, second);
    group.writes(5).await?;

    // Asked for at another node than the one that leads.
    let leader = group.leader_of(&[1, 2, 3]).await?;
    let asked = group.node(group.others(leader)[0]);
    asked.change(Change::Remove { id: leader }).await?;
    assert!(!asked.members().voters.contains(&leader));
    let mut removed = group.node(leader).removed();
    tokio::time::timeout(PATIENCE, removed.wait_for(|removed| *removed)).await??;
    stop.cancel();
    futures_util::future::join_all(clients).await;
    group.history.check();
    group.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_that_was_removed_hears_of_it_when_it_asks_for_its_vote() -> TestResult {
    let mut group = Group::new(2, 7).await?;
    group.start(3, tempfile::tempdir()?).await?;
    let (voter, learner) = (group.node(1), group.node(3));
    voter.change(Change::AddLearner { id: 3, address: address(3) }).await?;
    wait(&learner, "taken in", |metrics| {
        metrics.membership_config.membership().get_node(&3).is_some()
    })
    .await?;
    voter.change(Change::Remove { id: 3 }).await?;
    assert!(!*learner.removed().borrow());
    let refused = learner.change(Change::Promote { id: 3 }).await;
    assert_eq!(refused, Err(ChangeError::NotMember(3)));
    assert!(*learner.removed().borrow());
    // What others ask for it tells nothing about them.
    assert_eq!(voter.change(Change::Promote { id: 3 }).await, Err(ChangeError::NotMember(3)));
    assert!(!*voter.removed().borrow());
    group.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_cost_the_quorum_is_refused() -> TestResult {
    let mut group = Group::new(3, 5).await?;
    let leader = group.leader_of(&[1, 2, 3]).await?;
    let others = group.others(leader);
    let dir = group.crash(others[0]).await?;
    let node = group.node(leader);
    let gone = || node.reachable().is_none_or(|reachable| reachable.contains(&others[0]));
    while gone() {
        tokio::task::yield_now().await;
    }
    let refused = node.change(Change::Remove { id: others[1] }).await;
    assert_eq!(refused, Err(ChangeError::WouldLoseQuorum));
    let refused = node.change(Change::Remove { id: leader }).await;
    assert_eq!(refused, Err(ChangeError::WouldLoseQuorum));
    // The one that does not answer may go, and hears of it when it comes back.
    node.change(Change::Remove { id: others[0] }).await?;
    assert_eq!(node.members().voters.len(), 2);
    group.start(others[0], dir).await?;
    let mut removed = group.node(others[0]).removed();
    tokio::time::timeout(PATIENCE, removed.wait_for(|removed| *removed)).await??;
    propose(&node, 0..3).await?;
    group.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_moved_is_found_again() -> TestResult {
    let mut group = Group::new(3, 6).await?;
    let leader = group.leader_of(&[1, 2, 3]).await?;
    let moved = group.others(leader)[0];
    let node = group.links.take(&address(moved)).ok_or("gone")?;
    group.links.put("10.0.0.99:2377", node.clone());
    let change = Change::SetAddress { id: moved, address: "10.0.0.99:2377".to_owned() };
    group.node(leader).change(change).await?;
    let (index, _) = group.node(leader).propose(proposal(1)).await?;
    let mut states = node.watch();
    tokio::time::timeout(PATIENCE, states.wait_for(|state| state.index() >= index)).await??;
    let (_, node) = group.nodes.remove(&moved).ok_or("gone")?;
    node.shutdown().await;
    group.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_comes_back_elsewhere_finds_who_leads_now() -> TestResult {
    let mut group = Group::new(3, 8).await?;
    let leader = group.leader_of(&[1, 2, 3]).await?;
    let dir = group.crash(leader).await?;
    let others = group.others(leader);
    let next = group.leader_of(&others).await?;
    // One of those it knows is of no use to it.
    let silent = others.into_iter().find(|id| *id != next).ok_or("nobody")?;
    group.links.cut("10.0.0.99:2377", &address(silent));
    let node = RaftNode::open(group.options(leader, dir.path()), group.links.end("10.0.0.99:2377"));
    let node = node.await?;
    group.links.put("10.0.0.99:2377", node.clone());
    let change = Change::SetAddress { id: leader, address: "10.0.0.99:2377".to_owned() };
    node.change(change).await?;
    let (index, _) = group.node(next).propose(proposal(1)).await?;
    let mut states = node.watch();
    tokio::time::timeout(PATIENCE, states.wait_for(|state| state.index() >= index)).await??;
    node.shutdown().await;
    group.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_goes_on_alone_when_it_is_told_to() -> TestResult {
    let mut group = Group::new(3, 7).await?;
    let leader = group.leader_of(&[1, 2, 3]).await?;
    propose(&group.node(leader), 0..100).await?;
    let survivor = group.others(leader)[0];
    let state = group.node(survivor).read().await?;
    for id in group.others(survivor) {
        drop(group.crash(id).await?);
    }
    let dir = group.crash(survivor).await?;
    let options = group.options(survivor, dir.path());
    force_new_group(dir.path(), options.key, survivor, "10.0.0.50:2377")?;
    group.start(survivor, dir).await?;
    let node = group.node(survivor);
    group.links.put("10.0.0.50:2377", node.clone());
    node.leadership().wait_for(|own| own.ready).await?;
    assert_eq!(node.state(), state);
    assert_eq!(voters(&node.members()), [survivor]);
    assert_eq!(node.members().addresses[&survivor], "10.0.0.50:2377");
    propose(&node, 100..110).await?;
    // Others can join it again, under new ids.
    group.add(8, survivor).await?;
    propose(&group.node(8), 110..120).await?;
    group.stop().await;
    Ok(())
}
