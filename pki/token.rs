//! Join tokens: the digest of a cluster's root and a secret, in base 36. Which role a token gives
//! is the state's knowledge, not the token's.

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::Error;

/// The right to ask for a certificate. Its text is secret.
#[derive(Clone)]
pub struct JoinToken {
    text: Zeroizing<String>,
}

impl JoinToken {
    /// Makes the token for a root, whose bytes are those the nodes are given, and a random secret.
    #[must_use]
    pub fn generate(root_certificate_pem: &str, secret: [u8; 16]) -> Self {
        let secret = Zeroizing::new(secret);
        let digest = Sha256::digest(root_certificate_pem.as_bytes());
        // Room for everything at once: growth would leave unwiped copies behind.
        let mut text = Zeroizing::new(String::with_capacity(TOKEN_CHARS));
        text.push_str(PREFIX);
        push_base36::<DIGEST_CHARS>(&mut text, &digest);
        text.push('-');
        push_base36::<SECRET_CHARS>(&mut text, &*secret);
        Self { text }
    }

    /// Reads the parts of a token that somebody presents.
    ///
    /// # Errors
    /// [`Error::InvalidToken`] for anything that [`JoinToken::generate`] cannot have made.
    pub fn parse(text: &str) -> Result<ParsedToken, Error> {
        let parts = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        let (digest, secret) = parts.ok_or(Error::InvalidToken)?;
        if digest.len() != DIGEST_CHARS || secret.len() != SECRET_CHARS {
            return Err(Error::InvalidToken);
        }
        Ok(ParsedToken {
            digest: from_base36(digest).ok_or(Error::InvalidToken)?,
            secret: Zeroizing::new(from_base36(secret).ok_or(Error::InvalidToken)?),
        })
    }

    /// Says whether the presented text is this token, in a time that does not tell where they
    /// differ.
    #[must_use]
    pub fn matches(&self, presented: &str) -> bool {
        // Digests are compared: whatever the time told of them would not help to find the token.
        let ours = Sha256::digest(self.text.as_bytes());
        let theirs = Sha256::digest(presented.as_bytes());
        let difference = ours.iter().zip(theirs).fold(0, |sum, (a, b)| black_box(sum | (a ^ b)));
        black_box(difference) == 0
    }

    /// Returns the secret text, for the state or a user who asked for it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl FromStr for JoinToken {
    type Err = Error;

    /// Takes back a token that was stored.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)?;
        Ok(Self { text: Zeroizing::new(text.to_owned()) })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken([redacted])")
    }
}

/// The parts of a presented token.
#[derive(Clone)]
pub struct ParsedToken {
    /// SHA-256 of the root certificate, as PEM, of the cluster to join.
    pub digest: [u8; 32],
    /// What only the cluster can have given.
    pub secret: Zeroizing<[u8; 16]>,
}

impl ParsedToken {
    /// Checks that the root a remote manager offers is the one this token was made for. The bytes
    /// must be those that came from it, before any parsing.
    ///
    /// # Errors
    /// [`Error::FingerprintMismatch`] otherwise.
    pub fn verify_root(&self, root_certificate_pem: impl AsRef<[u8]>) -> Result<(), Error> {
        if Sha256::digest(root_certificate_pem.as_ref()).as_slice() == self.digest {
            return Ok(());
        }
        let mut expected = String::with_capacity(64);
        for byte in self.digest {
            for digit in [byte >> 4, byte & 0xf] {
                expected.push(char::from(DIGITS[usize::from(digit)]));
            }
        }
        Err(Error::FingerprintMismatch { expected })
    }
}

impl fmt::Debug for ParsedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParsedToken")
            .field("digest", &self.digest)
            .field("secret", &"[redacted]")
            .finish()
    }
}

/// Appends a big-endian number in exactly `N` digits of base 36; the callers' `N` always suffices.
fn push_base36<const N: usize>(out: &mut String, number: &[u8]) {
    let mut number = Zeroizing::new(number.to_vec());
    let mut digits = Zeroizing::new([0_u8; N]);
    for digit in digits.iter_mut().rev() {
        let mut rest = 0_u32;
        for byte in number.iter_mut() {
            let value = (rest << 8) | u32::from(*byte);
            *byte = u8::try_from(value / 36).expect("the rest is below 36, so the quotient fits");
            rest = value % 36;
        }
        *digit = DIGITS[usize::try_from(rest).expect("below 36")];
    }
    out.extend(digits.iter().copied().map(char::from));
}

/// Reads digits of base 36 into a big-endian number; `None` if one is no digit or there are too
/// many.
fn from_base36<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut number = [0_u8; N];
    for character in digits.bytes() {
        let digit = match character {
            b'0'..=b'9' => character - b'0',
            b'a'..=b'z' => character - b'a' + 10,
            _ => return None,
        };
        let mut carry = u16::from(digit);
        for byte in number.iter_mut().rev() {
            let [high, low] = (u16::from(*byte) * 36 + carry).to_be_bytes();
            *byte = low;
            carry = u16::from(high);
        }
        if carry != 0 {
            return None;
        }
    }
    Some(number)
}

