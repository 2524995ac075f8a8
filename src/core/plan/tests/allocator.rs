//! Addresses and ports: who gets which, what is never given twice.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::world::{World, ingress_id, network_id, node_id};
use crate::agent::network::{network_plan, overlay_mtu};
use crate::command::Command;
use crate::model::network::{IpamConfig, IpamOptions, NetworkSpec};
use crate::model::service::{
    EndpointSpec, NetworkAttachment, PortConfig, ResolutionMode, ServiceMode, ServiceSpec, TaskSpec,
};
use crate::model::task::{Task, TaskState};
use crate::model::{Annotations, Driver};
use crate::plan::Reason;
use crate::plan::allocator::subnets::VNI_OPTION;

const ONE: ServiceMode = ServiceMode::Replicated { replicas: 1 };

fn network(world: &mut World, number: u64, edit: impl FnOnce(&mut NetworkSpec)) {
    let annotations = Annotations { name: format!("net{number}"), ..Annotations::default() };
    let mut spec = NetworkSpec { annotations, ..NetworkSpec::default() };
    edit(&mut spec);
    world.run(Command::CreateNetwork { id: network_id(number), spec: Box::new(spec) });
}

fn subnet(text: &str) -> Option<IpamOptions> {
    let config = IpamConfig { subnet: text.to_owned(), ..IpamConfig::default() };
    Some(IpamOptions { configs: vec![config], ..IpamOptions::default() })
}

fn join(task: &mut TaskSpec, number: u64) {
    let target = network_id(number);
    task.networks.push(NetworkAttachment { target, ..NetworkAttachment::default() });
}

fn publish(spec: &mut ServiceSpec, target: u16, published: u16) {
    let port = PortConfig { target, published, ..PortConfig::default() };
    spec.endpoint.get_or_insert_default().ports.push(port);
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("the test writes a valid address")
}

fn task_ip(world: &World, label: &str) -> String {
    let task = world.task(label);
    let addrs: Vec<String> = task
        .networks
        .iter()
        .flat_map(|joined| joined.addresses.iter().map(|(addr, prefix)| format!("{addr}/{prefix}")))
        .collect();
    addrs.join(" ")
}

#[test]
fn of_two_that_ask_for_a_subnet_the_second_waits_for_the_first_to_go() {
    let mut world = World::new(1);
    for number in 1..=2 {
        network(&mut world, number, |spec| spec.ipam = subnet("10.9.0.0/24"));
    }
    world.plan();
    let held = |world: &World, number| world.state.networks()[&network_id(number)].clone();
    assert!(held(&world, 1).allocation.is_some());
    let second = held(&world, 2);
    assert!(second.allocation.is_none() && world.state.is_blocked(&second));
    world.run(Command::RemoveNetwork { id: network_id(1) });
    assert!(!world.state.is_blocked(&second));
    world.plan();
    assert!(held(&world, 2).allocation.is_some());
}

fn subnet_of(world: &World, number: u64) -> String {
    let found = &world.state.networks()[&network_id(number)];
    let allocation = found.allocation.clone().expect("the network is allocated");
    allocation.ipam.configs[0].subnet.clone()
}

#[test]
fn what_a_host_routes_is_passed_over_unless_that_leaves_nothing() {
    let given = |routes: &[&str]| {
        let mut world = World::new(1);
        let mut description = super::world::node(1).description;
        description.host_subnets = routes.iter().map(|route| (*route).to_owned()).collect();
        let (id, description) = (node_id(1), Some(Box::new(description)));
        world.run(Command::ReportNode { id, description, status: None, manager: None });
        network(&mut world, 1, |_| {});
        world.plan();
        subnet_of(&world, 1)
    };
    assert_eq!(given(&[]), "10.0.1.0/24");
    // The ingress network has the first subnet already.
    assert_eq!(given(&["10.0.0.0/15", "192.168.0.0/16"]), "10.2.0.0/24");
    assert_eq!(given(&["10.0.0.0/8"]), "10.0.1.0/24");
}

