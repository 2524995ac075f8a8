//! The packet rules of one node: which connections are led to which task, and what no packet may do. Sets none of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::kernel::RETURN_LINK;
use super::mac::Mac;
use super::plan::{MARK, MARK_MASK, Segment, Site, mark_of, may_be_there, virtual_addresses};
use super::ports::{Publication, published};
use super::ruleset::{Chain, Ruleset, Set, Table};
use super::wireguard;
use super::{plain, takes_traffic};
use crate::id::NodeId;
use crate::labels::Place;
use crate::model::service::{PortProtocol, Service};

/// The table that leads connections.
const NAT: &str = "ip skep";

/// The table that keeps networks apart.
const WALL: &str = "inet skep_fw";

/// All tables of skep's.
pub const TABLES: [&str; 2] = [NAT, WALL];

/// Makes the rules; `tunnels` tells whether there are tunnels that need keeping.
pub(super) fn ruleset(site: &Site<'_>, tunnels: bool) -> Ruleset {
    Ruleset { tables: [(NAT, nat(site)), (WALL, wall(site, tunnels))].into() }
}

fn nat(site: &Site<'_>) -> Table {
    let mut table = Table::default();
    let mut virtual_ips = Set::new("ipv4_addr");
    let mut vips = Set::new("ifname . ipv4_addr : verdict");
    for service in site.state.services().values() {
        for (segment, addr) in virtual_addresses(site, service) {
            let chain = format!("v_{}", addr.to_string().replace('.', "_"));
            // A connection that the node makes itself leaves by loopback: the address is local.
            for link in [segment.bridge.as_str(), "lo"] {
                vips.elements.insert(format!("\"{link}\" . {addr}"), format!("goto {chain}"));
            }
            virtual_ips.elements.insert(addr.to_string(), String::new());
            let backends = backends(site, service, segment);
            table.chains.insert(chain, Chain { hook: "", rules: spread_virtual(&backends) });
        }
    }
    table.sets.insert("virtual_ips", virtual_ips);
    table.sets.insert("vips", vips);
    let gateways = site.segments.values();
    let gateways = gateways.map(|it| (format!("\"{}\"", it.bridge), it.gateway.to_string()));
    table
        .sets
        .insert("gateways", Set { types: "ifname : ipv4_addr", elements: gateways.collect() });
    table.sets.insert("hairpin", Set::of("ipv4_addr . ipv4_addr", own_pairs(site)));
    for (name, chain) in nat_chains() {
        table.chains.insert(name.to_owned(), chain);
    }
    add_mesh(site, &mut table);
    table
}