const PREFIX: &str = "SWMTKN-1-";
const DIGEST_CHARS: usize = 50;
const SECRET_CHARS: usize = 25;
const TOKEN_CHARS: usize = PREFIX.len() + DIGEST_CHARS + 1 + SECRET_CHARS;
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// SHA-256 of the text `abc` and the numbers 1 and 2^128-1, converted by another program.
    const ABC: &str = "4nb7oofka9ml8nasnokxxc1unhmtpr1wxsuwhpd9km3vt5as31";
    const LARGEST: &str = "f5lxx1zz5pnorynqglhzmsp33";

    #[test]
    fn text_is_as_engines_write_it() {
        let cases = [
            ([0; 16], "0".repeat(25)),
            (
                {
                    let mut one = [0; 16];
                    one[15] = 1;
                    one
                },
                format!("{}1", "0".repeat(24)),
            ),
            ([0xff; 16], LARGEST.to_owned()),
        ];
        for (secret, expect) in cases {
            let token = JoinToken::generate("abc", secret);
            assert_eq!(token.expose(), format!("SWMTKN-1-{ABC}-{expect}"));
            assert_eq!(token.expose().len(), TOKEN_CHARS);
        }
    }

    #[test]
    fn refuses_what_is_no_token() {
        let good = JoinToken::generate("abc", [7; 16]);
        let good = good.expose();
        let cases = [
            String::new(),
            "SWMTKN".to_owned(),
            "SWMTKN-1-".to_owned(),
            format!("{good}a"),
            format!(" {good}"),
            good[..good.len() - 1].to_owned(),
            good.replace("SWMTKN", "swmtkn"),
            good.replacen("-1-", "-2-1-", 1),
            good.replacen("-1-", "-2-", 1),
            format!("{good}-x"),
            format!("SWMTKN-1-{}-{}", "z".repeat(50), "0".repeat(25)),
            format!("SWMTKN-1-{}-{}", "0".repeat(50), "z".repeat(25)),
            format!("SWMTKN-1-{}-{}", "0".repeat(50), "A".repeat(25)),
            format!("SWMTKN-1-{}-{}", "é".repeat(25), "0".repeat(25)),
            "SWMTKN-1-".repeat(100_000),
        ];
        for text in cases {
            let error = JoinToken::parse(&text).err();
            assert_eq!(error, Some(Error::InvalidToken), "{:.80}", text);
        }
        assert_eq!(Error::InvalidToken.to_string(), "invalid join token");
    }

    #[test]
    fn matches_only_itself() -> Result<(), Error> {
        let token = JoinToken::generate("abc", [7; 16]);
        let stored: JoinToken = token.expose().parse()?;
        assert!(stored.matches(token.expose()));
        for other in [
            JoinToken::generate("abc", [8; 16]).expose(),
            JoinToken::generate("abd", [7; 16]).expose(),
            "",
        ] {
            assert!(!token.matches(other));
        }
        assert_eq!(format!("{token:?}"), "JoinToken([redacted])");
        let parsed = JoinToken::parse(token.expose())?;
        assert!(format!("{parsed:?}").contains("secret: \"[redacted]\""));
        Ok(())
    }

    #[test]
    fn pins_the_root() -> Result<(), Error> {
        let token = JoinToken::parse(JoinToken::generate("abc", [7; 16]).expose())?;
        assert_eq!(token.verify_root("abc"), Ok(()));
        assert_eq!(token.verify_root(b"abc"), Ok(()));
        let error = token.verify_root("abc\n").expect_err("another text");
        assert_eq!(
            error.to_string(),
            "remote CA does not match fingerprint. Expected: \
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        Ok(())
    }

    proptest! {
        #[test]
        fn parses_what_it_makes(root in ".{0,50}", secret in any::<[u8; 16]>()) {
            let token = JoinToken::generate(&root, secret);
            let parsed = JoinToken::parse(token.expose()).expect("own output parses");
            prop_assert_eq!(*parsed.secret, secret);
            prop_assert_eq!(parsed.verify_root(&root), Ok(()));
        }

        #[test]
        fn never_panics(text in "(?s)(SWMTKN-1-)?.{0,100}") {
            prop_assert!(JoinToken::parse(&text).is_err());
        }

        /// What is accepted is spelled in the one way in which it is written.
        #[test]
        fn accepts_one_spelling(text in "SWMTKN-1-[01][0-9a-z]{49}-[0-9a-f][0-9a-z]{24}") {
            if let Ok(parsed) = JoinToken::parse(&text) {
                let mut again = PREFIX.to_owned();
                push_base36::<DIGEST_CHARS>(&mut again, &parsed.digest);
                again.push('-');
                push_base36::<SECRET_CHARS>(&mut again, &*parsed.secret);
                prop_assert_eq!(again, text);
            }
        }
    }
}
