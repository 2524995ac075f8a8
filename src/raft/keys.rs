//! The file that holds the data key, in clear or, with autolock, under a key-encryption key; and what else
//! that key seals beside the log. Chooses no policy.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::crypt::{DataKey, RecordKind};
use super::durable_file;

/// The name of the key file in a manager's directory.
pub const KEY_FILE: &str = "keys.json";

/// The one form of key file known so far.
const VERSION: u32 = 1;

/// What the text of a sealed node key begins with.
const SEALED: &str = "SKEPKEY-1-";

/// Seals the key of a node's certificate, which must open only where the log does.
pub fn seal_node_key(key: &DataKey, node_key_pem: &str) -> String {
    let sealed = key.seal(RecordKind::NodeKey, 0, node_key_pem.as_bytes().to_vec());
    format!("{SEALED}{}\n", STANDARD.encode(sealed))
}

/// Tells whether the text of a node's key is sealed.
pub fn is_sealed(text: &str) -> bool {
    text.starts_with(SEALED)
}

/// Opens what [`seal_node_key`] sealed.
pub fn open_node_key(key: &DataKey, text: &str) -> Result<Zeroizing<String>, KeyError> {
    let body = text.trim().strip_prefix(SEALED).ok_or(KeyError::WrongKey)?;
    let sealed = STANDARD.decode(body).map_err(|_| KeyError::WrongKey)?;
    let opened = key.open(RecordKind::NodeKey, 0, &sealed).map_err(|_| KeyError::WrongKey)?;
    let text = std::str::from_utf8(&opened).map_err(|_| KeyError::WrongKey)?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Says why the data key cannot be had.
#[derive(Debug, Error)]
pub enum KeyError {
    /// There is no key file.
    #[error("no key file at {}", .0.display())]
    Missing(PathBuf),
    /// The file cannot be read or written.
    #[error("cannot use the key file {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not a key file of a form known here.
    #[error("the key file {} is damaged or too new; restore it from a backup", .0.display())]
    Damaged(PathBuf),
    /// The key-encryption key is not the one the data key was wrapped with.
    #[error("invalid key")]
    WrongKey,
}

/// The key that an operator holds while autolock is on; it wraps the data key.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct KeyEncryptionKey([u8; 32]);

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyEncryptionKey(<redacted>)")
    }
}

impl KeyEncryptionKey {
    /// Takes over existing key bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn cipher(&self) -> DataKey {
        DataKey::from_bytes(self.0)
    }
}

/// What a key file held.
#[derive(Debug)]
pub enum Keys {
    /// The data key itself.
    Unlocked(DataKey),
    /// A data key that needs the operator's key first.
    Locked(LockedKey),
}

/// A data key under a key-encryption key.
#[derive(Debug, Clone)]
pub struct LockedKey {
    wrapped: Vec<u8>,
}

impl LockedKey {
    /// Gives the data key to whoever holds the key it was wrapped with.
    pub fn unlock(&self, kek: &KeyEncryptionKey) -> Result<DataKey, KeyError> {
        let plain = kek
            .cipher()
            .open(RecordKind::WrappedKey, 0, &self.wrapped)
            .map_err(|_| KeyError::WrongKey)?;
        let bytes = <[u8; 32]>::try_from(plain.as_slice()).map_err(|_| KeyError::WrongKey)?;
        Ok(DataKey::from_bytes(bytes))
    }
}

/// The file's form: exactly one of the two keys is there.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wrapped_data_key: Option<String>,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.data_key.zeroize();
    }
}

/// Reads the key file of a directory.
pub fn load(dir: &Path) -> Result<Keys, KeyError> {
    let path = dir.join(KEY_FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(KeyError::Missing(path));
        }
        Err(source) => return Err(KeyError::Io { path, source }),
    };
    parse(&text).ok_or(KeyError::Damaged(path))
}

/// Reads the key file of a directory, making one with a new key in clear where there is none.
pub fn load_or_create(dir: &Path) -> Result<Keys, KeyError> {
    match load(dir) {
        Err(KeyError::Missing(_)) => {
            let key = DataKey::generate();
            rewrap(dir, &key, None)?;
            Ok(Keys::Unlocked(key))
        }
        other => other,
    }
}

/// Writes the key file anew: wrapped by `kek`, or in clear without one. Turns autolock on and off
/// and rotates its key.
pub fn rewrap(dir: &Path, key: &DataKey, kek: Option<&KeyEncryptionKey>) -> Result<(), KeyError> {
    let stored = match kek {
        None => Stored {
            version: VERSION,
            data_key: Some(STANDARD.encode(key.as_bytes())),
            wrapped_data_key: None,
        },
        Some(kek) => {
            let wrapped = kek.cipher().seal(RecordKind::WrappedKey, 0, key.as_bytes().to_vec());
            let wrapped = Some(STANDARD.encode(wrapped));
            Stored { version: VERSION, data_key: None, wrapped_data_key: wrapped }
        }
    };
    let path = dir.join(KEY_FILE);
    let write = || {
        let text = Zeroizing::new(serde_json::to_vec(&stored).map_err(io::Error::other)?);
        durable_file::create_private_dir(dir)?;
        durable_file::replace(dir, KEY_FILE, &[text.as_slice(), b"\n"])
    };
    write().map_err(|source| KeyError::Io { path, source })
}

fn parse(text: &[u8]) -> Option<Keys> {
    let stored: Stored = serde_json::from_slice(text).ok()?;
    if stored.version != VERSION {
        return None;
    }
    match (&stored.data_key, &stored.wrapped_data_key) {
        (Some(clear), None) => {
            let bytes = Zeroizing::new(STANDARD.decode(clear.as_bytes()).ok()?);
            Some(Keys::Unlocked(DataKey::from_bytes(bytes.as_slice().try_into().ok()?)))
        }
        (None, Some(wrapped)) => {
            Some(Keys::Locked(LockedKey { wrapped: STANDARD.decode(wrapped).ok()? }))
        }
        (None, None) | (Some(_), Some(_)) => None,
    }
}
