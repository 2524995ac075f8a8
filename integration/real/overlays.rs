//! Networks that span hosts, with real packets: three hosts of both generations of the engine and a client outside. Names, virtual
//! addresses, the routing mesh, who may reach whom, and what heals by itself.

mod load;

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skep_integration::{Generation, Host, Hosts, Namespace, wait_for};

use super::packets::{SERVER, address, container, get, inside, nothing_is_amiss, on};

const SOON: Duration = Duration::from_secs(90);

/// Where the client outside is.
const OUTSIDE: &str = "10.77.0.99";

/// The address that a stranger takes on a network, and how the kernel lists it.
const STRANGER: &str = "10.0.1.250/24";
const STRANGER_HEX: &str = "FA01000A";

/// Two lead to `web`: its name and its port.
const WAYS: usize = 2;

const PAGE: &str = "http://127.0.0.1/cgi-bin/who";

on_both_engines!(overlays);

fn overlays(generation: Generation) -> Result<()> {
    let other = match generation {
        Generation::Debian20 => Generation::Engine28,
        Generation::Engine28 => Generation::Debian20,
    };
    let mut hosts = Hosts::start(&[generation, other, generation])?;
    let outside = Namespace::on(&hosts.fabric, OUTSIDE)?;
    let outcome = live(&mut hosts, &outside);
    hosts.explain(outcome)
}

fn live(hosts: &mut Hosts, outside: &Namespace) -> Result<()> {
    make_cluster(&hosts.all)?;
    names_lead_to_tasks_on_all_hosts(&hosts.all)?;
    nothing_is_amiss(&hosts.all, "web", WAYS)?;
    ports_lead_to_tasks_from_any_host(&hosts.all, outside)?;
    a_publication_keeps_to_its_place(&hosts.all, outside)?;
    networks_are_apart(&hosts.all, outside)?;
    load::an_update_loses_no_request(&hosts.all, outside)?;
    load::a_drain_loses_no_request(&hosts.all, outside)?;
    load::an_upgrade_loses_no_request(&mut hosts.all, outside)?;
    load::a_link_comes_back(hosts, outside)?;
    nothing_is_amiss(&hosts.all, "web", WAYS)?;
    what_is_taken_away_comes_back(&hosts.all, outside)?;
    packets_flow_without_skep(&mut hosts.all, outside)?;
    who_leaves_leaves_nothing(&hosts.all)
}

/// Two managers and a worker; `web` has a task on each, and so have the clients on either network.
fn make_cluster(hosts: &[Host]) -> Result<()> {
    let manager = hosts[0].docker();
    Hosts::join_as(hosts, ["manager", "worker"])?;
    for network in ["front", "back"] {
        manager.ok(&["network", "create", "-d", "overlay", network])?;
    }
    let web = ["service", "create", "-q", "-d", "--name", "web", "--network", "front"];
    let how = ["--publish", "18080:80", "--replicas", "3", "--hostname", "web{{.Task.Slot}}"];
    let what =
        ["--stop-signal", "KILL", "--no-resolve-image", "busybox:latest", "sh", "-c", SERVER];
    manager.ok(&[&web[..], &how, &what].concat())?;
    for (name, network) in [("near", "front"), ("far", "back")] {
        let make = ["service", "create", "-q", "-d", "--name", name, "--mode", "global"];
        let how = ["--network", network, "--stop-signal", "KILL", "--no-resolve-image"];
        manager.ok(&[&make[..], &how, &["busybox:latest", "sleep", "100000"]].concat())?;
    }
    manager.converged(SOON)
}

/// One request for each task: turns go round.
fn names_lead_to_tasks_on_all_hosts(hosts: &[Host]) -> Result<()> {
    for host in hosts {
        let client = container(host, "near")?;
        let own = address(host, &client, "front")?;
        wait_for("answers of all tasks", SOON, || {
            let mut seen = BTreeSet::new();
            for _ in 0..6 {
                let page = get(host, &client, "http://web/cgi-bin/who")?;
                let (task, from) = page.split_once(' ').context("task and client")?;
                ensure!(from.contains(&own), "{task} saw {from}, not {own}");
                seen.insert(task.to_owned());
            }
            ensure!(seen.len() == 3, "{} sees {seen:?}", host.address);
            Ok(())
        })?;
        let all = inside(host, &client, &["nslookup", "tasks.web"])?;
        ensure!(all.matches("Address").count() >= 4, "a server and three tasks: {all}");
        // A task that asks for its own service reaches itself too.
        let server = container(host, "web")?;
        for _ in 0..6 {
            get(host, &server, "http://web/cgi-bin/who")?;
        }
        get(host, &server, PAGE)?;
    }
    Ok(())
}

