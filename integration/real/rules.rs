//! Packet rules that skep changes in the kernel by itself are those that nft makes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value as Json;
use skep::dataplane::Rules;
use skep_core::labels::Place;
use skep_core::model::service::PortProtocol;
use skep_core::net::element::{Key, Part, Value};
use skep_core::net::mac::Mac;
use skep_core::net::rule::{Lead, Rule};
use skep_core::net::ruleset::{Ruleset, Set, Table};
use skep_integration::{ADDRESS, Namespace};

/// A family's table: how it is called, its addresses in sets, and the first of the tasks.
struct Family {
    table: &'static str,
    /// Types of virtual addresses, of those by link, and of gateways.
    types: [&'static str; 3],
    first: IpAddr,
}

const FAMILIES: [Family; 2] = [
    Family {
        table: "ip skep",
        types: ["ipv4_addr", "ifname . ipv4_addr : verdict", "ifname : ipv4_addr"],
        first: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)),
    },
    Family {
        table: "ip6 skep",
        types: ["ipv6_addr", "ifname . ipv6_addr : verdict", "ifname : ipv6_addr"],
        first: IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0)),
    },
];

const PROTOCOLS: [PortProtocol; 3] = [PortProtocol::Tcp, PortProtocol::Udp, PortProtocol::Sctp];

impl Family {
    fn task(&self, number: u8) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() + u32::from(number)).into(),
            IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() + u128::from(number)).into(),
        }
    }

    /// Makes the rules of services that are so many, with as many tasks each as their number says, and one more.
    fn table(&self, services: u8, more: u8) -> Table {
        let mut table = Table::default();
        let [addr, by_link, of_link] = self.types;
        let types = "inet_proto . inet_service : verdict";
        for (name, types) in [("virtual_ips", addr), ("vips", by_link), ("ports", types)] {
            table.sets.insert(name, Set::new(types));
        }
        table.sets.insert("gateways", Set::new(of_link));
        table.sets.insert("came_by", Set::new("ether_addr : mark"));
        let family = self.table.split(' ').next().unwrap_or_default();
        let entries = [
            format!("iifname . {family} daddr vmap @vips"),
            "meta l4proto . th dport vmap @ports".to_owned(),
        ];
        table.put_chain("c_pre", "type nat hook prerouting priority -110;", entries);
        for service in 1..=services {
            self.put_service(&mut table, service, more);
        }
        table
    }

    fn put_service(&self, table: &mut Table, service: u8, more: u8) {
        let virtual_ip = self.task(100 + service);
        let chain = format!("v_{service}");
        table.put_element("virtual_ips", virtual_ip, Value::Nothing);
        table.put_element("vips", ("sk4097", virtual_ip), Value::Goto(chain.clone()));
        let link = format!("sk{service}");
        table.put_element("gateways", link.as_str(), Value::Addr(self.task(200 + service)));
        let mac = Mac([2, 66, 10, 0, more, service]);
        table.put_element("came_by", Part::Mac(mac), Value::Mark(0x5e00_0000 + u32::from(more)));
        let tasks = u32::from(service - 1 + more);
        table.put_chain(&chain, "", self.leads(tasks, None, None));
        for protocol in PROTOCOLS {
            let port = format!("p_{service}_{protocol:?}");
            let key = Key(vec![Part::Protocol(protocol), Part::Port(8000 + u16::from(service))]);
            table.put_element("ports", key, Value::Goto(port.clone()));
            let place = match service % 3 {
                0 => None,
                1 => Some(Place::Interface("eth0".to_owned())),
                _ => Some(Place::Address(self.task(250))),
            };
            table.put_chain(&port, "", self.leads(tasks.max(1), Some(protocol), place));
        }
    }

    /// Leads to so many tasks in turn.
    fn leads(&self, tasks: u32, protocol: Option<PortProtocol>, place: Option<Place>) -> Vec<Rule> {
        if tasks == 0 {
            return vec![Rule::Accept];
        }
        let lead = |left: u32| {
            let (one_in, port) = ((left > 1).then_some(left), protocol.map(|_| 80));
            let addr = self.task(u8::try_from(left).unwrap_or(u8::MAX));
            Rule::Lead(Lead { place: place.clone(), protocol, one_in, addr, port })
        };
        (1..=tasks).rev().map(lead).collect()
    }
}

fn ruleset(services: u8, more: u8) -> Ruleset {
    let tables = FAMILIES.iter().map(|family| (family.table, family.table(services, more)));
    Ruleset { tables: tables.collect() }
}

