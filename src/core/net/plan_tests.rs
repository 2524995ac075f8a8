//! Tests of what a node's network should be: three hosts, a service on two networks, the mesh.

use proptest::prelude::*;

use super::*;
use crate::model::node::NodeAgent;
use crate::model::service::{Endpoint, PortConfig, VirtualIp};
use crate::model::tunnel_key::TunnelKey;
use crate::net::fixture::{World, ip};
use crate::net::kernel::{Kernel, Link, LinkKind, NetOp, steps};
use crate::net::ruleset::Chain;
use crate::net::wireguard::WirePeer;

fn host(number: u64) -> Host {
    let addr = Ipv4Addr::new(192, 0, 2, u8::try_from(number).expect("tests have few hosts"));
    Host { node: World::node(number), addr }
}

/// Two tasks of `web` on hosts 1 and 2, on `front` and the mesh; host 3 has a bridge of the mesh alone.
fn three_hosts() -> World {
    let mut world = World::default();
    for number in 1..=3 {
        world.host(number, &host(number).addr.to_string());
    }
    world.network("ingress", "10.0.0.0/24").spec.ingress = true;
    world.network("front", "10.0.1.0/24");
    for number in 1..=3 {
        world.join("ingress", number, &format!("10.0.0.{}", 100 + number));
    }
    world.join("front", 1, "10.0.1.101");
    world.join("front", 2, "10.0.1.102");
    let front = world.state().networks().values().find(|it| !it.spec.ingress).cloned();
    let network = front.expect("it was made").id.clone();
    let service = world.service("web", &["front"]);
    let port = PortConfig { published: 8080, target: 80, ..PortConfig::default() };
    let virtual_ips = vec![VirtualIp { network, addr: ip("10.0.1.2"), prefix: 24 }];
    service.endpoint = Some(Endpoint { ports: vec![port], virtual_ips, ..Endpoint::default() });
    world.task("web", &[("ingress", "10.0.0.5"), ("front", "10.0.1.5")]);
    world.task("web", &[("ingress", "10.0.0.6"), ("front", "10.0.1.6")]).node =
        Some(World::node(2));
    world
}

fn on(world: &World, number: u64) -> Desired {
    desired(&world.state(), &host(number))
}

#[test]
fn bridges_are_joined_where_both_ends_are() {
    let found = on(&three_hosts(), 1);
    let links: Vec<_> = found.tunnels.iter().map(|(name, it)| (name.as_str(), it.vni)).collect();
    assert_eq!(links, [("skret", 4095), ("skv4096", 4096), ("skv4097", 4097)]);
    let ways = |link: &str| -> Vec<String> {
        let held = found.forwards.iter().filter(|it| it.link == link);
        held.filter_map(|it| Some(format!("{} {}", it.mac, it.to?))).collect()
    };
    assert_eq!(ways("skv4097"), ["02:42:0a:00:01:06 192.0.2.2", "02:5e:c0:00:02:02 192.0.2.2"]);
    assert_eq!(
        ways("skv4096"),
        [
            "02:42:0a:00:00:06 192.0.2.2",
            "02:5e:c0:00:02:02 192.0.2.2",
            "02:5e:c0:00:02:03 192.0.2.3"
        ]
    );
    let known: Vec<String> =
        found.neighbours.iter().map(|it| format!("{} {}", it.addr, it.mac)).collect();
    assert!(known.contains(&"10.0.1.6 02:42:0a:00:01:06".to_owned()));
    assert!(known.contains(&"10.0.1.102 02:5e:c0:00:02:02".to_owned()));
    assert_eq!(on(&three_hosts(), 3).tunnels.len(), 2, "host 3 has no bridge of front");
}