#[test]
fn packets_are_as_large_as_the_narrowest_link_carries() {
    let given = |told: &[Option<u32>]| {
        let mut world = World::new(told.len() as u64);
        for (number, mtu) in (1..).zip(told) {
            let mut description = super::world::node(number).description;
            description.underlay_mtu = *mtu;
            let (id, description) = (node_id(number), Some(Box::new(description)));
            world.run(Command::ReportNode { id, description, status: None, manager: None });
        }
        network(&mut world, 1, |_| {});
        world.plan();
        let allocation = world.state.networks()[&network_id(1)].allocation.clone();
        overlay_mtu(&allocation.expect("the network is allocated"))
    };
    assert_eq!(given(&[None, None]), 1450);
    assert_eq!(given(&[Some(1500), None, Some(1400)]), 1350);
    // One with a narrower link may come any time.
    assert_eq!(given(&[Some(9000), Some(9000)]), 1450);
}

#[test]
fn a_removed_networks_subnet_is_free_once_its_tasks_have_stopped() {
    let mut world = World::new(1);
    network(&mut world, 1, |_| {});
    let web = world.service("web", ONE, |_, task| join(task, 1));
    world.settle();
    world.run(Command::RemoveService { id: web });
    world.run(Command::RemoveNetwork { id: network_id(1) });
    network(&mut world, 2, |_| {});
    world.plan();
    assert_eq!(subnet_of(&world, 2), "10.0.2.0/24");
    world.report("web.1a", TaskState::Shutdown);
    network(&mut world, 3, |_| {});
    world.plan();
    assert_eq!(subnet_of(&world, 3), "10.0.1.0/24");
}

#[test]
fn subnets_are_cut_in_order_around_those_asked_for() {
    let mut world = World::new(1);
    network(&mut world, 1, |spec| spec.ipam = subnet("10.0.2.0/23"));
    network(&mut world, 2, |_| {});
    network(&mut world, 3, |_| {});
    world.plan();
    let show = |number| {
        let network = world.state.networks().get(&number).expect("the network exists").clone();
        let allocation = network.allocation.clone().expect("the network is allocated");
        let config = allocation.ipam.configs[0].clone();
        (config.subnet, config.gateway, allocation.vni)
    };
    let text = |subnet: &str, gateway: &str, vni| (subnet.to_owned(), gateway.to_owned(), vni);
    assert_eq!(show(ingress_id()), text("10.0.0.0/24", "10.0.0.1", 4096));
    let mut vnis: Vec<u32> = (1..=3).map(|number| show(network_id(number)).2).collect();
    vnis.sort_unstable();
    assert_eq!(vnis, [4097, 4098, 4099]);
    assert_eq!(show(network_id(1)).0, "10.0.2.0/23");
    let mut cut = [show(network_id(2)).0, show(network_id(3)).0];
    cut.sort();
    assert_eq!(cut, ["10.0.1.0/24", "10.0.4.0/24"]);
    let options = &world.state.networks()[&ingress_id()].allocation.clone().expect("allocated");
    let vni = options.driver.options.get("com.docker.network.driver.overlay.vxlanid_list");
    assert_eq!(vni.map(String::as_str), Some("4096"));
}

#[test]
fn a_service_gets_an_address_its_task_another_and_the_node_a_third() {
    let mut world = World::new(1);
    network(&mut world, 1, |_| {});
    let web = world.service("web", ONE, |spec, task| {
        join(task, 1);
        publish(spec, 80, 8080);
    });
    world.plan();
    let endpoint = world.get(&web).endpoint.clone().expect("allocated");
    let vips: Vec<String> = endpoint.virtual_ips.iter().map(|vip| vip.addr.to_string()).collect();
    assert_eq!(vips, ["10.0.0.2", "10.0.1.2"]);
    assert_eq!(endpoint.ports[0].published, 8080);
    assert_eq!(task_ip(&world, "web.1a"), "10.0.0.3/24 10.0.1.3/24");
    for (network, addr) in [(ingress_id(), "10.0.0.4"), (network_id(1), "10.0.1.4")] {
        let gateways = &world.state.networks()[&network].gateways;
        assert_eq!(gateways.get(&node_id(1)), Some(&ip(addr)));
    }
    let task = world.task("web.1a");
    assert_eq!(task.endpoint.as_deref(), Some(&endpoint));
}

