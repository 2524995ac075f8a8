//! Plans that follow states, beside plans made anew of each.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::id::TaskId;
use crate::model::network::Network;
use crate::model::node::Node;
use crate::model::service::{Endpoint, PortConfig, Service, VirtualIp};
use crate::model::task::{Task, TaskNetwork, TaskState};
use crate::net::fixture::{World, ip};
use crate::net::plan::desired;

/// One change of a state, of few objects and few addresses so that these meet.
#[derive(Debug, Clone)]
enum Change {
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

fn change() -> impl Strategy<Value = Change> {
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
fn beginning(dual: bool) -> State {
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
    Service { id: service_id(number), endpoint: Some(endpoint), ..Service::default() }
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
        aliases: Vec::new(),
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

fn change_state(state: &mut State, change: &Change) {
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

proptest! {
    /// However states follow one another, and whichever of them were looked at: the plan is that of the last one, and the
    /// rules' text leads there from the one before.
    #[test]
    fn a_plan_that_followed_is_one_made_anew(
        dual in any::<bool>(),
        steps in vec((vec(change(), 1..4), any::<bool>()), 1..25),
    ) {
        let host = Host { node: World::node(1), addr: [192, 0, 2, 1].into() };
        let mut planner = Planner::new(host.clone());
        let mut state = beginning(dual);
        let mut held = planner.follow(&state).clone();
        for (changes, is_seen) in steps {
            for change in &changes {
                change_state(&mut state, change);
            }
            if is_seen {
                let found = planner.follow(&state).clone();
                let anew = desired(&state, &host);
                prop_assert_eq!(&found, &anew);
                prop_assert_eq!(found.rules.since(&held.rules), anew.rules.since(&held.rules));
                prop_assert_eq!(found == held, anew == held);
                held = found;
            }
        }
    }
}

/// What is not touched is not made again: it is the very same.
#[test]
fn what_is_not_touched_stays_the_same_object() {
    let mut state = beginning(false);
    for number in 0..4 {
        let vip = u8::try_from(number).expect("there are few");
        change_state(&mut state, &Change::Service { number, vip: Some(vip), port: None });
        change_state(
            &mut state,
            &Change::Task { number, service: number, node: 2, addr: vip, how: 0 },
        );
    }
    let host = Host { node: World::node(1), addr: [192, 0, 2, 1].into() };
    let mut planner = Planner::new(host);
    let before = planner.follow(&state).clone();
    change_state(&mut state, &Change::Task { number: 2, service: 2, node: 2, addr: 2, how: 3 });
    let after = planner.follow(&state);
    let chains = |plan: &Desired| plan.rules.tables["ip skep"].chains.clone();
    let same = chains(&before)
        .iter()
        .zip(chains(after).iter())
        .filter(|((_, a), (_, b))| Arc::ptr_eq(a, b))
        .count();
    assert_eq!(same + 1, chains(after).len());
    assert_eq!(
        after.rules.since(&before.rules).to_string(),
        "flush chain ip skep v_10_0_1_52\nadd rule ip skep v_10_0_1_52 accept\n"
    );
}
