//! What each task and each service says of names: who it is that asks, what it is called, whose an address is.

use std::net::IpAddr;
use std::sync::Arc;

use super::names::Asker;
use super::{plain, reaches, takes_traffic};
use crate::id::{NetworkId, NodeId};
use crate::model::service::Service;
use crate::model::task::{Task, TaskNetwork};
use crate::state::State;

/// By what a node knows names.
pub(super) struct Naming<'a> {
    pub(super) state: &'a State,
    pub(super) node: &'a NodeId,
    /// Whether services are known by their own addresses.
    pub(super) virtual_ips: bool,
}

/// What one task or one service says.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Words {
    /// Who asks from an address.
    pub(super) askers: Vec<(IpAddr, Asker)>,
    /// Names in lower case, with an address or without.
    pub(super) names: Vec<(NetworkId, String, Option<IpAddr>)>,
    /// Whose an address is.
    pub(super) owners: Vec<(NetworkId, IpAddr, String)>,
}

impl Words {
    fn call(&mut self, network: &NetworkId, name: &str, addr: Option<IpAddr>) {
        self.names.push((network.clone(), name.to_lowercase(), addr));
    }

    fn own(&mut self, network: &NetworkId, addr: IpAddr, name: &str) {
        self.owners.push((network.clone(), addr, name.to_owned()));
    }
}

impl Naming<'_> {
    /// Returns what a task says: nothing that it cannot be reached by from the node.
    pub(super) fn of_task(&self, task: &Task) -> Words {
        let mut words = Words::default();
        if !reaches(self.state, self.node, task) {
            return words;
        }
        self.add_asker(task, &mut words);
        if takes_traffic(task) {
            let service = task.service.as_ref().map(|id| self.state.services().get(id));
            for attached in &task.networks {
                match service {
                    Some(service) => self.add_served(service, task, attached, &mut words),
                    None => add_attached(attached, &mut words),
                }
            }
        }
        words
    }

    /// Notes who a task is, so long as it may have a process: one that starts or stops asks too.
    fn add_asker(&self, task: &Task, words: &mut Words) {
        if task.status.state.is_terminal() {
            return;
        }
        let asker = Asker {
            networks: task.networks.iter().map(|attached| attached.network.id.clone()).collect(),
            nameservers: nameservers(task),
            way_out: task.networks.iter().any(|attached| {
                let network = self.state.networks().get(&attached.network.id);
                !network.unwrap_or(&attached.network).spec.internal
            }),
        };
        let addrs = task.networks.iter().flat_map(|attached| plain(&attached.addresses));
        words.askers.extend(addrs.map(|addr| (addr, asker.clone())));
    }

    /// Notes the names of a service's task on a network.
    fn add_served(
        &self,
        service: Option<&Arc<Service>>,
        task: &Task,
        attached: &TaskNetwork,
        words: &mut Words,
    ) {
        let annotations =
            service.map_or(&*task.service_annotations, |service| &service.spec.annotations);
        let own = task.name();
        let container = task.status.container.as_ref().and_then(|container| container.id.get(..12));
        let network = &attached.network.id;
        let by_service = self.virtual_ips
            && service.is_some_and(|service| virtual_ip(service, network).is_some());
        for addr in plain(&attached.addresses) {
            for name in service_names(&annotations.name, &attached.aliases) {
                words.call(network, &format!("tasks.{name}"), Some(addr));
                words.call(network, name, (!by_service).then_some(addr));
            }
            for name in container.into_iter().chain([own.as_str()]) {
                words.call(network, name, Some(addr));
            }
            words.own(network, addr, &own);
        }
    }

    /// Returns what a service says, whether or not it has tasks: its names are known, so that they are not looked for
    /// elsewhere.
    pub(super) fn of_service(&self, service: &Service) -> Words {
        let mut words = Words::default();
        let own = &service.spec.annotations.name;
        for attachment in &service.spec.task.networks {
            let network = &attachment.target;
            let addr = virtual_ip(service, network).filter(|_| self.virtual_ips);
            for name in service_names(own, &attachment.aliases) {
                words.call(network, &format!("tasks.{name}"), None);
                words.call(network, name, addr);
            }
            if let Some(addr) = addr {
                words.own(network, addr, own);
            }
        }
        words
    }
}

/// Notes the names of a container that a user made.
fn add_attached(attached: &TaskNetwork, words: &mut Words) {
    let network = &attached.network.id;
    for addr in plain(&attached.addresses) {
        for name in &attached.aliases {
            words.call(network, name, Some(addr));
        }
        if let Some(name) = attached.aliases.first() {
            words.own(network, addr, name);
        }
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