#[test]
fn one_node_alone_needs_no_tunnel() {
    let mut world = World::default();
    world.host(1, "127.0.0.1");
    world.network("ingress", "10.0.0.0/24").spec.ingress = true;
    let found = on(&world, 1);
    assert_eq!(found.bridges.len(), 1);
    assert!(found.tunnels.is_empty() && found.returns.is_empty() && found.forwards.is_empty());
    assert!(!found.rules.whole([]).to_string().contains("4789"));
    assert_eq!(on(&World::default(), 1), Desired::default());
}

#[test]
fn stock_engines_and_ended_tasks_are_no_neighbours() {
    let mut world = three_hosts();
    world.task("web", &[("front", "10.0.1.9")]).node = Some(World::node(4));
    world.host(4, "192.0.2.4").agent = Some(NodeAgent::Engine);
    let ended = world.task("web", &[("front", "10.0.1.10")]);
    (ended.node, ended.status.state) = (Some(World::node(2)), TaskState::Failed);
    assert_eq!(on(&world, 1), on(&three_hosts(), 1));
}

#[test]
fn without_keys_nothing_of_an_encrypted_network_crosses_a_wire() {
    let mut world = three_hosts();
    world.encrypt("front");
    world.give_keys(&[2]);
    let found = on(&world, 1);
    assert!(!found.tunnels.contains_key("skv4097"));
    assert!(found.forwards.iter().all(|it| it.link != "skv4097"));
    assert_eq!(rules_of(&found, "v_10_0_1_2"), ["dnat to 10.0.1.5"]);
    // The link is there before the key that it brings.
    let alone =
        WireGuard { endpoint: host(1).addr, addr: [240, 0, 2, 1].into(), peers: BTreeMap::new() };
    assert_eq!(found.wireguard, Some(alone));
    assert_eq!(on(&three_hosts(), 1).wireguard, None);
    assert_eq!(on(&world, 3).wireguard, None, "host 3 has no bridge of it");
}

#[test]
fn connections_of_tunnels_are_not_followed() {
    let wall = wall_of(&on(&three_hosts(), 1));
    for rule in ["c_heard udp dport 4789 ip saddr", "c_sent udp dport 4789 ip daddr"] {
        assert!(wall.contains(&format!("{rule} @peers notrack\n")), "{wall}");
    }
    let mut alone = World::default();
    alone.host(1, "127.0.0.1");
    alone.network("ingress", "10.0.0.0/24").spec.ingress = true;
    assert!(!wall_of(&on(&alone, 1)).contains("notrack"));
}

/// Everything a wall does, as it is written.
fn wall_of(desired: &Desired) -> String {
    let chains = &desired.rules.tables["inet skep_fw"].chains;
    let lines = chains.iter().flat_map(|(name, it)| it.rules.iter().map(move |rule| (name, rule)));
    lines.map(|(name, rule)| format!("{name} {rule}\n")).collect()
}

#[test]
fn an_encrypted_network_ends_on_the_encrypted_link() {
    let mut world = three_hosts();
    world.encrypt("front");
    world.give_keys(&[1, 2, 3]);
    let found = on(&world, 1);
    let ends: Vec<_> =
        found.tunnels.iter().map(|(name, it)| format!("{name} {}", it.local)).collect();
    assert_eq!(ends, ["skret 192.0.2.1", "skv4096 192.0.2.1", "skv4097 240.0.2.1"]);
    let to: BTreeSet<_> = found.forwards.iter().filter(|it| it.link == "skv4097").collect();
    let to: BTreeSet<_> = to.iter().filter_map(|it| it.to).collect();
    assert_eq!(to, BTreeSet::from([Ipv4Addr::new(240, 0, 2, 2)]));
    let wireguard = found.wireguard.as_ref().expect("it has a peer");
    let peer = WirePeer { endpoint: [192, 0, 2, 2].into(), addr: [240, 0, 2, 2].into() };
    assert_eq!(wireguard.peers, [(TunnelKey([2; 32]), peer)].into());
    let turns = ["numgen inc mod 2 == 0 dnat to 10.0.1.5", "dnat to 10.0.1.6"];
    assert_eq!(rules_of(&found, "v_10_0_1_2"), turns);
    let wall = wall_of(&found);
    for rule in [
        "c_fwd iifname \"skwg\" drop\nc_fwd oifname \"skwg\" drop\nc_fwd oifname != @links",
        "c_in iifname \"skwg\" udp dport 4789 @th,96,24 { 4097 } accept\n\
         c_in iifname \"skwg\" drop\nc_in udp dport 4789 @th,96,24 { 4097 } drop\n\
         c_in udp dport 61820 ip saddr != @peers drop\n",
        "c_out oifname != \"skwg\" udp dport 4789 @th,96,24 { 4097 } drop\n\
         c_out udp sport 61820 udp dport 61820 ip daddr @peers ip saddr set 192.0.2.1\n",
    ] {
        assert!(wall.contains(rule), "{wall}");
    }
    assert!(!wall_of(&on(&three_hosts(), 1)).contains("skwg"));
}

