//! A full disk: writes are refused or wait, reads go on, nothing acknowledged is lost, and work goes
//! on once there is room.

use std::io::ErrorKind::StorageFull;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::snapshot::SNAPSHOT_DIR;
use crate::{ProposeError, RaftError, RaftOptions};

/// Options under which snapshots and purges come often.
fn busy(dir: &Path) -> RaftOptions {
    RaftOptions { snapshot_interval: 6, entries_kept: 2, cache_bytes_max: 0, ..options(dir) }
}

#[tokio::test]
async fn too_little_room_refuses_writes_and_serves_reads() -> TestResult {
    let dir = tempfile::tempdir()?;
    let node = leader(options(dir.path())).await?;
    propose(&node, 0..1).await?;
    node.shutdown().await;
    let full = RaftOptions { free_bytes_min: u64::MAX / 2, ..options(dir.path()) };
    let node = open(full.clone()).await?;
    let refused = node.propose(proposal(1)).await.err().ok_or("written")?;
    let ProposeError::NoRoom(room) = &refused else { return Err(refused.into()) };
    assert_eq!(room.dir, dir.path());
    assert!(refused.to_string().starts_with("no space left on device: /"), "{refused}");
    assert_eq!(node.read().await?.secrets().len(), 1);
    node.shutdown().await;

    let new = tempfile::tempdir()?;
    let node = open(RaftOptions { dir: new.path().to_owned(), ..full }).await?;
    assert!(matches!(node.initialize("a").await, Err(RaftError::NoRoom(_))));
    node.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_write_that_finds_no_room_is_made_when_there_is_some() -> TestResult {
    let dir = tempfile::tempdir()?;
    let options = options(dir.path());
    let faults = Arc::clone(&options.faults);
    let node = leader(options.clone()).await?;
    propose(&node, 0..1).await?;
    faults.fail_after(0, StorageFull);
    let waits = node.propose(proposal(1)).await.err().ok_or("written")?;
    assert!(matches!(waits, ProposeError::Waits(_)), "{waits}");
    assert_eq!(node.read().await?.secrets().len(), 1);

    faults.end();
    // The one that waited comes first.
    propose(&node, 2..3).await?;
    assert_eq!(node.read().await?.secrets().len(), 3);
    let state = node.state();
    node.shutdown().await;
    let node = open(options).await?;
    assert_eq!(node.state(), state);
    node.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_node_stops_while_a_write_waits_for_room() -> TestResult {
    let dir = tempfile::tempdir()?;
    let options = options(dir.path());
    let faults = Arc::clone(&options.faults);
    let node = leader(options.clone()).await?;
    propose(&node, 0..1).await?;
    faults.fail_after(0, StorageFull);
    assert!(node.propose(proposal(1)).await.is_err());
    node.shutdown().await;
    faults.end();
    let node = open(options).await?;
    assert_eq!(node.read().await?.secrets().len(), 1);
    node.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_node_that_starts_on_a_full_disk_leads_once_there_is_room() -> TestResult {
    let dir = tempfile::tempdir()?;
    let node = leader(options(dir.path())).await?;
    propose(&node, 0..5).await?;
    node.shutdown().await;
    // How many writes opening needs is the database's affair: try all.
    for writes in 0.. {
        let options = options(dir.path());
        let faults = Arc::clone(&options.faults);
        faults.fail_after(writes, StorageFull);
        match open(options).await {
            Err(error) => {
                assert!(matches!(error, RaftError::Store(ref e) if e.lacks_room()), "{error}")
            }
            Ok(node) => {
                let refused = faults.refused();
                faults.end();
                propose(&node, 5 + writes..6 + writes).await?;
                node.shutdown().await;
                if refused == 0 {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_snapshot_that_finds_no_room_is_made_when_there_is_some() -> TestResult {
    let dir = tempfile::tempdir()?;
    let options = RaftOptions { snapshot_interval: u64::MAX, ..options(dir.path()) };
    let node = leader(options).await?;
    propose(&node, 0..3).await?;
    let faults = Arc::clone(&node.inner.snapshots.faults);
    faults.fail_after(0, StorageFull);
    node.inner.raft.trigger().snapshot().await?;
    while faults.refused() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(std::fs::read_dir(dir.path().join(SNAPSHOT_DIR))?.count(), 0);
    faults.end();
    propose(&node, 3..4).await?;
    wait(&node, "snapshot", |metrics| metrics.snapshot.is_some()).await?;
    node.shutdown().await;
    Ok(())
}

#[test]
fn a_file_that_cannot_be_replaced_stays_as_it_was() -> TestResult {
    let dir = tempfile::tempdir()?;
    std::fs::create_dir(dir.path().join("name"))?;
    std::fs::write(dir.path().join("name/inside"), b"old")?;
    // A directory that is not empty cannot be renamed over.
    let files: [(&str, &[&[u8]]); 2] = [("name", &[b"new"]), ("other", &[b"new"])];
    assert!(crate::durable_file::replace_all(dir.path(), &files).is_err());
    assert_eq!(std::fs::read(dir.path().join("name/inside"))?, b"old");
    assert_eq!(std::fs::read_dir(dir.path())?.count(), 1, "nothing unfinished is left");
    Ok(())
}

/// Fills the disk at one durable write after another and sees that what was acknowledged is there:
/// at once, after there was room, and after a start from what was on disk meanwhile.
async fn fill_at(points: Vec<u64>) -> TestResult {
    let dir = tempfile::tempdir()?;
    let options = busy(dir.path());
    let faults = Arc::clone(&options.faults);
    let node = leader(options.clone()).await?;
    let mut number = 0;
    let mut acknowledged = Vec::new();
    for point in points {
        faults.fail_after(point, StorageFull);
        for _ in 0..12 {
            number += 1;
            match node.propose(proposal(number)).await {
                Ok((_, outcome)) => {
                    outcome?;
                    acknowledged.push(number);
                }
                Err(ProposeError::Waits(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        has_all(&node.state(), &acknowledged)?;
        let crashed = tempfile::tempdir()?;
        copy(dir.path(), crashed.path())?;
        let copied = open(busy(crashed.path())).await?;
        let state = copied.read().await?;
        has_all(&state, &acknowledged)?;
        copied.shutdown().await;

        faults.end();
        number += 1;
        node.propose(proposal(number)).await?.1?;
        acknowledged.push(number);
    }
    let state = node.read().await?;
    has_all(&state, &acknowledged)?;
    node.shutdown().await;
    let node = open(options).await?;
    assert_eq!(node.state(), state);
    node.shutdown().await;
    Ok(())
}

fn has_all(state: &skep_core::State, numbers: &[u64]) -> TestResult {
    for number in numbers {
        let name = format!("{SECRET_NAME}-{number}");
        if !state.secrets().iter().any(|(_, secret)| secret.spec.annotations.name == name) {
            return Err(format!("{name} was acknowledged and is lost").into());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_room_at_any_durable_write_loses_nothing_acknowledged(
        points in prop::collection::vec(0_u64..120, 1..4)
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let outcome = runtime.block_on(Box::pin(fill_at(points)));
        prop_assert!(outcome.is_ok(), "{:?}", outcome.err().map(|error| error.to_string()));
    }
}
