//! Who may resolve which name to what, as one value made from the state. Speaks no DNS.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;

use super::bag::Bag;
use super::cidr::Cidr;
use super::naming::{Naming, Words};
use super::pairs::Pairs;
use super::subnets;
use crate::id::{NetworkId, NodeId};
use crate::model::network::Network;
use crate::state::State;

/// The domain that every name is also known under, for containers whose resolver forwards only dotted names.
pub const DOMAIN: &str = "skep";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question<'a> {
    /// IPv4 addresses of a name.
    V4(&'a str),
    /// IPv6 addresses of a name.
    V6(&'a str),
    /// Anything else about a name.
    Other(&'a str),
    /// The name of an address.
    Pointer(IpAddr),
}

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'a> {
    /// These addresses, in a fixed order; whoever sends them rotates them.
    Addresses(Vec<IpAddr>),
    /// This name.
    Name(String),
    /// The name exists but has no such record.
    Empty,
    /// The name is ours to know and does not exist.
    Unknown,
    /// Not ours: ask these servers, or this node's own if there are none.
    Forward(&'a [IpAddr]),
    /// Not ours, and whoever asks has no way out of its networks.
    NoWayOut,
    /// Whoever asks is on no network of ours.
    Refused,
}

/// All names that containers on this node may ask for. A copy costs next to nothing, and shares all that stays the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameTable {
    /// Two may have an address for a while, when one ends and its address goes on to another.
    askers: OrdMap<IpAddr, Bag<Asker>>,
    zones: OrdMap<NetworkId, Zone>,
    /// Subnets with a bridge on this node, for askers that are no task.
    bridged: Vec<(Cidr, Asker)>,
    /// This node's own addresses on them.
    gateways: BTreeSet<IpAddr>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Asker {
    pub(super) networks: Vec<NetworkId>,
    pub(super) nameservers: Vec<IpAddr>,
    pub(super) way_out: bool,
}

/// The names of one network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Zone {
    /// The network's name in lower case, which may end names.
    name: String,
    /// By names in lower case.
    names: OrdMap<String, Name>,
    owners: OrdMap<IpAddr, Bag<String>>,
    subnets: Vec<Cidr>,
    pairs: Pairs,
}

/// A name that somebody has; it may have no address at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Name {
    /// How often it was said.
    said: usize,
    addrs: Bag<IpAddr>,
}

impl NameTable {
    /// Makes the table of `node`. Where `virtual_ips` are led to tasks, services are known by them, else by their tasks.
    pub fn new(state: &State, node: &NodeId, virtual_ips: bool) -> Self {
        let mut table = Self::default();
        for network in state.networks().values() {
            table.add_network(network, node);
        }
        let naming = Naming { state, node, virtual_ips };
        for task in state.tasks().values() {
            table.put(naming.of_task(task));
        }
        for service in state.services().values() {
            table.put(naming.of_service(service));
        }
        table
    }

    fn add_network(&mut self, network: &Arc<Network>, node: &NodeId) {
        if let Some(gateway) = network.gateways.get(node) {
            let asker = Asker {
                networks: vec![network.id.clone()],
                nameservers: Vec::new(),
                way_out: !network.spec.internal,
            };
            self.bridged.extend(subnets(network).map(|subnet| (subnet, asker.clone())));
            self.gateways.insert(*gateway);
        }
        // The ingress network only routes: no name is known on it. Node-local networks are the engine's.
        if network.spec.ingress || network.allocation.is_none() {
            return;
        }
        let zone = Zone {
            name: network.spec.annotations.name.to_lowercase(),
            subnets: subnets(network).collect(),
            pairs: Pairs::of(network),
            ..Zone::default()
        };
        self.zones.insert(network.id.clone(), zone);
    }

    /// Adds what somebody says.
    pub(super) fn put(&mut self, words: Words) {
        for (addr, asker) in words.askers {
            self.askers.entry(addr).or_default().put(asker);
        }
        for (network, name, addr) in words.names {
            if let Some(zone) = self.zones.get_mut(&network) {
                zone.put(name, addr);
            }
        }
        for (network, addr, name) in words.owners {
            if let Some(zone) = self.zones.get_mut(&network) {
                zone.put_owner(addr, &name);
            }
        }
    }

    /// Takes away what somebody said.
    pub(super) fn take(&mut self, words: &Words) {
        for (addr, asker) in &words.askers {
            take_from(&mut self.askers, addr, asker);
        }
        for (network, name, addr) in &words.names {
            if let Some(zone) = self.zones.get_mut(network) {
                zone.take(name, *addr);
            }
        }
        for (network, addr, name) in &words.owners {
            if let Some(zone) = self.zones.get_mut(network) {
                zone.take_owner(*addr, name);
            }
        }
    }

