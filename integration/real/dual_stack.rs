//! Networks with IPv6 that span hosts, with real packets over IPv6 alone: three hosts of both generations of the engine and a client
//! outside. The tunnels between the hosts are IPv4.

mod drain;
mod udp;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_integration::{Generation, Host, Hosts, Namespace, sh, wait_for};

use super::packets::{SERVER, container, get, inside, nothing_is_amiss, on};

const SOON: Duration = Duration::from_secs(90);

/// Where the client outside is.
const OUTSIDE: &str = "10.77.0.97";
const OUTSIDE_V6: &str = "2001:db8:77::97";

/// They lead to `web`: its name, and its port of either protocol.
const WAYS: usize = 3;

on_both_engines!(dual_stack);

fn dual_stack(generation: Generation) -> Result<()> {
    let other = match generation {
        Generation::Debian20 => Generation::Engine28,
        Generation::Engine28 => Generation::Debian20,
    };
    let hosts = Hosts::start(&[generation, other, generation])?;
    let outside = Namespace::on(&hosts.fabric, OUTSIDE)?;
    let outcome = live(&hosts.all, &outside);
    hosts.explain(outcome)
}

fn live(hosts: &[Host], outside: &Namespace) -> Result<()> {
    give_addresses(hosts, outside)?;
    make_cluster(hosts)?;
    tasks_reach_each_other(hosts)?;
    names_lead_to_tasks(hosts)?;
    nothing_is_amiss(hosts, "web", WAYS)?;
    udp::packets_arrive(hosts, outside)?;
    ports_lead_to_tasks(hosts, outside)?;
    drain::downloads_go_on(hosts, outside)?;
    there_is_a_way_out(hosts)?;
    containers_of_users_take_part(hosts)?;
    networks_are_apart(hosts, outside)?;
    without_tasks_it_is_refused(hosts)?;
    what_is_taken_away_comes_back(hosts, outside)?;
    who_leaves_leaves_nothing(hosts)
}

/// The address of a host among the hosts.
fn of_host(number: usize) -> String {
    format!("2001:db8:77::{}", number + 1)
}

fn give_addresses(hosts: &[Host], outside: &Namespace) -> Result<()> {
    let give = |space: &Namespace, addr: &str| {
        let target = format!("--net={}", space.path());
        let add = ["ip", "addr", "add", &format!("{addr}/64"), "dev", "eth0", "nodad"];
        sh("nsenter", &[&[target.as_str()][..], &add].concat())
    };
    for (number, host) in hosts.iter().enumerate() {
        give(host.engine.space(), &of_host(number))?;
    }
    give(outside, OUTSIDE_V6)?;
    Ok(())
}

/// Two managers and a worker. The mesh is made anew before anything uses it.
fn make_cluster(hosts: &[Host]) -> Result<()> {
    let manager = hosts[0].docker();
    Hosts::join_as(hosts, ["manager", "worker"])?;
    manager.run_with(&["network", "rm", "ingress"], b"y\n")?.ok("remove the mesh's network")?;
    let overlay = ["network", "create", "-d", "overlay", "--ipv6"];
    wait_for("another network of the mesh", SOON, || {
        manager.ok(&[&overlay[..], &["--ingress", "mesh"]].concat())
    })?;
    manager.ok(&[&overlay[..], &["--attachable", "front"]].concat())?;
    let subnets = ["--subnet", "10.50.0.0/24", "--subnet", "fd00:50::/64"];
    manager.ok(&[&overlay[..], &subnets, &["back"]].concat())?;
    let web = ["service", "create", "-q", "-d", "--name", "web", "--network", "front"];
    let ports = ["--publish", "18082:80", "--publish", "18082:81/udp"];
    let how = ["--replicas", "3", "--hostname", "web{{.Task.Slot}}"];
    let what =
        ["--stop-signal", "KILL", "--no-resolve-image", "busybox:latest", "sh", "-c", SERVER];
    manager.ok(&[&web[..], &ports, &how, &what].concat())?;
    for (name, network) in [("near", "front"), ("far", "back")] {
        let make = ["service", "create", "-q", "-d", "--name", name, "--mode", "global"];
        let how = ["--network", network, "--stop-signal", "KILL", "--no-resolve-image"];
        manager.ok(&[&make[..], &how, &["busybox:latest", "sleep", "100000"]].concat())?;
    }
    manager.converged(SOON)
}

/// Returns a container's IPv6 address.
fn address(host: &Host, container: &str, network: &str) -> Result<String> {
    let of_network = format!("(index .NetworkSettings.Networks \"{network}\")");
    let format = format!("{{{{{of_network}.GlobalIPv6Address}}}}");
    let addr = host.engine.docker().ok(&["inspect", "-f", &format, container])?;
    ensure!(addr.contains(':'), "{} has no IPv6 address: {addr}", host.address);
    Ok(addr)
}

fn page_of(addr: &str) -> String {
    format!("http://[{addr}]/cgi-bin/who")
}