#[test]
fn an_encrypted_mesh_returns_encrypted() {
    let mut world = three_hosts();
    world.encrypt("ingress");
    world.give_keys(&[1, 2, 3]);
    let found = on(&world, 1);
    let ends: Vec<_> =
        found.tunnels.iter().map(|(name, it)| format!("{name} {}", it.local)).collect();
    assert_eq!(ends, ["skret 240.0.2.1", "skv4096 240.0.2.1", "skv4097 192.0.2.1"]);
    let back = found.forwards.iter().filter(|it| it.link == RETURN_LINK).filter_map(|it| it.to);
    let back: BTreeSet<_> = back.collect();
    assert_eq!(back, [[240, 0, 2, 2].into(), [240, 0, 2, 3].into()].into());
    assert!(wall_of(&found).contains("c_in udp dport 4789 @th,96,24 { 4095, 4096 } drop"));
    // Whom no connection can be led to by the mesh, no port leads to.
    let mut world = three_hosts();
    world.encrypt("ingress");
    let third = on(&world, 3);
    assert!(!third.rules.tables["ip skep"].chains.contains_key("p_tcp_8080"));
}

#[test]
fn who_has_the_key_or_the_address_of_another_is_no_peer() {
    let mut world = three_hosts();
    world.encrypt("ingress");
    world.give_keys(&[1, 2, 3]);
    // Only the first four bits of its address differ from this node's.
    world.host(4, "208.0.2.1");
    world.host(5, "192.0.2.5");
    world.give_keys(&[4, 5]);
    world.join("ingress", 4, "10.0.0.104");
    world.join("ingress", 5, "10.0.0.105");
    let count = |world: &World| on(world, 1).wireguard.expect("it has peers").peers.len();
    assert_eq!(count(&world), 3);
    for node in world.nodes() {
        node.description.tunnel_key = Some(TunnelKey([1; 32]));
    }
    assert_eq!(count(&world), 0);
}

fn rules_of(desired: &Desired, chain: &str) -> Vec<String> {
    written(&desired.rules.tables["ip skep"].chains[chain])
}

fn written(chain: &Chain) -> Vec<String> {
    chain.rules.iter().map(ToString::to_string).collect()
}

#[test]
fn ports_are_open_where_a_label_says() {
    let rules = |place: &str| -> Vec<String> {
        let mut world = three_hosts();
        world.label("web", crate::labels::PUBLISH_INTERFACE, place);
        let found = on(&world, 1);
        let chain = found.rules.tables["ip skep"].chains.get("p_tcp_8080");
        chain.map(|chain| written(chain)).unwrap_or_default()
    };
    let lead = "meta l4proto tcp dnat to 10.0.0.5:80";
    assert_eq!(rules("eth0"), [format!("iifname \"eth0\" {lead}")]);
    assert_eq!(rules("192.0.2.1"), [format!("ip daddr 192.0.2.1 {lead}")]);
    assert_eq!(rules("2001:db8::1"), Vec::<String>::new());
}

