//! Encrypted networks, with real packets: a network and the routing mesh of three hosts of both generations of the engine. What
//! crosses the wire, names, virtual addresses and ports, and what happens when skep dies, or the process or link that encrypts goes.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skep_integration::{Generation, Host, Hosts, Namespace, sh, wait_for};

use super::packets::{SERVER, address, container, get, inside, on};

const SOON: Duration = Duration::from_secs(90);

/// Where the client outside is.
const OUTSIDE: &str = "10.77.0.98";

/// What is counted between the hosts: clear packets of the encrypted networks, those of a plain one, encrypted ones.
const CLEAR: usize = 0;
const PLAIN: usize = 1;
const ENCRYPTED: usize = 2;

on_both_engines!(encrypted);

fn encrypted(generation: Generation) -> Result<()> {
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
    watch(hosts)?;
    names_lead_to_tasks_on_all_hosts(&hosts.all)?;
    large_packets_fit(&hosts.all)?;
    ports_lead_to_tasks_on_other_hosts(&hosts.all, outside)?;
    only_encrypted_packets_cross(hosts)?;
    packets_flow_without_skep(hosts)?;
    an_end_that_is_gone_is_replaced(hosts)?;
    without_both_nothing_passes(hosts)?;
    who_leaves_leaves_nothing(&hosts.all)
}

/// Two managers and a worker. The mesh is made anew before anything uses it.
fn make_cluster(hosts: &[Host]) -> Result<()> {
    let manager = hosts[0].docker();
    Hosts::join_as(hosts, ["manager", "worker"])?;
    let removed = manager.run_with(&["network", "rm", "ingress"], b"y\n")?;
    removed.ok("remove the mesh's network")?;
    let overlay = ["network", "create", "-d", "overlay"];
    wait_for("another network of the mesh", SOON, || {
        manager.ok(&[&overlay[..], &["--ingress", "--opt", "encrypted", "mesh"]].concat())
    })?;
    manager.ok(&[&overlay[..], &["--opt", "encrypted", "sealed"]].concat())?;
    manager.ok(&[&overlay[..], &["open"]].concat())?;
    let web = ["service", "create", "-q", "-d", "--name", "web", "--network", "sealed"];
    let how = ["--publish", "18081:80", "--replicas", "3", "--hostname", "web{{.Task.Slot}}"];
    let what =
        ["--stop-signal", "KILL", "--no-resolve-image", "busybox:latest", "sh", "-c", SERVER];
    manager.ok(&[&web[..], &how, &what].concat())?;
    for (name, network) in [("near", "sealed"), ("far", "open")] {
        let make = ["service", "create", "-q", "-d", "--name", name, "--mode", "global"];
        let how = ["--network", network, "--stop-signal", "KILL", "--no-resolve-image"];
        manager.ok(&[&make[..], &how, &["busybox:latest", "sleep", "100000"]].concat())?;
    }
    manager.converged(SOON)
}

/// Counts on the switch between the hosts, by VXLAN identifier.
fn watch(hosts: &Hosts) -> Result<()> {
    let manager = hosts.all[0].docker();
    let number = |network: &str| {
        let option = "com.docker.network.driver.overlay.vxlanid_list";
        let format = format!("{{{{index .Options \"{option}\"}}}}");
        manager.ok(&["network", "inspect", "-f", &format, network])
    };
    let tunnel = "udp dport 4789 @th,96,24";
    // The way back of the mesh has a number of its own.
    let clear = format!("{tunnel} {{ 4095, {}, {} }}", number("mesh")?, number("sealed")?);
    let plain = format!("{tunnel} {{ 4094, {} }}", number("open")?);
    hosts.fabric.count(&[&clear, &plain, "udp dport 61820"])
}

/// Asks the service until each of its tasks answered, and each saw the client's own address.
fn all_answer(host: &Host) -> Result<()> {
    let client = container(host, "near")?;
    let own = address(host, &client, "sealed")?;
    let mut seen = BTreeSet::new();
    for _ in 0..6 {
        let page = get(host, &client, "http://web/cgi-bin/who")?;
        let (task, from) = page.split_once(' ').context("task and client")?;
        ensure!(from.contains(&own), "{task} saw {from}, not {own}");
        seen.insert(task.to_owned());
    }
    ensure!(seen.len() == 3, "{} sees {seen:?}", host.address);
    Ok(())
}

