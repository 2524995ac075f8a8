//! Which ports this cluster publishes on every node, and the tasks behind them that the node reaches. Opens no socket.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::{plain, reaches, takes_traffic};
use crate::id::NodeId;
use crate::labels::{Place, place_of};
use crate::model::service::{PortConfig, PortProtocol, PublishMode, Service};
use crate::model::task::Task;
use crate::state::State;

/// A published port and what answers it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Publication {
    /// Protocol.
    pub protocol: PortProtocol,
    /// Port on the node.
    pub port: u16,
    /// Where on the node it is open; everywhere if absent.
    pub place: Option<Place>,
    /// Where it leads, in order; none while no task takes traffic.
    pub backends: Vec<SocketAddr>,
}

/// Lists the ports that services publish through the ingress, by protocol and number, with the tasks that `node` reaches:
/// its own if there are any, which spares a way, else those of other nodes.
/// Ports of mode host are the engine's.
pub fn published(state: &State, node: &NodeId) -> Vec<Publication> {
    let mut ports: BTreeMap<(PortProtocol, u16), Publication> = BTreeMap::new();
    for service in state.services().values() {
        for port in ingress_ports(service) {
            let key = (port.protocol, port.published);
            // The allocator gives a port to one service only; should two hold it, the older id keeps it.
            ports.entry(key).or_insert_with(|| publication(state, node, service, port));
        }
    }
    ports.into_values().collect()
}

/// Says where a port that a service publishes leads.
pub(super) fn publication(
    state: &State,
    node: &NodeId,
    service: &Service,
    port: &PortConfig,
) -> Publication {
    Publication {
        protocol: port.protocol,
        port: port.published,
        place: place_of(&service.spec.annotations.labels),
        backends: backends(state, node, service, port),
    }
}

/// Lists the ports that a service publishes through the ingress.
pub(super) fn ingress_ports(service: &Service) -> impl Iterator<Item = &PortConfig> {
    service.endpoint.iter().flat_map(|endpoint| &endpoint.ports).filter(|port| is_ingress(port))
}

fn is_ingress(port: &PortConfig) -> bool {
    port.mode == PublishMode::Ingress && port.published != 0
}

fn backends(state: &State, node: &NodeId, service: &Service, port: &PortConfig) -> Vec<SocketAddr> {
    let tasks = state.service_tasks(&service.id);
    let tasks: Vec<_> =
        tasks.filter(|task| takes_traffic(task) && reaches(state, node, task)).collect();
    let of = |own: bool| {
        let tasks = tasks.iter().filter(|task| (task.node.as_ref() == Some(node)) == own);
        let mut list: Vec<SocketAddr> = tasks
            .filter_map(|task| Some(SocketAddr::new(ingress_address(task)?, target(task, port)?)))
            .collect();
        list.sort_unstable();
        list.dedup();
        list
    };
    let own = of(true);
    if own.is_empty() { of(false) } else { own }
}

/// Returns the port inside the task. A task made before the port was published does not answer it.
fn target(task: &Task, port: &PortConfig) -> Option<u16> {
    let own = task.endpoint.as_ref().map_or(&[][..], |endpoint| &endpoint.ports);
    if own.is_empty() {
        return Some(port.target);
    }
    own.iter()
        .find(|own| {
            is_ingress(own) && (own.protocol, own.published) == (port.protocol, port.published)
        })
        .map(|own| own.target)
}

