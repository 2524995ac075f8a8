//! Changes of states as tests draw them: few objects and few addresses, so that these meet.

use std::sync::Arc;

use proptest::prelude::*;

use super::fixture::{World, ip};
use crate::id::{ServiceId, TaskId};
use crate::model::Annotations;
use crate::model::network::Network;
use crate::model::node::Node;
use crate::model::service::{
    Endpoint, NetworkAttachment, PortConfig, Service, ServiceSpec, TaskSpec, VirtualIp,
};
use crate::model::task::{Task, TaskNetwork, TaskState};
use crate::state::State;

/// One change of a state, of few objects and few addresses so that these meet.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// A service on the network, with an address of few, and a port of few.
    Service {
        number: u64,
        vip: Option<u8>,
        port: Option<u16>,
    },
    NoService(u64),
    /// A task of a service, by node, address and how it is.
    Task {
        number: u64,
        service: u64,
        node: u64,
        addr: u8,
        how: usize,
    },
    NoTask(u64),
    /// A node has a bridge of a network, or none.
    Gateway {
        network: usize,
        node: u64,
        is_there: bool,
    },
    /// A node has an address, or one that leads nowhere.
    Node {
        number: u64,
        is_there: bool,
    },
}

/// How tasks are, and are to be.
const WAYS: [(TaskState, TaskState); 4] = [
    (TaskState::Running, TaskState::Running),
    (TaskState::Running, TaskState::Shutdown),
    (TaskState::Starting, TaskState::Running),
    (TaskState::Failed, TaskState::Running),
];

pub(super) fn change() -> impl Strategy<Value = Change> {
    let service = (0..4_u64, prop::option::of(0..5_u8), prop::option::of(80..83_u16));
    let task = (0..6_u64, 0..4_u64, 1..4_u64, 0..5_u8, 0..4_usize);
    prop_oneof![
        4 => service.prop_map(|(number, vip, port)| Change::Service { number, vip, port }),
        1 => (0..4_u64).prop_map(Change::NoService),
        8 => task.prop_map(|(number, service, node, addr, how)| {
            Change::Task { number, service, node, addr, how }
        }),
        2 => (0..6_u64).prop_map(Change::NoTask),
        1 => (0..2_usize, 1..4_u64, any::<bool>())
            .prop_map(|(network, node, is_there)| Change::Gateway { network, node, is_there }),
        1 => (1..4_u64, any::<bool>()).prop_map(|(number, is_there)| Change::Node { number, is_there }),
    ]
}

/// Three hosts; the mesh and a network, the latter of both families if `dual`.
pub(super) fn beginning(dual: bool) -> State {
    let mut world = World::default();
    for number in 1..=3 {
        world.host(number, &format!("192.0.2.{number}"));
    }
    world.network("ingress", "10.0.0.0/24").spec.ingress = true;
    world.network("front", "10.0.1.0/24");
    if dual {
        world.dual("front", "fd00:1::/64");
        world.dual("ingress", "fd00:0::/64");
    }
    for number in 2..=3 {
        world.join("ingress", number, &format!("10.0.0.{}", 100 + number));
        world.join("front", number, &format!("10.0.1.{}", 100 + number));
    }
    world.state()
}

fn networks(state: &State) -> [Arc<Network>; 2] {
    let find = |ingress| {
        let mut all = state.networks().values();
        all.find(|network| network.spec.ingress == ingress).expect("both were made").clone()
    };
    [find(true), find(false)]
}

fn service_id(number: u64) -> ServiceId {
    ServiceId::from_seed(2, number)
}

fn service(number: u64, vip: Option<u8>, port: Option<u16>, front: &Network) -> Service {
    let virtual_ips = vip.map(|vip| VirtualIp {
        network: front.id.clone(),
        addr: ip(&format!("10.0.1.{}", 50 + vip)),
        prefix: 24,
    });
    let ports = port.map(|published| PortConfig { published, target: 80, ..PortConfig::default() });
    let endpoint = Endpoint {
        virtual_ips: virtual_ips.into_iter().collect(),
        ports: ports.into_iter().collect(),
        ..Endpoint::default()
    };
    // It goes by another name as it gets another address.
    let aliases = vip.map(|vip| format!("alias{}", vip % 2)).into_iter().collect();
    let attachment =
        NetworkAttachment { target: front.id.clone(), aliases, ..NetworkAttachment::default() };
    let spec = ServiceSpec {
        annotations: Annotations { name: format!("s{number}"), ..Annotations::default() },
        task: Arc::new(TaskSpec { networks: vec![attachment], ..TaskSpec::default() }),
        ..ServiceSpec::default()
    };
    let (id, spec) = (service_id(number), Arc::new(spec));
    Service { id, spec, endpoint: Some(endpoint), ..Service::default() }
}

/// Makes a task that is as the state seen and the state wanted say, with an address on each network.
fn task(
    (number, service, node): (u64, u64, u64),
    networks: &[Arc<Network>],
    addr: u8,
    (seen, wanted): (TaskState, TaskState),
) -> Task {
    let held = networks.iter().enumerate().map(|(net, network)| TaskNetwork {
        network: network.clone(),
        addresses: vec![(ip(&format!("10.0.{net}.{}", 5 + addr)), 24)],
        aliases: vec![format!("alias{}", addr % 2)],
    });
    let mut task = Task {
        id: TaskId::from_seed(3, number),
        service: Some(service_id(service)),
        node: Some(World::node(node)),
        desired: wanted,
        networks: held.collect(),
        ..Task::default()
    };
    task.status.state = seen;
    task
}

pub(super) fn change_state(state: &mut State, change: &Change) {
    let networks = networks(state);
    match change.clone() {
        Change::Service { number, vip, port } => {
            state.put_service(Arc::new(service(number, vip, port, &networks[1])));
        }
        Change::NoService(number) => state.drop_service(&service_id(number)),
        Change::Task { number, service, node, addr, how } => {
            let made = task((number, service, node), &networks, addr, WAYS[how]);
            state.put_task(Arc::new(made));
        }
        Change::NoTask(number) => state.drop_task(&TaskId::from_seed(3, number)),
        Change::Gateway { network, node, is_there } => {
            let mut changed = Network::clone(&networks[network]);
            if is_there {
                let addr = ip(&format!("10.0.{network}.{}", 100 + node));
                changed.gateways.insert(World::node(node), addr);
            } else {
                changed.gateways.remove(&World::node(node));
            }
            state.put_network(Arc::new(changed));
        }
        Change::Node { number, is_there } => {
            let mut changed = Node::clone(&state.nodes()[&World::node(number)]);
            let addr = is_there.then(|| format!("192.0.2.{number}"));
            changed.status.addr = addr.unwrap_or_default();
            state.put_node(Arc::new(changed));
        }
    }
}