fn names_lead_to_tasks_on_all_hosts(hosts: &[Host]) -> Result<()> {
    for host in hosts {
        wait_for("answers of all tasks", SOON, || all_answer(host))?;
        let all = inside(host, &container(host, "near")?, &["nslookup", "tasks.web"])?;
        ensure!(all.matches("Address").count() >= 4, "a server and three tasks: {all}");
    }
    Ok(())
}

/// What fills its packets passes from host to host, and a packet of just the size that fits.
fn large_packets_fit(hosts: &[Host]) -> Result<()> {
    let server = container(&hosts[1], "web")?;
    let make = ["dd", "if=/dev/zero", "of=/www/large", "bs=1M", "count=1"];
    inside(&hosts[1], &server, &make)?;
    let there = address(&hosts[1], &server, "sealed")?;
    let client = container(&hosts[2], "near")?;
    let fetch = format!("busybox wget -q -O - http://{there}/large | wc -c");
    let length = inside(&hosts[2], &client, &["timeout", "60", "sh", "-c", &fetch])?;
    ensure!(length == "1048576", "{length} bytes came");
    // 20 and 8 bytes of headers make it 1370.
    inside(&hosts[2], &client, &["ping", "-c", "1", "-W", "3", "-s", "1342", &there])?;
    Ok(())
}

/// One task on some host: its answers return through the others, where the client came in.
fn ports_lead_to_tasks_on_other_hosts(hosts: &[Host], outside: &Namespace) -> Result<()> {
    let manager = hosts[0].docker();
    manager.ok(&["service", "scale", "-d", "web=1"])?;
    manager.converged(SOON)?;
    for host in hosts {
        wait_for("the page from outside", SOON, || {
            let page = outside.get(&format!("http://{}:18081/cgi-bin/who", host.address))?;
            let page = page.ok("get the page")?;
            ensure!(page.contains(OUTSIDE), "{} shows the client as {page}", host.address);
            Ok(())
        })?;
    }
    manager.ok(&["service", "scale", "-d", "web=3"])?;
    manager.converged(SOON)?;
    hosts.iter().try_for_each(|host| wait_for("answers of all tasks", SOON, || all_answer(host)))
}

/// The same look finds packets of the plain network, so that this test would notice.
fn only_encrypted_packets_cross(hosts: &Hosts) -> Result<()> {
    let [one, two, _] = hosts.all.as_slice() else { return Ok(()) };
    let there = address(two, &container(two, "far")?, "open")?;
    inside(one, &container(one, "far")?, &["ping", "-c", "3", "-W", "3", &there])?;
    let counts = hosts.fabric.counted()?;
    ensure!(counts.len() == 3, "{counts:?}");
    ensure!(counts[PLAIN] >= 6 && counts[ENCRYPTED] > 100, "clear, plain, encrypted: {counts:?}");
    nothing_is_clear(hosts)
}

fn nothing_is_clear(hosts: &Hosts) -> Result<()> {
    let counts = hosts.fabric.counted()?;
    ensure!(counts[CLEAR] == 0, "clear, plain, encrypted: {counts:?}");
    Ok(())
}

/// A host's end of the encrypted way: the kernel's link where the kernel has WireGuard, else a process.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Link(String),
    Process(String),
}

impl End {
    fn of(host: &Host) -> Result<Self> {
        let links =
            on(host, "ip", &["-o", "link", "show", "type", "wireguard"]).unwrap_or_default();
        if let Some((number, _)) = links.split_once(": skwg") {
            return Ok(Self::Link(number.to_owned()));
        }
        let space = std::fs::metadata(host.engine.space().path())?.ino();
        let found = sh("pgrep", &["-x", "-f", ".* wg [0-9.]+ [0-9.]+"]).unwrap_or_default();
        let there = |pid: &&str| {
            std::fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|it| it.ino() == space)
        };
        let pid = found.lines().find(there);
        Ok(Self::Process(pid.with_context(|| format!("{} has none", host.address))?.to_owned()))
    }

    fn take_away(&self, host: &Host) -> Result<()> {
        match self {
            Self::Link(_) => on(host, "ip", &["link", "del", "skwg"])?,
            Self::Process(pid) => sh("kill", &["-9", pid])?,
        };
        Ok(())
    }
}