/// Returns the task's address on the ingress network, else on its first network that has one; IPv4 first.
fn ingress_address(task: &Task) -> Option<IpAddr> {
    let of = |wanted: bool| {
        task.networks
            .iter()
            .filter(move |attached| attached.network.spec.ingress == wanted)
            .find_map(|attached| plain(&attached.addresses).min_by_key(IpAddr::is_ipv6))
    };
    of(true).or_else(|| of(false))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::service::Endpoint;
    use crate::model::task::TaskState;
    use crate::net::fixture::World;

    fn port(protocol: PortProtocol, published: u16, target: u16) -> PortConfig {
        PortConfig { protocol, published, target, ..PortConfig::default() }
    }

    fn endpoint(ports: Vec<PortConfig>) -> Endpoint {
        Endpoint { ports, ..Endpoint::default() }
    }

    fn shown(world: &World) -> Vec<String> {
        let line = |found: Publication| {
            let backends: Vec<String> = found.backends.iter().map(ToString::to_string).collect();
            format!("{}/{:?} {}", found.port, found.protocol, backends.join(" "))
        };
        published(&world.state(), &World::node(1)).into_iter().map(line).collect()
    }

    fn web() -> World {
        let mut world = World::default();
        world.network("ingress", "10.0.0.0/24").spec.ingress = true;
        world.network("front", "10.0.1.0/24");
        world.service("web", &["front"]).endpoint = Some(endpoint(vec![
            port(PortProtocol::Udp, 8080, 81),
            port(PortProtocol::Tcp, 8080, 80),
        ]));
        world.task("web", &[("front", "10.0.1.5"), ("ingress", "10.0.0.9")]);
        world.task("web", &[("ingress", "10.0.0.7"), ("front", "10.0.1.6")]);
        world
    }

    #[test]
    fn a_label_names_the_place_of_a_port() {
        let mut world = web();
        let places = |world: &World| -> Vec<Option<Place>> {
            let found = published(&world.state(), &World::node(1));
            found.into_iter().map(|publication| publication.place).collect()
        };
        assert_eq!(places(&world), [None, None]);
        world.label("web", crate::labels::PUBLISH_INTERFACE, "eth0");
        let expected = Some(Place::Interface("eth0".to_owned()));
        assert_eq!(places(&world), [expected.clone(), expected]);
    }

    #[test]
    fn ports_lead_to_addresses_on_the_ingress_network() {
        assert_eq!(
            shown(&web()),
            ["8080/Tcp 10.0.0.7:80 10.0.0.9:80", "8080/Udp 10.0.0.7:81 10.0.0.9:81"]
        );
    }

    #[test]
    fn tasks_take_part_only_while_they_run_and_should() {
        for (seen, desired, takes_part) in [
            (TaskState::Running, TaskState::Running, true),
            (TaskState::Running, TaskState::Complete, true),
            (TaskState::Running, TaskState::Shutdown, false),
            (TaskState::Running, TaskState::Remove, false),
            (TaskState::Starting, TaskState::Running, false),
            (TaskState::Failed, TaskState::Running, false),
        ] {
            let mut world = web();
            let task = world.task("web", &[("ingress", "10.0.0.3")]);
            (task.status.state, task.desired) = (seen, desired);
            let found = shown(&world)[0].contains("10.0.0.3:80");
            assert_eq!(found, takes_part, "{seen:?} {desired:?}");
        }
    }

    #[test]
    fn each_node_leads_to_its_own_tasks_or_to_all() {
        let mut world = web();
        world.task("web", &[("ingress", "10.0.0.3")]).node = Some(World::node(2));
        let lead = |world: &World, node: u64| {
            published(&world.state(), &World::node(node))[0].backends.len()
        };
        // Node 3 has no bridge of the mesh yet.
        assert_eq!([1, 2, 3].map(|node| lead(&world, node)), [2, 1, 0]);
        world.join("ingress", 3, "10.0.0.20");
        assert_eq!([1, 2, 3].map(|node| lead(&world, node)), [2, 1, 3]);
    }

    #[test]
    fn addresses_fall_back_and_old_tasks_keep_their_targets() {
        let mut world = web();
        world.task("web", &[("front", "10.0.1.8")]);
        world.task("web", &[]);
        let old = world.task("web", &[("ingress", "10.0.0.4")]);
        old.endpoint = Some(Arc::new(endpoint(vec![port(PortProtocol::Tcp, 8080, 8000)])));
        assert_eq!(
            shown(&world),
            [
                "8080/Tcp 10.0.0.4:8000 10.0.0.7:80 10.0.0.9:80 10.0.1.8:80",
                "8080/Udp 10.0.0.7:81 10.0.0.9:81 10.0.1.8:81"
            ]
        );
    }

    #[test]
    fn host_ports_and_unallocated_ports_are_not_published() {
        let mut world = web();
        let host = PortConfig { mode: PublishMode::Host, ..port(PortProtocol::Tcp, 9090, 80) };
        world.service("other", &[]).endpoint =
            Some(endpoint(vec![host, port(PortProtocol::Tcp, 0, 80)]));
        world.service("idle", &[]).endpoint = Some(endpoint(vec![port(PortProtocol::Tcp, 81, 80)]));
        assert_eq!(shown(&world)[0], "81/Tcp ");
        assert_eq!(shown(&world).len(), 3);
    }
}