/// A port is open at the address or the interface that the service's label names, and nowhere else.
fn a_publication_keeps_to_its_place(hosts: &[Host], outside: &Namespace) -> Result<()> {
    let manager = hosts[0].docker();
    let set = |place: &str| {
        let label = format!("skep.publish.interface={place}");
        manager.ok(&["service", "update", "-q", "-d", "--label-add", &label, "web"])
    };
    let open_at = |expected: &[&str]| {
        wait_for("the port to be open at its place alone", SOON, || {
            let all = hosts.iter().map(|host| host.address.as_str());
            let open: Vec<&str> =
                all.filter(|address| from_outside(address, outside).is_ok()).collect();
            ensure!(open == expected, "open at {open:?}, not {expected:?}");
            Ok(())
        })
    };
    set(&hosts[1].address)?;
    open_at(&[hosts[1].address.as_str()])?;
    set("eth9")?;
    open_at(&[])?;
    set("eth0")?;
    let all: Vec<&str> = hosts.iter().map(|host| host.address.as_str()).collect();
    open_at(&all)?;
    let back = ["service", "update", "-q", "-d", "--label-rm", "skep.publish.interface", "web"];
    manager.ok(&back)?;
    manager.converged(SOON)
}

fn published(address: &str) -> String {
    format!("http://{address}:18080/cgi-bin/who")
}

fn from_outside(address: &str, outside: &Namespace) -> Result<String> {
    let page = outside.get(&published(address))?.ok("get the page")?;
    ensure!(page.contains(OUTSIDE), "{address} shows the client as {page}");
    Ok(page)
}

/// With a task on each host, with one task on another host, and with none.
fn ports_lead_to_tasks_from_any_host(hosts: &[Host], outside: &Namespace) -> Result<()> {
    let manager = hosts[0].docker();
    let mut seen = BTreeSet::new();
    for host in hosts {
        seen.insert(wait_for("a page", SOON, || from_outside(&host.address, outside))?);
        // From the host itself, by its own address and by that of another one.
        for to in ["127.0.0.1", &hosts[0].address, &hosts[2].address] {
            let url = format!("http://{to}:18080/cgi-bin/who");
            host.engine.space().get(&url)?.ok(&format!("get {url} on {}", host.address))?;
        }
        // From a container, by the address of a host.
        get(host, &container(host, "near")?, &published(&hosts[1].address))?;
    }
    ensure!(seen.len() == 3, "each host leads to its own task: {seen:?}");
    manager.ok(&["service", "scale", "-d", "web=1"])?;
    manager.converged(SOON)?;
    for host in hosts {
        // The networks of the tasks that are gone go too; that of the mesh stays.
        wait_for("the page of the last task", SOON, || from_outside(&host.address, outside))?;
    }
    manager.ok(&["service", "scale", "-d", "web=3"])?;
    manager.converged(SOON)
}

/// Nobody gets in from outside or from another network, not even by a tunnel of his own.
fn networks_are_apart(hosts: &[Host], outside: &Namespace) -> Result<()> {
    let server = container(&hosts[0], "web")?;
    let target = address(&hosts[0], &server, "front")?;
    let page = format!("http://{target}/cgi-bin/who");
    get(&hosts[1], &container(&hosts[1], "near")?, &page)?;
    for host in hosts {
        let stranger = container(host, "far")?;
        ensure!(get(host, &stranger, &page).is_err(), "{} lets another network in", host.address);
        let name = inside(host, &stranger, &["nslookup", "web"]);
        ensure!(name.is_err(), "another network knows the name: {name:?}");
    }
    let host = &hosts[0].address;
    let run = |args: &[&str]| {
        let status = outside.command("ip").args(args).status().context("run ip")?;
        ensure!(status.success(), "ip {args:?}");
        Ok(())
    };
    run(&["route", "add", "10.0.0.0/8", "via", host])?;
    ensure!(outside.get(&page)?.code != 0, "a route alone leads in");
    run(&["route", "del", "10.0.0.0/8"])?;
    let mac = hosts[0].engine.docker().ok(&[
        "inspect",
        "-f",
        "{{.NetworkSettings.Networks.front.MacAddress}}",
        &server,
    ])?;
    let tunnel = ["link", "add", "vx", "type", "vxlan", "id", "4097", "dstport", "4789"];
    run(&[&tunnel[..], &["local", OUTSIDE, "remote", host]].concat())?;
    run(&["addr", "add", STRANGER, "dev", "vx"])?;
    run(&["link", "set", "vx", "up"])?;
    run(&["neigh", "add", &target, "lladdr", &mac, "dev", "vx"])?;
    let knocks = || -> Result<bool> {
        // Looked at before the server gives the stranger up, whom it cannot answer.
        let mut call = outside.command("timeout");
        call.args(["0.5", "busybox", "nc", &target, "80"]).stdin(Stdio::null()).status()?;
        Ok(inside(&hosts[0], &server, &["cat", "/proc/net/tcp6"])?.contains(STRANGER_HEX))
    };
    ensure!(!knocks()?, "a stranger's tunnel leads in");
    // Without the wall it does, so that this test would notice.
    wait_for("the stranger's packet at the server", SOON, || {
        on(&hosts[0], "nft", &["delete", "table", "inet", "skep_fw"])?;
        ensure!(knocks()?, "it does not arrive");
        Ok(())
    })?;
    run(&["link", "del", "vx"])
}

