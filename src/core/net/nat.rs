//! The frame of the packet rules that lead connections, in either family: where packets enter them, and what becomes of who
//! sent them. Where they lead is said beside it, by each service.

use std::net::IpAddr;

use super::element::{Key, Part, Value};
use super::family::Family;
use super::mac::Mac;
use super::plan::{MARK, MARK_MASK, Segment, Site, mark_of};
use super::ruleset::{Set, Table};

/// The tables that lead connections.
pub(super) const NAT: &str = "ip skep";
pub(super) const NAT6: &str = "ip6 skep";

/// Makes a table that leads nowhere yet.
pub(super) fn nat(site: &Site<'_>, family: Family) -> Table {
    let mut table = Table::default();
    let types = family.either("ipv4_addr", "ipv6_addr");
    table.sets.insert("virtual_ips", Set::new(types));
    let types = family.either("ifname . ipv4_addr : verdict", "ifname . ipv6_addr : verdict");
    table.sets.insert("vips", Set::new(types));
    let gateways = site.segments.values().filter_map(|it| {
        Some((Key::from(it.bridge.as_str()), Value::Addr(it.gateway_in(family)?)))
    });
    let types = family.either("ifname : ipv4_addr", "ifname : ipv6_addr");
    table.sets.insert("gateways", Set { types, elements: gateways.collect() });
    let types = family.either("ipv4_addr . ipv4_addr", "ipv6_addr . ipv6_addr");
    table.sets.insert("hairpin", Set::new(types));
    for (name, hook, rules) in entries(family) {
        table.put_chain(name, hook, rules);
    }
    add_mesh(site, family, &mut table);
    if family == Family::V6 {
        add_ways_out(site, &mut table);
    }
    table
}

fn entries(family: Family) -> [(&'static str, &'static str, Vec<String>); 4] {
    let ip = family.word();
    let unreachable = family.either("icmp type port-unreachable", "icmpv6 type port-unreachable");
    [
        (
            "c_pre",
            "type nat hook prerouting priority -110;",
            vec![format!("iifname . {ip} daddr vmap @vips")],
        ),
        (
            "c_out",
            "type nat hook output priority -110;",
            vec![format!("oifname . {ip} daddr vmap @vips")],
        ),
        (
            "c_post",
            "type nat hook postrouting priority 90;",
            vec![
                format!("ct status dnat {ip} saddr @virtual_ips snat to oifname map @gateways"),
                format!(
                    "ct status dnat {ip} saddr . {ip} daddr @hairpin snat to oifname map @gateways"
                ),
            ],
        ),
        (
            "c_in",
            "type filter hook input priority 0;",
            vec![
                "ct status dnat accept".to_owned(),
                format!("{ip} daddr @virtual_ips meta l4proto tcp reject with tcp reset"),
                format!("{ip} daddr @virtual_ips reject with {unreachable}"),
            ],
        ),
    ]
}

/// Engines before 27 let nothing out over IPv6. Where the engine does, as newer ones, it does the same.
fn add_ways_out(site: &Site<'_>, table: &mut Table) {
    for segment in site.segments.values().filter(|it| !it.network.spec.internal) {
        let Some(subnet) =
            segment.pairs.v6(segment.gateway).and_then(|it| segment.pairs.subnet_of(it))
        else {
            continue;
        };
        let bridge = &segment.bridge;
        let rule = format!("ip6 saddr {subnet} oifname != \"{bridge}\" masquerade");
        table.add_rule("c_post", rule);
    }
}

fn add_mesh(site: &Site<'_>, family: Family, table: &mut Table) {
    let Some(mesh) = site.mesh() else { return };
    let Some(gateway) = mesh.gateway_in(family) else { return };
    let mut came_by = Set::new("ether_addr : mark");
    for addr in site.members(mesh).map(|member| member.addr) {
        let mac = Part::Mac(Mac::of_node(addr));
        came_by.elements.insert(mac.into(), Value::Mark(mark_of(addr)));
    }
    table.sets.insert("ports", Set::new("inet_proto . inet_service : verdict"));
    table.sets.insert("came_by", came_by);
    let to_port = "fib daddr type local meta l4proto . th dport vmap @ports";
    // The kernel takes no answer to the loopback address of IPv6 from a link: the relay has it.
    let to_own_port = match family {
        Family::V4 => to_port.to_owned(),
        Family::V6 => format!("ip6 daddr != ::1 {to_port}"),
    };
    for (entry, rule) in [("c_pre", to_port.to_owned()), ("c_out", to_own_port)] {
        table.add_rule(entry, rule);
    }
    hide_nodes(site, mesh, gateway, table);
    for (name, hook, rules) in marking(&mesh.bridge, family) {
        table.put_chain(name, hook, rules);
    }
}

/// Answers to an address of a node's own would be taken for its own and never come back here.
fn hide_nodes(site: &Site<'_>, mesh: &Segment<'_>, gateway: IpAddr, table: &mut Table) {
    let family = Family::of(gateway);
    let own = match family {
        Family::V4 => {
            let all = site.members(mesh).map(|member| member.addr).chain([site.host.addr]);
            table.sets.insert("nodes", Set::of("ipv4_addr", all.map(IpAddr::from)));
            "ip saddr 127.0.0.0/8"
        }
        Family::V6 => {
            let others = mesh.network.gateways.keys().filter_map(|id| site.state.nodes().get(id));
            let all = others.flat_map(|node| &node.description.host_addresses);
            table.sets.insert("nodes", Set::of("ipv6_addr", all.copied().map(IpAddr::from)));
            "fib saddr type local"
        }
    };
    let to_mesh = format!("oifname \"{}\" ct status dnat", mesh.bridge);
    let nodes = format!("{} saddr @nodes", family.word());
    for whom in [own.to_owned(), nodes] {
        table.add_rule("c_post", format!("{to_mesh} {whom} snat to {gateway}"));
    }
}

/// Chains that mark connections by the node where they came in, so that their answers go back there.
fn marking(bridge: &str, family: Family) -> Vec<(&'static str, &'static str, Vec<String>)> {
    let ours = format!("and 0x{MARK_MASK:08x} == 0x{MARK:08x}");
    let new = "ct direction original ct state new";
    let mut chains = vec![
        (
            "c_mark",
            "type filter hook prerouting priority -140;",
            vec![
                format!("iifname \"{bridge}\" {new} ct mark set ether saddr map @came_by"),
                format!("ct direction reply ct mark {ours} meta mark set ct mark"),
            ],
        ),
        (
            "c_unmark",
            "type filter hook postrouting priority 300;",
            // The packet around it would be routed by the same mark, into the tunnel again.
            vec![format!("meta mark {ours} meta mark set 0")],
        ),
    ];
    if family == Family::V4 {
        // Routing of loopback addresses is on for the mesh's bridge; nobody outside may make use of it.
        let guard = "iifname != \"lo\" ip daddr 127.0.0.0/8 drop".to_owned();
        chains.push(("c_raw", "type filter hook prerouting priority -310;", vec![guard]));
    }
    chains
}