#[test]
fn the_kernel_is_told_what_nft_would_tell_it() -> Result<()> {
    let (told, written) = (Namespace::new(ADDRESS)?, Namespace::new(ADDRESS)?);
    let steps = [(3, 0), (5, 0), (5, 2), (2, 1), (9, 0), (0, 0), (4, 3)];
    told.enter(async || {
        let mut rules = Rules::open()?;
        let mut first = None;
        for (services, more) in steps {
            let wanted = ruleset(services, more);
            rules.set(&wanted).await?;
            nft(&written, &["-f", "-"], &wanted.whole(skep_core::net::TABLES).to_string())?;
            let found = listed(&told)?;
            let expected = listed(&written)?;
            ensure!(in_order(&found) == in_order(&expected), "{found:#?}, not {expected:#?}");
            // Had the kernel refused anything, nft would have made all tables anew.
            let handles = Some(handles(&found));
            ensure!(*first.get_or_insert(handles.clone()) == handles, "tables were made anew");
        }
        Ok(())
    })
}

#[test]
fn what_others_change_is_set_again() -> Result<()> {
    let space = Namespace::new(ADDRESS)?;
    space.enter(async || {
        let mut rules = Rules::open()?;
        // So much that the kernel cannot tell of it all.
        let wanted = ruleset(20, 4);
        rules.set(&wanted).await?;
        let expected = listed(&space)?;
        nft(&space, &["add", "table", "ip", "of_others"], "")?;
        ensure!(!rules.were_changed(), "nobody changed what is skep's");
        for change in ["delete element ip skep ports { tcp . 8001 }", "flush ruleset"] {
            nft(&space, &["-f", "-"], change)?;
            rules.changed().await;
            rules.set(&wanted).await?;
            nft(&space, &["add", "table", "ip", "of_others"], "")?;
            ensure!(in_order(&listed(&space)?) == in_order(&[&expected[..], &others()].concat()));
            ensure!(!rules.were_changed(), "one's own change is not another's");
        }
        Ok(())
    })
}

/// The table of others, as it is listed.
fn others() -> [Json; 1] {
    [serde_json::json!({ "table": { "family": "ip", "name": "of_others" } })]
}

fn nft(space: &Namespace, args: &[&str], input: &str) -> Result<String> {
    use std::io::Write as _;
    let mut command = space.command("nft");
    let piped = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.spawn()?;
    child.stdin.take().context("stdin is piped")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "nft {args:?} failed");
    Ok(String::from_utf8(output.stdout)?)
}

/// Lists everything in a namespace, an object each.
fn listed(space: &Namespace) -> Result<Vec<Json>> {
    let listed: Json = serde_json::from_str(&nft(space, &["-j", "list", "ruleset"], "")?)?;
    listed["nftables"].as_array().cloned().context("a list")
}

/// Finds the numbers of the tables, which no table ever had before.
fn handles(listed: &[Json]) -> Vec<Json> {
    let tables = listed.iter().filter_map(|it| it.get("table"));
    tables.map(|table| table["handle"].clone()).collect()
}

/// Puts a list into an order of which the history is of no account; the rules of a chain stay in theirs.
fn in_order(listed: &[Json]) -> Vec<(String, String)> {
    let mut listed: Vec<_> = listed.iter().filter(|it| it["metainfo"].is_null()).cloned().collect();
    listed.iter_mut().for_each(plain);
    let mut named: Vec<_> = listed.iter().map(|it| (name(it), it.to_string())).collect();
    named.sort_by(|(a, _), (b, _)| a.cmp(b));
    named
}

fn name(listed: &Json) -> String {
    let of = |kind: &str, name: &str| {
        let found = listed.get(kind)?;
        Some(format!("{kind} {} {} {}", found["family"], found["table"], found[name]))
    };
    of("rule", "chain")
        .or_else(|| ["table", "chain", "set", "map"].iter().find_map(|kind| of(kind, "name")))
        .unwrap_or_default()
}

/// Forgets numbers, and the order of elements.
fn plain(listed: &mut Json) {
    match listed {
        Json::Object(fields) => {
            fields.remove("handle");
            if let Some(Json::Array(elements)) = fields.get_mut("elem") {
                elements.sort_by_key(ToString::to_string);
            }
            fields.values_mut().for_each(plain);
        }
        Json::Array(all) => all.iter_mut().for_each(plain),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}
