//! Typed object ids in the form Docker prints them. Knows no source of randomness: entropy is passed in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Number of characters in an object id (contract objects.md section 0).
pub const ID_LEN: usize = 25;

/// Says why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("an id is 25 characters of 0-9 and a-z")]
pub struct InvalidId;

/// Formats 16 bytes of entropy as 25 base36 characters, the first taken from the high end of the number.
fn encode(entropy: u128) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut value = entropy;
    let mut text = [b'0'; ID_LEN];
    for place in text.iter_mut().rev() {
        *place = DIGITS[(value % 36) as usize];
        value /= 36;
    }
    text.iter().map(|byte| char::from(*byte)).collect()
}

/// Spreads a seed over 128 bits (two rounds of the SplitMix64 finaliser), so that consecutive seeds share no prefix.
fn spread(seed: u64, ordinal: u64) -> u128 {
    let mix = |mut z: u64| {
        z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let high = mix(seed ^ mix(ordinal));
    let low = mix(high ^ mix(seed.wrapping_add(ordinal.rotate_left(32))));
    (u128::from(high) << 64) | u128::from(low)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Makes an id from 128 bits of entropy.
            pub fn from_entropy(entropy: u128) -> Self { Self(encode(entropy)) }

            /// Makes the id number `ordinal` of a plan whose seed is `seed` (the state's log index).
            pub fn from_seed(seed: u64, ordinal: u64) -> Self { Self(encode(spread(seed, ordinal))) }

            /// Borrows the text.
            pub fn as_str(&self) -> &str { &self.0 }

            /// Returns the first 12 characters, as the CLI shows an id.
            pub fn short(&self) -> &str { &self.0[..self.0.len().min(12)] }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let valid = text.len() == ID_LEN
                    && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
                if valid { Ok(Self(text.to_owned())) } else { Err(InvalidId) }
            }
        }
    )*};
}

ids! {
    /// Names the cluster.
    ClusterId,
    /// Names a node.
    NodeId,
    /// Names a service.
    ServiceId,
    /// Names a task.
    TaskId,
    /// Names a network of the cluster.
    NetworkId,
    /// Names a secret.
    SecretId,
    /// Names a config.
    ConfigId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_docker_form() {
        for entropy in [0, 1, u128::MAX, 1 << 100] {
            let id = TaskId::from_entropy(entropy);
            assert_eq!(id.as_str().parse::<TaskId>(), Ok(id.clone()), "{id}");
        }
    }

    #[test]
    fn seeds_give_distinct_ids() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..50 {
            for ordinal in 0..50 {
                assert!(seen.insert(TaskId::from_seed(seed, ordinal)));
            }
        }
    }
}
