//! The packet rules that lead connections: to virtual addresses and to published ports, in either family. Sets none of them.

use std::net::{IpAddr, SocketAddr};

use super::family::Family;
use super::mac::Mac;
use super::plan::{MARK, MARK_MASK, Segment, Site, mark_of, may_be_there, virtual_addresses};
use super::ports::{Publication, published};
use super::ruleset::{Chain, Set, Table};
use super::{plain, takes_traffic};
use crate::id::NodeId;
use crate::labels::Place;
use crate::model::service::{PortProtocol, Service};

/// The tables that lead connections.
pub(super) const NAT: &str = "ip skep";
pub(super) const NAT6: &str = "ip6 skep";

pub(super) fn nat(site: &Site<'_>, family: Family) -> Table {
    let mut table = Table::default();
    let mut virtual_ips = Set::new(family.either("ipv4_addr", "ipv6_addr"));
    let of_link = ("ifname . ipv4_addr : verdict", "ifname . ipv6_addr : verdict");
    let mut vips = Set::new(family.either(of_link.0, of_link.1));
    for service in site.state.services().values() {
        for (segment, addr) in virtual_addresses(site, service) {
            let Some(addr) = segment.pairs.in_family(family, addr) else { continue };
            let chain = format!("v_{}", addr.to_string().replace(['.', ':'], "_"));
            // A connection that the node makes itself leaves by loopback: the address is local.
            for link in [segment.bridge.as_str(), "lo"] {
                vips.elements.insert(format!("\"{link}\" . {addr}"), format!("goto {chain}"));
            }
            virtual_ips.elements.insert(addr.to_string(), String::new());
            let backends = backends(site, service, segment, family);
            table.chains.insert(chain, Chain { hook: "", rules: spread_virtual(&backends) });
        }
    }
    table.sets.insert("virtual_ips", virtual_ips);
    table.sets.insert("vips", vips);
    let gateways = site
        .segments
        .values()
        .filter_map(|it| Some((format!("\"{}\"", it.bridge), it.gateway_in(family)?.to_string())));
    let types = family.either("ifname : ipv4_addr", "ifname : ipv6_addr");
    table.sets.insert("gateways", Set { types, elements: gateways.collect() });
    let types = family.either("ipv4_addr . ipv4_addr", "ipv6_addr . ipv6_addr");
    table.sets.insert("hairpin", Set::of(types, own_pairs(site, family)));
    for (name, hook, rules) in entries(family) {
        table.chains.insert(name.to_owned(), Chain::hooked(hook, rules));
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

/// Addresses of a service's tasks on a network, in order.
fn backends(
    site: &Site<'_>,
    service: &Service,
    segment: &Segment<'_>,
    family: Family,
) -> Vec<IpAddr> {
    let is_joined =
        |node: &NodeId| site.peers.get(node).is_some_and(|it| it.end(segment.encrypted).is_some());
    let is_reached = |node: &NodeId| *node == site.host.node || is_joined(node);
    let tasks = site.state.service_tasks(&service.id).filter(|task| takes_traffic(task));
    let tasks = tasks.filter(|task| task.node.as_ref().is_some_and(is_reached));
    let held =
        tasks.flat_map(|task| &task.networks).filter(|it| it.network.id == segment.network.id);
    let held = held.flat_map(|held| plain(&held.addresses));
    let mut found: Vec<IpAddr> = held.filter_map(|addr| in_family(segment, family, addr)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Returns the address of a family of whoever has an IPv4 address.
fn in_family(segment: &Segment<'_>, family: Family, addr: IpAddr) -> Option<IpAddr> {
    match addr {
        IpAddr::V4(addr) => segment.pairs.in_family(family, addr),
        IpAddr::V6(_) => None,
    }
}

/// With no task left nothing is led anywhere, the mesh included: the address is refused where packets for the node come in.
fn spread_virtual(backends: &[IpAddr]) -> Vec<String> {
    if backends.is_empty() {
        return vec!["accept".to_owned()];
    }
    let backends: Vec<_> = backends.iter().map(|addr| (*addr, None)).collect();
    in_turn("", &backends)
}

/// So many tasks get a rule each.
const RULES_MAX: usize = 16;

/// Leads one connection after the other to each task in turn.
///
/// Of three tasks the first takes each third connection, the second each second one of the others, the third the rest. A map
/// would be one rule for all, but for each such map the kernel walks through all of the transaction that it is part of:
/// with ten thousand services that takes it half a minute. Services with many tasks are few, and have one.
fn in_turn(matched: &str, tasks: &[(IpAddr, Option<u16>)]) -> Vec<String> {
    let count = tasks.len();
    if count > RULES_MAX {
        let family = tasks.first().map_or(Family::V4, |(addr, _)| Family::of(*addr)).word();
        let turn = |(turn, (addr, port)): (usize, &(IpAddr, Option<u16>))| match port {
            Some(port) => format!("{turn} : {addr} . {port}"),
            None => format!("{turn} : {addr}"),
        };
        let turns = tasks.iter().enumerate().map(turn).collect::<Vec<_>>().join(", ");
        return vec![format!("{matched}dnat {family} to numgen inc mod {count} map {{ {turns} }}")];
    }
    let rule = |(place, (addr, port)): (usize, &(IpAddr, Option<u16>))| {
        let turn = match count - place {
            1 => String::new(),
            left => format!("numgen inc mod {left} == 0 "),
        };
        let to = match port {
            Some(port) => SocketAddr::new(*addr, *port).to_string(),
            None => addr.to_string(),
        };
        format!("{matched}{turn}dnat to {to}")
    };
    tasks.iter().enumerate().map(rule).collect()
}

/// A task that reaches itself by way of its service would take the answer for its own.
fn own_pairs(site: &Site<'_>, family: Family) -> Vec<String> {
    let own = site.state.node_tasks(&site.host.node).filter(|task| may_be_there(task));
    let held = own.flat_map(|task| &task.networks);
    let held = held.filter_map(|held| Some((site.segments.get(&held.network.id)?, held)));
    let addrs = held.flat_map(|(segment, held)| {
        plain(&held.addresses).filter_map(move |addr| in_family(segment, family, addr))
    });
    addrs.map(|addr| format!("{addr} . {addr}")).collect()
}

/// Engines before 27 let nothing out over IPv6. Where the engine does, as newer ones, it does the same.
fn add_ways_out(site: &Site<'_>, table: &mut Table) {
    let Some(chain) = table.chains.get_mut("c_post") else { return };
    for segment in site.segments.values().filter(|it| !it.network.spec.internal) {
        let Some(subnet) =
            segment.pairs.v6(segment.gateway).and_then(|it| segment.pairs.subnet_of(it))
        else {
            continue;
        };
        let bridge = &segment.bridge;
        chain.rules.push(format!("ip6 saddr {subnet} oifname != \"{bridge}\" masquerade"));
    }
}

fn add_mesh(site: &Site<'_>, family: Family, table: &mut Table) {
    let Some(mesh) = site.mesh() else { return };
    let Some(gateway) = mesh.gateway_in(family) else { return };
    let mut ports = Set::new("inet_proto . inet_service : verdict");
    let mut came_by = Set::new("ether_addr : mark");
    for publication in published(site.state, &site.host.node) {
        let Some((name, rules)) = lead_in(&publication, mesh, family) else { continue };
        let key = format!("{} . {}", word(publication.protocol), publication.port);
        ports.elements.insert(key, format!("goto {name}"));
        table.chains.insert(name, Chain { hook: "", rules });
    }
    for addr in site.members(mesh).map(|member| member.addr) {
        came_by.elements.insert(Mac::of_node(addr).to_string(), format!("0x{:08x}", mark_of(addr)));
    }
    table.sets.insert("ports", ports);
    table.sets.insert("came_by", came_by);
    let to_port = "fib daddr type local meta l4proto . th dport vmap @ports";
    // The kernel takes no answer to the loopback address of IPv6 from a link: the relay has it.
    let to_own_port = match family {
        Family::V4 => to_port.to_owned(),
        Family::V6 => format!("ip6 daddr != ::1 {to_port}"),
    };
    for (entry, rule) in [("c_pre", to_port.to_owned()), ("c_out", to_own_port)] {
        if let Some(chain) = table.chains.get_mut(entry) {
            chain.rules.push(rule);
        }
    }
    hide_nodes(site, mesh, gateway, table);
    for (name, hook, rules) in marking(&mesh.bridge, family) {
        table.chains.insert(name.to_owned(), Chain::hooked(hook, rules));
    }
}

/// Answers to an address of a node's own would be taken for its own and never come back here.
fn hide_nodes(site: &Site<'_>, mesh: &Segment<'_>, gateway: IpAddr, table: &mut Table) {
    let family = Family::of(gateway);
    let own = match family {
        Family::V4 => {
            let all = site.members(mesh).map(|member| member.addr).chain([site.host.addr]);
            table.sets.insert("nodes", Set::of("ipv4_addr", all.map(|addr| addr.to_string())));
            "ip saddr 127.0.0.0/8"
        }
        Family::V6 => {
            let others = mesh.network.gateways.keys().filter_map(|id| site.state.nodes().get(id));
            let all = others.flat_map(|node| &node.description.host_addresses);
            table.sets.insert("nodes", Set::of("ipv6_addr", all.map(ToString::to_string)));
            "fib saddr type local"
        }
    };
    if let Some(chain) = table.chains.get_mut("c_post") {
        let to_mesh = format!("oifname \"{}\" ct status dnat", mesh.bridge);
        let nodes = format!("{} saddr @nodes", family.word());
        let whom = [own.to_owned(), nodes].into_iter();
        chain.rules.extend(whom.map(|whom| format!("{to_mesh} {whom} snat to {gateway}")));
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

const fn word(protocol: PortProtocol) -> &'static str {
    match protocol {
        PortProtocol::Tcp => "tcp",
        PortProtocol::Udp => "udp",
        PortProtocol::Sctp => "sctp",
    }
}

/// Leads a published port to its tasks; absent with none, so that the node's own socket answers.
fn lead_in(
    publication: &Publication,
    mesh: &Segment<'_>,
    family: Family,
) -> Option<(String, Vec<String>)> {
    let backend =
        |backend: &SocketAddr| Some((in_family(mesh, family, backend.ip())?, Some(backend.port())));
    let backends: Vec<_> = publication.backends.iter().filter_map(backend).collect();
    if backends.is_empty() {
        return None;
    }
    let protocol = word(publication.protocol);
    let place = match &publication.place {
        None => String::new(),
        Some(Place::Interface(name)) => format!("iifname \"{name}\" "),
        Some(Place::Address(addr)) if Family::of(*addr) == family => {
            format!("{} daddr {addr} ", family.word())
        }
        // Of the other family it is not.
        Some(Place::Address(_)) => return None,
    };
    let rules = in_turn(&format!("{place}meta l4proto {protocol} "), &backends);
    Some((format!("p_{protocol}_{}", publication.port), rules))
}
