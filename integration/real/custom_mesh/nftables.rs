//! The packet rules of Engine 29 with its nftables back end, for the networks that an engine without rules has. Facts of that
//! engine: a table of either family with base chains at the usual priorities, whose policy is to accept; no chain for users;
//! packets to a network from elsewhere than its bridge are dropped before all else; what leaves a network is masqueraded.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use skep_integration::{Host, Namespace, wait_for};

use super::{OUTSIDE, SOON};
use crate::packets::{address, container, inside, on};

/// A network of the engine.
struct Bridge {
    name: String,
    /// One of either family at most.
    subnets: Vec<String>,
    is_internal: bool,
    /// Whether packets may come in that no published port is for, over IPv4 and over IPv6.
    is_open: [bool; 2],
    /// Ports of the host that lead to a container, with its address and port.
    published: Vec<(String, String)>,
}

/// Sets the rules. Nothing leaves the host before, so that they are seen to be what packets go by.
pub(super) fn rules_of_the_engine(host: &Host, outside: &Namespace) -> Result<()> {
    let near = container(host, "near")?;
    let leaves = || inside(host, &near, &["ping", "-c", "1", "-W", "1", OUTSIDE]);
    ensure!(leaves().is_err(), "the engine has rules of its own");
    let users = on(host, "iptables", &["-S", "DOCKER-USER"]);
    ensure!(users.is_err(), "the engine has a chain for users: {users:?}");
    let bridges = bridges(host)?;
    let file = host.engine.folder().join("engine.nft");
    std::fs::write(&file, rules("ip", &bridges)? + &rules("ip6", &bridges)?)?;
    on(host, "nft", &["-f", &file.to_string_lossy()])?;
    wait_for("the way out", SOON, leaves)?;
    // Who knows the way does not get in.
    let run = |args: &[&str]| outside.command("ip").args(args).status().context("run ip");
    let target = address(host, &near, "wide")?;
    let subnet = format!("{}.0/24", target.rsplit_once('.').context("an address")?.0);
    let route = ["route", "add", &subnet, "via", &host.address];
    ensure!(run(&route)?.success(), "{route:?}");
    ensure!(outside.get(&format!("http://{target}/cgi-bin/who"))?.code != 0, "a route leads in");
    ensure!(run(&["route", "del", route[2]])?.success(), "{route:?}");
    Ok(())
}

fn bridges(host: &Host) -> Result<Vec<Bridge>> {
    let docker = host.engine.docker();
    let ids = docker.lines(&["network", "ls", "-q", "--filter", "driver=bridge"])?;
    let inspect: Vec<&str> =
        ["network", "inspect"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    let found = docker.json(&inspect)?;
    found.as_array().context("a list")?.iter().map(|it| bridge(host, it)).collect()
}

fn bridge(host: &Host, network: &Value) -> Result<Bridge> {
    let option = |name: &str| network["Options"][name].as_str();
    let name = option("com.docker.network.bridge.name").context("a bridge has a name")?;
    let configs = network["IPAM"]["Config"].as_array().context("subnets")?;
    let subnets = configs.iter().filter_map(|it| it["Subnet"].as_str().map(str::to_owned));
    let open = |family: &str| {
        let mode = option(&format!("com.docker.network.bridge.gateway_mode_{family}"));
        mode == Some("nat-unprotected")
    };
    let mut published = Vec::new();
    for id in network["Containers"].as_object().into_iter().flat_map(|it| it.keys()) {
        let container = host.engine.docker().json(&["inspect", id])?;
        let network = network["Name"].as_str().unwrap_or_default();
        let held = &container[0]["NetworkSettings"];
        let ports = held["Ports"].as_object().into_iter().flatten();
        for (port, bindings) in ports {
            let inner = port.trim_end_matches("/tcp");
            let outer = bindings[0]["HostPort"].as_str();
            let addr = held["Networks"][network]["IPAddress"].as_str();
            if let (Some(outer), Some(addr)) = (outer, addr) {
                published.push((outer.to_owned(), format!("{addr}:{inner}")));
            }
        }
    }
    Ok(Bridge {
        name: name.to_owned(),
        subnets: subnets.collect(),
        is_internal: network["Internal"] == true,
        is_open: [open("ipv4"), open("ipv6")],
        published,
    })
}

/// Writes the table of one family.
fn rules(family: &str, bridges: &[Bridge]) -> Result<String> {
    let is_v6 = family == "ip6";
    let (mut chains, mut raw, mut ports) = (String::new(), String::new(), String::new());
    let mut names = Vec::new();
    for bridge in bridges {
        let mut subnets = bridge.subnets.iter().filter(|subnet| subnet.contains(':') == is_v6);
        let Some(subnet) = subnets.next() else { continue };
        let name = bridge.name.as_str();
        names.push(name);
        let known = "ct state established,related accept;";
        let (inward, outward, masked) = if bridge.is_internal {
            let inward = format!("iifname != \"{name}\" drop; accept;");
            (inward, format!("oifname != \"{name}\" drop;"), String::new())
        } else {
            let last = if bridge.is_open[usize::from(is_v6)] { "accept" } else { "drop" };
            writeln!(raw, "{family} daddr {subnet} iifname != {{ \"{name}\", \"lo\" }} drop;")?;
            let masked = format!("oifname != \"{name}\" {family} saddr {subnet} masquerade;");
            (format!("iifname \"{name}\" accept; {last};"), "accept;".to_owned(), masked)
        };
        writeln!(chains, "chain filter-forward-in__{name} {{ {known} {inward} }}")?;
        writeln!(chains, "chain filter-forward-out__{name} {{ {known} {outward} }}")?;
        writeln!(chains, "chain nat-postrouting-in__{name} {{ }}")?;
        writeln!(chains, "chain nat-postrouting-out__{name} {{ {masked} }}")?;
        for (outer, inner) in bridge.published.iter().filter(|_| !is_v6) {
            writeln!(ports, "iifname != \"{name}\" tcp dport {outer} dnat to {inner};")?;
        }
    }
    let map = |kind: &str| {
        let element = |name: &&str| format!("\"{name}\" : jump {kind}__{name}");
        let elements = names.iter().map(element).collect::<Vec<_>>().join(", ");
        format!("map {kind}-jumps {{ type ifname : verdict; elements = {{ {elements} }}; }}\n")
    };
    let kinds =
        ["filter-forward-in", "filter-forward-out", "nat-postrouting-in", "nat-postrouting-out"];
    let maps: String = kinds.into_iter().map(map).collect();
    let loopback = if is_v6 { "ip6 daddr != ::1" } else { "ip daddr != 127.0.0.0/8" };
    Ok(format!(
        "table {family} docker-bridges {{
{chains}{maps}
chain nat-prerouting-and-output {{ {ports} }}
chain filter-FORWARD {{ type filter hook forward priority filter; policy accept;
oifname vmap @filter-forward-in-jumps; iifname vmap @filter-forward-out-jumps; }}
chain nat-OUTPUT {{ type nat hook output priority -100; policy accept;
{loopback} fib daddr type local jump nat-prerouting-and-output; }}
chain nat-POSTROUTING {{ type nat hook postrouting priority srcnat; policy accept;
iifname vmap @nat-postrouting-out-jumps; oifname vmap @nat-postrouting-in-jumps; }}
chain nat-PREROUTING {{ type nat hook prerouting priority dstnat; policy accept;
fib daddr type local jump nat-prerouting-and-output; }}
chain raw-PREROUTING {{ type filter hook prerouting priority raw; policy accept;
{raw} }}
}}
"
    ))
}
