//! The packet rules of one service: where its virtual addresses and its published ports lead. Sets none of them.

use std::net::{IpAddr, SocketAddr};

use super::element::{Key, Part, Value, word};
use super::family::Family;
use super::plan::{Segment, Site};
use super::ports::Publication;
use super::rule::{Lead, Rule, write_match};
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
    fn keys(&self) -> [(&str, IpAddr); 2] {
        [(&self.segment.bridge, self.addr), ("lo", self.addr)]
    }

    /// Leads it to the tasks of its service; tells whether it was led somewhere already.
    pub(super) fn put(&self, site: &Site<'_>, service: &Service, table: &mut Table) -> bool {
        for key in self.keys() {
            table.put_element("vips", key, Value::Goto(self.chain.clone()));
        }
        table.put_element("virtual_ips", self.addr, Value::Nothing);
        let backends = backends(site, service, self.segment, self.family);
        table.put_chain(&self.chain, "", spread_virtual(&backends))
    }

    /// Leads it nowhere.
    pub(super) fn take(&self, table: &mut Table) {
        for key in self.keys() {
            table.take_element("vips", key);
        }
        table.take_element("virtual_ips", self.addr);
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
    table.put_element("ports", key, Value::Goto(chain.clone()));
    table.put_chain(&chain, "", rules);
}

/// Leaves a published port to the node's own socket.
pub(super) fn take_port(protocol: PortProtocol, port: u16, table: &mut Table) {
    let (key, chain) = port_names(protocol, port);
    table.take_element("ports", key);
    table.chains.remove(&chain);
}

/// Returns the key of a port, and the name of its chain.
fn port_names(protocol: PortProtocol, port: u16) -> (Key, String) {
    let key = Key(vec![Part::Protocol(protocol), Part::Port(port)]);
    (key, format!("p_{}_{port}", word(protocol)))
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
fn spread_virtual(backends: &[IpAddr]) -> Vec<Rule> {
    if backends.is_empty() {
        return vec![Rule::Accept];
    }
    let backends: Vec<_> = backends.iter().map(|addr| (*addr, None)).collect();
    in_turn(None, None, &backends)
}

/// So many tasks get a rule each. A new connection meets half of them in the mean, at 0.04 µs each.
const RULES_MAX: usize = 128;

/// Leads one connection after the other to each task in turn.
///
/// Of three tasks the first takes each third connection, the second each second one of the others, the third the rest. A map
/// would be one rule for all, but for each such map the kernel walks through all of the transaction that it is part of:
/// with ten thousand services that takes it half a minute. Services with many tasks are few, and have one.
fn in_turn(
    place: Option<&Place>,
    protocol: Option<PortProtocol>,
    tasks: &[(IpAddr, Option<u16>)],
) -> Vec<Rule> {
    if tasks.len() > RULES_MAX {
        return vec![in_map(place, protocol, tasks)];
    }
    let left = (1..=tasks.len()).rev().filter_map(|left| u32::try_from(left).ok());
    let rule = |(left, (addr, port)): (u32, &(IpAddr, Option<u16>))| {
        let one_in = (left > 1).then_some(left);
        let (place, addr, port) = (place.cloned(), *addr, *port);
        Rule::Lead(Lead { place, protocol, one_in, addr, port })
    };
    left.zip(tasks).map(rule).collect()
}

fn in_map(
    place: Option<&Place>,
    protocol: Option<PortProtocol>,
    tasks: &[(IpAddr, Option<u16>)],
) -> Rule {
    let family = tasks.first().map_or(Family::V4, |(addr, _)| Family::of(*addr)).word();
    let turn = |(turn, (addr, port)): (usize, &(IpAddr, Option<u16>))| match port {
        Some(port) => format!("{turn} : {addr} . {port}"),
        None => format!("{turn} : {addr}"),
    };
    let turns = tasks.iter().enumerate().map(turn).collect::<Vec<_>>().join(", ");
    let count = tasks.len();
    let mut text = String::new();
    // Writing to a string never fails.
    let _ = write_match(&mut text, place, protocol);
    Rule::Written(format!("{text}dnat {family} to numgen inc mod {count} map {{ {turns} }}"))
}

/// Leads a published port to its tasks; absent with none, so that the node's own socket answers.
fn lead_in(publication: &Publication, mesh: &Segment<'_>, family: Family) -> Option<Vec<Rule>> {
    let backend =
        |backend: &SocketAddr| Some((in_family(mesh, family, backend.ip())?, Some(backend.port())));
    let backends: Vec<_> = publication.backends.iter().filter_map(backend).collect();
    let place = publication.place.as_ref();
    let is_elsewhere =
        |place: &Place| matches!(place, Place::Address(addr) if Family::of(*addr) != family);
    if backends.is_empty() || place.is_some_and(is_elsewhere) {
        return None;
    }
    Some(in_turn(place, Some(publication.protocol), &backends))
}
