//! The ways that packets take from a node to the tasks of a service, stop by stop, and where they would end. Sends none, and
//! looks at no kernel.

use std::net::IpAddr;

use super::pairs::Pairs;
use super::plan::underlay;
use super::{plain, takes_traffic};
use crate::agent::network::{bridge_name, is_encrypted, is_overlay};
use crate::id::{NetworkId, NodeId};
use crate::model::network::Network;
use crate::model::node::NodeState;
use crate::model::service::{PortConfig, PortProtocol, PublishMode, ResolutionMode, Service, Slot};
use crate::model::task::{Task, TaskState};
use crate::state::State;

/// One way to a service: by its name on a network, or by a published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Which, as in `name web on network front`.
    pub name: String,
    /// What a packet comes by, in order; of the tasks at the end one is chosen.
    pub stops: Vec<Stop>,
}

/// Something that a packet comes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// What it is, or why nothing comes further.
    pub text: String,
    /// Whether packets come further.
    pub passes: bool,
}

impl Stop {
    fn ok(text: String) -> Self {
        Self { text, passes: true }
    }

    fn end(text: String) -> Self {
        Self { text, passes: false }
    }
}

/// Lists the ways to a service from a node, as far as the state tells.
pub fn ways(state: &State, node: &NodeId, service: &Service) -> Vec<Way> {
    let site = Site { state, node, service };
    let attached = site.networks().into_iter().filter_map(|id| state.networks().get(id));
    let named = attached.filter(|network| is_overlay(network) && !network.spec.ingress);
    let named = named.map(|network| site.by_name(network));
    let ports = service.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    named.chain(ports.map(|port| site.by_port(port))).collect()
}

struct Site<'a> {
    state: &'a State,
    node: &'a NodeId,
    service: &'a Service,
}

impl<'a> Site<'a> {
    /// The networks that the service asks for, and those that it has an address on.
    fn networks(&self) -> Vec<&'a NetworkId> {
        let asked = self.service.spec.task.networks.iter().map(|it| &it.target);
        let held = self.service.endpoint.iter().flat_map(|it| &it.virtual_ips);
        let mut all: Vec<_> = asked.chain(held.map(|it| &it.network)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn tasks(&self) -> impl Iterator<Item = &'a Task> {
        let tasks = self.state.service_tasks(&self.service.id).map(AsRef::as_ref);
        // What ended is no way and no obstacle.
        let mut live: Vec<&Task> =
            tasks.filter(|task: &&Task| task.status.state <= TaskState::Running).collect();
        live.sort_by_key(|task| (&task.slot, !takes_traffic(task), &task.id));
        live.into_iter()
    }

    fn by_name(&self, network: &Network) -> Way {
        let service = &self.service.spec.annotations.name;
        let name = &network.spec.annotations.name;
        let endpoint = self.service.endpoint.as_ref();
        let virtual_ip = endpoint
            .and_then(|it| it.virtual_ips.iter().find(|vip| vip.network == network.id))
            .map(|vip| vip.addr);
        let round_robin = endpoint.is_some_and(|it| it.spec.mode == ResolutionMode::DnsRoundRobin);
        let first = match virtual_ip {
            Some(addr) => {
                let all = Pairs::of(network).text(addr);
                Stop::ok(format!("{service} resolves to {all}, its virtual address"))
            }
            None if round_robin => {
                Stop::ok(format!("{service} resolves to the addresses of its tasks"))
            }
            None => Stop::end(format!("{service} has no address yet; see skep why {service}")),
        };
        let mut stops = vec![first, self.bridge(network)];
        let tasks: Vec<Stop> = self.tasks().map(|task| self.leg(task, network)).collect();
        stops.extend(refused_without(tasks));
        Way { name: format!("name {service} on network {name}"), stops }
    }

