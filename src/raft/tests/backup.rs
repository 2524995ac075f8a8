//! Backups: what a file gives back, whom it refuses, and a manager that begins where one ends.

use std::sync::Arc;

use skep_core::id::NodeId;

use super::*;
use crate::backup::{Backup, BackupError, BackupKey, check_store, found_from};
use crate::{RaftError, StoreError};

async fn backup(node: &RaftNode) -> Result<Backup, Box<dyn std::error::Error>> {
    let state = node.read().await?;
    Ok(Backup { made_at: Timestamp::from_secs(7), node: NodeId::from_seed(1, 1), state })
}

#[tokio::test]
async fn a_manager_begins_where_a_backup_ends() -> TestResult {
    let (old, new) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let node = leader(options(old.path())).await?;
    propose(&node, 0..50).await?;
    let made = backup(&node).await?;
    propose(&node, 50..60).await?;
    node.shutdown().await;

    let key = BackupKey::generate();
    let file = made.seal(&key)?;
    let text = String::from_utf8_lossy(&file);
    assert!(!text.contains(SECRET_NAME) && !text.contains(SECRET_DATA));
    let read = Backup::open(&file, &BackupKey::parse(&key.to_text())?)?;
    assert_eq!(read, made);

    let own = DataKey::from_bytes([9; 32]);
    let options = || RaftOptions::new(new.path().to_owned(), 5, own.clone());
    found_from(new.path(), own.clone(), 5, "10.0.0.5:2377", &read.state)?;
    let again = found_from(new.path(), own.clone(), 5, "10.0.0.5:2377", &read.state);
    assert!(matches!(again, Err(RaftError::AlreadyInitialised)), "{again:?}");
    for more in [100, 101] {
        let node = open(options()).await?;
        assert!(node.is_initialized().await?);
        node.leadership().wait_for(|own| own.ready).await?;
        assert!(node.state().index() >= made.state.index());
        assert_eq!(node.members().addresses[&5], "10.0.0.5:2377");
        assert!(node.state().secrets().len() >= made.state.secrets().len());
        let (index, outcome) = node.propose(proposal(more)).await?;
        outcome?;
        assert!(index > made.state.index(), "numbers go on where they were");
        node.shutdown().await;
    }
    let found = check_store(new.path(), own, 5)?;
    assert_eq!(found.snapshot, Some(made.state.index()));
    assert_eq!(found.state.secrets().len(), made.state.secrets().len() + 2);
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_no_backup_of_this_key_are_refused() -> TestResult {
    let dir = tempfile::tempdir()?;
    let node = leader(options(dir.path())).await?;
    let made = backup(&node).await?;
    node.shutdown().await;
    let key = BackupKey::generate();
    let file = made.seal(&key)?;
    let refused = |bytes: &[u8], key: &BackupKey| Backup::open(bytes, key).err();
    assert!(matches!(refused(b"", &key), Some(BackupError::Foreign)));
    assert!(matches!(refused(b"SKEPSNAP\x01etc", &key), Some(BackupError::Foreign)));
    assert!(matches!(refused(&file, &BackupKey::generate()), Some(BackupError::WrongKey)));
    for cut in [9, 20, file.len() - 1] {
        assert!(matches!(refused(&file[..cut], &key), Some(BackupError::Damaged)), "{cut}");
    }
    for place in [9, file.len() / 2, file.len() - 1] {
        let mut flipped = file.clone();
        flipped[place] ^= 1;
        assert!(matches!(refused(&flipped, &key), Some(BackupError::Damaged)), "{place}");
    }
    for text in ["", "SKEPKEY-1-", "SKEPKEY-1-AAAA", "SWMKEY-1-AAAA"] {
        assert!(BackupKey::parse(text).is_err(), "{text}");
    }
    assert_eq!(format!("{key:?}"), "BackupKey(<redacted>)");
    Ok(())
}

#[tokio::test]
async fn a_store_is_checked_to_the_last_entry() -> TestResult {
    let dir = tempfile::tempdir()?;
    let node = leader(options(dir.path())).await?;
    propose(&node, 0..300).await?;
    let state = node.read().await?;
    let held = check_store(dir.path(), key(), 1);
    assert!(matches!(held, Err(RaftError::Store(StoreError::InUse))), "{held:?}");
    node.shutdown().await;
    let found = check_store(dir.path(), key(), 1)?;
    assert!(found.entries >= 300);
    assert_eq!(Arc::new(found.state), state);
    let wrong = check_store(dir.path(), DataKey::from_bytes([1; 32]), 1);
    assert!(wrong.is_err());
    let empty = tempfile::tempdir()?;
    assert!(check_store(empty.path(), key(), 1).is_err());
    assert_eq!(std::fs::read_dir(empty.path())?.count(), 0, "a check makes nothing");
    Ok(())
}
