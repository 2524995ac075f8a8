//! The subnets that this host routes and its IPv6 addresses, as the kernel lists them. Changes none of them.

use std::net::{Ipv4Addr, Ipv6Addr};

use skep_core::model::node::HOST_ADDRESSES_MAX;

/// Flag of a route that is in use.
const UP: u32 = 1;

/// Returns the subnets routed from here, but for those of skep's own networks. None where the table cannot be read.
pub(super) fn host_subnets() -> Vec<String> {
    std::fs::read_to_string("/proc/net/route").map(|table| parse(&table)).unwrap_or_default()
}

/// Reads the table: one route a line after the headings, addresses in hexadecimal with the lowest byte first.
fn parse(table: &str) -> Vec<String> {
    let mut subnets: Vec<String> = table.lines().skip(1).filter_map(route).collect();
    subnets.sort();
    subnets.dedup();
    subnets
}

fn route(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |place: usize| u32::from_str_radix(words.get(place)?, 16).ok();
    let (interface, flags) = (words.first()?, number(3)?);
    let base = Ipv4Addr::from(number(1)?.swap_bytes());
    let prefix = number(7)?.count_ones();
    let counts = flags & UP != 0 && prefix > 0 && !is_own(interface);
    counts.then(|| format!("{base}/{prefix}"))
}

/// Returns the host's IPv6 addresses by which others may know it. None where the kernel has no IPv6.
pub(super) fn host_addresses() -> Vec<Ipv6Addr> {
    let listed = std::fs::read_to_string("/proc/net/if_inet6");
    listed.map(|table| addresses(&table)).unwrap_or_default()
}

/// Reads the table: one address a line in hexadecimal, then link, prefix length, scope, flags and the link's name.
fn addresses(table: &str) -> Vec<Ipv6Addr> {
    const GLOBAL: &str = "00";
    let mut addresses: Vec<Ipv6Addr> = table
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [addr, _, _, scope, _, interface] = words[..] else { return None };
            let is_bridge = ["docker", "br-"].iter().any(|head| interface.starts_with(head));
            let counts = scope == GLOBAL && !is_bridge && !is_own(interface);
            counts.then(|| u128::from_str_radix(addr, 16).ok().map(Ipv6Addr::from_bits)).flatten()
        })
        .collect();
    addresses.sort_unstable();
    addresses.truncate(HOST_ADDRESSES_MAX);
    addresses
}

/// Bridges of the cluster's networks are named after their VXLAN id.
fn is_own(interface: &str) -> bool {
    let number = interface.strip_prefix("sk").and_then(|rest| rest.split_once('-'));
    number.is_some_and(|(vni, _)| vni.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_of_a_table() {
        let table = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
            eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0\n\
            eth0 0000000A 00000000 0001 0 0 0 0000FFFF 0 0 0\n\
            sk4096-abcd 0001000A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n\
            docker0 000011AC 00000000 0001 0 0 0 0000FFFF 0 0 0\n\
            down0 000012AC 00000000 0000 0 0 0 0000FFFF 0 0 0\n\
            bad\n";
        assert_eq!(parse(table), ["10.0.0.0/16", "172.17.0.0/16"]);
    }

    #[test]
    fn addresses_of_a_table() {
        let table = "20010db8000000000000000000000001 02 40 00 80     eth0\n\
            fe80000000000000000000000000abcd 02 40 20 80     eth0\n\
            00000000000000000000000000000001 01 80 10 80       lo\n\
            fd00000000000000000000000000000a 05 40 00 80 sk4097-abcd\n\
            fd00000000000000000000000000000b 06 40 00 80 br-123\n\
            bad\n";
        let expected: Ipv6Addr = "2001:db8::1".parse().expect("it is one");
        assert_eq!(addresses(table), [expected]);
    }
}