    /// The node's own end of a network.
    fn bridge(&self, network: &Network) -> Stop {
        let name = &network.spec.annotations.name;
        let vni = network.allocation.as_ref().map(|it| it.vni);
        match (network.gateways.get(self.node), vni) {
            (Some(gateway), Some(vni)) => {
                let bridge = bridge_name(vni, &network.id);
                let gateway = Pairs::of(network).text(*gateway);
                Stop::ok(format!("bridge {bridge} of {name} on this node, {gateway}"))
            }
            (Some(_) | None, _) => Stop::end(format!(
                "nothing on this node is on {name}: there is no bridge, and nobody who could ask"
            )),
        }
    }

    fn by_port(&self, port: &PortConfig) -> Way {
        let protocol = match port.protocol {
            PortProtocol::Tcp => "tcp",
            PortProtocol::Udp => "udp",
            PortProtocol::Sctp => "sctp",
        };
        let (published, target) = (port.published, port.target);
        let to_network = |task: &Task| {
            let mesh = task.networks.iter().find(|held| held.network.spec.ingress);
            mesh.or_else(|| task.networks.first()).map(|held| held.network.id.clone())
        };
        if port.mode == PublishMode::Host {
            let here = |task: &&Task| task.node.as_ref() == Some(self.node);
            let mut stops: Vec<Stop> =
                self.tasks().filter(here).map(|task| self.readiness(task, "here")).collect();
            if stops.is_empty() {
                let text = "no task on this node: ports of mode host are open where tasks are";
                stops.push(Stop::end(text.to_owned()));
            }
            return Way { name: format!("port {published}/{protocol} of mode host"), stops };
        }
        let legs = |own: bool| -> Vec<Stop> {
            let tasks = self.tasks().filter(|task| (task.node.as_ref() == Some(self.node)) == own);
            let leg = |task: &Task| {
                let id = to_network(task)?;
                Some(self.leg(task, self.state.networks().get(&id)?))
            };
            tasks.filter_map(leg).collect()
        };
        let mut stops = vec![Stop::ok(format!("leads to port {target} of the tasks"))];
        let own = legs(true);
        if own.iter().any(|stop| stop.passes) {
            stops.push(Stop::ok("this node's own tasks come before those of others".to_owned()));
            stops.extend(own);
        } else {
            let all: Vec<Stop> = own.into_iter().chain(legs(false)).collect();
            stops.extend(refused_without(all));
        }
        Way { name: format!("port {published}/{protocol}"), stops }
    }

    /// The last part of a way: from this node to a task.
    fn leg(&self, task: &Task, network: &Network) -> Stop {
        let held = task.networks.iter().find(|held| held.network.id == network.id);
        let addrs: Vec<IpAddr> =
            held.map(|held| plain(&held.addresses).collect()).unwrap_or_default();
        let Some(addr) = addrs.first() else {
            return Stop::end(format!("{}: no address on the network yet", self.name_of(task)));
        };
        let addr = Pairs::of(network).text(*addr);
        let Some(at) = task.node.as_ref() else {
            return Stop::end(format!("{} at {addr}: on no node yet", self.name_of(task)));
        };
        if at == self.node {
            return self.readiness(task, &format!("at {addr} on this node"));
        }
        let host = self.host(at);
        let there = self.state.nodes().get(at);
        let lacks_key = |id: &NodeId| {
            let found = self.state.nodes().get(id);
            found.is_none_or(|node| node.description.tunnel_key.is_none())
        };
        if is_encrypted(network)
            && let Some(without) = [self.node, at].into_iter().find(|id| lacks_key(id))
        {
            return Stop::end(format!(
                "{} at {addr}: the network is encrypted, and {} has no key yet",
                self.name_of(task),
                self.host(without)
            ));
        }
        let Some(end) = there.and_then(|node| underlay(node)) else {
            return Stop::end(format!(
                "{} at {addr}: no tunnel ends at {host}, which does not run skep or has no IPv4 address",
                self.name_of(task)
            ));
        };
        if !network.gateways.contains_key(at) {
            return Stop::end(format!(
                "{} at {addr}: {host} has no bridge yet",
                self.name_of(task)
            ));
        }
        if there.is_some_and(|node| node.status.state == NodeState::Down) {
            return Stop::end(format!("{} at {addr}: {host} is down", self.name_of(task)));
        }
        self.readiness(task, &format!("at {addr} on {host}, by tunnel to {end}"))
    }

