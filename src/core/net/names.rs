//! Who may resolve which name to what, as one value made from the state. Speaks no DNS.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::cidr::Cidr;
use super::pairs::Pairs;
use super::{plain, reaches, subnets, takes_traffic};
use crate::id::{NetworkId, NodeId};
use crate::model::network::Network;
use crate::model::service::Service;
use crate::model::task::Task;
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

/// All names that containers on this node may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameTable {
    askers: BTreeMap<IpAddr, Asker>,
    zones: BTreeMap<NetworkId, Zone>,
    /// Subnets with a bridge on this node, for askers that are no task.
    bridged: Vec<(Cidr, Asker)>,
    /// This node's own addresses on them.
    gateways: BTreeSet<IpAddr>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Asker {
    networks: Vec<NetworkId>,
    nameservers: Vec<IpAddr>,
    way_out: bool,
}

/// The names of one network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Zone {
    /// The network's name in lower case, which may end names.
    name: String,
    /// Names in lower case; some have no address at the moment.
    names: BTreeMap<String, BTreeSet<IpAddr>>,
    owners: BTreeMap<IpAddr, String>,
    subnets: Vec<Cidr>,
    pairs: Pairs,
}

impl NameTable {
    /// Makes the table of `node`. Where `virtual_ips` are led to tasks, services are known by them, else by their tasks.
    pub fn new(state: &State, node: &NodeId, virtual_ips: bool) -> Self {
        let mut table = Self::default();
        for network in state.networks().values() {
            table.add_network(network, node);
        }
        for task in state.tasks().values().filter(|task| reaches(state, node, task)) {
            table.add_asker(state, task);
            let service = task.service.as_ref().and_then(|id| state.services().get(id));
            table.add_task(service, task, virtual_ips);
        }
        table.add_services(state, virtual_ips);
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
        let zone = self.zones.entry(network.id.clone()).or_default();
        zone.name = network.spec.annotations.name.to_lowercase();
        zone.subnets = subnets(network).collect();
        zone.pairs = Pairs::of(network);
    }

    /// Notes who a task is, so long as it may have a process: one that starts or stops asks too.
    fn add_asker(&mut self, state: &State, task: &Task) {
        if task.status.state.is_terminal() {
            return;
        }
        let asker = Asker {
            networks: task.networks.iter().map(|attached| attached.network.id.clone()).collect(),
            nameservers: nameservers(task),
            way_out: task.networks.iter().any(|attached| {
                let network = state.networks().get(&attached.network.id);
                !network.unwrap_or(&attached.network).spec.internal
            }),
        };
        for attached in &task.networks {
            for addr in plain(&attached.addresses) {
                self.askers.insert(addr, asker.clone());
            }
        }
    }

    fn add_task(&mut self, service: Option<&Arc<Service>>, task: &Task, virtual_ips: bool) {
        if !takes_traffic(task) {
            return;
        }
        if task.service.is_none() {
            return self.add_attached(task);
        }
        let annotations =
            service.map_or(&*task.service_annotations, |service| &service.spec.annotations);
        let own = task.name();
        let container = task.status.container.as_ref().and_then(|container| container.id.get(..12));
        for attached in &task.networks {
            let Some(zone) = self.zones.get_mut(&attached.network.id) else { continue };
            for addr in plain(&attached.addresses) {
                let network = &attached.network.id;
                let by_service = virtual_ips
                    && service.is_some_and(|service| virtual_ip(service, network).is_some());
                for name in service_names(&annotations.name, &attached.aliases) {
                    zone.add(&format!("tasks.{name}"), Some(addr));
                    zone.add(name, (!by_service).then_some(addr));
                }
                zone.add(&own, Some(addr));
                if let Some(id) = container {
                    zone.add(id, Some(addr));
                }
                zone.own(addr, &own);
            }
        }
    }