#[test]
fn addresses_set_free_are_not_given_again_at_once() {
    let mut world = World::new(1);
    network(&mut world, 1, |spec| spec.ipam = subnet("10.9.0.0/29"));
    world.service("web", ONE, |_, task| join(task, 1));
    world.settle();
    // .1 is the gateway of the subnet, .2 the service, .3 the task, .4 the node.
    assert_eq!(task_ip(&world, "web.1a"), "10.9.0.3/29");
    let mut seen = Vec::new();
    for letter in 'a'..'e' {
        world.pass(Duration::from_secs(1));
        world.report(&format!("web.1{letter}"), TaskState::Failed);
        world.plan();
        world.pass(Duration::from_secs(10));
        world.settle();
        let next = char::from(u8::try_from(letter).expect("ascii") + 1);
        seen.push(task_ip(&world, &format!("web.1{next}")));
    }
    assert_eq!(seen, ["10.9.0.5/29", "10.9.0.6/29", "10.9.0.3/29", "10.9.0.5/29"]);
}

#[test]
fn a_full_subnet_leaves_tasks_new_and_says_so() {
    let mut world = World::new(1);
    network(&mut world, 1, |spec| spec.ipam = subnet("10.9.0.0/29"));
    world.service("web", ServiceMode::Replicated { replicas: 9 }, |_, task| join(task, 1));
    let plan = world.plan();
    let new = world.state.tasks().values().filter(|it| it.status.state == TaskState::New).count();
    // Six usable: gateway, service and four tasks; the node comes too late.
    assert_eq!(new, 5, "{}", world.show());
    let text = "no address is left on network net1 (10.9.0.0/29, 5 in use)";
    let told = |task: &&Arc<Task>| task.status.error == text;
    assert_eq!(world.state.tasks().values().filter(told).count(), 5, "{}", world.show());
    let of_tasks = |reason: &&Reason| reason.text == text && reason.task.is_some();
    assert_eq!(plan.reasons.iter().filter(of_tasks).count(), 5);
}

#[test]
fn of_several_subnets_containers_have_the_first() {
    let mut world = World::new(1);
    network(&mut world, 1, |spec| {
        let configs = ["10.9.0.0/29", "10.8.0.0/24"].into_iter().filter_map(subnet);
        let configs = configs.flat_map(|ipam| ipam.configs).collect();
        spec.ipam = Some(IpamOptions { configs, ..IpamOptions::default() });
    });
    world.service("web", ServiceMode::Replicated { replicas: 3 }, |_, task| join(task, 1));
    world.plan();
    world.plan();
    let held = world.state.networks()[&network_id(1)].clone();
    assert_eq!(held.allocation.iter().flat_map(|it| &it.ipam.configs).count(), 2);
    let plan = network_plan(&held, &node_id(1)).expect("the node has an address").expect("made");
    assert_eq!(plan.subnets, [("10.9.0.0/29".to_owned(), held.gateways[&node_id(1)].to_string())]);
    world.service("more", ONE, |_, task| join(task, 1));
    let plan = world.plan();
    let text = "no address is left on network net1 (10.9.0.0/29, 5 in use)";
    assert!(plan.reasons.iter().any(|reason| reason.text == text), "{:?}", plan.reasons);
}

