//! Workers that run skep, beside a manager and a worker that is an engine alone: a service with a network and a port on all of
//! them, its output, daemons that die, promotion and demotion, drain and leave.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use skep_integration::{Docker, Engine, Generation, Host, Hosts, Namespace, wait_for};

const SOON: Duration = Duration::from_secs(90);

/// What each task of the service serves and says.
const PAGE: &str =
    "mkdir -p /www && hostname >/www/index.html && echo ready && exec httpd -f -p 80 -h /www";

on_both_engines!(workers);

/// The service's containers on a host, sorted.
fn containers(host: &Host) -> Result<Vec<String>> {
    host.engine.docker().service_containers("web")
}

fn other(generation: Generation) -> Generation {
    match generation {
        Generation::Debian20 => Generation::Engine28,
        Generation::Engine28 => Generation::Debian20,
    }
}

fn workers(generation: Generation) -> Result<()> {
    let mut hosts = Hosts::start(&[generation, other(generation), generation])?;
    let space = Namespace::on(&hosts.fabric, "10.77.0.4")?;
    let alone = Engine::start_in(generation, space, "skep-4")?;
    let outcome = live(&mut hosts.all, &alone);
    hosts.explain(outcome)
}

fn live(hosts: &mut [Host], alone: &Engine) -> Result<()> {
    all_join(hosts, alone)?;
    a_service_is_on_all(hosts, alone)?;
    daemons_die(hosts)?;
    one_is_promoted_and_demoted(hosts)?;
    one_is_drained_and_leaves(hosts)
}

fn all_join(hosts: &[Host], alone: &Engine) -> Result<()> {
    let manager = hosts[0].docker();
    manager.found(&hosts[0].address)?;
    let dockers = hosts[1..].iter().map(Host::docker).chain([alone.docker()]);
    for docker in dockers {
        let begun = Instant::now();
        let said = hosts[0].admit(docker, "worker")?;
        ensure!(said == "This node joined a swarm as a worker.", "{said}");
        eprintln!("joined in {:?}", begun.elapsed());
    }
    let worker = hosts[1].docker();
    let info =
        worker.ok(&["info", "-f", "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}"])?;
    ensure!(info == "active false", "{info}");
    let refused = worker.run(&["node", "ls"])?;
    ensure!(
        refused.code == 1
            && refused.stderr.contains("Worker nodes can't be used to view or modify"),
        "{refused:?}"
    );
    wait_for("four nodes that are ready", SOON, || nodes_are(manager, &["Ready"; 4]))
}

fn nodes_are(docker: &Docker, wanted: &[&str]) -> Result<()> {
    let shown = docker.lines(&["node", "ls", "--format", "{{.Hostname}} {{.Status}}"])?;
    let states: Vec<&str> = shown.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    ensure!(states == wanted, "{shown:?}");
    Ok(())
}

fn a_service_is_on_all(hosts: &[Host], alone: &Engine) -> Result<()> {
    let manager = hosts[0].docker();
    manager.ok(&["network", "create", "-d", "overlay", "back"])?;
    let web = ["service", "create", "-q", "-d", "--name", "web", "--network", "back"];
    let how = ["--publish", "18080:80", "--replicas", "6", "--stop-signal", "KILL"];
    let what = ["--no-resolve-image", "busybox:latest", "sh", "-c", PAGE];
    manager.ok(&[&web[..], &how, &what].concat())?;
    let all = ["service", "create", "-q", "-d", "--name", "all", "--mode", "global"];
    let how = ["--network", "bridge", "--stop-signal", "KILL", "--no-resolve-image"];
    manager.ok(&[&all[..], &how, &["busybox:latest", "sleep", "100000"]].concat())?;
    manager.converged(SOON)?;
    for host in hosts {
        ensure!(containers(host)?.len() == 2, "{} has {:?}", host.address, containers(host)?);
        // Each node leads to its own tasks as long as networks do not span hosts.
        let page = wait_for("a page", SOON, || {
            host.engine.space().get("http://127.0.0.1:18080/")?.ok("get the page")
        })?;
        let own = host.engine.docker().lines(&["ps", "-q", "--filter", "name=web"])?;
        ensure!(own.iter().any(|id| *id == page.trim()), "{page} is not of {own:?}");
    }
    ensure!(
        alone.docker().service_containers("all")?.len() == 1,
        "the engine alone runs one of all"
    );
    ensure!(alone.docker().service_containers("web")?.is_empty(), "and none that needs a network");
    wait_for("a line of each task", SOON, || {
        let lines = manager.lines(&["service", "logs", "--raw", "web"])?;
        ensure!(lines == ["ready"; 6], "{lines:?}");
        Ok(())
    })
}

