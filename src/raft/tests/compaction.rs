//! Snapshots, purges and what is on disk in clear: nothing.

use std::fs;
use std::sync::Arc;

use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use skep_core::State;

use super::*;
use crate::snapshot::{SNAPSHOT_DIR, SnapshotStore};
use crate::types::SnapshotMeta;
use crate::{RaftError, SnapshotError};

fn with_small_bounds(dir: &Path) -> RaftOptions {
    RaftOptions { snapshot_interval: 50, entries_kept: 10, ..options(dir) }
}

#[tokio::test]
async fn a_log_is_cut_behind_a_snapshot_and_the_state_survives() -> TestResult {
    let dir = tempfile::tempdir()?;
    let node = leader(with_small_bounds(dir.path())).await?;
    propose(&node, 0..120).await?;
    wait(&node, "purge", |metrics| metrics.purged.is_some_and(|id| id.index > 35)).await?;
    let state = node.state();
    node.shutdown().await;

    let node = open(with_small_bounds(dir.path())).await?;
    assert_eq!(node.state(), state);
    assert!(node.inner.log.purged().is_some());
    propose(&node, 120..240).await?;
    wait(&node, "second", |metrics| metrics.purged.is_some_and(|id| id.index > 150)).await?;
    let state = node.state();
    node.shutdown().await;
    assert!(fs::read_dir(dir.path().join(SNAPSHOT_DIR))?.count() <= 2);
    let node = open(with_small_bounds(dir.path())).await?;
    assert_eq!(node.state(), state);
    node.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_large_log_brings_the_snapshot_forward() -> TestResult {
    let dir = tempfile::tempdir()?;
    let bounds = RaftOptions { log_bytes_max: 8 << 10, ..options(dir.path()) };
    let node = leader(bounds.clone()).await?;
    propose(&node, 0..200).await?;
    wait(&node, "purge", |metrics| metrics.purged.is_some()).await?;
    propose(&node, 200..400).await?;
    wait(&node, "purge again", |metrics| metrics.purged.is_some_and(|id| id.index > 200)).await?;
    let state = node.state();
    node.shutdown().await;
    let node = open(bounds).await?;
    assert_eq!(node.state(), state);
    node.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_damaged_snapshot_is_an_error_that_says_what_to_do() -> TestResult {
    let dir = tempfile::tempdir()?;
    let node = leader(with_small_bounds(dir.path())).await?;
    propose(&node, 0..120).await?;
    wait(&node, "purge", |metrics| metrics.purged.is_some_and(|id| id.index > 35)).await?;
    node.shutdown().await;
    for file in fs::read_dir(dir.path().join(SNAPSHOT_DIR))? {
        let path = file?.path();
        let mut bytes = fs::read(&path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes)?;
    }
    let error = open(with_small_bounds(dir.path())).await.err().ok_or("opened")?;
    let RaftError::Snapshot(SnapshotError::TooOld { newest: Some(newest), .. }) = &error else {
        return Err(error.into());
    };
    assert!(matches!(**newest, SnapshotError::Damaged(_)));
    assert!(skep_core::error::chain(&error).contains("restore the state directory"));
    // The failed attempt left nothing open.
    let again = open(with_small_bounds(dir.path())).await;
    assert!(matches!(again, Err(RaftError::Snapshot(SnapshotError::TooOld { .. }))));
    Ok(())
}

#[tokio::test]
async fn a_damaged_newest_snapshot_falls_back_where_the_log_allows() -> TestResult {
    let dir = tempfile::tempdir()?;
    let keep_all = RaftOptions { snapshot_interval: 50, ..options(dir.path()) };
    let node = leader(keep_all.clone()).await?;
    propose(&node, 0..120).await?;
    wait(&node, "snapshot", |metrics| metrics.snapshot.is_some()).await?;
    let state = node.state();
    node.shutdown().await;
    let newest = fs::read_dir(dir.path().join(SNAPSHOT_DIR))?
        .map(|file| file.map(|file| file.path()))
        .collect::<Result<Vec<_>, _>>()?;
    let newest = newest.into_iter().max().ok_or("no snapshot")?;
    for len in [0, 8, 9, 40, 60] {
        let bytes = fs::read(&newest)?;
        fs::write(&newest, &bytes[..bytes.len().min(len)])?;
        let node = open(keep_all.clone()).await?;
        assert_eq!(node.state(), state);
        node.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn entries_that_left_memory_are_read_from_disk() -> TestResult {
    let dir = tempfile::tempdir()?;
    let bounds = RaftOptions { cache_bytes_max: 600, ..options(dir.path()) };
    let node = leader(bounds.clone()).await?;
    propose(&node, 0..100).await?;
    let mut log = node.inner.log.clone();
    let entries = log.get_log_reader().await.try_get_log_entries(..).await?;
    let indexes: Vec<u64> = entries.iter().map(|entry| entry.log_id.index).collect();
    assert_eq!(indexes, (0..indexes.len() as u64).collect::<Vec<_>>());
    assert!(indexes.len() > 100);
    let state = node.state();
    node.shutdown().await;
    let node = open(bounds).await?;
    assert_eq!(node.state(), state);
    node.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn nothing_is_on_disk_in_clear() -> TestResult {
    let dir = tempfile::tempdir()?;
    let node = leader(with_small_bounds(dir.path())).await?;
    propose(&node, 0..120).await?;
    wait(&node, "snapshot", |metrics| metrics.snapshot.is_some()).await?;
    node.shutdown().await;
    // A snapshot that surely holds a secret, whatever the rules of `apply` made of the proposals.
    let state: State = serde_json::from_value(serde_json::json!({
        "index": 999,
        "secrets": [{"id": "0000000000000000000000001",
            "spec": {"annotations": {"name": SECRET_NAME}, "data": SECRET_DATA.as_bytes()}}],
    }))?;
    assert_eq!(state.secrets().len(), 1);
    let state = Arc::new(state);
    let store = SnapshotStore::open(dir.path(), key())?;
    store.save(&SnapshotMeta::default(), &state)?;
    let files = files_below(dir.path())?;
    assert!(files.len() >= 3);
    for path in files {
        let bytes = fs::read(&path)?;
        for word in [SECRET_NAME, SECRET_DATA, "CreateSecret", "annotations"] {
            let found = bytes.windows(word.len()).any(|window| window == word.as_bytes());
            assert!(!found, "{word} in {}", path.display());
        }
    }
    Ok(())
}

fn files_below(dir: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for file in fs::read_dir(dir)? {
        let path = file?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}
