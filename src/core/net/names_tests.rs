//! Tests of the name table: a table of cases, and the rule that no name leaves its networks.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::container::{ContainerSpec, DnsConfig};
use crate::model::service::{Endpoint, Runtime, TaskSpec, VirtualIp};
use crate::model::task::{ContainerStatus, Task, TaskState};
use crate::net::fixture::{World, ip};
use crate::net::takes_traffic;

fn stack() -> World {
    let mut world = World::default();
    world.network("ingress", "10.0.0.0/24").spec.ingress = true;
    world.network("shop_Front", "10.0.1.0/24");
    world.network("back", "10.0.2.0/24").spec.internal = true;
    world.service("shop_web", &["shop_Front=web", "back"]);
    world.service("shop_db", &["back=db"]);
    world.service("idle", &["shop_Front"]);
    world.task(
        "shop_web",
        &[("ingress", "10.0.0.5"), ("shop_Front=web", "10.0.1.5"), ("back", "10.0.2.5")],
    );
    world.task("shop_web", &[("shop_Front=web", "10.0.1.6"), ("back", "10.0.2.6")]);
    world.task("shop_db", &[("back=db", "10.0.2.7")]).status.container =
        Some(ContainerStatus { id: "0123456789abcdef".to_owned(), ..ContainerStatus::default() });
    world
}

fn table(world: &World) -> NameTable {
    NameTable::new(&world.state(), &World::node(1), true)
}