#[test]
fn ids_that_the_user_names_are_had_or_waited_for() {
    let mut world = World::new(1);
    let vnis = |world: &World, number| {
        let found = &world.state.networks()[&network_id(number)];
        let options = found.allocation.as_ref().map(|it| it.driver.options.clone());
        options.and_then(|mut it| it.remove(VNI_OPTION))
    };
    let named = |spec: &mut NetworkSpec, list: &str, subnets: &[&str]| {
        let options = [(VNI_OPTION.to_owned(), list.to_owned())].into();
        spec.driver = Some(Driver { name: "overlay".to_owned(), options });
        let configs = subnets.iter().flat_map(|text| subnet(text).unwrap_or_default().configs);
        spec.ipam = Some(IpamOptions { configs: configs.collect(), ..IpamOptions::default() });
    };
    let two = ["10.9.0.0/24", "10.8.0.0/24"];
    network(&mut world, 1, |spec| named(spec, "6000,6001,6002", &two));
    world.plan();
    network(&mut world, 2, |spec| named(spec, "7000", &["10.7.0.0/24", "10.6.0.0/24"]));
    for (number, bad) in (3..).zip(["6000", "x", "", "0", "16777216"]) {
        network(&mut world, number, |spec| named(spec, bad, &[]));
    }
    world.plan();
    assert_eq!(vnis(&world, 1).as_deref(), Some("6000,6001"));
    assert_eq!(vnis(&world, 2).as_deref(), Some("7000,4097"));
    for number in 3..8 {
        assert_eq!(vnis(&world, number), None, "network {number}");
    }
}

#[test]
fn a_network_with_ipv6_has_a_subnet_of_either_family() {
    let mut world = World::new(1);
    let subnets = |world: &World, number| -> Vec<String> {
        let found = &world.state.networks()[&network_id(number)];
        let configs = found.allocation.iter().flat_map(|allocation| &allocation.ipam.configs);
        configs.map(|config| format!("{} {}", config.subnet, config.gateway)).collect()
    };
    let dual = |spec: &mut NetworkSpec, subnets: &[&str]| {
        spec.ipv6 = true;
        let configs = subnets.iter().flat_map(|text| subnet(text).unwrap_or_default().configs);
        spec.ipam = Some(IpamOptions { configs: configs.collect(), ..IpamOptions::default() });
    };
    network(&mut world, 1, |spec| spec.ipv6 = true);
    network(&mut world, 2, |spec| dual(spec, &["fd00:2::/64"]));
    network(&mut world, 3, |spec| dual(spec, &["fd00:3::/64", "10.3.0.0/24"]));
    network(&mut world, 4, |spec| dual(spec, &["fd00:4::/124", "10.4.0.0/24"]));
    network(&mut world, 5, |spec| spec.ipv6 = true);
    world.plan();
    let given = [1, 5].map(|number| subnets(&world, number));
    for given in &given {
        let [v4, v6] = &given[..] else { panic!("two subnets: {given:?}") };
        assert!(v4.starts_with("10.0."), "{v4}");
        let (subnet, gateway) = v6.split_once(' ').expect("a subnet and its gateway");
        assert!(subnet.starts_with("fd") && subnet.ends_with("::/64"), "{v6}");
        assert_eq!(format!("{}1", subnet.trim_end_matches("/64")), gateway);
    }
    assert_ne!(given[0][1], given[1][1]);
    assert!(subnets(&world, 2)[0].starts_with("10.0."));
    assert_eq!(subnets(&world, 2)[1], "fd00:2::/64 fd00:2::1");
    assert_eq!(subnets(&world, 3), ["fd00:3::/64 fd00:3::1", "10.3.0.0/24 10.3.0.1"]);
    assert!(subnets(&world, 4).is_empty(), "not each task could have an address");
    world.service("web", ONE, |_, task| join(task, 3));
    world.plan();
    assert_eq!(task_ip(&world, "web.1a"), "10.3.0.3/24");
}

#[test]
fn round_robin_services_have_no_virtual_address() {
    let mut world = World::new(1);
    network(&mut world, 1, |_| {});
    let web = world.service("web", ONE, |spec, task| {
        join(task, 1);
        spec.endpoint =
            Some(EndpointSpec { mode: ResolutionMode::DnsRoundRobin, ..EndpointSpec::default() });
    });
    world.plan();
    assert_eq!(world.get(&web).endpoint.clone().expect("allocated").virtual_ips, []);
    assert_eq!(task_ip(&world, "web.1a"), "10.0.1.2/24");
}

