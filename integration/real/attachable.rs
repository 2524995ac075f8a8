//! Containers that users make on workers, on attachable networks, with real packets: three hosts of both generations of the engine,
//! one of them a manager, and an engine without skep that is told why it cannot.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_integration::{Docker, Engine, Generation, Host, Hosts, Namespace, wait_for};

use crate::packets::{SERVER, address, container, get, inside};

const SOON: Duration = Duration::from_secs(90);

/// An address is given back within three looks of the agent, five seconds apart.
const GIVEN_BACK: Duration = Duration::from_secs(40);

const WHO: &str = "cgi-bin/who";

on_both_engines!(attachable);

fn attachable(generation: Generation) -> Result<()> {
    let other = match generation {
        Generation::Debian20 => Generation::Engine28,
        Generation::Engine28 => Generation::Debian20,
    };
    let mut hosts = Hosts::start(&[generation, other, generation])?;
    let space = Namespace::on(&hosts.fabric, "10.77.0.4")?;
    let alone = Engine::start_in(other, space, "skep-4")?;
    let outcome = live(&mut hosts.all, &alone);
    hosts.explain(outcome)
}

fn live(hosts: &mut [Host], alone: &Engine) -> Result<()> {
    make_swarm(hosts, alone)?;
    containers_reach_each_other_by_name(hosts)?;
    a_worker_shows_what_it_uses(hosts)?;
    what_may_not_join_is_told_why(hosts, alone)?;
    networks_are_joined_and_left(hosts)?;
    containers_stop_and_start(hosts)?;
    what_goes_gives_its_address_back(hosts)
}

fn make_swarm(hosts: &[Host], alone: &Engine) -> Result<()> {
    Hosts::join_as(hosts, ["worker", "worker"])?;
    let manager = hosts[0].docker();
    hosts[0].admit(alone.docker(), "worker")?;
    let overlay = ["network", "create", "-d", "overlay"];
    manager.ok(&[&overlay[..], &["--attachable", "--subnet", "10.50.0.0/24", "att"]].concat())?;
    manager.ok(&[&overlay[..], &["closed"]].concat())?;
    let web = ["service", "create", "-q", "-d", "--name", "web", "--network", "att"];
    let how = ["--mode", "global", "--hostname", "web", "--stop-signal", "KILL"];
    let what = ["--no-resolve-image", "busybox:latest", "sh", "-c", SERVER];
    manager.ok(&[&web[..], &how, &what].concat())?;
    manager.converged(SOON)
}

/// Runs a server on a host as its users do, by its skep.
fn run(host: &Host, name: &str, flags: &[&str]) -> Result<String> {
    let make = ["run", "-d", "--name", name, "--hostname", name, "--stop-signal", "KILL"];
    host.docker().ok(&[&make[..], flags, &["busybox:latest", "sh", "-c", SERVER]].concat())
}

/// Asks a server by name from inside a container; the answer names the server and whom it saw.
fn answers(host: &Host, from: &str, name: &str) -> Result<()> {
    let what = format!("{name} to answer {from} on {}", host.address);
    wait_for(&what, SOON, || {
        let page = get(host, from, &format!("http://{name}/{WHO}"))?;
        ensure!(page.starts_with(&format!("{name} ")), "{page}");
        Ok(())
    })
}

/// By name and by address, from containers of users and of services, on every host.
fn containers_reach_each_other_by_name(hosts: &[Host]) -> Result<()> {
    for (host, name) in hosts.iter().zip(["zero", "one", "two"]) {
        run(host, name, &["--network", "att"])?;
    }
    let fixed = run(&hosts[1], "fixed", &["--network", "att", "--ip", "10.50.0.77"])?;
    ensure!(address(&hosts[1], &fixed, "att")? == "10.50.0.77", "the address that was asked for");
    let one = address(&hosts[1], "one", "att")?;
    ensure!(one.starts_with("10.50.0."), "an address of the cluster: {one}");
    for (host, name) in hosts.iter().zip(["zero", "one", "two"]) {
        let task = container(host, "web")?;
        for from in [name, &task] {
            for to in ["zero", "one", "two", "fixed", "web"] {
                answers(host, from, to)?;
            }
            let page = get(host, from, &format!("http://{one}/{WHO}"))?;
            ensure!(page.starts_with("one "), "{page}");
        }
    }
    Ok(())
}

fn networks(docker: &Docker) -> Result<Vec<String>> {
    docker.lines(&["network", "ls", "--format", "{{.Name}}", "--filter", "driver=overlay"])
}

fn a_worker_shows_what_it_uses(hosts: &[Host]) -> Result<()> {
    let worker = hosts[1].docker();
    ensure!(networks(worker)? == ["att"], "{:?}", networks(worker)?);
    let shown = worker.ok(&[
        "network",
        "inspect",
        "-f",
        "{{.Scope}} {{.Attachable}} {{range .Containers}}{{.Name}} {{end}}",
        "att",
    ])?;
    for part in ["swarm true", "one", "fixed", "web.", "att-endpoint"] {
        ensure!(shown.contains(part), "no {part} in: {shown}");
    }
    let refused = worker.run(&["network", "rm", "att"])?;
    let text = "Worker nodes can't be used to view or modify cluster state";
    ensure!(refused.code == 1 && refused.stderr.contains(text), "{refused:?}");
    let used = hosts[0].docker().run(&["network", "rm", "att"])?;
    ensure!(used.code == 1 && used.stderr.contains("in use"), "{used:?}");
    Ok(())
}

