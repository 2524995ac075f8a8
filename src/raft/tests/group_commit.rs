//! Proposals that wait for the disk share its next commit.

use futures_util::future::join_all;

use openraft::async_runtime::WatchReceiver;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_that_wait_for_a_commit_share_the_next_one() -> TestResult {
    let dir = tempfile::tempdir()?;
    let node = leader(options(dir.path())).await?;
    propose(&node, 0..1).await?;
    let before = node.log_commits();
    let last = node.inner.raft.metrics().borrow_watched().last_log_index.ok_or("no log")?;

    // Holds the writer back until all proposals wait for it.
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (held, holding) = tokio::sync::oneshot::channel();
    let shared = std::sync::Arc::clone(node.inner.log.shared());
    let keeper = std::thread::spawn(move || {
        let _gate = shared.gate.lock();
        // The test fails on its own if either end is gone.
        let _ = held.send(());
        let _ = released.recv();
    });
    holding.await?;
    let proposals = (1..201).map(|number| {
        let node = node.clone();
        tokio::spawn(async move { node.propose(proposal(number)).await })
    });
    let proposals: Vec<_> = proposals.collect();
    wait(&node, "appended", |metrics| metrics.last_log_index == Some(last + 200)).await?;
    assert_eq!(node.log_commits(), before);
    release.send(())?;
    for outcome in join_all(proposals).await {
        outcome??.1?;
    }
    keeper.join().map_err(|_| "keeper panicked")?;
    // One commit for what the writer held when it was stopped, one for all that came meanwhile.
    assert!(node.log_commits() - before <= 2, "{} commits", node.log_commits() - before);
    node.shutdown().await;
    Ok(())
}
