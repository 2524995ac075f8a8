//! Subnets as values: parse, contain, overlap, count addresses. Allocates nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// Says why a text is not a subnet.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a subnet is written address/prefix")]
pub struct InvalidCidr;

/// An IPv4 or IPv6 subnet; its base address has no host bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

fn width(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

/// Makes an address of the family of `like`; absent when the number is too large for it.
fn from_bits(like: IpAddr, value: u128) -> Option<IpAddr> {
    match like {
        IpAddr::V4(_) => Some(Ipv4Addr::from_bits(u32::try_from(value).ok()?).into()),
        IpAddr::V6(_) => Some(Ipv6Addr::from_bits(value).into()),
    }
}

/// Returns a number with the lowest `count` bits set.
fn low_bits(count: u8) -> u128 {
    1_u128.checked_shl(u32::from(count)).map_or(u128::MAX, |bit| bit - 1)
}

impl Cidr {
    /// Makes the subnet that `addr` lies in; absent when the prefix is too long.
    pub fn new(addr: IpAddr, prefix: u8) -> Option<Self> {
        let host_bits = width(addr).checked_sub(prefix)?;
        let base = from_bits(addr, bits(addr) & !low_bits(host_bits))?;
        Some(Self { base, prefix })
    }

    /// Returns the lowest address.
    pub const fn base(self) -> IpAddr {
        self.base
    }

    /// Returns the prefix length.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Tells whether it is an IPv4 subnet.
    pub const fn is_ipv4(self) -> bool {
        self.base.is_ipv4()
    }

    fn host_bits(self) -> u8 {
        width(self.base) - self.prefix
    }

    /// Returns the largest valid argument of `nth`.
    pub fn last_index(self) -> u128 {
        low_bits(self.host_bits())
    }

    /// Returns the address at `index`, counted from the base address; absent past the end.
    pub fn nth(self, index: u128) -> Option<IpAddr> {
        if index > self.last_index() {
            return None;
        }
        from_bits(self.base, bits(self.base) | index)
    }

    /// Returns the place of an address; absent when it lies outside.
    pub fn index_of(self, addr: IpAddr) -> Option<u128> {
        self.contains(addr).then(|| bits(addr) - bits(self.base))
    }

    /// Tells whether an address lies inside.
    pub fn contains(self, addr: IpAddr) -> bool {
        Self::new(addr, self.prefix) == Some(self)
    }

    /// Tells whether all of another subnet lies inside.
    pub fn contains_subnet(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.base)
    }

    /// Tells whether any address lies in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }

    /// Returns the subnet number `index` of the given prefix length inside; absent past the end.
    pub fn subnet(self, prefix: u8, index: u128) -> Option<Self> {
        let steps = prefix.checked_sub(self.prefix)?;
        if index > low_bits(steps) || prefix > width(self.base) {
            return None;
        }
        let host_bits = u32::from(width(self.base) - prefix);
        let offset = index.checked_shl(host_bits).unwrap_or(0);
        Self::new(from_bits(self.base, bits(self.base) | offset)?, prefix)
    }

    /// Returns the first address that hosts may use: all but the base address, where there is room.
    pub fn first_usable(self) -> IpAddr {
        if self.host_bits() < 2 { self.base } else { self.nth(1).unwrap_or(self.base) }
    }

    /// Returns the last address that hosts may use: not the broadcast address of IPv4, where there is room.
    pub fn last_usable(self) -> IpAddr {
        let spare = u128::from(self.is_ipv4() && self.host_bits() >= 2);
        self.nth(self.last_index() - spare).unwrap_or(self.base)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let (addr, prefix) = text.split_once('/').ok_or(InvalidCidr)?;
        let plain = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        if !plain {
            return Err(InvalidCidr);
        }
        let addr: IpAddr = addr.parse().map_err(|_| InvalidCidr)?;
        let prefix: u8 = prefix.parse().map_err(|_| InvalidCidr)?;
        Self::new(addr, prefix).ok_or(InvalidCidr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect("the test writes a valid subnet")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("the test writes a valid address")
    }

    #[test]
    fn parsing_masks_host_bits() {
        for (text, expect) in [
            ("10.0.1.7/24", "10.0.1.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("10.1.2.3/32", "10.1.2.3/32"),
            ("fd00::9/64", "fd00::/64"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(cidr(text).to_string(), expect);
        }
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0/8", "::/129", "x/1"] {
            assert_eq!(text.parse::<Cidr>(), Err(InvalidCidr), "{text}");
        }
    }

    #[test]
    fn overlap_is_containment_of_either() {
        for (left, right, expect) in [
            ("10.0.0.0/8", "10.3.0.0/24", true),
            ("10.0.0.0/24", "10.0.1.0/24", false),
            ("10.0.0.0/24", "::/0", false),
            ("0.0.0.0/0", "10.0.0.0/24", true),
            ("fd00::/64", "fd00:0:0:0:1::/80", true),
        ] {
            assert_eq!(cidr(left).overlaps(cidr(right)), expect, "{left} {right}");
            assert_eq!(cidr(right).overlaps(cidr(left)), expect, "{right} {left}");
        }
    }

    #[test]
    fn addresses_are_counted_from_the_base() {
        let net = cidr("10.0.1.0/24");
        assert_eq!(net.nth(5), Some(ip("10.0.1.5")));
        assert_eq!(net.nth(255), Some(ip("10.0.1.255")));
        assert_eq!(net.nth(256), None);
        assert_eq!(net.index_of(ip("10.0.1.9")), Some(9));
        assert_eq!(net.index_of(ip("10.0.2.9")), None);
        assert_eq!((net.first_usable(), net.last_usable()), (ip("10.0.1.1"), ip("10.0.1.254")));
        let pair = cidr("10.0.1.4/31");
        assert_eq!((pair.first_usable(), pair.last_usable()), (ip("10.0.1.4"), ip("10.0.1.5")));
        let one = cidr("10.0.1.4/32");
        assert_eq!((one.first_usable(), one.last_usable()), (ip("10.0.1.4"), ip("10.0.1.4")));
        assert_eq!(cidr("fd00::/64").last_usable(), ip("fd00::ffff:ffff:ffff:ffff"));
        assert_eq!(
            cidr("::/0").nth(u128::MAX),
            Some(ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))
        );
    }

    #[test]
    fn subnets_are_cut_in_order() {
        let pool = cidr("10.0.0.0/8");
        assert_eq!(pool.subnet(24, 0), Some(cidr("10.0.0.0/24")));
        assert_eq!(pool.subnet(24, 257), Some(cidr("10.1.1.0/24")));
        assert_eq!(pool.subnet(24, 65535), Some(cidr("10.255.255.0/24")));
        assert_eq!(pool.subnet(24, 65536), None);
        assert_eq!(pool.subnet(7, 0), None);
        assert_eq!(pool.subnet(40, 0), None);
        assert_eq!(cidr("::/0").subnet(0, 0), Some(cidr("::/0")));
    }
}
