//! Crashes and damaged files: all acknowledged writes are there, or a typed error is; never a
//! panic, never less.

use std::fs;

use super::*;
use crate::RaftOptions;
use crate::disk::{Disk, LOG_FILE};
use crate::snapshot::SNAPSHOT_DIR;

fn with_small_bounds(dir: &Path) -> RaftOptions {
    RaftOptions { snapshot_interval: 8, entries_kept: 3, ..options(dir) }
}

#[tokio::test]
async fn a_copy_taken_at_any_point_holds_what_was_acknowledged() -> TestResult {
    let dir = tempfile::tempdir()?;
    let node = leader(with_small_bounds(dir.path())).await?;
    for number in 0..30 {
        propose(&node, number..number + 1).await?;
        let state = node.state();
        let crashed = tempfile::tempdir()?;
        {
            // Between two commits: nothing may be written while files are copied.
            let _snapshots = node.inner.snapshots.hold();
            let _gate = node.inner.log.shared().gate.lock();
            copy(dir.path(), crashed.path())?;
        }
        let copy = open(with_small_bounds(crashed.path())).await?;
        assert_eq!(copy.state(), state, "after {number}");
        copy.shutdown().await;
    }
    node.shutdown().await;
    Ok(())
}

/// Steps through a file at odd distances.
fn positions(len: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |step| (step * 7919 + step * step * 31) % len)
}

#[tokio::test]
async fn flipped_bytes_in_the_log_lose_nothing_silently() -> TestResult {
    let dir = tempfile::tempdir()?;
    let node = leader(options(dir.path())).await?;
    propose(&node, 0..40).await?;
    node.shutdown().await;
    let intact = fs::read(dir.path().join(LOG_FILE))?;
    let expected = Disk::open(&place(dir.path(), 1))?.load(1 << 20)?;
    // Most of the file is empty pages: aim at the part in use as well as at all of it.
    let used = intact.iter().rposition(|byte| *byte != 0).unwrap_or_default();
    let mut refused = 0;
    for position in (0..320).step_by(3).chain(positions(used, 150)) {
        let mut damaged = intact.clone();
        damaged[position] ^= 0x40;
        fs::write(dir.path().join(LOG_FILE), damaged)?;
        let opened = Disk::open(&place(dir.path(), 1)).and_then(|disk| disk.load(1 << 20));
        match opened {
            Ok(found) => {
                assert_eq!(found.sizes, expected.sizes, "byte {position}");
                assert_eq!(found.newest, expected.newest, "byte {position}");
                assert_eq!(found.vote, expected.vote, "byte {position}");
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0);
    Ok(())
}

#[tokio::test]
async fn a_log_cut_short_is_refused() -> TestResult {
    let dir = tempfile::tempdir()?;
    let node = leader(options(dir.path())).await?;
    propose(&node, 0..40).await?;
    let state = node.state();
    node.shutdown().await;
    let intact = fs::read(dir.path().join(LOG_FILE))?;
    for len in positions(intact.len(), 40) {
        fs::write(dir.path().join(LOG_FILE), &intact[..len])?;
        match open(options(dir.path())).await {
            Ok(node) => {
                assert_eq!(node.state(), state, "cut to {len}");
                node.shutdown().await;
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    fs::remove_file(dir.path().join(LOG_FILE))?;
    fs::create_dir_all(dir.path().join(SNAPSHOT_DIR))?;
    fs::write(dir.path().join(SNAPSHOT_DIR).join("00000000000000000009.snapshot"), b"x")?;
    assert!(open(options(dir.path())).await.is_err());
    Ok(())
}
