//! Hardware addresses that follow from others, so that every node knows them before anything was asked.

use std::fmt;
use std::net::Ipv4Addr;

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Returns that of an endpoint on an overlay: the one engines before 28 derive from the address themselves.
    pub fn of_endpoint(address: Ipv4Addr) -> Self {
        Self::joined([0x02, 0x42], address)
    }

    /// Returns that of all bridges and tunnels of a node with this address.
    pub fn of_node(address: Ipv4Addr) -> Self {
        Self::joined([0x02, 0x5e], address)
    }

    fn joined([x, y]: [u8; 2], address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([x, y, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_from_addresses() {
        let address = Ipv4Addr::new(10, 0, 1, 250);
        assert_eq!(Mac::of_endpoint(address).to_string(), "02:42:0a:00:01:fa");
        assert_eq!(Mac::of_node(address).to_string(), "02:5e:0a:00:01:fa");
    }
}
