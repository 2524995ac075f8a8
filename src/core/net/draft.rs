//! A node's network plan in parts: the ground that networks and nodes lay, and what each task and each service adds to it or
//! takes away again. Says nothing of when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use imbl::OrdSet;

use super::element::Value;
use super::family::Family;
use super::kernel::{Desired, Forward, Local, Neighbour};
use super::lead::{Virtual, put_port, take_port};
use super::mac::Mac;
use super::nat::{NAT, NAT6};
use super::plan::{Segment, Site, entries, ground, may_be_there, tunnel_name, virtual_addresses};
use super::ports::{Publication, ingress_ports, publication};
use super::ruleset::Table;
use super::{plain, takes_traffic};
use crate::model::service::{PortProtocol, Service};
use crate::model::task::Task;

/// A plan that tasks and services can be added to and taken from.
pub(super) struct Draft {
    pub(super) desired: Desired,
    /// Whether two services want the same address or port. Then it is of account in which order they come.
    pub(super) is_crowded: bool,
    /// Addresses of the node's own tasks.
    own: OrdSet<IpAddr>,
    ports: BTreeSet<(PortProtocol, u16)>,
    repeats: Repeats,
}

/// How often what tasks add is there beyond the first time: one may come to an address before another one has left it.
#[derive(Default)]
struct Repeats {
    forwards: Repeated<Forward>,
    neighbours: Repeated<Neighbour>,
    backends: Repeated<IpAddr>,
    own: Repeated<IpAddr>,
}

struct Repeated<T>(BTreeMap<T, usize>);

impl<T> Default for Repeated<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord + Clone> Repeated<T> {
    /// Adds an item; tells whether it is new.
    fn add(&mut self, held: &mut OrdSet<T>, item: T) -> bool {
        if held.contains(&item) {
            *self.0.entry(item).or_default() += 1;
            return false;
        }
        held.insert(item);
        true
    }

    /// Takes an item away; tells whether it is gone.
    fn take(&mut self, held: &mut OrdSet<T>, item: &T) -> bool {
        let Some(count) = self.0.get_mut(item) else { return held.remove(item).is_some() };
        *count -= 1;
        if *count == 0 {
            self.0.remove(item);
        }
        false
    }
}

/// What a task adds.
#[derive(Default)]
struct TaskPart {
    forwards: Vec<Forward>,
    neighbours: Vec<Neighbour>,
    backends: Vec<IpAddr>,
    own: Vec<IpAddr>,
}

impl TaskPart {
    fn of(site: &Site<'_>, task: &Task) -> Self {
        let mut part = Self::default();
        let held = task.networks.iter().filter_map(|held| {
            let v4 = |addr| if let IpAddr::V4(addr) = addr { Some(addr) } else { None };
            let addrs = plain(&held.addresses).filter_map(v4);
            Some((site.segments.get(&held.network.id)?, addrs))
        });
        for (segment, addrs) in held {
            addrs.for_each(|addr| part.add(site, task, segment, addr));
        }
        part
    }

    fn add(&mut self, site: &Site<'_>, task: &Task, segment: &Segment<'_>, addr: Ipv4Addr) {
        let Some(node) = &task.node else { return };
        let (is_own, peer) = (*node == site.host.node, site.peers.get(node));
        if may_be_there(task) {
            let end = peer.and_then(|peer| peer.end(segment.encrypted));
            if let (Some(name), Some(to)) = (tunnel_name(segment.network), end) {
                let found = (addr, Mac::of_endpoint(addr));
                let (forwards, neighbours) = entries(&name, segment, found, to);
                self.forwards.extend(forwards);
                self.neighbours.extend(neighbours);
            }
            if is_own {
                self.own.extend(segment.pairs.with_pair(addr.into()));
            }
        }
        if takes_traffic(task) && (is_own || peer.is_some()) {
            self.backends.extend(segment.pairs.with_pair(addr.into()));
        }
    }
}

impl Draft {
    /// Makes the plan of a whole state.
    pub(super) fn whole(site: &Site<'_>) -> Self {
        let mut draft = Self {
            desired: ground(site),
            is_crowded: false,
            own: OrdSet::new(),
            ports: BTreeSet::new(),
            repeats: Repeats::default(),
        };
        if draft.desired.bridges.is_empty() {
            return draft;
        }
        for task in site.state.tasks().values() {
            draft.put_task(site, task);
        }
        for service in site.state.services().values() {
            draft.put_service(site, service);
        }
        draft
    }

