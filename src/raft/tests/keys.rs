//! The key file: in clear, locked, unlocked, wrapped anew.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::crypt::RecordKind;
use crate::keys::{KEY_FILE, load, load_or_create, rewrap};
use crate::{KeyEncryptionKey, KeyError, Keys};

fn unlocked(keys: Keys) -> Result<DataKey, &'static str> {
    match keys {
        Keys::Unlocked(key) => Ok(key),
        Keys::Locked(_) => Err("locked"),
    }
}

#[test]
fn a_key_is_made_once_and_is_its_owners_only() -> TestResult {
    let dir = tempfile::tempdir()?;
    assert!(matches!(load(dir.path()), Err(KeyError::Missing(_))));
    let first = unlocked(load_or_create(dir.path())?)?;
    let again = unlocked(load_or_create(dir.path())?)?;
    assert!(first == again);
    let mode = fs::metadata(dir.path().join(KEY_FILE))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!format!("{first:?}").contains(char::is_numeric));
    Ok(())
}

#[test]
fn autolock_wraps_rotates_and_unwraps_the_same_key() -> TestResult {
    let dir = tempfile::tempdir()?;
    let key = unlocked(load_or_create(dir.path())?)?;
    for bytes in [[1; 32], [2; 32]] {
        let kek = KeyEncryptionKey::from_bytes(bytes);
        rewrap(dir.path(), &key, Some(&kek))?;
        let Keys::Locked(locked) = load(dir.path())? else { return Err("not locked".into()) };
        assert!(locked.unlock(&kek)? == key);
        let wrong = KeyEncryptionKey::from_bytes([9; 32]);
        assert!(matches!(locked.unlock(&wrong), Err(KeyError::WrongKey)));
    }
    rewrap(dir.path(), &key, None)?;
    assert!(unlocked(load(dir.path())?)? == key);
    Ok(())
}

#[test]
fn a_damaged_key_file_is_an_error() -> TestResult {
    let dir = tempfile::tempdir()?;
    load_or_create(dir.path())?;
    let path = dir.path().join(KEY_FILE);
    let intact = fs::read(&path)?;
    for len in 0..intact.len() - 2 {
        fs::write(&path, &intact[..len])?;
        assert!(matches!(load(dir.path()), Err(KeyError::Damaged(_))), "cut to {len}");
    }
    fs::write(&path, b"{\"version\":2}")?;
    assert!(matches!(load(dir.path()), Err(KeyError::Damaged(_))));
    Ok(())
}

#[test]
fn a_record_opens_in_its_place_only() {
    let sealed = key().seal(RecordKind::Entry, 5, b"text".to_vec());
    assert_eq!(key().open(RecordKind::Entry, 5, &sealed).expect("its place").as_slice(), b"text");
    assert!(key().open(RecordKind::Entry, 6, &sealed).is_err());
    assert!(key().open(RecordKind::Vote, 5, &sealed).is_err());
    assert!(DataKey::from_bytes([8; 32]).open(RecordKind::Entry, 5, &sealed).is_err());
    assert!(key().open(RecordKind::Entry, 5, &sealed[..30]).is_err());
    assert_ne!(sealed, key().seal(RecordKind::Entry, 5, b"text".to_vec()));
}
