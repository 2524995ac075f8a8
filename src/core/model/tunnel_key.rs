//! The public half of the key pair by which a node's tunnels to others are encrypted. The other half never leaves its node.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A public key of WireGuard's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TunnelKey(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl TunnelKey {
    /// Reads one; nothing of what is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; 32] = bytes.try_into().ok()?;
        // Whoever is told that one agrees with everybody on the same secret.
        (bytes != [0; 32]).then_some(Self(bytes))
    }
}

impl fmt::Display for TunnelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TunnelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TunnelKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_are_read() {
        assert_eq!(TunnelKey::read(&[7; 32]), Some(TunnelKey([7; 32])));
        for bytes in [&[][..], &[7; 31], &[7; 33], &[0; 32]] {
            assert_eq!(TunnelKey::read(bytes), None);
        }
        assert_eq!(TunnelKey([0xa0; 32]).to_string(), "a0".repeat(32));
    }
}
