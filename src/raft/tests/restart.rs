//! What a node finds when it comes back.

use skep_core::Rejected;

use super::*;
use crate::{ProposeError, RaftError, StoreError};

#[tokio::test]
async fn a_node_comes_back_as_leader_with_everything_applied() -> TestResult {
    let dir = tempfile::tempdir()?;
    let node = leader(options(dir.path())).await?;
    assert!(node.is_initialized().await?);
    propose(&node, 0..100).await?;
    let state = node.read().await?;
    let term = node.leadership().borrow().term;
    node.shutdown().await;

    let node = open(options(dir.path())).await?;
    assert_eq!(node.state(), state);
    node.leadership().wait_for(|leadership| leadership.ready && leadership.term > term).await?;
    assert!(node.is_leader());
    let (index, outcome) = node.propose(proposal(100)).await?;
    outcome?;
    assert!(index > state.index());
    assert_eq!(node.read().await?.index(), index);
    node.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn an_idle_end_of_the_log_is_applied_without_its_commit_on_disk() -> TestResult {
    let dir = tempfile::tempdir()?;
    let crashed = tempfile::tempdir()?;
    let node = leader(options(dir.path())).await?;
    propose(&node, 0..1).await?;
    // What is committed is written with the next append only, so that the copy knows nothing of the
    // last commit.
    copy(dir.path(), crashed.path())?;
    let state = node.state();
    node.shutdown().await;
    let node = open(options(crashed.path())).await?;
    assert_eq!(node.state(), state);
    node.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_node_is_made_a_cluster_once() -> TestResult {
    let dir = tempfile::tempdir()?;
    let node = open(options(dir.path())).await?;
    assert!(!node.is_initialized().await?);
    assert!(!node.is_leader());
    node.initialize("a").await?;
    assert!(matches!(node.initialize("a").await, Err(RaftError::AlreadyInitialised)));
    node.shutdown().await;
    let node = open(options(dir.path())).await?;
    assert!(matches!(node.initialize("a").await, Err(RaftError::AlreadyInitialised)));
    node.shutdown().await;
    node.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_store_opens_for_one_process_and_its_own_node_and_key_only() -> TestResult {
    let dir = tempfile::tempdir()?;
    let node = leader(options(dir.path())).await?;
    propose(&node, 0..1).await?;
    let second = open(options(dir.path())).await;
    assert!(matches!(second, Err(RaftError::Store(StoreError::InUse))));
    node.shutdown().await;
    assert!(node.propose(proposal(1)).await.is_err());

    let mut other = options(dir.path());
    other.key = DataKey::from_bytes([8; 32]);
    let wrong = open(other).await;
    assert!(matches!(wrong, Err(RaftError::Store(StoreError::WrongKey))));
    let mut other = options(dir.path());
    other.node_id = 2;
    let wrong = open(other).await;
    assert!(matches!(wrong, Err(RaftError::Store(StoreError::WrongNode { .. }))));
    Ok(())
}

#[tokio::test]
async fn watchers_see_writes_before_the_writer_is_answered() -> TestResult {
    let dir = tempfile::tempdir()?;
    let node = leader(options(dir.path())).await?;
    let watched = node.watch();
    for number in 0..20 {
        let (index, outcome) = node.propose(proposal(number)).await?;
        outcome?;
        assert!(watched.borrow().index() >= index);
    }
    node.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_failed_disk_stops_the_node_with_a_reason() -> TestResult {
    let dir = tempfile::tempdir()?;
    let options = options(dir.path());
    let faults = std::sync::Arc::clone(&options.faults);
    let node = leader(options).await?;
    propose(&node, 0..1).await?;
    faults.fail_after(0, std::io::ErrorKind::Other);
    let error = node.propose(proposal(1)).await.err().ok_or("written")?;
    assert!(
        matches!(&error, ProposeError::Stopped(reason) if reason.contains("other error")),
        "{error}"
    );
    let mut leadership = node.leadership();
    leadership.wait_for(|known| !known.ready && known.leader.is_none()).await?;
    assert!(node.propose(proposal(2)).await.is_err());
    assert!(node.read().await.is_err());
    node.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn outcomes_and_events_reach_those_who_ask() -> TestResult {
    let dir = tempfile::tempdir()?;
    let node = leader(options(dir.path())).await?;
    let mut events = node.events();
    let (index, outcome) = node.propose(proposal(0)).await?;
    let applied = outcome?;
    assert_eq!(node.state().secrets().len(), 1);
    let (_, again) = node.propose(proposal(0)).await?;
    assert!(matches!(again, Err(Rejected::NameTaken { .. })), "{again:?}");
    let heard = events.recv().await?;
    assert_eq!((heard.index, &heard.events), (index, &applied.events));
    assert!(!heard.events.is_empty());
    assert!(events.try_recv().is_err());
    node.shutdown().await;
    Ok(())
}