#[test]
fn networks_of_the_nodes_have_no_addresses_here() {
    let mut world = World::new(1);
    let driver = Driver { name: "macvlan".to_owned(), ..Driver::default() };
    network(&mut world, 1, |spec| spec.driver = Some(driver));
    network(&mut world, 2, |spec| spec.predefined = true);
    let web = world.service("web", ONE, |_, task| {
        join(task, 1);
        join(task, 2);
    });
    world.plan();
    let task = world.task("web.1a");
    assert_eq!(task.status.state, TaskState::Assigned);
    assert_eq!(task.networks.len(), 2);
    assert_eq!(task_ip(&world, "web.1a"), "");
    assert_eq!(world.get(&web).endpoint.clone().expect("allocated").virtual_ips, []);
    assert!(world.state.networks()[&network_id(1)].allocation.is_none());
}

#[test]
fn automatic_ports_stick() {
    let mut world = World::new(1);
    let ports = |world: &World, id| {
        let endpoint = world.get(id).endpoint.clone().expect("allocated");
        endpoint.ports.iter().map(|port| port.published).collect::<Vec<_>>()
    };
    let web = world.service("web", ONE, |spec, _| publish(spec, 80, 0));
    let other = world.service("other", ONE, |spec, _| publish(spec, 80, 0));
    world.plan();
    let (first, second) = (ports(&world, &web), ports(&world, &other));
    assert_eq!([first.clone(), second.clone()].concat().len(), 2);
    assert_ne!(first, second);
    assert!(first[0] >= 30_000 && second[0] <= 30_001);
    world.update(&other, |spec, _| publish(spec, 81, 0));
    world.plan();
    assert_eq!(ports(&world, &other), [second[0], 30_002]);
    world.update(&other, |spec, _| publish(spec, 82, 30_003));
    world.plan();
    assert_eq!(ports(&world, &other), [second[0], 30_002, 30_003]);
    assert_eq!(world.get(&other).spec.endpoint.clone().expect("given").ports[0].published, 0);
}

#[test]
fn a_service_without_networks_is_allocated_all_the_same() {
    let mut world = World::new(1);
    let web = world.service("web", ONE, |_, _| {});
    world.plan();
    assert_eq!(world.get(&web).endpoint, Some(crate::model::service::Endpoint::default()));
}

#[test]
fn containers_of_users_get_addresses_too() {
    use crate::id::TaskId;
    let mut world = World::new(1);
    network(&mut world, 1, |spec| {
        (spec.attachable, spec.ipv6) = (true, true);
        spec.ipam = subnet("fd00:1::/64");
    });
    world.plan();
    world.availability(1, crate::model::node::Availability::Drain);
    let attach = |number: u64, asked: &[&str]| Command::Attach {
        id: TaskId::from_seed(77, number),
        node: node_id(1),
        container: format!("container{number}"),
        network: NetworkAttachment {
            target: network_id(1),
            addresses: asked.iter().filter_map(|addr| addr.parse().ok()).collect(),
            ..NetworkAttachment::default()
        },
    };
    world.run(attach(1, &[]));
    world.run(attach(2, &["10.0.1.77"]));
    world.run(attach(3, &["10.9.9.9"]));
    world.run(attach(4, &["fd00:1::78"]));
    world.plan();
    let held = |number: u64| {
        let task = &world.state.tasks()[&TaskId::from_seed(77, number)];
        let addresses = task.networks.iter().flat_map(|held| &held.addresses);
        (task.status.state, addresses.map(|(addr, _)| addr.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(held(1), (TaskState::Assigned, vec!["10.0.1.2".to_owned()]));
    assert_eq!(held(2), (TaskState::Assigned, vec!["10.0.1.77".to_owned()]));
    assert_eq!(held(3), (TaskState::New, Vec::new()));
    assert_eq!(held(4), (TaskState::Assigned, vec!["10.0.1.120".to_owned()]));
    world.run(Command::Detach { id: TaskId::from_seed(77, 2) });
    assert_eq!(world.state.tasks().len(), 3);
}