#[test]
fn services_of_many_tasks_have_one_map() {
    let mut world = three_hosts();
    for number in 0..127 {
        let (front, mesh) = (format!("10.0.1.{}", 20 + number), format!("10.0.0.{}", 20 + number));
        world.task("web", &[("ingress", &mesh), ("front", &front)]);
    }
    let found = on(&world, 1);
    let first = |chain: &str| rules_of(&found, chain)[0].clone();
    assert!(first("v_10_0_1_2").starts_with("dnat ip to numgen inc mod 129 map { 0 : 10.0.1.5, "));
    assert_eq!(rules_of(&found, "v_10_0_1_2").len(), 1);
    assert_eq!(rules_of(&found, "p_tcp_8080").len(), 128, "host 2 has one of them");
}

#[test]
fn addresses_and_ports_lead_to_tasks() {
    let world = three_hosts();
    let (first, third) = (on(&world, 1), on(&world, 3));
    let turns = ["numgen inc mod 2 == 0 dnat to 10.0.1.5", "dnat to 10.0.1.6"];
    assert_eq!(rules_of(&first, "v_10_0_1_2"), turns);
    assert_eq!(rules_of(&first, "p_tcp_8080"), ["meta l4proto tcp dnat to 10.0.0.5:80"]);
    let all = ["numgen inc mod 2 == 0 dnat to 10.0.0.5:80", "dnat to 10.0.0.6:80"];
    let all = all.map(|lead| format!("meta l4proto tcp {lead}"));
    assert_eq!(rules_of(&third, "p_tcp_8080"), all);
    assert!(third.locals.is_empty(), "host 3 has no bridge of front");
    let marks: Vec<String> = first.returns.iter().map(|it| format!("{:x}", it.mark)).collect();
    assert_eq!(marks, ["5e000202", "5e000203"]);
}

fn dual_hosts() -> World {
    let mut world = three_hosts();
    world.dual("front", "fd00:1::/64");
    world.dual("ingress", "fd00::/64");
    world
}

#[test]
fn what_ipv4_has_ipv6_has_beside_it() {
    let mut world = dual_hosts();
    world.nodes()[1].description.host_addresses = vec![Ipv6Addr::LOCALHOST];
    let (found, third) = (on(&world, 1), on(&world, 3));
    let known = |link: &str| -> Vec<String> {
        let held = found.neighbours.iter().filter(|it| it.link.starts_with(link));
        let held = held.filter(|it| it.addr.is_ipv6());
        held.map(|it| format!("{} {}", it.addr, it.mac)).collect()
    };
    let front = ["fd00:1::6 02:42:0a:00:01:06", "fd00:1::66 02:5e:c0:00:02:02"];
    assert_eq!(known("sk4097"), front);
    assert_eq!(
        known("skret"),
        ["fe80::c000:202 02:5e:c0:00:02:02", "fe80::c000:203 02:5e:c0:00:02:03"]
    );
    assert_eq!(found.forwards, on(&three_hosts(), 1).forwards, "one tunnel takes both");
    let proxies: Vec<_> = found.proxies.iter().map(|it| it.addr.to_string()).collect();
    assert_eq!(proxies, ["fd00:1::2"]);
    assert_eq!(found.locals.len(), 2);
    let rules = |desired: &Desired, chain: &str| -> Vec<String> {
        written(&desired.rules.tables["ip6 skep"].chains[chain])
    };
    let turns = ["numgen inc mod 2 == 0 dnat to fd00:1::5", "dnat to fd00:1::6"];
    assert_eq!(rules(&found, "v_fd00_1__2"), turns);
    let all = ["numgen inc mod 2 == 0 dnat to [fd00::5]:80", "dnat to [fd00::6]:80"];
    let all = all.map(|lead| format!("meta l4proto tcp {lead}"));
    assert_eq!(rules(&third, "p_tcp_8080"), all);
    let nodes = &found.rules.tables["ip6 skep"].sets["nodes"].elements;
    assert_eq!(nodes.keys().cloned().collect::<Vec<_>>(), [ip("::1").into()]);
    assert!(
        wall_of(&found).contains("c_in ip6 daddr @gateways6 iifname . ip6 daddr != @own6 drop")
    );
    assert_eq!(found.accepts[&Family::V4], found.accepts[&Family::V6]);
    // Each family of a network of one alone is as it was.
    let plain = on(&three_hosts(), 1);
    assert_eq!(found.rules.tables["ip skep"], plain.rules.tables["ip skep"]);
    assert!(!plain.rules.tables.contains_key("ip6 skep"));
}

