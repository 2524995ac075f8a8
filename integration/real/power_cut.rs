//! A host of three loses its power while clients ask: the leader's, with tasks, encrypted networks, secrets and the mesh on it.
//! Once the others know, no request fails any more; and the host comes back from its disks as if it were a new one.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skep_integration::{Docker, Generation, Host, Hosts, Namespace, sh, wait_for};

use crate::packets::{SERVER, container, inside, nothing_is_amiss, on, under_load};

const SOON: Duration = Duration::from_secs(90);

/// Where the client outside is.
const OUTSIDE: &str = "10.77.0.96";

/// A plain network and an encrypted one.
const NETWORKS: [&str; 2] = ["front", "sealed"];

/// They lead to `web`: its name on either network, and its port.
const WAYS: usize = 3;

on_both_engines!(a_host_loses_its_power);

fn a_host_loses_its_power(generation: Generation) -> Result<()> {
    let other = match generation {
        Generation::Debian20 => Generation::Engine28,
        Generation::Engine28 => Generation::Debian20,
    };
    let mut hosts = Hosts::start_with(&[generation, other, generation], "info")?;
    let outside = Namespace::on(&hosts.fabric, OUTSIDE)?;
    let outcome = live(&mut hosts, &outside);
    hosts.explain(outcome)
}

fn live(hosts: &mut Hosts, outside: &Namespace) -> Result<()> {
    make_cluster(hosts)?;
    let near = |host: &Host| Place::on(host, "near");
    let places = hosts.all.iter().map(near).collect::<Result<Vec<_>>>()?;
    let targets = targets(hosts.all[0].docker())?;
    for (host, own) in hosts.all.iter().zip(&places) {
        let look = || all_is_right(host, (own, &places), &targets, outside);
        wait_for("all to be as it should", SOON, look)?;
    }
    let untouched = untouched(&hosts.all)?;
    let others: Vec<_> = hosts.all[1..].iter().map(|host| host.address.clone()).collect();
    // Each of them leads to its own task.
    under_load(&others, |address| from_outside(address, outside), || cut_and_boot(hosts, outside))?;
    hosts.all[1].docker().converged(SOON)?;
    nothing_is_left_over(&hosts.all[0])?;
    nothing_is_amiss(&hosts.all, "web", WAYS)?;
    ensure!(self::untouched(&hosts.all)? == untouched, "the others' containers were replaced");
    Ok(())
}

/// Three managers; the first one, which leads, is the one that dies.
fn make_cluster(hosts: &Hosts) -> Result<()> {
    hosts.join()?;
    let manager = hosts.all[0].docker();
    let overlay = ["network", "create", "-d", "overlay"];
    manager.ok(&[&overlay[..], &["front"]].concat())?;
    manager.ok(&[&overlay[..], &["--opt", "encrypted", "sealed"]].concat())?;
    manager.ok_with(&["secret", "create", "word", "-"], b"sesame")?;
    let networks = ["--network", "front", "--network", "sealed"];
    let how = ["--stop-signal", "KILL", "--no-resolve-image"];
    let web = ["service", "create", "-q", "-d", "--name", "web", "--publish", "18084:80"];
    let tasks = ["--replicas", "3", "--hostname", "web{{.Task.Slot}}"];
    let what = ["busybox:latest", "sh", "-c", SERVER];
    manager.ok(&[&web[..], &tasks, &networks, &how, &what].concat())?;
    let near = ["service", "create", "-q", "-d", "--name", "near", "--mode", "global"];
    let what = ["--secret", "word", "busybox:latest", "sleep", "100000"];
    manager.ok(&[&near[..], &networks, &how, &what].concat())?;
    manager.converged(SOON)
}

/// The containers of the hosts that live on.
fn untouched(hosts: &[Host]) -> Result<Vec<Vec<String>>> {
    hosts[1..].iter().map(|host| host.engine.docker().service_containers("near")).collect()
}

fn from_outside(address: &str, outside: &Namespace) -> Result<()> {
    let page = outside.get(&format!("http://{address}:18084/cgi-bin/who"))?.ok("get the page")?;
    ensure!(page.contains(OUTSIDE), "{address} shows the client as {page}");
    Ok(())
}