fn daemons_die(hosts: &mut [Host]) -> Result<()> {
    let before: Vec<_> = hosts.iter().map(containers).collect::<Result<_>>()?;
    hosts[1].skep.kill9()?;
    let killed = Instant::now();
    let state =
        |docker: &Docker| docker.ok(&["node", "inspect", "-f", "{{.Status.State}}", "skep-2"]);
    wait_for("a worker that is missed", SOON, || {
        let state = state(hosts[0].docker())?;
        ensure!(state == "disconnected" || state == "down", "{state}");
        Ok(())
    })?;
    eprintln!("missed after {:?}", killed.elapsed());
    hosts[1].skep.launch()?;
    wait_for("all nodes ready", SOON, || nodes_are(hosts[0].docker(), &["Ready"; 4]))?;
    hosts[0].skep.kill9()?;
    hosts[0].skep.launch()?;
    hosts[0].skep.wait_ready()?;
    wait_for("all nodes ready", SOON, || nodes_are(hosts[0].docker(), &["Ready"; 4]))?;
    hosts[0].docker().converged(SOON)?;
    for (host, before) in hosts.iter().zip(before) {
        ensure!(containers(host)? == before, "{} has other containers", host.address);
    }
    Ok(())
}

fn one_is_promoted_and_demoted(hosts: &[Host]) -> Result<()> {
    let (manager, other) = (hosts[0].docker(), hosts[1].docker());
    let before = containers(&hosts[1])?;
    let said = manager.ok(&["node", "promote", "skep-2"])?;
    ensure!(said == "Node skep-2 promoted to a manager in the swarm.", "{said}");
    let status = |docker: &Docker| -> Result<Vec<String>> {
        docker.lines(&["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"])
    };
    wait_for("a second manager", SOON, || {
        let shown = status(other)?;
        ensure!(shown.contains(&"skep-2 Reachable".to_owned()), "{shown:?}");
        Ok(())
    })?;
    other.ok_with(&["config", "create", "from-2", "-"], b"x")?;
    let lines = other.lines(&["service", "logs", "--raw", "web"])?;
    ensure!(lines == ["ready"; 6], "{lines:?}");
    let said = other.ok(&["node", "demote", "skep-2"])?;
    ensure!(said == "Manager skep-2 demoted in the swarm.", "{said}");
    wait_for("one manager", SOON, || {
        let shown = status(manager)?;
        ensure!(shown.contains(&"skep-2 ".to_owned()), "{shown:?}");
        let info =
            other.ok(&["info", "-f", "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}"])?;
        ensure!(info == "active false", "{info}");
        nodes_are(manager, &["Ready"; 4])
    })?;
    let refused = manager.run(&["node", "demote", "skep-1"])?;
    ensure!(refused.stderr.contains("attempting to demote the last manager"), "{refused:?}");
    ensure!(containers(&hosts[1])? == before, "other containers after it all");
    Ok(())
}

fn one_is_drained_and_leaves(hosts: &[Host]) -> Result<()> {
    let manager = hosts[0].docker();
    manager.ok(&["node", "update", "--availability", "drain", "skep-3"])?;
    wait_for("a drained node", SOON, || {
        let left = hosts[2].engine.docker().lines(&["ps", "-q"])?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })?;
    manager.converged(SOON)?;
    let said = hosts[2].docker().ok(&["swarm", "leave"])?;
    ensure!(said == "Node left the swarm.", "{said}");
    wait_for("a node that is down", SOON, || {
        nodes_are(manager, &["Ready", "Ready", "Down", "Ready"])
    })?;
    manager.ok(&["node", "rm", "skep-3"])?;
    nodes_are(manager, &["Ready"; 3])
}