fn shown(table: &NameTable, source: &str, question: Question<'_>) -> String {
    match table.ask(ip(source), question) {
        Answer::Addresses(list) => {
            list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
        Answer::Name(name) => name,
        Answer::Forward(servers) => format!("forward {servers:?}"),
        other @ (Answer::Empty | Answer::Unknown | Answer::NoWayOut | Answer::Refused) => {
            format!("{other:?}")
        }
    }
}

#[test]
fn names_answer_on_the_networks_of_the_asker() {
    let world = stack();
    let db = world.state().tasks().values().map(|task| task.name()).find(|n| n.contains("db"));
    let db = db.expect("the stack has a database");
    let web = "10.0.1.5";
    let front = "10.0.1.5 10.0.1.6";
    for (source, name, expect) in [
        (web, "web", front),
        (web, "WEB.", front),
        (web, "shop_web", front),
        (web, "tasks.web", front),
        (web, "tasks.shop_web", front),
        (web, "web.skep", front),
        (web, "tasks.web.skep.", front),
        (web, "shop_web.shop_front", front),
        (web, "shop_web.back", "10.0.2.5 10.0.2.6"),
        (web, "shop_web.ingress", "forward []"),
        (web, "db", "10.0.2.7"),
        (web, &db, "10.0.2.7"),
        (web, "0123456789ab", "10.0.2.7"),
        ("10.0.2.7", "web", "NoWayOut"),
        ("10.0.2.7", "shop_web", "10.0.2.5 10.0.2.6"),
        (web, "idle", "Empty"),
        (web, "tasks.idle", "Empty"),
        (web, "nothing.skep", "Unknown"),
        (web, "skep", "Unknown"),
        (web, "notskep", "forward []"),
        (web, "example.org", "forward []"),
        (web, "", "forward []"),
        (web, ".", "forward []"),
        ("10.0.1.200", "web", front),
        ("10.0.1.200", "db", "forward []"),
        ("10.0.2.200", "example.org", "NoWayOut"),
        ("10.0.1.1", "web", front),
        ("10.0.1.1", "example.org", "Refused"),
        ("10.0.0.5", "db", "10.0.2.7"),
        ("10.0.0.9", "web", "forward []"),
        ("192.0.2.1", "web", "Refused"),
        ("::1", "web", "Refused"),
    ] {
        assert_eq!(shown(&table(&world), source, Question::V4(name)), expect, "{source} {name}");
    }
}

#[test]
fn other_questions_about_known_names_are_ours_too() {
    let table = table(&stack());
    for (question, expect) in [
        (Question::V6("web"), "Empty"),
        (Question::V6("example.org"), "forward []"),
        (Question::Other("web"), "Empty"),
        (Question::Other("x.skep"), "Unknown"),
        (Question::Pointer(ip("10.0.1.99")), "Unknown"),
        (Question::Pointer(ip("10.0.9.1")), "forward []"),
    ] {
        assert_eq!(shown(&table, "10.0.1.5", question), expect, "{question:?}");
    }
    let name = shown(&table, "10.0.1.5", Question::Pointer(ip("10.0.1.6")));
    assert!(name.starts_with("shop_web.") && name.ends_with(".shop_front"), "{name}");
    assert_eq!(shown(&table, "10.0.1.5", Question::V4(&name)), "10.0.1.6");
    assert_eq!(shown(&table, "10.0.2.7", Question::Pointer(ip("10.0.1.6"))), "NoWayOut");
}

#[test]
fn services_are_known_by_their_own_address_where_it_leads_somewhere() {
    let mut world = stack();
    let network = world.network("more", "10.0.3.0/24").id.clone();
    let service = world.service("api", &["more=a", "back"]);
    let addr = ip("10.0.3.2");
    let virtual_ips = vec![VirtualIp { network, addr, prefix: 24 }];
    service.endpoint = Some(Endpoint { virtual_ips, ..Endpoint::default() });
    world.task("api", &[("more=a", "10.0.3.5"), ("back", "10.0.2.8")]);
    world.task("api", &[("more=a", "10.0.3.6")]).node = Some(World::node(2));
    let led = table(&world);
    let plain = NameTable::new(&world.state(), &World::node(1), false);
    for (table, name, expect) in [
        (&led, "api", "10.0.3.2"),
        (&led, "a", "10.0.3.2"),
        (&led, "tasks.api", "10.0.3.5 10.0.3.6"),
        (&led, "api.back", "10.0.2.8"),
        (&plain, "api", "10.0.3.5 10.0.3.6"),
    ] {
        assert_eq!(shown(table, "10.0.3.5", Question::V4(name)), expect, "{name}");
    }
    let owner = shown(&led, "10.0.3.5", Question::Pointer(ip("10.0.3.2")));
    assert_eq!(owner, "api.more");
    // A node that has no bridge of a network knows none of its names.
    let elsewhere = NameTable::new(&world.state(), &World::node(3), true);
    assert_eq!(shown(&elsewhere, "10.0.3.5", Question::V4("api")), "Refused");
}

#[test]
fn names_of_a_network_with_ipv6_have_an_address_of_either_family() {
    let mut world = World::default();
    let network = world.network("more", "10.0.3.0/24").id.clone();
    world.dual("more", "fd00:3::/64");
    let virtual_ips = vec![VirtualIp { network, addr: ip("10.0.3.2"), prefix: 24 }];
    world.service("api", &["more"]).endpoint =
        Some(Endpoint { virtual_ips, ..Endpoint::default() });
    world.task("api", &[("more", "10.0.3.5")]);
    world.task("api", &[("more", "10.0.3.6")]);
    let table = table(&world);
    for (question, expect) in [
        (Question::V4("api"), "10.0.3.2"),
        (Question::V6("api"), "fd00:3::2"),
        (Question::V4("tasks.api"), "10.0.3.5 10.0.3.6"),
        (Question::V6("tasks.api"), "fd00:3::5 fd00:3::6"),
        (Question::Pointer(ip("fd00:3::2")), "api.more"),
        (Question::Pointer(ip("fd00:3::99")), "Unknown"),
        (Question::Pointer(ip("fd00:4::2")), "forward []"),
    ] {
        assert_eq!(shown(&table, "10.0.3.5", question), expect, "{question:?}");
    }
}

#[test]
fn tasks_that_stop_drop_out_at_once_but_may_still_ask() {
    let mut world = stack();
    world.task("shop_web", &[("shop_Front=web", "10.0.1.8")]).desired = TaskState::Shutdown;
    world.task("shop_web", &[("shop_Front=web", "10.0.1.9")]).status.state = TaskState::Starting;
    world.task("idle", &[("shop_Front", "10.0.1.5")]).status.state = TaskState::Failed;
    let table = table(&world);
    for source in ["10.0.1.8", "10.0.1.9"] {
        assert_eq!(shown(&table, source, Question::V4("web")), "10.0.1.5 10.0.1.6");
    }
    // The address of the failed task belongs to the one that runs: it still sees `back`.
    assert_eq!(shown(&table, "10.0.1.5", Question::V4("db")), "10.0.2.7");
}

#[test]
fn outside_names_go_to_the_users_own_servers() {
    let mut world = stack();
    let servers = ["9.9.9.9", "bad", "127.0.0.1", "2620:fe::9"];
    let dns =
        DnsConfig { nameservers: servers.map(str::to_owned).to_vec(), ..DnsConfig::default() };
    let container = ContainerSpec { dns: Some(dns), ..ContainerSpec::default() };
    world.task("shop_web", &[("shop_Front", "10.0.1.7")]).spec = Arc::new(TaskSpec {
        runtime: Runtime::Container(Box::new(container)),
        ..TaskSpec::default()
    });
    let table = table(&world);
    let answer = shown(&table, "10.0.1.7", Question::V4("example.org"));
    assert_eq!(answer, "forward [9.9.9.9, 2620:fe::9]");
}

/// One task: its service, a bit for each network it is on, how far it went and should go.
type Drawn = (usize, u8, usize, usize);

fn drawn_world(tasks: &[Drawn]) -> World {
    let mut world = World::default();
    let names: Vec<String> = (0..4).map(|n| format!("net{n}")).collect();
    for (number, name) in names.iter().enumerate() {
        world.network(name, &format!("10.0.{number}.0/24"));
    }
    for number in 0..3 {
        world.service(&format!("s{number}"), &[]);
    }
    for (index, (service, on, seen, desired)) in tasks.iter().enumerate() {
        let addresses: Vec<String> = (0..4).map(|n| format!("10.0.{n}.{}", index + 10)).collect();
        let attached: Vec<(&str, &str)> = (0..4)
            .filter(|n| on & (1 << n) != 0)
            .map(|n| (names[n].as_str(), addresses[n].as_str()))
            .collect();
        let task = world.task(&format!("s{service}"), &attached);
        (task.status.state, task.desired) = (TaskState::ALL[*seen], TaskState::ALL[*desired]);
    }
    world
}

proptest! {
    #[test]
    fn no_name_leaves_its_networks(
        tasks in prop::collection::vec((0..3_usize, 0..16_u8, 0..14_usize, 0..14_usize), 0..24),
    ) {
        let world = drawn_world(&tasks);
        let (state, table) = (world.state(), table(&world));
        let all: Vec<&Arc<Task>> = state.tasks().values().collect();
        for asker in &all {
            let on: BTreeSet<&NetworkId> = asker.networks.iter().map(|n| &n.network.id).collect();
            let Some((source, _)) = asker.networks.first().map(|n| n.addresses[0]) else { continue };
            if asker.status.state.is_terminal() {
                continue;
            }
            for service in 0..3 {
                let name = format!("tasks.s{service}");
                let Answer::Addresses(found) = table.ask(source, Question::V4(&name)) else {
                    continue;
                };
                for addr in found {
                    let owner = all.iter().find_map(|task| {
                        let at = task.networks.iter().find(|n| n.addresses[0].0 == addr)?;
                        Some((task, &at.network.id))
                    });
                    let (owner, network) = owner.expect("every address has an owner");
                    prop_assert!(on.contains(network), "{source} sees {addr}");
                    prop_assert!(takes_traffic(owner), "{addr} takes no traffic");
                    prop_assert_eq!(&owner.service_annotations.name, &format!("s{service}"));
                }
            }
        }
    }

    #[test]
    fn any_question_is_answered(source in any::<[u8; 4]>(), name in ".{0,300}", addr in any::<[u8; 16]>()) {
        let table = table(&stack());
        for source in [IpAddr::from(source), ip("10.0.1.5"), ip("10.0.2.9")] {
            for question in [Question::V4(&name), Question::V6(&name), Question::Other(&name)] {
                prop_assert!(!matches!(table.ask(source, question), Answer::Name(_)));
            }
            table.ask(source, Question::Pointer(addr.into()));
        }
    }
}