fn nat_chains() -> [(&'static str, Chain); 4] {
    let lines = |rules: &[&str]| rules.iter().map(|rule| (*rule).to_owned()).collect();
    let prerouting = "type nat hook prerouting priority -110;";
    let output = "type nat hook output priority -110;";
    let postrouting = "type nat hook postrouting priority 90;";
    let input = "type filter hook input priority 0;";
    [
        ("c_pre", Chain::hooked(prerouting, lines(&["iifname . ip daddr vmap @vips"]))),
        ("c_out", Chain::hooked(output, lines(&["oifname . ip daddr vmap @vips"]))),
        (
            "c_post",
            Chain::hooked(
                postrouting,
                lines(&[
                    "ct status dnat ip saddr @virtual_ips snat to oifname map @gateways",
                    "ct status dnat ip saddr . ip daddr @hairpin snat to oifname map @gateways",
                ]),
            ),
        ),
        (
            "c_in",
            Chain::hooked(
                input,
                lines(&[
                    "ct status dnat accept",
                    "ip daddr @virtual_ips meta l4proto tcp reject with tcp reset",
                    "ip daddr @virtual_ips reject with icmp type port-unreachable",
                ]),
            ),
        ),
    ]
}

/// Addresses of a service's tasks on a network, in order.
fn backends(site: &Site<'_>, service: &Service, segment: &Segment<'_>) -> Vec<Ipv4Addr> {
    let is_joined =
        |node: &NodeId| site.peers.get(node).is_some_and(|it| it.end(segment.encrypted).is_some());
    let is_reached = |node: &NodeId| *node == site.host.node || is_joined(node);
    let tasks = site.state.service_tasks(&service.id).filter(|task| takes_traffic(task));
    let tasks = tasks.filter(|task| task.node.as_ref().is_some_and(is_reached));
    let held =
        tasks.flat_map(|task| &task.networks).filter(|it| it.network.id == segment.network.id);
    let mut found: Vec<Ipv4Addr> = held
        .flat_map(|held| plain(&held.addresses))
        .filter_map(|addr| match addr {
            IpAddr::V4(addr) => Some(addr),
            IpAddr::V6(_) => None,
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// With no task left nothing is led anywhere, the mesh included: the address is refused where packets for the node come in.
fn spread_virtual(backends: &[Ipv4Addr]) -> Vec<String> {
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
fn in_turn(matched: &str, tasks: &[(Ipv4Addr, Option<u16>)]) -> Vec<String> {
    let count = tasks.len();
    if count > RULES_MAX {
        let turn = |(turn, (addr, port)): (usize, &(Ipv4Addr, Option<u16>))| match port {
            Some(port) => format!("{turn} : {addr} . {port}"),
            None => format!("{turn} : {addr}"),
        };
        let turns = tasks.iter().enumerate().map(turn).collect::<Vec<_>>().join(", ");
        return vec![format!("{matched}dnat ip to numgen inc mod {count} map {{ {turns} }}")];
    }
    let rule = |(place, (addr, port)): (usize, &(Ipv4Addr, Option<u16>))| {
        let turn = match count - place {
            1 => String::new(),
            left => format!("numgen inc mod {left} == 0 "),
        };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{matched}{turn}dnat to {addr}{port}")
    };
    tasks.iter().enumerate().map(rule).collect()
}

/// A task that reaches itself by way of its service would take the answer for its own.
fn own_pairs(site: &Site<'_>) -> Vec<String> {
    let own = site.state.node_tasks(&site.host.node).filter(|task| may_be_there(task));
    let held = own.flat_map(|task| &task.networks);
    let addrs = held.filter(|held| site.segments.contains_key(&held.network.id));
    let addrs = addrs.flat_map(|held| plain(&held.addresses)).filter(IpAddr::is_ipv4);
    addrs.map(|addr| format!("{addr} . {addr}")).collect()
}

fn add_mesh(site: &Site<'_>, table: &mut Table) {
    let mut ports = Set::new("inet_proto . inet_service : verdict");
    let mut came_by = Set::new("ether_addr : mark");
    let mut nodes = Set::new("ipv4_addr");
    let Some(mesh) = site.mesh() else { return };
    let (bridge, gateway) = (&mesh.bridge, mesh.gateway);
    for publication in published(site.state, &site.host.node) {
        let Some((name, rules)) = lead_in(&publication) else { continue };
        let key = format!("{} . {}", word(publication.protocol), publication.port);
        ports.elements.insert(key, format!("goto {name}"));
        table.chains.insert(name, Chain { hook: "", rules });
    }
    nodes.elements.insert(site.host.addr.to_string(), String::new());
    for addr in site.members(mesh).map(|member| member.addr) {
        nodes.elements.insert(addr.to_string(), String::new());
        came_by.elements.insert(Mac::of_node(addr).to_string(), format!("0x{:08x}", mark_of(addr)));
    }
    table.sets.insert("ports", ports);
    table.sets.insert("came_by", came_by);
    table.sets.insert("nodes", nodes);
    let to_port = "fib daddr type local meta l4proto . th dport vmap @ports";
    for entry in ["c_pre", "c_out"] {
        if let Some(chain) = table.chains.get_mut(entry) {
            chain.rules.push(to_port.to_owned());
        }
    }
    if let Some(chain) = table.chains.get_mut("c_post") {
        // Answers to an address of a node's own would be taken for its own and never come back here.
        let own = format!("oifname \"{bridge}\" ct status dnat ip saddr");
        chain.rules.push(format!("{own} 127.0.0.0/8 snat to {gateway}"));
        chain.rules.push(format!("{own} @nodes snat to {gateway}"));
    }
    let ours = format!("and 0x{MARK_MASK:08x} == 0x{MARK:08x}");
    let chains = [
        (
            "c_raw",
            "type filter hook prerouting priority -310;",
            // Routing of loopback addresses is on for the mesh's bridge; nobody outside may make use of it.
            vec!["iifname != \"lo\" ip daddr 127.0.0.0/8 drop".to_owned()],
        ),
        (
            "c_mark",
            "type filter hook prerouting priority -140;",
            vec![
                format!(
                    "iifname \"{bridge}\" ct direction original ct state new ct mark set ether saddr map @came_by"
                ),
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
    for (name, hook, rules) in chains {
        table.chains.insert(name.to_owned(), Chain::hooked(hook, rules));
    }
}

const fn word(protocol: PortProtocol) -> &'static str {
    match protocol {
        PortProtocol::Tcp => "tcp",
        PortProtocol::Udp => "udp",
        PortProtocol::Sctp => "sctp",
    }
}

/// Leads a published port to its tasks; absent with none, so that the node's own socket answers.
fn lead_in(publication: &Publication) -> Option<(String, Vec<String>)> {
    let backends = publication.backends.iter().filter_map(|backend| match backend {
        SocketAddr::V4(backend) => Some((*backend.ip(), Some(backend.port()))),
        SocketAddr::V6(_) => None,
    });
    let backends: Vec<_> = backends.collect();
    if backends.is_empty() {
        return None;
    }
    let protocol = word(publication.protocol);
    let place = match &publication.place {
        None => String::new(),
        Some(Place::Interface(name)) => format!("iifname \"{name}\" "),
        Some(Place::Address(IpAddr::V4(addr))) => format!("ip daddr {addr} "),
        // The relay takes what comes to it.
        Some(Place::Address(IpAddr::V6(_))) => return None,
    };
    let rules = in_turn(&format!("{place}meta l4proto {protocol} "), &backends);
    Some((format!("p_{protocol}_{}", publication.port), rules))
}

/// Keeps out what the engine lets through: packets from outside or from another network to containers and gateways, and
/// tunnel packets of strangers.
fn wall(site: &Site<'_>, tunnels: bool) -> Table {
    let mut table = Table::default();
    let bridges = site.segments.values();
    let same = bridges.clone().map(|it| format!("\"{0}\" . \"{0}\"", it.bridge));
    let own = bridges.clone().map(|it| format!("\"{}\" . {}", it.bridge, it.gateway));
    let gateways = bridges.clone().map(|it| it.gateway.to_string());
    let links = bridges.clone().map(|it| format!("\"{}\"", it.bridge));
    let links = links.chain([format!("\"{RETURN_LINK}\"")]);
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
        let peers = peers.map(|addr| addr.to_string());
        table.sets.insert("peers", Set::of("ipv4_addr", peers));
        let port = site.port;
        input.push(format!("udp dport {port} ip saddr != @peers drop"));
        input.push(format!("udp dport {port} meta nfproto ipv6 drop"));
    }
    input.extend(
        [
            "iifname \"lo\" accept",
            "ct state established,related accept",
            "ip daddr @gateways iifname . ip daddr != @own drop",
        ]
        .map(str::to_owned),
    );
    let hooks = [
        ("c_fwd", "type filter hook forward priority -5;", forward),
        ("c_in", "type filter hook input priority -5;", input),
        ("c_out", "type filter hook output priority -5;", output),
    ];
    for (name, hook, rules) in hooks.into_iter().filter(|(_, _, rules)| !rules.is_empty()) {
        table.chains.insert(name.to_owned(), Chain::hooked(hook, rules));
    }
    table
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
}