/// The container of a service on a host, as probes need it that do without the engine.
struct Place {
    /// As `nsenter` is told of it.
    network: String,
    /// On each network.
    addresses: Vec<String>,
    started: String,
}

impl Place {
    fn on(host: &Host, service: &str) -> Result<Self> {
        let docker = host.engine.docker();
        let found = docker.json(&["inspect", &container(host, service)?])?;
        let (state, networks) = (&found[0]["State"], &found[0]["NetworkSettings"]["Networks"]);
        ensure!(state["Running"] == true, "it does not run");
        let address = |it: &&str| networks[it]["IPAddress"].as_str().map(str::to_owned);
        Ok(Self {
            network: format!("--net=/proc/{}/ns/net", state["Pid"]),
            addresses: NETWORKS.iter().filter_map(address).collect(),
            started: state["StartedAt"].as_str().context("a moment")?.to_owned(),
        })
    }

    fn call(&self, args: &[&str]) -> Result<String> {
        let patience = [self.network.as_str(), "busybox", "timeout", "3", "busybox"];
        sh("nsenter", &[&patience[..], args].concat())
    }

    fn get(&self, target: &str) -> Result<String> {
        self.call(&["wget", "-q", "-O", "-", &format!("http://{target}/cgi-bin/who")])
    }

    fn ping(&self, target: &str) -> Result<String> {
        self.call(&["ping", "-c", "1", "-W", "1", target])
    }
}

/// The addresses of the service on the networks.
fn targets(manager: &Docker) -> Result<Vec<String>> {
    let format = "{{range .Endpoint.VirtualIPs}}{{.Addr}} {{end}}";
    let listed = manager.ok(&["service", "inspect", "-f", format, "web"])?;
    let addresses = listed.split_whitespace().filter_map(|it| it.split('/').next());
    // That of the mesh leads nowhere from there.
    let subnet = "{{(index .IPAM.Config 0).Subnet}}";
    let mesh = manager.ok(&["network", "inspect", "-f", subnet, "ingress"])?;
    let head = mesh.split_once(".0/").context("a subnet")?.0;
    let found: Vec<_> = addresses.filter(|it| !it.starts_with(head)).map(str::to_owned).collect();
    ensure!(found.len() == NETWORKS.len(), "an address on each network: {listed}");
    Ok(found)
}

/// Names, virtual addresses, tunnels and ports of one host and towards it.
fn all_is_right(
    host: &Host,
    (own, others): (&Place, &[Place]),
    targets: &[String],
    outside: &Namespace,
) -> Result<()> {
    from_outside(&host.address, outside)?;
    for target in targets {
        let seen = (0..3).map(|_| own.get(target)).collect::<Result<BTreeSet<_>>>()?;
        ensure!(seen.len() == 3, "{} by {target} sees {seen:?}", host.address);
    }
    for (name, least) in [("web", 1), ("tasks.web", 3)] {
        let told = own.call(&["nslookup", name, "127.0.0.11"])?;
        ensure!(told.matches("Address").count() > least, "{name} on {}: {told}", host.address);
    }
    for other in others {
        other.addresses.iter().try_for_each(|there| own.ping(there).map(drop))?;
        own.addresses.iter().try_for_each(|here| other.ping(here).map(drop))?;
    }
    Ok(())
}

/// The verdict falls, the others have all that ran there, and the host comes back.
fn cut_and_boot(hosts: &mut Hosts, outside: &Namespace) -> Result<()> {
    let Hosts { all, fabric } = hosts;
    let targets = targets(all[1].docker())?;
    let near = |host: &Host| Place::on(host, "near");
    let others = all[1..].iter().map(near).collect::<Result<Vec<_>>>()?;
    let led_there = |address: &String| format!("dnat to {address}\n");
    let lost: Vec<_> = Place::on(&all[0], "web")?.addresses.iter().map(led_there).collect();
    let clients: Vec<(&Place, &String)> =
        others.iter().flat_map(|place| targets.iter().map(move |it| (place, it))).collect();
    let begun = Instant::now();
    all[0].cut_power(fabric)?;
    let manager = all[1].docker().clone();
    wait_for("the verdict", SOON, || {
        let state = manager.ok(&["node", "inspect", "-f", "{{.Status.State}}", "skep-1"])?;
        ensure!(state == "down", "{state}");
        Ok(())
    })?;
    let down = Instant::now();
    eprintln!("the host is down {:.1?} after its power was cut", down - begun);
    wait_for("packets to be led to the others alone", SOON, || {
        for host in &all[1..] {
            let led = on(host, "nft", &["list", "table", "ip", "skep"])?;
            ensure!(!lost.iter().any(|rule| led.contains(rule)), "{}: {led}", host.address);
        }
        Ok(())
    })?;
    eprintln!("the others know {:.1?} after that", down.elapsed());
    under_load(
        &clients,
        |(place, target)| place.get(target),
        || {
            runs_elsewhere(&manager)?;
            let begun = Instant::now();
            all[0].boot(fabric)?;
            eprintln!("engine and skep answer {:.1?} after the power is back", begun.elapsed());
            comes_back(&all[0], &others, &targets, outside)
        },
    )
}

