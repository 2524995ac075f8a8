//! The packet rules of one node: which tables there are, and what no packet may do. Sets none of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::family::Family;
use super::kernel::RETURN_LINK;
use super::nat::{NAT, NAT6, nat};
use super::plan::Site;
use super::ruleset::{Ruleset, Set, Table};
use super::wireguard;

/// The table that keeps networks apart.
const WALL: &str = "inet skep_fw";

/// All tables of skep's.
pub const TABLES: [&str; 3] = [NAT, NAT6, WALL];

/// Makes the rules that no task and no service makes a difference to; `tunnels` tells whether there are tunnels that need
/// keeping.
pub(super) fn ruleset(site: &Site<'_>, tunnels: bool) -> Ruleset {
    let mut tables: BTreeMap<_, _> =
        [(NAT, nat(site, Family::V4)), (WALL, wall(site, tunnels))].into();
    if site.has(Family::V6) {
        tables.insert(NAT6, nat(site, Family::V6));
    }
    Ruleset { tables }
}

/// Keeps out what the engine lets through: packets from outside or from another network to containers and gateways, and
/// tunnel packets of strangers.
fn wall(site: &Site<'_>, tunnels: bool) -> Table {
    let mut table = Table::default();
    let bridges = site.segments.values();
    let same = bridges.clone().map(|it| (it.bridge.as_str(), it.bridge.as_str()));
    let own = bridges.clone().map(|it| (it.bridge.as_str(), IpAddr::from(it.gateway)));
    let gateways = bridges.clone().map(|it| IpAddr::from(it.gateway));
    let links = bridges.clone().map(|it| it.bridge.as_str());
    let links = links.chain([RETURN_LINK]);
    table.sets.insert("links", Set::of("ifname", links));
    table.sets.insert("same", Set::of("ifname . ifname", same));
    table.sets.insert("own", Set::of("ifname . ipv4_addr", own));
    table.sets.insert("gateways", Set::of("ipv4_addr", gateways));
    let mut forward = [
        "oifname != @links accept",
        "ct state established,related accept",
        "ct status dnat accept",
        "iifname . oifname @same accept",
        "drop",
    ]
    .map(str::to_owned)
    .to_vec();
    let mut input = Vec::new();
    let mut output = Vec::new();
    keep_encrypted(site, &mut forward, &mut input, &mut output);
    if tunnels || !output.is_empty() {
        let peers = site.peers.values().map(|peer| peer.addr).chain([site.host.addr]);
        table.sets.insert("peers", Set::of("ipv4_addr", peers.map(IpAddr::from)));
        let port = site.port;
        input.push(format!("udp dport {port} ip saddr != @peers drop"));
        input.push(format!("udp dport {port} meta nfproto ipv6 drop"));
        follow_no_tunnel(port, &mut table);
    }
    input.extend(
        [
            "iifname \"lo\" accept",
            "ct state established,related accept",
            "ip daddr @gateways iifname . ip daddr != @own drop",
        ]
        .map(str::to_owned),
    );
    if site.has(Family::V6) {
        let gateways = bridges.filter_map(|it| Some((it, it.gateway_in(Family::V6)?)));
        let own = gateways.clone().map(|(it, addr)| (it.bridge.as_str(), addr));
        table.sets.insert("own6", Set::of("ifname . ipv6_addr", own));
        table.sets.insert("gateways6", Set::of("ipv6_addr", gateways.map(|(_, addr)| addr)));
        input.push("ip6 daddr @gateways6 iifname . ip6 daddr != @own6 drop".to_owned());
    }
    let hooks = [
        ("c_fwd", "type filter hook forward priority -5;", forward),
        ("c_in", "type filter hook input priority -5;", input),
        ("c_out", "type filter hook output priority -5;", output),
    ];
    for (name, hook, rules) in hooks.into_iter().filter(|(_, _, rules)| !rules.is_empty()) {
        table.put_chain(name, hook, rules);
    }
    table
}

/// Each connection within a tunnel has a port of its own around it, so that the kernel would remember all of them twice.
fn follow_no_tunnel(port: u16, table: &mut Table) {
    for (name, hook, end) in [
        ("c_heard", "type filter hook prerouting priority -300;", "saddr"),
        ("c_sent", "type filter hook output priority -300;", "daddr"),
    ] {
        table.put_chain(name, hook, [format!("udp dport {port} ip {end} @peers notrack")]);
    }
}

/// Keeps what is to be encrypted on the encrypted link, and all else off it; encrypted packets are taken from nodes alone.
fn keep_encrypted(
    site: &Site<'_>,
    forward: &mut Vec<String>,
    input: &mut Vec<String>,
    output: &mut Vec<String>,
) {
    let mut numbers: Vec<u32> = site.encrypted().collect();
    if numbers.is_empty() {
        return;
    }
    numbers.sort_unstable();
    let numbers = numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    // The identifier comes after the UDP header and the four bytes with which that of VXLAN begins.
    let ours = format!("udp dport {} @th,96,24 {{ {numbers} }}", site.port);
    let link = wireguard::LINK;
    forward.insert(0, format!("iifname \"{link}\" drop"));
    forward.insert(1, format!("oifname \"{link}\" drop"));
    input.push(format!("iifname \"{link}\" {ours} accept"));
    input.push(format!("iifname \"{link}\" drop"));
    input.push(format!("{ours} drop"));
    let port = wireguard::PORT;
    input.push(format!("udp dport {port} ip saddr != @peers drop"));
    input.push(format!("udp dport {port} meta nfproto ipv6 drop"));
    output.push(format!("oifname != \"{link}\" {ours} drop"));
    // The kernel's link sends from the address that routes prefer, of which others on the host's may be no node's.
    let ends = format!("udp sport {port} udp dport {port} ip daddr @peers");
    output.push(format!("{ends} ip saddr set {}", site.host.addr));
}
