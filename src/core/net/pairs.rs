//! Which IPv6 address goes with each IPv4 address of a network that has both. Gives none out.
//!
//! The n-th address of an IPv4 subnet goes with the n-th of the IPv6 subnet beside it. So whoever has an address of the one
//! family has one of the other, and every node knows both by the one that the state holds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cidr::Cidr;
use super::family::Family;
use crate::model::network::{IpamConfig, Network};

/// Subnets of both families, side by side; none on a network of one family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pairs(Vec<(Cidr, Cidr)>);

impl Pairs {
    /// Reads those of a network.
    pub fn of(network: &Network) -> Self {
        let allocated = network.allocation.as_ref().filter(|_| network.spec.ipv6);
        allocated.map_or_else(Self::default, |it| Self::beside(&it.ipam.configs))
    }

    /// Puts subnets side by side in their order. Where there are more addresses than could go with them, none do.
    pub(crate) fn beside(configs: &[IpamConfig]) -> Self {
        let subnets =
            || configs.iter().filter_map(|it| it.subnet.parse::<Cidr>().ok().zip(Some(it)));
        let v4 = subnets().map(|(subnet, _)| subnet).filter(|subnet| subnet.is_ipv4());
        let v6 = subnets().filter(|(subnet, _)| !subnet.is_ipv4()).map(|(subnet, config)| {
            let range = config.range.parse::<Cidr>().ok();
            range.filter(|range| subnet.contains_subnet(*range)).unwrap_or(subnet)
        });
        Self(v4.zip(v6).filter(|(v4, v6)| v6.last_index() >= v4.last_index()).collect())
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the IPv6 address that goes with an IPv4 address.
    pub fn v6(&self, addr: Ipv4Addr) -> Option<Ipv6Addr> {
        let found = self.0.iter().find_map(|(v4, v6)| v6.nth(v4.index_of(addr.into())?));
        found.and_then(|addr| match addr {
            IpAddr::V6(addr) => Some(addr),
            IpAddr::V4(_) => None,
        })
    }

    /// Returns the IPv4 address that goes with an IPv6 address.
    pub fn v4(&self, addr: Ipv6Addr) -> Option<Ipv4Addr> {
        let found = self.0.iter().find_map(|(v4, v6)| v4.nth(v6.index_of(addr.into())?));
        found.and_then(|addr| match addr {
            IpAddr::V4(addr) => Some(addr),
            IpAddr::V6(_) => None,
        })
    }

    /// Returns the address of a family that is, or goes with, an IPv4 address.
    pub fn in_family(&self, family: Family, addr: Ipv4Addr) -> Option<IpAddr> {
        match family {
            Family::V4 => Some(addr.into()),
            Family::V6 => self.v6(addr).map(IpAddr::V6),
        }
    }

    /// Returns an address and the one that goes with it.
    pub fn with_pair(&self, addr: IpAddr) -> impl Iterator<Item = IpAddr> + use<> {
        let other = match addr {
            IpAddr::V4(addr) => self.v6(addr).map(IpAddr::V6),
            IpAddr::V6(_) => None,
        };
        [addr].into_iter().chain(other)
    }

    /// Writes an address and the one that goes with it.
    pub fn text(&self, addr: IpAddr) -> String {
        let both: Vec<String> = self.with_pair(addr).map(|addr| addr.to_string()).collect();
        both.join(" and ")
    }

    /// Returns the IPv6 subnet that holds an address.
    pub(super) fn subnet_of(&self, addr: Ipv6Addr) -> Option<Cidr> {
        self.0.iter().map(|(_, v6)| *v6).find(|v6| v6.contains(addr.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::network::{IpamOptions, NetworkAllocation};

    fn pairs(ipv6: bool, subnets: &[(&str, &str)]) -> Pairs {
        let config = |(subnet, range): &(&str, &str)| IpamConfig {
            subnet: (*subnet).to_owned(),
            range: (*range).to_owned(),
            ..IpamConfig::default()
        };
        let configs = subnets.iter().map(config).collect();
        let ipam = IpamOptions { configs, ..IpamOptions::default() };
        let allocation = Some(NetworkAllocation { ipam, ..NetworkAllocation::default() });
        let mut network = Network { allocation, ..Network::default() };
        network.spec.ipv6 = ipv6;
        Pairs::of(&network)
    }

    #[test]
    fn places_in_subnets_go_together() {
        let (v4, v6) = (("10.0.1.0/24", ""), ("fd00:1::/64", ""));
        let first = |pairs: &Pairs| pairs.v6([10, 0, 1, 9].into()).map(|addr| addr.to_string());
        let (one, ranged) = (pairs(true, &[v4, v6]), ("fd00:1::/64", "fd00:1::7:0/112"));
        assert_eq!(first(&one).as_deref(), Some("fd00:1::9"));
        assert_eq!(first(&pairs(true, &[v6, v4])).as_deref(), Some("fd00:1::9"));
        assert_eq!(first(&pairs(true, &[v4, ranged])).as_deref(), Some("fd00:1::7:9"));
        assert_eq!(one.v4("fd00:1::9".parse().expect("it is one")), Some([10, 0, 1, 9].into()));
        assert_eq!(one.v4("fd00:1::1:9".parse().expect("it is one")), None);
        assert_eq!(one.v6([10, 0, 2, 9].into()), None);
        assert_eq!(one.text([10, 0, 1, 9].into()), "10.0.1.9 and fd00:1::9");
        for none in
            [pairs(false, &[v4, v6]), pairs(true, &[v4]), pairs(true, &[v4, ("fd00::/121", "")])]
        {
            assert!(none.is_empty() && first(&none).is_none());
        }
    }
}
