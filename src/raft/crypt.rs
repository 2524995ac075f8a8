//! Seals every record before it reaches the disk. Knows no files and no record contents.
//!
//! XChaCha20-Poly1305 with a random 24-byte nonce for each record: long enough that random nonces
//! never meet. The associated data binds a record to its kind and its place, so that records cannot
//! be swapped.

use std::fmt;

use chacha20poly1305::aead::rand_core::RngCore;
use chacha20poly1305::aead::{AeadInPlace, KeyInit, OsRng};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// Says that a record was not sealed by this key for this place, or was altered since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the {kind} record at {index} is damaged or was sealed with another key")]
pub struct CryptError {
    kind: &'static str,
    index: u64,
}

/// What a sealed record is; part of what the seal covers, so the numbers are for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// Who wrote the store, and the check that a key is the right one.
    Format = 1,
    /// The vote.
    Vote = 2,
    /// The last log id known to be committed.
    Committed = 3,
    /// The last log id that was purged.
    Purged = 4,
    /// A log entry.
    Entry = 5,
    /// A snapshot.
    Snapshot = 6,
    /// A data key under a key-encryption key.
    WrappedKey = 7,
    /// A backup of a cluster.
    Backup = 8,
    /// The key of a node's certificate.
    NodeKey = 9,
}

impl RecordKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Vote => "vote",
            Self::Committed => "committed",
            Self::Purged => "purged",
            Self::Entry => "log",
            Self::Snapshot => "snapshot",
            Self::WrappedKey => "key",
            Self::Backup => "backup",
            Self::NodeKey => "node key",
        }
    }
}

/// The key that seals everything a manager stores.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; 32]);

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(<redacted>)")
    }
}

impl DataKey {
    /// Draws a new key from the system's randomness.
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        OsRng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// Takes over existing key bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Lends the key bytes, for key files only.
    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Seals a record; the plain text is overwritten in place.
    pub fn seal(&self, kind: RecordKind, index: u64, mut plain: Vec<u8>) -> Vec<u8> {
        let mut nonce = XNonce::default();
        OsRng.fill_bytes(&mut nonce);
        let tag = XChaCha20Poly1305::new((&self.0).into())
            .encrypt_in_place_detached(&nonce, &place(kind, index), &mut plain)
            .expect("the cipher refuses only records of more than 256 GiB");
        let mut sealed = Vec::with_capacity(NONCE_BYTES + TAG_BYTES + plain.len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&tag);
        sealed.append(&mut plain);
        sealed
    }

    /// Opens a record that was sealed for the same place.
    pub fn open(
        &self,
        kind: RecordKind,
        index: u64,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CryptError> {
        let error = CryptError { kind: kind.as_str(), index };
        let (nonce, rest) = sealed.split_at_checked(NONCE_BYTES).ok_or(error)?;
        let (tag, text) = rest.split_at_checked(TAG_BYTES).ok_or(error)?;
        let mut plain = Zeroizing::new(text.to_vec());
        XChaCha20Poly1305::new((&self.0).into())
            .decrypt_in_place_detached(
                XNonce::from_slice(nonce),
                &place(kind, index),
                &mut plain,
                Tag::from_slice(tag),
            )
            .map_err(|_| error)?;
        Ok(plain)
    }
}

/// The associated data of a record: its kind and its place.
fn place(kind: RecordKind, index: u64) -> [u8; 9] {
    let mut place = [kind as u8; 9];
    place[1..].copy_from_slice(&index.to_be_bytes());
    place
}