    /// Adds a task.
    pub(super) fn put_task(&mut self, site: &Site<'_>, task: &Task) {
        let (part, desired, repeats) =
            (TaskPart::of(site, task), &mut self.desired, &mut self.repeats);
        for it in part.forwards {
            repeats.forwards.add(&mut desired.forwards, it);
        }
        for it in part.neighbours {
            repeats.neighbours.add(&mut desired.neighbours, it);
        }
        for it in part.backends {
            repeats.backends.add(&mut desired.backends, it);
        }
        for it in part.own {
            if repeats.own.add(&mut self.own, it) {
                put_own(desired, it);
            }
        }
    }

    /// Takes a task away that was added as it is.
    pub(super) fn take_task(&mut self, site: &Site<'_>, task: &Task) {
        let (part, desired, repeats) =
            (TaskPart::of(site, task), &mut self.desired, &mut self.repeats);
        for it in &part.forwards {
            repeats.forwards.take(&mut desired.forwards, it);
        }
        for it in &part.neighbours {
            repeats.neighbours.take(&mut desired.neighbours, it);
        }
        for it in &part.backends {
            repeats.backends.take(&mut desired.backends, it);
        }
        for it in &part.own {
            if repeats.own.take(&mut self.own, it) {
                take_own(desired, *it);
            }
        }
    }

    /// Adds a service with all that its tasks make of it.
    pub(super) fn put_service(&mut self, site: &Site<'_>, service: &Service) {
        let desired = &mut self.desired;
        for (segment, addr) in virtual_addresses(site, service) {
            let (locals, proxy) = answered(segment, addr);
            desired.locals.extend(locals);
            desired.proxies.extend(proxy);
            for (family, table) in tables(desired) {
                let found = Virtual::new(segment, addr.into(), family);
                self.is_crowded |= found.is_some_and(|found| found.put(site, service, table));
            }
        }
        let Some(mesh) = site.mesh() else { return };
        for port in ingress_ports(service) {
            if self.ports.insert((port.protocol, port.published)) {
                let publication = publication(site.state, &site.host.node, service, port);
                self.lead_port(&publication, mesh);
            } else {
                self.is_crowded = true;
            }
        }
    }

    fn lead_port(&mut self, publication: &Publication, mesh: &Segment<'_>) {
        for (family, table) in tables(&mut self.desired) {
            if mesh.gateway_in(family).is_some() {
                put_port(publication, mesh, family, table);
            }
        }
    }

    /// Takes a service away that was added, whatever its tasks were. No other one may have wanted what it has.
    pub(super) fn take_service(&mut self, site: &Site<'_>, service: &Service) {
        let desired = &mut self.desired;
        for (segment, addr) in virtual_addresses(site, service) {
            let (locals, proxy) = answered(segment, addr);
            for local in locals {
                desired.locals.remove(&local);
            }
            if let Some(proxy) = proxy {
                desired.proxies.remove(&proxy);
            }
            for (family, table) in tables(desired) {
                if let Some(found) = Virtual::new(segment, addr.into(), family) {
                    found.take(table);
                }
            }
        }
        for port in ingress_ports(service) {
            self.ports.remove(&(port.protocol, port.published));
            for (_, table) in tables(&mut self.desired) {
                take_port(port.protocol, port.published, table);
            }
        }
    }
}

/// The tables that lead connections, of those families that there is one of.
fn tables(desired: &mut Desired) -> impl Iterator<Item = (Family, &mut Table)> {
    desired.rules.tables.iter_mut().filter_map(|(name, table)| match *name {
        NAT => Some((Family::V4, table)),
        NAT6 => Some((Family::V6, table)),
        _ => None,
    })
}

/// Returns what makes the node answer for a virtual address.
fn answered(segment: &Segment<'_>, addr: Ipv4Addr) -> (impl Iterator<Item = Local>, Option<Local>) {
    let local = |addr: IpAddr| Local { addr, link: segment.bridge.clone() };
    let v6 = segment.pairs.v6(addr).map(|addr| local(addr.into()));
    ([Some(local(addr.into())), v6.clone()].into_iter().flatten(), v6)
}

/// A task that reaches itself by way of its service would take the answer for its own.
fn put_own(desired: &mut Desired, addr: IpAddr) {
    for (_, table) in tables(desired).filter(|(family, _)| *family == Family::of(addr)) {
        table.put_element("hairpin", (addr, addr), Value::Nothing);
    }
}

fn take_own(desired: &mut Desired, addr: IpAddr) {
    for (_, table) in tables(desired).filter(|(family, _)| *family == Family::of(addr)) {
        table.take_element("hairpin", (addr, addr));
    }
}
