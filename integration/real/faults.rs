//! Three managers and a worker on real engines, and everything that can go wrong with a process or a cable, one after the other,
//! while clients write and read on all managers throughout. What was acknowledged is there at every moment after, what is read is
//! never older than what was read before, tasks come back, and no slot ever has two that are wanted.

mod clients;
mod history;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use skep_integration::http::Endpoint;
use skep_integration::{Engine, Fabric, Generation, Host, Hosts, sh, wait_for};

use clients::Clients;

const SOON: Duration = Duration::from_secs(90);

/// Beyond the silence after which a manager is followed no more and a node is down.
const SILENCE: Duration = Duration::from_secs(7);

/// Tasks of the service that must come back each time.
const REPLICAS: usize = 4;

/// Managers come first, in the order of their host names; then the worker.
const MANAGERS: usize = 3;

#[test]
fn nothing_acknowledged_is_lost_whatever_fails() -> Result<()> {
    let mut hosts = Hosts::start_with(&[Generation::Engine28; MANAGERS + 1], "info")?;
    let outcome = live(&mut hosts);
    hosts.explain(outcome)
}

fn live(hosts: &mut Hosts) -> Result<()> {
    make_swarm(&hosts.all)?;
    let managers = hosts.all.iter().take(MANAGERS);
    let clients = Clients::start(managers.map(|host| Endpoint::new(host.docker().host())))?;
    let outcome = faults(hosts, &clients);
    let history = clients.finish()?;
    outcome?;
    eprintln!("{} writes acknowledged, {} reads", history.writes(), history.reads());
    history.check()?;
    clients::all_is_there(&history, hosts.all.iter().take(MANAGERS).map(Host::docker))?;
    each_slot_runs_once(&hosts.all)
}

fn make_swarm(hosts: &[Host]) -> Result<()> {
    Hosts::join_as(hosts, ["manager", "manager", "worker"])?;
    let docker = hosts[0].docker();
    let replicas = REPLICAS.to_string();
    let web = ["service", "create", "-q", "-d", "--name", "web", "--replicas", &replicas];
    let how = ["--network", "bridge", "--stop-signal", "KILL", "--restart-delay", "100ms"];
    let what = ["--no-resolve-image", "busybox:latest", "sleep", "100000"];
    docker.ok(&[&web[..], &how, &what].concat())?;
    settled(hosts)
}

