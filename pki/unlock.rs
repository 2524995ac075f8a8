//! The key that unlocks managers after a restart: its text and back. What it encrypts is not known
//! here.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig, general_purpose::NO_PAD};
use zeroize::Zeroizing;

use crate::Error;

/// The key with which the managers of a cluster encrypt what they keep on disk.
#[derive(Clone)]
pub struct UnlockKey {
    bytes: Zeroizing<[u8; 32]>,
}

impl UnlockKey {
    /// Makes a key of random bytes.
    #[must_use]
    pub fn generate(bytes: [u8; 32]) -> Self {
        Self { bytes: Zeroizing::new(bytes) }
    }

    /// Reads a key as a user types it.
    ///
    /// # Errors
    /// [`Error::InvalidUnlockKey`] if it is not spelled as a key; [`Error::UnlockKeyLength`] if it
    /// is, but has not the length of one: Docker answers that as it answers a wrong key.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let encoded = text.strip_prefix(PREFIX).ok_or(Error::InvalidUnlockKey)?;
        if encoded.len() > ENCODED_CHARS_MAX {
            return Err(Error::UnlockKeyLength);
        }
        let decoded = BASE64.decode(encoded).map_err(|_| Error::InvalidUnlockKey)?;
        let decoded = Zeroizing::new(decoded);
        let bytes = <[u8; 32]>::try_from(decoded.as_slice()).map_err(|_| Error::UnlockKeyLength)?;
        Ok(Self::generate(bytes))
    }

    /// Returns the secret bytes, to encrypt and decrypt with.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Returns the secret text, for a user who asked for it.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(BASE64.encode(self.bytes.as_slice()));
        Zeroizing::new(format!("{PREFIX}{}", *encoded))
    }
}

impl fmt::Debug for UnlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnlockKey([redacted])")
    }
}

const PREFIX: &str = "SWMKEY-1-";
/// Far above the 43 that a key has.
const ENCODED_CHARS_MAX: usize = 1024;
/// The last of 43 characters has two bits to spare; engines do not look at them.
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const LENIENT: GeneralPurposeConfig = NO_PAD.with_decode_allow_trailing_bits(true);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_as_engines_write_it() {
        let key = UnlockKey::generate([0xfb; 32]);
        let expect = "SWMKEY-1-+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s";
        assert_eq!(*key.expose(), expect);
        assert_eq!(format!("{key:?}"), "UnlockKey([redacted])");
    }

    #[test]
    fn refuses_what_is_no_key() {
        let good = UnlockKey::generate([1; 32]).expose();
        let padded = format!("{}=", *good);
        let lower = good.replace("SWMKEY", "swmkey");
        let body = &good[PREFIX.len()..];
        for text in ["", "x", "SWMKEY", body, &padded, &lower, "SWMKEY-1-é", "SWMKEY-2-AAAA"] {
            assert_eq!(UnlockKey::parse(text).err(), Some(Error::InvalidUnlockKey), "{text}");
        }
        let long = format!("SWMKEY-1-{}", "A".repeat(100_000));
        for text in ["SWMKEY-1-", "SWMKEY-1-AAAA", &long] {
            assert_eq!(UnlockKey::parse(text).err(), Some(Error::UnlockKeyLength), "{text:.20}");
        }
        assert_eq!(Error::InvalidUnlockKey.to_string(), "invalid key string");
    }

    proptest! {
        #[test]
        fn parses_what_it_makes(bytes in any::<[u8; 32]>()) {
            let text = UnlockKey::generate(bytes).expose();
            let read = UnlockKey::parse(&text).expect("own output parses");
            prop_assert_eq!(read.bytes(), &bytes);
        }

        #[test]
        fn never_panics(text in "(?s)(SWMKEY-1-)?.{0,60}") {
            let _ = UnlockKey::parse(&text);
        }
    }
}