#[test]
fn an_address_without_tasks_is_refused() {
    let mut world = World::default();
    let network = world.network("front", "10.0.1.0/24").id.clone();
    let virtual_ips = vec![VirtualIp { network, addr: ip("10.0.1.2"), prefix: 24 }];
    world.service("web", &["front"]).endpoint =
        Some(Endpoint { virtual_ips, ..Endpoint::default() });
    assert_eq!(rules_of(&on(&world, 1), "v_10_0_1_2"), ["accept"]);
}

/// What the kernel looks like once the steps are done, for what can be told without one.
fn carried_out(desired: &Desired, mut kernel: Kernel) -> Kernel {
    for step in steps(desired, &kernel.clone()) {
        match step {
            NetOp::RemoveTunnel(name) => {
                kernel.links.remove(&name);
                kernel.forwards.retain(|it| it.link != name);
                kernel.neighbours.retain(|it| it.link != name);
            }
            NetOp::SetMac(name, mac) => {
                if let Some(link) = kernel.links.get_mut(&name) {
                    link.mac = mac;
                }
            }
            NetOp::AddTunnel(name, tunnel) => {
                let link = Link {
                    kind: LinkKind::Tunnel(tunnel),
                    mac: Mac::default(),
                    bridge: None,
                    tuned: false,
                };
                assert_eq!(kernel.links.insert(name, link), None);
            }
            NetOp::JoinBridge(name, bridge) => {
                assert!(kernel.links.contains_key(&bridge));
                let link = kernel.links.get_mut(&name).expect("it was made");
                (link.bridge, link.tuned) = (Some(bridge), true);
            }
            NetOp::Hairpin(name) => kernel.links.get_mut(&name).expect("it is there").tuned = true,
            NetOp::RemoveForward(it) => assert!(kernel.forwards.remove(&it)),
            NetOp::AddForward(it) => {
                assert!(kernel.links.contains_key(&it.link));
                assert!(kernel.forwards.insert(it));
            }
            NetOp::RemoveNeighbour(it) => assert!(kernel.neighbours.remove(&it)),
            NetOp::AddNeighbour(it) => {
                assert!(kernel.links.contains_key(&it.link));
                assert!(kernel.neighbours.insert(it));
            }
            NetOp::RemoveLocal(it) => assert!(kernel.locals.remove(&it)),
            NetOp::AddLocal(it) => assert!(kernel.locals.insert(it)),
            NetOp::RemoveProxy(it) => assert!(kernel.proxies.remove(&it)),
            NetOp::AddProxy(it) => assert!(kernel.proxies.insert(it)),
            NetOp::RemoveReturn(it) => assert!(kernel.returns.remove(&it)),
            NetOp::AddReturn(it) => assert!(kernel.returns.insert(it)),
            NetOp::RemoveSelector(it) => assert!(kernel.selectors.remove(&it)),
            NetOp::AddSelector(it) => assert!(kernel.selectors.insert(it)),
            NetOp::Set(path, value) => {
                kernel.settings.insert(path, value.to_owned());
            }
            NetOp::RemoveAccept(family, it) => {
                assert!(kernel.accepts.get_mut(&family).is_some_and(|held| held.remove(&it)))
            }
            NetOp::AddAccept(family, it) => {
                assert!(kernel.accepts.get_mut(&family).is_some_and(|held| held.insert(it)))
            }
        }
    }
    kernel
}

