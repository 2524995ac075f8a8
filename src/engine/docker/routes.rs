//! The subnets that this host routes, as the kernel lists them. Changes no route.

use std::net::Ipv4Addr;

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
}