/// Asks from a container; returns who answered, and checks whom it took for the client.
fn ask(host: &Host, client: &str, own: &str, url: &str) -> Result<String> {
    let page = get(host, client, url)?;
    let (task, from) = page.split_once(' ').context("task and client")?;
    ensure!(from.contains(own), "{task} saw {from}, not {own}");
    Ok(task.to_owned())
}

fn tasks_reach_each_other(hosts: &[Host]) -> Result<()> {
    for host in hosts {
        let client = container(host, "near")?;
        let own = address(host, &client, "front")?;
        for other in hosts {
            let target = address(other, &container(other, "web")?, "front")?;
            wait_for("the way between tasks", SOON, || {
                ask(host, &client, &own, &page_of(&target))
            })?;
        }
    }
    Ok(())
}

/// Returns the IPv6 addresses that a name has, as a container is told.
fn resolve(host: &Host, container: &str, name: &str) -> Result<BTreeSet<String>> {
    let told = inside(host, container, &["nslookup", name])?;
    let words = told.split_whitespace().filter(|word| word.starts_with("fd"));
    Ok(words.map(str::to_owned).collect())
}

fn virtual_address(host: &Host, container: &str) -> Result<String> {
    let mut found = resolve(host, container, "web")?.into_iter();
    let first = found.next().context("the name has an IPv6 address")?;
    ensure!(found.next().is_none(), "a service has one");
    Ok(first)
}

fn names_lead_to_tasks(hosts: &[Host]) -> Result<()> {
    for host in hosts {
        let client = container(host, "near")?;
        let own = address(host, &client, "front")?;
        let virtual_address = virtual_address(host, &client)?;
        wait_for("answers of all tasks", SOON, || {
            let url = page_of(&virtual_address);
            let seen: BTreeSet<_> =
                (0..6).map(|_| ask(host, &client, &own, &url)).collect::<Result<_>>()?;
            ensure!(seen.len() == 3, "{} sees {seen:?}", host.address);
            Ok(())
        })?;
        let all = resolve(host, &client, "tasks.web")?;
        ensure!(all.len() == 3 && !all.contains(&virtual_address), "{all:?}");
        let owner = inside(host, &client, &["nslookup", &virtual_address])?;
        ensure!(owner.contains("web.front"), "{owner}");
        // A task that asks for its own service reaches itself too, and so does the host.
        let server = container(host, "web")?;
        for _ in 0..6 {
            get(host, &server, &page_of(&virtual_address))?;
            host.engine.space().get(&page_of(&virtual_address))?.ok("get the page on the host")?;
        }
    }
    Ok(())
}

fn published(addr: &str) -> String {
    format!("http://[{addr}]:18082/cgi-bin/who")
}

fn from_outside(number: usize, outside: &Namespace) -> Result<String> {
    let page = outside.get(&published(&of_host(number)))?.ok("get the page")?;
    ensure!(page.contains(OUTSIDE_V6), "host {number} shows the client as {page}");
    Ok(page)
}

/// With a task on each host, and with one task.
fn ports_lead_to_tasks(hosts: &[Host], outside: &Namespace) -> Result<()> {
    let manager = hosts[0].docker();
    let mut seen = BTreeSet::new();
    for number in 0..hosts.len() {
        seen.insert(wait_for("a page", SOON, || from_outside(number, outside))?);
    }
    ensure!(seen.len() == 3, "each host leads to its own task: {seen:?}");
    manager.ok(&["service", "scale", "-d", "web=1"])?;
    manager.converged(SOON)?;
    for (number, host) in hosts.iter().enumerate() {
        wait_for("the page of the last task", SOON, || from_outside(number, outside))?;
        // From the host itself and from a container of it, by the address of each host.
        for to in (0..hosts.len()).map(of_host).chain(["::1".to_owned()]) {
            let what = format!("get {to} on {}", host.address);
            wait_for(&what, SOON, || host.engine.space().get(&published(&to))?.ok("get it"))?;
            if to != "::1" {
                get(host, &container(host, "near")?, &published(&to)).context(what)?;
            }
        }
    }
    manager.ok(&["service", "scale", "-d", "web=3"])?;
    manager.converged(SOON)
}

fn ping(host: &Host, container: &str, addr: &str) -> Result<String> {
    inside(host, container, &["ping", "-6", "-c", "2", "-i", "0.2", "-W", "1", addr])
}

/// Engines of the older generation have none over IPv6 by themselves.
fn there_is_a_way_out(hosts: &[Host]) -> Result<()> {
    for host in hosts {
        ping(host, &container(host, "near")?, OUTSIDE_V6)?;
    }
    Ok(())
}