fn what_may_not_join_is_told_why(hosts: &[Host], alone: &Engine) -> Result<()> {
    let refused = |docker: &Docker, network: &str, text: &str| {
        let run = docker.run(&["run", "--rm", "--network", network, "busybox:latest", "true"])?;
        let text = format!("Could not attach to network {network}: rpc error: code = {text}");
        ensure!(run.code == 125 && run.stderr.contains(&text), "{run:?}");
        Ok(())
    };
    let closed = "PermissionDenied desc = network closed not manually attachable";
    let missing = "NotFound desc = network nosuch not found";
    for docker in hosts.iter().map(Host::docker).chain([alone.docker()]) {
        refused(docker, "closed", closed)?;
        refused(docker, "nosuch", missing)?;
    }
    refused(alone.docker(), "att", "FailedPrecondition desc = this Docker Engine joined")?;
    // It goes on as the worker that it is.
    let plain = ["run", "--rm", "--network", "host", "busybox:latest", "true"];
    alone.docker().ok(&plain)?;
    let state = hosts[0].docker().ok(&["node", "inspect", "-f", "{{.Status.State}}", "skep-4"])?;
    ensure!(state == "ready", "{state}");
    let left = hosts[1].docker().lines(&["ps", "-a", "--format", "{{.Names}}"])?;
    ensure!(left.len() == 3, "what did not start went: {left:?}");
    Ok(())
}

fn networks_are_joined_and_left(hosts: &[Host]) -> Result<()> {
    let worker = hosts[2].docker();
    run(&hosts[2], "plain", &[])?;
    worker.ok(&["network", "connect", "--alias", "nick", "att", "plain"])?;
    answers(&hosts[1], "one", "plain")?;
    let page = get(&hosts[0], "zero", &format!("http://nick/{WHO}"))?;
    ensure!(page.starts_with("plain "), "{page}");
    let twice = worker.run(&["network", "connect", "att", "plain"])?;
    let text = "plain is already attached to network att";
    ensure!(twice.code == 1 && twice.stderr.contains(text), "{twice:?}");
    worker.ok(&["network", "disconnect", "att", "plain"])?;
    wait_for("the name to go", SOON, || {
        let found = inside(&hosts[1], "one", &["nslookup", "plain"]);
        ensure!(found.is_err(), "{found:?}");
        Ok(())
    })?;
    // As tools make it: created, joined to more, started then.
    worker.ok(&[
        "create",
        "--name",
        "made",
        "--hostname",
        "made",
        "busybox:latest",
        "sh",
        "-c",
        SERVER,
    ])?;
    worker.ok(&["network", "connect", "att", "made"])?;
    worker.ok(&["start", "made"])?;
    answers(&hosts[0], "zero", "made")?;
    worker.ok(&["rm", "-f", "made", "plain"]).map(drop)
}

fn containers_stop_and_start(hosts: &[Host]) -> Result<()> {
    let worker = hosts[1].docker();
    worker.ok(&["stop", "-t", "0", "one"])?;
    wait_for("the name to go", SOON, || {
        let found = inside(&hosts[2], "two", &["nslookup", "one"]);
        ensure!(found.is_err(), "{found:?}");
        Ok(())
    })?;
    worker.ok(&["start", "one"])?;
    answers(&hosts[2], "two", "one")?;
    answers(&hosts[1], "one", "two")?;
    worker.ok(&["restart", "-t", "0", "one"])?;
    answers(&hosts[2], "two", "one")?;
    answers(&hosts[1], "one", "web")
}

/// One goes while its worker's skep is there, one while it is not; then nobody holds the network.
fn what_goes_gives_its_address_back(hosts: &mut [Host]) -> Result<()> {
    hosts[0].docker().ok(&["service", "rm", "web"])?;
    hosts[0].docker().ok(&["rm", "-f", "zero"])?;
    hosts[2].docker().ok(&["rm", "-f", "two"])?;
    hosts[1].engine.docker().ok(&["rm", "-f", "fixed"])?;
    hosts[1].skep.kill9()?;
    // It runs on without skep.
    get(&hosts[1], "one", &format!("http://127.0.0.1/{WHO}"))?;
    hosts[1].engine.docker().ok(&["rm", "-f", "one"])?;
    let used = hosts[0].docker().run(&["network", "rm", "att"])?;
    ensure!(used.code == 1 && used.stderr.contains("in use by task"), "{used:?}");
    hosts[1].skep.restart()?;
    wait_for("nobody to hold the network", GIVEN_BACK, || {
        hosts[0].docker().ok(&["network", "rm", "att"])
    })?;
    wait_for("the worker to forget it", SOON, || {
        let left = networks(hosts[1].docker())?;
        let twins = hosts[1].engine.docker().lines(&["network", "ls", "--format", "{{.Name}}"])?;
        ensure!(left.is_empty() && !twins.contains(&"att".to_owned()), "{left:?} {twins:?}");
        Ok(())
    })
    .context("on the worker")
}