    /// Notes the names of a container that a user made.
    fn add_attached(&mut self, task: &Task) {
        for attached in &task.networks {
            let Some(zone) = self.zones.get_mut(&attached.network.id) else { continue };
            for addr in plain(&attached.addresses) {
                for name in &attached.aliases {
                    zone.add(name, Some(addr));
                }
                if let Some(name) = attached.aliases.first() {
                    zone.own(addr, name);
                }
            }
        }
    }

    /// Notes services without tasks too: their names are known, so that they are not looked for elsewhere.
    fn add_services(&mut self, state: &State, virtual_ips: bool) {
        for service in state.services().values() {
            for attachment in &service.spec.task.networks {
                let Some(zone) = self.zones.get_mut(&attachment.target) else { continue };
                let addr = virtual_ip(service, &attachment.target).filter(|_| virtual_ips);
                for name in service_names(&service.spec.annotations.name, &attachment.aliases) {
                    zone.add(&format!("tasks.{name}"), None);
                    zone.add(name, addr);
                    if let Some(addr) = addr.filter(|addr| !zone.owners.contains_key(addr)) {
                        zone.own(addr, &service.spec.annotations.name);
                    }
                }
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
        self.askers.get(&source).or_else(|| {
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
        let list: Vec<IpAddr> = found.iter().copied().filter(family).collect();
        Some(if list.is_empty() { Answer::Empty } else { Answer::Addresses(list) })
    }

    /// Finds a name on the asker's networks; the end of the name may be that of the network.
    fn find(&self, asker: &Asker, name: &str) -> Option<&BTreeSet<IpAddr>> {
        let zones = || asker.networks.iter().filter_map(|id| self.zones.get(id));
        let plain = zones().filter_map(|zone| zone.names.get(name));
        let ended = zones().filter_map(|zone| {
            let start = name.strip_suffix(zone.name.as_str())?.strip_suffix('.')?;
            zone.names.get(start)
        });
        // A network where the name has addresses goes before one where it has none just now.
        let all = || plain.clone().chain(ended.clone());
        all().find(|found| !found.is_empty()).or_else(|| all().next())
    }

    fn pointer(&self, asker: &Asker, addr: IpAddr) -> Option<Answer<'_>> {
        let mut zones = asker.networks.iter().filter_map(|id| self.zones.get(id));
        let zone = zones.find(|zone| zone.subnets.iter().any(|subnet| subnet.contains(addr)))?;
        Some(zone.owners.get(&addr).map_or(Answer::Unknown, |name| Answer::Name(name.clone())))
    }
}

impl Zone {
    /// Notes a name, with an address and the one that goes with it.
    fn add(&mut self, name: &str, addr: Option<IpAddr>) {
        let all = addr.into_iter().flat_map(|addr| self.pairs.with_pair(addr));
        self.names.entry(name.to_lowercase()).or_default().extend(all);
    }

    /// Notes who has an address and the one that goes with it.
    fn own(&mut self, addr: IpAddr, name: &str) {
        let owner = format!("{name}.{}", self.name);
        self.owners.extend(self.pairs.with_pair(addr).map(|addr| (addr, owner.clone())));
    }
}

fn service_names<'a>(name: &'a str, aliases: &'a [String]) -> impl Iterator<Item = &'a str> {
    aliases.iter().map(String::as_str).chain([name])
}

/// Returns the address by which a service is known on a network, if it has one of its own.
fn virtual_ip(service: &Service, network: &NetworkId) -> Option<IpAddr> {
    let mut held = service.endpoint.iter().flat_map(|endpoint| &endpoint.virtual_ips);
    held.find(|held| held.network == *network).map(|held| held.addr)
}

/// Returns the servers the user wants the task to ask. Loopback would be this node's own, not the container's.
fn nameservers(task: &Task) -> Vec<IpAddr> {
    let dns = task.spec.container().and_then(|container| container.dns.as_ref());
    dns.iter()
        .flat_map(|dns| &dns.nameservers)
        .filter_map(|server| server.parse().ok())
        .filter(|server: &IpAddr| !server.is_loopback() && !server.is_unspecified())
        .collect()
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