/// Packet rules, a tunnel, an address: taken away by hand, back by themselves.
fn what_is_taken_away_comes_back(hosts: &[Host], outside: &Namespace) -> Result<()> {
    let host = &hosts[0];
    let client = container(host, "near")?;
    let tunnels = on(host, "ip", &["-br", "link", "show", "type", "vxlan"])?;
    ensure!(tunnels.lines().count() == 4, "two networks, the mesh, the way back: {tunnels}");
    on(host, "nft", &["delete", "table", "ip", "skep"])?;
    on(host, "ip", &["link", "del", "skv4097"])?;
    on(host, "ip", &["link", "del", "skret"])?;
    let taken = Instant::now();
    wait_for("all to be as it was", SOON, || {
        let now = on(host, "ip", &["-br", "link", "show", "type", "vxlan"])?;
        ensure!(now.lines().count() == 4, "{now}");
        from_outside(&host.address, outside)?;
        for _ in 0..3 {
            get(host, &client, "http://web/cgi-bin/who")?;
        }
        Ok(())
    })?;
    eprintln!("rules and tunnels are back {:.1?} after they were taken away", taken.elapsed());
    Ok(())
}

/// All but names is the kernel's, and names are answered by another node.
fn packets_flow_without_skep(hosts: &mut [Host], outside: &Namespace) -> Result<()> {
    let host = &mut hosts[2];
    host.skep.kill9()?;
    for _ in 0..10 {
        from_outside(&host.address, outside)?;
    }
    let client = container(host, "near")?;
    let all = inside(host, &client, &["nslookup", "tasks.web"])?;
    ensure!(all.matches("Address").count() >= 4, "a server and three tasks: {all}");
    let target = {
        let format = "{{range .Endpoint.VirtualIPs}}{{.Addr}} {{end}}";
        hosts[0].docker().ok(&["service", "inspect", "-f", format, "web"])?
    };
    let virtual_ip = target.split(['/', ' ']).find(|word| word.starts_with("10.0.1."));
    let virtual_ip = virtual_ip.with_context(|| format!("an address on front: {target}"))?;
    let ask = |hosts: &[Host]| -> Result<()> {
        for _ in 0..6 {
            get(&hosts[2], &client, &format!("http://{virtual_ip}/cgi-bin/who"))?;
            from_outside(&hosts[2].address, outside)?;
        }
        Ok(())
    };
    ask(hosts)?;
    // One that starts and hears from nobody what there should be takes nothing away.
    hosts[0].skep.kill9()?;
    hosts[1].skep.kill9()?;
    hosts[2].skep.restart()?;
    ask(hosts)?;
    ask(hosts)?;
    hosts[0].skep.restart()?;
    hosts[1].skep.restart()?;
    wait_for("nodes that are ready", SOON, || {
        let shown = hosts[0].docker().lines(&["node", "ls", "--format", "{{.Status}}"])?;
        ensure!(shown == ["Ready"; 3], "{shown:?}");
        Ok(())
    })?;
    ask(hosts)
}

fn who_leaves_leaves_nothing(hosts: &[Host]) -> Result<()> {
    let host = &hosts[2];
    host.docker().ok(&["swarm", "leave"])?;
    wait_for("nothing to be left", SOON, || {
        let links = on(host, "ip", &["-br", "link"])?;
        let left: Vec<&str> = links.lines().filter(|line| line.starts_with("sk")).collect();
        ensure!(left.is_empty(), "links {left:?}");
        let tables = on(host, "nft", &["list", "tables"])?;
        ensure!(!tables.contains("skep"), "tables {tables}");
        let rules = on(host, "ip", &["rule"])?;
        ensure!(!rules.contains("0x5e"), "rules {rules}");
        // An engine whose rules are those of nftables has no chain DOCKER-USER.
        let users = on(host, "iptables", &["-S"])?;
        ensure!(!users.contains(" sk"), "{users}");
        Ok(())
    })
}