fn virtual_ip(hosts: &[Host]) -> Result<String> {
    let format = "{{range .Endpoint.VirtualIPs}}{{.Addr}} {{end}}";
    let listed = hosts[0].docker().ok(&["service", "inspect", "-f", format, "web"])?;
    let gateway = hosts[0].docker().ok(&[
        "network",
        "inspect",
        "-f",
        "{{(index .IPAM.Config 0).Gateway}}",
        "sealed",
    ])?;
    let head = gateway.rsplit_once('.').context("an address")?.0;
    let mut words = listed.split(['/', ' ']);
    let found = words.find(|word| word.starts_with(head)).map(str::to_owned);
    found.with_context(|| format!("an address on sealed: {listed}"))
}

fn ask(host: &Host, target: &str) -> Result<()> {
    let client = container(host, "near")?;
    for _ in 0..6 {
        get(host, &client, &format!("http://{target}/cgi-bin/who"))?;
    }
    Ok(())
}

/// All daemons killed, one back, all back: the ends that are there stay the nodes', with their keys. With no manager
/// nobody can take the tasks away meanwhile.
fn packets_flow_without_skep(hosts: &mut Hosts) -> Result<()> {
    let target = virtual_ip(&hosts.all)?;
    let before: Vec<End> = hosts.all.iter().map(End::of).collect::<Result<_>>()?;
    hosts.all.iter_mut().try_for_each(|host| host.skep.kill9())?;
    let ask_all = |hosts: &Hosts| hosts.all.iter().try_for_each(|host| ask(host, &target));
    ask_all(hosts)?;
    hosts.all[2].skep.restart()?;
    ask_all(hosts)?;
    hosts.all[0].skep.restart()?;
    hosts.all[1].skep.restart()?;
    for host in &hosts.all {
        wait_for("answers of all tasks", SOON, || all_answer(host))?;
    }
    let after: Vec<End> = hosts.all.iter().map(End::of).collect::<Result<_>>()?;
    ensure!(before == after, "{before:?} became {after:?}");
    Ok(())
}

/// Another one with another key takes its place, and all others hear of it.
fn an_end_that_is_gone_is_replaced(hosts: &Hosts) -> Result<()> {
    for host in &hosts.all {
        let before = End::of(host)?;
        before.take_away(host)?;
        let killed = Instant::now();
        wait_for("answers of all tasks", SOON, || all_answer(host))?;
        eprintln!("{}: all answer after {:?}", host.address, killed.elapsed());
        ensure!(End::of(host)? != before, "it is the old one");
    }
    for host in &hosts.all {
        wait_for("answers of all tasks", SOON, || all_answer(host))?;
    }
    nothing_is_clear(hosts)
}

/// With nobody to encrypt them, packets go nowhere; as soon as there is, they arrive.
fn without_both_nothing_passes(hosts: &mut Hosts) -> Result<()> {
    let there = container(&hosts.all[1], "web")?;
    let there = address(&hosts.all[1], &there, "sealed")?;
    hosts.all[2].skep.kill9()?;
    End::of(&hosts.all[2])?.take_away(&hosts.all[2])?;
    // Should it not be where the address belongs, it would lead here.
    on(&hosts.all[2], "ip", &["route", "add", "default", "via", &hosts.all[1].address])?;
    let client = container(&hosts.all[2], "near")?;
    let ping = ["ping", "-c", "3", "-i", "0.3", "-W", "1", &there];
    ensure!(inside(&hosts.all[2], &client, &ping).is_err(), "packets pass without an end");
    nothing_is_clear(hosts)?;
    // Nor do they if the packet rules are gone too: there is no address to send them from.
    on(&hosts.all[2], "nft", &["delete", "table", "inet", "skep_fw"])?;
    ensure!(inside(&hosts.all[2], &client, &ping).is_err(), "packets pass without rules");
    nothing_is_clear(hosts)?;
    on(&hosts.all[2], "ip", &["route", "del", "default"])?;
    hosts.all[2].skep.restart()?;
    for host in &hosts.all {
        wait_for("answers of all tasks", SOON, || all_answer(host))?;
    }
    nothing_is_clear(hosts)
}

fn who_leaves_leaves_nothing(hosts: &[Host]) -> Result<()> {
    let host = &hosts[2];
    host.docker().ok(&["swarm", "leave"])?;
    wait_for("nothing to be left", SOON, || {
        let links = on(host, "ip", &["-br", "link"])?;
        let left: Vec<&str> = links.lines().filter(|line| line.starts_with("sk")).collect();
        ensure!(left.is_empty(), "links {left:?}");
        ensure!(End::of(host).is_err(), "an end is there still");
        Ok(())
    })
}