    fn readiness(&self, task: &Task, at: &str) -> Stop {
        let name = self.name_of(task);
        if takes_traffic(task) {
            return Stop::ok(format!("{name} {at}"));
        }
        let (state, desired) = (task.status.state.as_str(), task.desired.as_str());
        let why = if task.status.state == TaskState::Running {
            format!("it is to be stopped ({desired} wanted)")
        } else {
            format!("{state}, not running and healthy yet")
        };
        Stop::end(format!("{name} {at} takes no traffic: {why}"))
    }

    /// As users name tasks: by their place.
    fn name_of(&self, task: &Task) -> String {
        let service = &self.service.spec.annotations.name;
        match &task.slot {
            Slot::Number(number) => format!("{service}.{number}"),
            Slot::Node(node) => format!("{service}.{}", self.host(node)),
        }
    }

    fn host(&self, node: &NodeId) -> String {
        let found = self.state.nodes().get(node);
        let name = found.map(|node| node.description.hostname.clone()).unwrap_or_default();
        if name.is_empty() { node.to_string() } else { name }
    }
}

/// Says what becomes of a connection that no task takes.
fn refused_without(mut stops: Vec<Stop>) -> Vec<Stop> {
    if !stops.iter().any(|stop| stop.passes) {
        stops.push(Stop::end("no task takes traffic: connections are refused".to_owned()));
    }
    stops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::service::{Endpoint, EndpointSpec, VirtualIp};
    use crate::net::fixture::{World, ip};
    use crate::net::plan::{Host, desired};

    /// Three tasks of `web` on two nodes, a virtual address, and a port through the mesh.
    fn world() -> World {
        let mut world = World::default();
        world.host(1, "192.0.2.1").description.hostname = "one".to_owned();
        world.host(2, "192.0.2.2").description.hostname = "two".to_owned();
        world.network("ingress", "10.0.0.0/24").spec.ingress = true;
        let front = world.network("front", "10.0.1.0/24").id.clone();
        world.join("front", 2, "10.0.1.9");
        world.join("ingress", 2, "10.0.0.9");
        let port = PortConfig { published: 8080, target: 80, ..PortConfig::default() };
        world.service("web", &["front"]).endpoint = Some(Endpoint {
            virtual_ips: vec![VirtualIp { network: front, addr: ip("10.0.1.5"), prefix: 24 }],
            ports: vec![port],
            ..Endpoint::default()
        });
        for number in 1..=3 {
            let [front, mesh] = [1, 0].map(|net| format!("10.0.{net}.{}", 5 + number));
            let task = world.task("web", &[("front", &front), ("ingress", &mesh)]);
            task.slot = Slot::Number(number);
            match number {
                2 => task.node = Some(World::node(2)),
                3 => task.status.state = TaskState::Starting,
                _ => {}
            }
        }
        world
    }

    fn told(world: &World, node: u64) -> Vec<String> {
        let state = world.state();
        let service = state.services().values().next().expect("there is one").clone();
        let mut lines = Vec::new();
        for way in ways(&state, &World::node(node), &service) {
            lines.push(way.name);
            let mark = |stop: &Stop| if stop.passes { "ok" } else { "NO" };
            lines.extend(way.stops.iter().map(|stop| format!("{} {}", mark(stop), stop.text)));
        }
        lines
    }

    #[test]
    fn each_stop_is_named_as_seen_from_a_node() {
        assert_eq!(
            told(&world(), 1),
            [
                "name web on network front",
                "ok web resolves to 10.0.1.5, its virtual address",
                "ok bridge BRIDGE of front on this node, 10.0.1.1",
                "ok web.1 at 10.0.1.6 on this node",
                "ok web.2 at 10.0.1.7 on two, by tunnel to 192.0.2.2",
                "NO web.3 at 10.0.1.8 on this node takes no traffic: starting, not running and healthy yet",
                "port 8080/tcp",
                "ok leads to port 80 of the tasks",
                "ok this node's own tasks come before those of others",
                "ok web.1 at 10.0.0.6 on this node",
                "NO web.3 at 10.0.0.8 on this node takes no traffic: starting, not running and healthy yet",
            ]
            .map(|line| line.replace("BRIDGE", &bridge_name(4097, &NetworkId::from_seed(1, 1))))
        );
    }

    #[test]
    fn a_way_that_ends_says_where() {
        let mut world = world();
        world.encrypt("front");
        world.first_task().desired = TaskState::Shutdown;
        let lines = told(&world, 3);
        for expected in [
            "NO nothing on this node is on front: there is no bridge, and nobody who could ask",
            "NO web.2 at 10.0.1.7: the network is encrypted, and THREE has no key yet",
            "NO no task takes traffic: connections are refused",
            "ok web.2 at 10.0.0.7 on two, by tunnel to 192.0.2.2",
            "NO web.1 at 10.0.0.6 on one, by tunnel to 192.0.2.1 takes no traffic: it is to be stopped (shutdown wanted)",
        ] {
            let expected = expected.replace("THREE", World::node(3).as_str());
            assert!(lines.contains(&expected), "{expected}: {lines:#?}");
        }
        let mut world = World::default();
        world.network("front", "10.0.1.0/24");
        world.service("web", &["front"]).endpoint = Some(Endpoint {
            spec: EndpointSpec { mode: ResolutionMode::DnsRoundRobin, ..EndpointSpec::default() },
            ..Endpoint::default()
        });
        let task = world.task("web", &[("front", "10.0.1.6")]);
        task.node = Some(World::node(2));
        let lines = told(&world, 1);
        assert_eq!(lines[1], "ok web resolves to the addresses of its tasks");
        assert!(lines[3].contains("no tunnel ends at"), "{lines:#?}");
    }

    /// What is shown as a way must be what packets are led by.
    #[test]
    fn tasks_shown_as_reached_are_those_that_rules_lead_to() {
        let sealed = |keys: &[u8]| {
            let mut world = world();
            world.encrypt("front");
            world.give_keys(keys);
            world
        };
        let mut stopping = world();
        stopping.first_task().desired = TaskState::Shutdown;
        for world in [world(), stopping, sealed(&[]), sealed(&[1]), sealed(&[1, 2])] {
            let state = world.state();
            let service = state.services().values().next().expect("there is one").clone();
            for (node, addr) in [(1, [192, 0, 2, 1]), (2, [192, 0, 2, 2])] {
                let node = World::node(node);
                let rules = desired(&state, &Host { node: node.clone(), addr: addr.into() }).rules;
                let chains = &rules.tables["ip skep"].chains;
                for (way, chain) in
                    ways(&state, &node, &service).iter().zip(["v_10_0_1_5", "p_tcp_8080"])
                {
                    let rules = chains.get(chain).into_iter().flat_map(|it| &it.rules);
                    let text: String = rules.map(ToString::to_string).collect();
                    for last in [6, 7, 8] {
                        let net = if chain.starts_with('v') { 1 } else { 0 };
                        let addr = format!("10.0.{net}.{last}");
                        let shown = way
                            .stops
                            .iter()
                            .any(|stop| stop.passes && stop.text.contains(&format!(" at {addr} ")));
                        assert_eq!(shown, text.contains(&addr), "{addr}: {way:#?}, but {text}");
                    }
                }
            }
        }
    }
}