fn runs_elsewhere(manager: &Docker) -> Result<()> {
    wait_for("its task to run elsewhere", SOON, || {
        let ps = ["service", "ps", "web", "--filter", "desired-state=running"];
        let shown =
            manager.lines(&[&ps[..], &["--format", "{{.Node}} {{.CurrentState}}"]].concat())?;
        let elsewhere = |line: &&String| !line.starts_with("skep-1") && line.contains(" Running");
        ensure!(shown.iter().filter(elsewhere).count() == 3, "{shown:?}");
        Ok(())
    })
}

/// From the moment its task runs, all is right within two seconds.
fn comes_back(
    host: &Host,
    others: &[Place],
    targets: &[String],
    outside: &Namespace,
) -> Result<()> {
    let own = wait_for("its task to run", SOON, || Place::on(host, "near"))?;
    let after = wait_for("all to be right", SOON, || {
        // Looking takes its time on a busy machine: what counts is when that look began that found all right.
        let after = age(&own.started)?;
        all_is_right(host, (&own, others), targets, outside).map(|()| after)
    })?;
    eprintln!("names and paths are right {after:.1?} after the task runs");
    let word = inside(host, &container(host, "near")?, &["cat", "/run/secrets/word"])?;
    ensure!(word == "sesame", "another secret");
    Ok(())
}

/// How long ago a moment was, which the engine wrote down.
fn age(moment: &str) -> Result<Duration> {
    let nanos: u64 = sh("date", &["-d", moment, "+%s%N"])?.parse()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(now.saturating_sub(Duration::from_nanos(nanos)))
}

/// One container runs, those of before are of tasks that the cluster remembers; one place for secrets, one process for tunnels.
fn nothing_is_left_over(host: &Host) -> Result<()> {
    wait_for("what was before to be gone", SOON, || {
        let known = host.docker().lines(&["node", "ps", "-q", "--no-trunc", "self"])?;
        let all = host.engine.docker().lines(&["ps", "-a", "--format", "{{.State}} {{.Names}}"])?;
        let is_known = |line: &String| known.iter().any(|task| line.ends_with(task.as_str()));
        ensure!(all.iter().all(is_known), "tasks {known:?}, containers {all:?}");
        let running: Vec<_> = all.iter().filter(|line| line.starts_with("running ")).collect();
        ensure!(running.len() == 1 && running[0].contains(" near."), "{running:?}");
        Ok(())
    })?;
    let node = host.docker().ok(&["info", "-f", "{{.Swarm.NodeID}}"])?;
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    let files = mounts.matches(&format!(" /run/skep/files/{node} ")).count();
    ensure!(files == 1, "{files} places for secrets");
    let space = std::fs::metadata(host.engine.space().path())?.ino();
    let found = sh("pgrep", &["-x", "-f", ".* wg [0-9.]+ [0-9.]+"])?;
    let here = |pid: &&str| {
        std::fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|it| it.ino() == space)
    };
    let processes: Vec<_> = found.lines().filter(here).collect();
    ensure!(processes.len() == 1, "processes of tunnels: {processes:?}");
    let nodes =
        host.docker().lines(&["node", "ls", "--format", "{{.Status}} {{.ManagerStatus}}"])?;
    ensure!(nodes == ["Ready Leader", "Ready Reachable", "Ready Reachable"], "{nodes:?}");
    Ok(())
}