/// A container that a user makes has both addresses, the one of them as asked for.
fn containers_of_users_take_part(hosts: &[Host]) -> Result<()> {
    let host = &hosts[0];
    let near = container(host, "near")?;
    let virtual_address = virtual_address(host, &near)?;
    let (prefix, _) = virtual_address.rsplit_once("::").context("a subnet")?;
    let asked = format!("{prefix}::99");
    let run = ["run", "-d", "--name", "own", "--network", "front", "--ip6", &asked];
    host.docker().ok(&[&run[..], &["busybox:latest", "sleep", "100000"]].concat())?;
    ensure!(address(host, "own", "front")? == asked, "it has another address");
    wait_for("the way to the container", SOON, || ping(host, &near, &asked))?;
    for host in hosts {
        wait_for("the name of the container", SOON, || {
            let name = resolve(host, &container(host, "near")?, "own")?;
            ensure!(name == BTreeSet::from([asked.clone()]), "{name:?}");
            Ok(())
        })?;
    }
    let target = address(host, &container(host, "web")?, "front")?;
    ask(host, "own", &asked, &page_of(&target))?;
    host.docker().ok(&["rm", "-f", "own"])?;
    Ok(())
}

/// Nobody gets in from outside or from another network.
fn networks_are_apart(hosts: &[Host], outside: &Namespace) -> Result<()> {
    let near = container(&hosts[0], "near")?;
    let virtual_address = virtual_address(&hosts[0], &near)?;
    let target = address(&hosts[0], &container(&hosts[0], "web")?, "front")?;
    let gateway = {
        let told = inside(&hosts[0], &near, &["ip", "-6", "route", "show", "default"])?;
        let mut words = told.split_whitespace().skip_while(|word| *word != "via");
        words.nth(1).context("a gateway")?.to_owned()
    };
    ping(&hosts[0], &near, &gateway)?;
    for host in hosts {
        let stranger = container(host, "far")?;
        for addr in [&target, &virtual_address] {
            let found = get(host, &stranger, &page_of(addr));
            ensure!(found.is_err(), "{} lets another network in", host.address);
        }
        let found = ping(host, &stranger, &gateway);
        ensure!(found.is_err(), "{} shows a gateway to another network", host.address);
        let name = inside(host, &stranger, &["nslookup", "web"]);
        ensure!(name.is_err(), "another network knows the name: {name:?}");
    }
    let space = format!("--net={}", outside.path());
    let subnet = format!("{}::/64", gateway.split_once("::").context("a subnet")?.0);
    let route = ["ip", "route", "add", &subnet, "via", &of_host(0)];
    sh("nsenter", &[&[space.as_str()][..], &route].concat())?;
    for addr in [&target, &virtual_address] {
        ensure!(outside.get(&page_of(addr))?.code != 0, "a route alone leads in");
    }
    Ok(())
}

fn without_tasks_it_is_refused(hosts: &[Host]) -> Result<()> {
    let manager = hosts[0].docker();
    let near = container(&hosts[1], "near")?;
    let url = page_of(&virtual_address(&hosts[1], &near)?);
    manager.ok(&["service", "scale", "-d", "web=0"])?;
    wait_for("nobody to answer", SOON, || {
        let answer = get(&hosts[1], &near, &url);
        let told = answer.err().context("somebody answers")?.to_string();
        ensure!(told.contains("refused"), "{told}");
        Ok(())
    })?;
    manager.ok(&["service", "scale", "-d", "web=3"])?;
    manager.converged(SOON)
}

/// Packet rules, an address, who answers for it, the way back: taken away by hand, back by themselves.
fn what_is_taken_away_comes_back(hosts: &[Host], outside: &Namespace) -> Result<()> {
    let host = &hosts[0];
    let near = container(host, "near")?;
    let virtual_address = virtual_address(host, &near)?;
    let local = on(host, "ip", &["-6", "route", "show", "table", "local", &virtual_address])?;
    let bridge = local.split_whitespace().skip_while(|word| *word != "dev").nth(1);
    let bridge = bridge.context("the address is local on a bridge")?;
    on(host, "nft", &["delete", "table", "ip6", "skep"])?;
    let route = ["-6", "route", "del", "local", &virtual_address, "dev", bridge];
    on(host, "ip", &[&route[..], &["table", "local"]].concat())?;
    on(host, "ip", &["-6", "neigh", "del", "proxy", &virtual_address, "dev", bridge])?;
    on(host, "ip", &["-6", "neigh", "flush", "dev", bridge, "nud", "permanent"])?;
    on(host, "ip", &["-6", "rule", "del", "priority", "5058"])?;
    nothing_is_amiss(hosts, "web", WAYS)?;
    for number in 0..hosts.len() {
        from_outside(number, outside)?;
        get(host, &near, &page_of(&virtual_address))?;
    }
    Ok(())
}

fn who_leaves_leaves_nothing(hosts: &[Host]) -> Result<()> {
    let host = &hosts[2];
    host.docker().ok(&["swarm", "leave"])?;
    wait_for("nothing to be left", SOON, || {
        let tables = on(host, "nft", &["list", "tables"])?;
        ensure!(!tables.contains("skep"), "tables {tables}");
        let rules = on(host, "ip", &["-6", "rule"])?;
        ensure!(!rules.contains("0x5e"), "rules {rules}");
        // Engines of the older generation have no chain for users of IPv6.
        let users = on(host, "ip6tables", &["-S"])?;
        ensure!(!users.contains(" sk"), "{users}");
        let routes = on(host, "ip", &["-6", "route", "show", "table", "all", "proto", "200"])?;
        ensure!(routes.is_empty(), "{routes}");
        Ok(())
    })
}
