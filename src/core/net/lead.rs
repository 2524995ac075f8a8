//! The packet rules of one service: where its virtual addresses and its published ports lead. Sets none of them.

use std::net::{IpAddr, SocketAddr};

use super::family::Family;
use super::plan::{Segment, Site};
use super::ports::Publication;
use super::ruleset::Table;
use super::{plain, takes_traffic};
use crate::id::NodeId;
use crate::labels::Place;
use crate::model::service::{PortProtocol, Service};

/// A virtual address as rules of one family know it.
pub(super) struct Virtual<'a> {
    segment: &'a Segment<'a>,
    family: Family,
    addr: IpAddr,
    chain: String,
}

impl<'a> Virtual<'a> {
    /// Reads one; absent in a family that its network does not have.
    pub(super) fn new(segment: &'a Segment<'a>, addr: IpAddr, family: Family) -> Option<Self> {
        let addr = in_family(segment, family, addr)?;
        let chain = format!("v_{}", addr.to_string().replace(['.', ':'], "_"));
        Some(Self { segment, family, addr, chain })
    }

    /// A connection that the node makes itself leaves by loopback: the address is local.
    fn keys(&self) -> impl Iterator<Item = String> {
        [self.segment.bridge.as_str(), "lo"]
            .map(|link| format!("\"{link}\" . {}", self.addr))
            .into_iter()
    }

    /// Leads it to the tasks of its service; tells whether it was led somewhere already.
    pub(super) fn put(&self, site: &Site<'_>, service: &Service, table: &mut Table) -> bool {
        for key in self.keys() {
            table.put_element("vips", key, format!("goto {}", self.chain));
        }
        table.put_element("virtual_ips", self.addr.to_string(), String::new());
        let backends = backends(site, service, self.segment, self.family);
        table.put_chain(&self.chain, "", spread_virtual(&backends))
    }

    /// Leads it nowhere.
    pub(super) fn take(&self, table: &mut Table) {
        for key in self.keys() {
            table.take_element("vips", &key);
        }
        table.take_element("virtual_ips", &self.addr.to_string());
        table.chains.remove(&self.chain);
    }
}

/// Leads a published port to its tasks.
pub(super) fn put_port(
    publication: &Publication,
    mesh: &Segment<'_>,
    family: Family,
    table: &mut Table,
) {
    let Some(rules) = lead_in(publication, mesh, family) else { return };
    let (key, chain) = port_names(publication.protocol, publication.port);
    table.put_element("ports", key, format!("goto {chain}"));
    table.put_chain(&chain, "", rules);
}

/// Leaves a published port to the node's own socket.
pub(super) fn take_port(protocol: PortProtocol, port: u16, table: &mut Table) {
    let (key, chain) = port_names(protocol, port);
    table.take_element("ports", &key);
    table.chains.remove(&chain);
}

/// Returns the key of a port, and the name of its chain.
fn port_names(protocol: PortProtocol, port: u16) -> (String, String) {
    let protocol = word(protocol);
    (format!("{protocol} . {port}"), format!("p_{protocol}_{port}"))
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

const fn word(protocol: PortProtocol) -> &'static str {
    match protocol {
        PortProtocol::Tcp => "tcp",
        PortProtocol::Udp => "udp",
        PortProtocol::Sctp => "sctp",
    }
}

/// Leads a published port to its tasks; absent with none, so that the node's own socket answers.
fn lead_in(publication: &Publication, mesh: &Segment<'_>, family: Family) -> Option<Vec<String>> {
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
    Some(in_turn(&format!("{place}meta l4proto {protocol} "), &backends))
}