    /// Answers a question that comes from the address `source`.
    pub fn ask(&self, source: IpAddr, question: Question<'_>) -> Answer<'_> {
        let Some(asker) = self.asker(source) else { return Answer::Refused };
        let found = match question {
            Question::V4(name) => self.addresses(asker, name, IpAddr::is_ipv4),
            Question::V6(name) => self.addresses(asker, name, IpAddr::is_ipv6),
            Question::Other(name) => self.addresses(asker, name, |_| false),
            Question::Pointer(addr) => self.pointer(asker, addr),
        };
        match found {
            Some(answer) => answer,
            // This node reaches its own bridges from their gateway addresses. What it does not know it asks
            // elsewhere; were it answered from there, a resolver of the node that asks us would ask for ever.
            None if self.gateways.contains(&source) => Answer::Refused,
            None if !asker.way_out => Answer::NoWayOut,
            None => Answer::Forward(&asker.nameservers),
        }
    }

    fn asker(&self, source: IpAddr) -> Option<&Asker> {
        let task = self.askers.get(&source).and_then(|bag| bag.items().next());
        task.or_else(|| {
            let bridged = self.bridged.iter().find(|(subnet, _)| subnet.contains(source));
            bridged.map(|(_, asker)| asker)
        })
    }

    fn addresses(
        &self,
        asker: &Asker,
        name: &str,
        family: fn(&IpAddr) -> bool,
    ) -> Option<Answer<'_>> {
        let name = name.strip_suffix('.').unwrap_or(name).to_lowercase();
        let inside = name.strip_suffix(DOMAIN).and_then(|name| name.strip_suffix('.'));
        let found = self.find(asker, &name).or_else(|| self.find(asker, inside?));
        let Some(found) = found else {
            return (inside.is_some() || name == DOMAIN).then_some(Answer::Unknown);
        };
        let list: Vec<IpAddr> = found.items().copied().filter(family).collect();
        Some(if list.is_empty() { Answer::Empty } else { Answer::Addresses(list) })
    }

    /// Finds a name on the asker's networks; the end of the name may be that of the network.
    fn find(&self, asker: &Asker, name: &str) -> Option<&Bag<IpAddr>> {
        let zones = || asker.networks.iter().filter_map(|id| self.zones.get(id));
        let plain = zones().filter_map(|zone| zone.addrs(name));
        let ended = zones().filter_map(|zone| {
            let start = name.strip_suffix(zone.name.as_str())?.strip_suffix('.')?;
            zone.addrs(start)
        });
        // A network where the name has addresses goes before one where it has none just now.
        let all = || plain.clone().chain(ended.clone());
        all().find(|found| !found.is_empty()).or_else(|| all().next())
    }

    fn pointer(&self, asker: &Asker, addr: IpAddr) -> Option<Answer<'_>> {
        let mut zones = asker.networks.iter().filter_map(|id| self.zones.get(id));
        let zone = zones.find(|zone| zone.subnets.iter().any(|subnet| subnet.contains(addr)))?;
        let owner = zone.owners.get(&addr).and_then(|bag| bag.items().next());
        Some(owner.map_or(Answer::Unknown, |name| Answer::Name(format!("{name}.{}", zone.name))))
    }
}

impl Zone {
    fn addrs(&self, name: &str) -> Option<&Bag<IpAddr>> {
        self.names.get(name).map(|name| &name.addrs)
    }

    /// Notes a name, with an address and the one that goes with it.
    fn put(&mut self, name: String, addr: Option<IpAddr>) {
        let held = self.names.entry(name).or_default();
        held.said += 1;
        for addr in addr.into_iter().flat_map(|addr| self.pairs.with_pair(addr)) {
            held.addrs.put(addr);
        }
    }

    fn take(&mut self, name: &str, addr: Option<IpAddr>) {
        let Some(held) = self.names.get_mut(name) else { return };
        for addr in addr.into_iter().flat_map(|addr| self.pairs.with_pair(addr)) {
            held.addrs.take(&addr);
        }
        held.said -= 1;
        if held.said == 0 {
            self.names.remove(name);
        }
    }

    /// Notes who has an address and the one that goes with it.
    fn put_owner(&mut self, addr: IpAddr, name: &str) {
        for addr in self.pairs.with_pair(addr) {
            self.owners.entry(addr).or_default().put(name.to_owned());
        }
    }

    fn take_owner(&mut self, addr: IpAddr, name: &String) {
        for addr in self.pairs.with_pair(addr) {
            take_from(&mut self.owners, &addr, name);
        }
    }
}

fn take_from<T: Ord + Clone>(bags: &mut OrdMap<IpAddr, Bag<T>>, addr: &IpAddr, item: &T) {
    let Some(bag) = bags.get_mut(addr) else { return };
    bag.take(item);
    if bag.is_empty() {
        bags.remove(addr);
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