/// A kernel in which the engine has made these of the wanted bridges, each with a container on it.
fn engine_made(desired: &Desired, which: &[bool]) -> Kernel {
    let accepts = Family::ALL.map(|family| (family, BTreeSet::new())).into();
    let mut kernel = Kernel { accepts, ..Kernel::default() };
    for (number, (bridge, _)) in desired.bridges.iter().enumerate() {
        if which.get(number).is_none_or(|made| *made) {
            add_bridge(&mut kernel, bridge);
        }
    }
    kernel
}

fn add_bridge(kernel: &mut Kernel, bridge: &str) {
    let link = |kind, bridge: Option<&str>| Link {
        kind,
        mac: Mac::default(),
        bridge: bridge.map(str::to_owned),
        tuned: false,
    };
    kernel.links.entry(bridge.to_owned()).or_insert_with(|| link(LinkKind::Bridge, None));
    let port = format!("veth-{bridge}");
    kernel.links.entry(port).or_insert_with(|| link(LinkKind::Port, Some(bridge)));
}

#[test]
fn steps_lead_there_and_then_there_are_none() {
    let desired = on(&dual_hosts(), 1);
    let kernel = carried_out(&desired, engine_made(&desired, &[]));
    assert_eq!(steps(&desired, &kernel), []);
    assert!(kernel.forwards.iter().eq(&desired.forwards));
    assert_eq!(kernel.accepts, desired.accepts);
    // What is not wanted any more goes, and nothing of others.
    let nothing = carried_out(&Desired::default(), kernel);
    let left: Vec<_> = nothing.links.values().map(|link| link.kind.clone()).collect();
    assert!(left.iter().all(|kind| !matches!(kind, LinkKind::Tunnel(_))));
    assert!(nothing.forwards.is_empty() && nothing.locals.is_empty() && nothing.returns.is_empty());
    assert!(nothing.selectors.is_empty() && nothing.neighbours.is_empty());
    assert!(nothing.proxies.is_empty() && nothing.accepts.values().all(BTreeSet::is_empty));
}

/// Says which tasks there are, by node and network, and which bridges the engine has made so far.
fn shapes() -> impl Strategy<Value = (Vec<(u64, bool)>, Vec<bool>)> {
    (
        prop::collection::vec((1..=3_u64, any::<bool>()), 0..6),
        prop::collection::vec(any::<bool>(), 2),
    )
}

proptest! {
    /// Whatever was there before, and in whatever order the engine makes its bridges: one pass leads to what is wanted.
    #[test]
    fn any_state_leads_to_any_other((old, made) in shapes(), (new, later) in shapes()) {
        let world = |tasks: &[(u64, bool)]| {
            let mut world = if tasks.len().is_multiple_of(2) { three_hosts() } else { dual_hosts() };
            for (number, (node, fronted)) in tasks.iter().enumerate() {
                let network = if *fronted { "front" } else { "ingress" };
                let addr = format!("10.0.{}.{}", u8::from(*fronted), 20 + number);
                world.task("web", &[(network, &addr)]).node = Some(World::node(*node));
            }
            world
        };
        let (before, after) = (on(&world(&old), 1), on(&world(&new), 1));
        let mut kernel = carried_out(&before, engine_made(&before, &made));
        for (number, bridge) in after.bridges.keys().enumerate() {
            if later.get(number).is_some_and(|made| *made) {
                add_bridge(&mut kernel, bridge);
            }
        }
        let kernel = carried_out(&after, kernel);
        prop_assert_eq!(steps(&after, &kernel), []);
        let changes = after.rules.since(&before.rules);
        prop_assert_eq!(changes.is_empty(), after.rules == before.rules);
    }
}