/// One fault after the other; each ends with everything as it was.
fn faults(hosts: &mut Hosts, clients: &Clients) -> Result<()> {
    type Fault = (&'static str, fn(&mut Hosts, usize, &Clients) -> Result<()>);
    let all: [Fault; 10] = [
        ("the leader is killed", |hosts, leader, clients| killed(hosts, leader, clients)),
        ("a follower is killed", |hosts, leader, clients| {
            killed(hosts, (leader + 1) % MANAGERS, clients)
        }),
        ("the worker is killed", |hosts, _, clients| killed(hosts, MANAGERS, clients)),
        ("the leader is cut off", |hosts, leader, clients| {
            hosts.fabric.plug(space(hosts, leader), false)?;
            clients.go_on(&others(leader))?;
            hosts.fabric.plug(space(hosts, leader), true)
        }),
        ("the leader hears nothing", |hosts, leader, clients| {
            one_way(hosts, leader, Fabric::deafen, clients)
        }),
        ("nobody hears the leader", |hosts, leader, clients| {
            one_way(hosts, leader, Fabric::mute, clients)
        }),
        ("a follower's link is slow", |hosts, leader, clients| {
            let slow = (leader + 1) % MANAGERS;
            hosts.fabric.slow(space(hosts, slow))?;
            clients.go_on(&others(slow))?;
            hosts.fabric.heal(space(hosts, slow))
        }),
        ("the leader is stopped for a while", |hosts, leader, clients| {
            paused(hosts, leader, clients)
        }),
        ("the worker is stopped for a while", |hosts, _, clients| paused(hosts, MANAGERS, clients)),
        ("all start anew", |hosts, _, clients| {
            hosts.all.iter_mut().try_for_each(|host| host.skep.kill9())?;
            hosts.all.iter_mut().try_for_each(|host| host.skep.launch())?;
            hosts.all.iter_mut().try_for_each(|host| host.skep.wait_ready())?;
            clients.go_on(&[0, 1, 2])
        }),
    ];
    for (name, fault) in all {
        let leader = leader(&hosts.all)?;
        let begun = Instant::now();
        fault(hosts, leader, clients).with_context(|| name.to_owned())?;
        let acted = begun.elapsed();
        settled(&hosts.all).with_context(|| format!("after: {name}"))?;
        eprintln!("{name}: {acted:.1?}, all well after {:.1?}", begun.elapsed());
    }
    let begun = Instant::now();
    an_engine_dies(hosts, clients).context("an engine is killed")?;
    eprintln!("an engine is killed: all well after {:.1?}", begun.elapsed());
    Ok(())
}

fn space(hosts: &Hosts, host: usize) -> &skep_integration::Namespace {
    hosts.all[host].engine.space()
}

/// The managers but for one.
fn others(host: usize) -> Vec<usize> {
    (0..MANAGERS).filter(|other| *other != host).collect()
}

fn killed(hosts: &mut Hosts, host: usize, clients: &Clients) -> Result<()> {
    hosts.all[host].skep.kill9()?;
    clients.go_on(&others(host))?;
    hosts.all[host].skep.restart()
}

fn one_way(
    hosts: &Hosts,
    host: usize,
    cut: fn(&Fabric, &skep_integration::Namespace) -> Result<()>,
    clients: &Clients,
) -> Result<()> {
    cut(&hosts.fabric, space(hosts, host))?;
    clients.go_on(&others(host))?;
    hosts.fabric.heal(space(hosts, host))
}

fn paused(hosts: &mut Hosts, host: usize, clients: &Clients) -> Result<()> {
    let pid = hosts.all[host].skep.pid()?.to_string();
    sh("kill", &["-STOP", &pid])?;
    let begun = Instant::now();
    let went_on = clients.go_on(&others(host));
    let waited = wait_for("the silence to be long", SOON, || {
        ensure!(begun.elapsed() > SILENCE, "not yet");
        Ok(())
    });
    sh("kill", &["-CONT", &pid])?;
    went_on.and(waited)
}

/// The worker's engine ends with all its containers, and comes back.
fn an_engine_dies(hosts: &mut Hosts, clients: &Clients) -> Result<()> {
    let worker = &mut hosts.all[MANAGERS].engine;
    Engine::kill9(worker)?;
    clients.go_on(&[0, 1, 2])?;
    worker.launch()?;
    settled(&hosts.all)
}

/// Waits until three managers answer, the worker is there and each slot runs once; all of them say so.
fn settled(hosts: &[Host]) -> Result<()> {
    for host in hosts.iter().take(MANAGERS) {
        wait_for("all to be well", SOON, || {
            let mut client = Endpoint::new(host.docker().host()).connect()?;
            let nodes = client.json("GET", "/nodes", None)?;
            let nodes = nodes.as_array().context("a list")?;
            let ready = nodes.iter().filter(|node| node["Status"]["State"] == "ready").count();
            let answer = |node: &&Value| node["ManagerStatus"]["Reachability"] == "reachable";
            let managers = nodes.iter().filter(answer).count();
            ensure!(ready == MANAGERS + 1 && managers == MANAGERS, "{ready} ready, {managers}");
            let running = clients::wanted(&mut client)?;
            let run = |task: &&Value| task["Status"]["State"] == "running";
            ensure!(running.iter().filter(run).count() == REPLICAS, "{running:?}");
            Ok(())
        })
        .with_context(|| format!("asked {}", host.address))?;
    }
    Ok(())
}

fn leader(hosts: &[Host]) -> Result<usize> {
    let leads = |host: &Host| {
        let shown =
            host.docker().ok(&["node", "inspect", "self", "-f", "{{.ManagerStatus.Leader}}"]);
        shown.is_ok_and(|shown| shown == "true")
    };
    wait_for("a leader", SOON, || {
        hosts.iter().take(MANAGERS).position(leads).context("nobody leads")
    })
}

/// The engines themselves run what the swarm wants, once.
fn each_slot_runs_once(hosts: &[Host]) -> Result<()> {
    wait_for("one container a slot", SOON, || {
        let mut slots: BTreeMap<String, usize> = BTreeMap::new();
        for host in hosts {
            let format =
                ["ps", "--format", "{{.Names}}", "--filter", "label=com.docker.swarm.task"];
            for name in host.engine.docker().lines(&format)? {
                let (slot, _) = name.rsplit_once('.').context("service.slot.task")?;
                *slots.entry(slot.to_owned()).or_default() += 1;
            }
        }
        let wanted: Vec<_> = (1..=REPLICAS).map(|slot| (format!("web.{slot}"), 1)).collect();
        ensure!(slots.into_iter().collect::<Vec<_>>() == wanted, "other containers");
        Ok(())
    })
}
