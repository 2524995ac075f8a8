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
use skep_integration::{
    Clock, Engine, Fabric, Generation, Host, Hosts, Namespace, SmallDisk, sh, wait_for,
};

use clients::Clients;

const SOON: Duration = Duration::from_secs(90);

/// How long a process stands still: far longer than a manager is followed and a node is up without a word.
const SILENCE: Duration = Duration::from_secs(30);

/// Tasks of the service that must come back each time.
const REPLICAS: usize = 4;

/// MiB of a manager's disk.
const DISK: u32 = 64;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Managers come first, in the order of their host names; then the worker.
const MANAGERS: usize = 3;

#[test]
fn nothing_acknowledged_is_lost_whatever_fails() -> Result<()> {
    let mut hosts = Hosts::start_with(&[Generation::Engine28; MANAGERS + 1], "info")?;
    let outcome = live(&mut hosts);
    hosts.explain(outcome)
}

/// What the faults are made with.
struct Stage<'a> {
    hosts: &'a mut Hosts,
    clients: &'a Clients,
    /// Of each manager, in their order.
    disks: Vec<SmallDisk>,
    clocks: Vec<Clock>,
}

fn live(hosts: &mut Hosts) -> Result<()> {
    let (disks, clocks) = equip(&mut hosts.all[..MANAGERS])?;
    make_swarm(&hosts.all)?;
    let managers = hosts.all.iter().take(MANAGERS);
    let clients = Clients::start(managers.map(|host| Endpoint::new(host.docker().host())))?;
    let outcome = faults(&mut Stage { hosts, clients: &clients, disks, clocks });
    let history = clients.finish()?;
    outcome?;
    eprintln!("{} writes acknowledged, {} reads", history.writes(), history.reads());
    history.check()?;
    clients::all_is_there(&history, hosts.all.iter().take(MANAGERS).map(Host::docker))?;
    each_slot_runs_once(&hosts.all)
}

/// Gives managers small disks, and clocks of their own.
fn equip(managers: &mut [Host]) -> Result<(Vec<SmallDisk>, Vec<Clock>)> {
    let (mut disks, mut clocks) = (Vec::new(), Vec::new());
    for host in managers {
        host.skep.stop()?;
        disks.push(SmallDisk::mount(host.skep.data(), DISK)?);
        let clock = Clock::new(host.engine.folder())?;
        host.skep.add_environment(clock.environment());
        host.skep.restart()?;
        clocks.push(clock);
    }
    Ok((disks, clocks))
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
fn faults(stage: &mut Stage) -> Result<()> {
    type Fault = (&'static str, fn(&mut Stage, usize) -> Result<()>);
    let all: [Fault; 14] = [
        ("the leader is killed", killed),
        ("a follower is killed", |stage, leader| killed(stage, (leader + 1) % MANAGERS)),
        ("the worker is killed", |stage, _| killed(stage, MANAGERS)),
        ("the leader is cut off", |stage, leader| {
            stage.hosts.fabric.plug(stage.space(leader), false)?;
            stage.clients.go_on(&others(leader))?;
            stage.hosts.fabric.plug(stage.space(leader), true)
        }),
        ("the leader hears nothing", |stage, leader| one_way(stage, leader, Fabric::deafen)),
        ("nobody hears the leader", |stage, leader| one_way(stage, leader, Fabric::mute)),
        ("a follower's link is slow", |stage, leader| {
            one_way(stage, (leader + 1) % MANAGERS, Fabric::slow)
        }),
        ("the leader is stopped for a while", paused),
        ("the worker is stopped for a while", |stage, _| paused(stage, MANAGERS)),
        ("the leader's disk is full", a_disk_fills_up),
        ("a follower's disk is full", |stage, leader| {
            a_disk_fills_up(stage, (leader + 1) % MANAGERS)
        }),
        ("the leader's clock is set ahead, then back", a_clock_jumps),
        ("all start anew", |stage, _| {
            stage.hosts.all.iter_mut().try_for_each(|host| host.skep.kill9())?;
            stage.hosts.all.iter_mut().try_for_each(|host| host.skep.launch())?;
            stage.hosts.all.iter_mut().try_for_each(|host| host.skep.wait_ready())?;
            stage.clients.go_on(&[0, 1, 2])
        }),
        ("an engine is killed", |stage, _| an_engine_dies(stage)),
    ];
    for (name, fault) in all {
        let leader = leader(&stage.hosts.all)?;
        let begun = Instant::now();
        fault(stage, leader).with_context(|| name.to_owned())?;
        let acted = begun.elapsed();
        settled(&stage.hosts.all).with_context(|| format!("after: {name}"))?;
        eprintln!("{name}: {acted:.1?}, all well after {:.1?}", begun.elapsed());
    }
    Ok(())
}

impl Stage<'_> {
    fn space(&self, host: usize) -> &Namespace {
        self.hosts.all[host].engine.space()
    }
}

/// The managers but for one.
fn others(host: usize) -> Vec<usize> {
    (0..MANAGERS).filter(|other| *other != host).collect()
}

fn killed(stage: &mut Stage, host: usize) -> Result<()> {
    stage.hosts.all[host].skep.kill9()?;
    stage.clients.go_on(&others(host))?;
    stage.hosts.all[host].skep.restart()
}

fn one_way(stage: &Stage, host: usize, cut: fn(&Fabric, &Namespace) -> Result<()>) -> Result<()> {
    cut(&stage.hosts.fabric, stage.space(host))?;
    stage.clients.go_on(&others(host))?;
    stage.hosts.fabric.heal(stage.space(host))
}

fn paused(stage: &mut Stage, host: usize) -> Result<()> {
    let pid = stage.hosts.all[host].skep.pid()?.to_string();
    sh("kill", &["-STOP", &pid])?;
    let begun = Instant::now();
    let went_on = stage.clients.go_on(&others(host));
    let waited = wait_for("the silence to be long", SOON, || {
        ensure!(begun.elapsed() > SILENCE, "not yet");
        Ok(())
    });
    sh("kill", &["-CONT", &pid])?;
    went_on.and(waited)
}

/// Not a byte is left to a manager. The others go on, one of them leads, and the full one says what is the matter.
fn a_disk_fills_up(stage: &mut Stage, host: usize) -> Result<()> {
    stage.disks[host].fill()?;
    stage.clients.go_on(&others(host))?;
    ensure!(leader(&stage.hosts.all)? != host, "the lead stays where nothing can be written");
    stage.disks[host].free()?;
    stage.clients.go_on(&[0, 1, 2])
}

/// By more than a certificate's validity, so that the leader takes all others' for run out, then for not yet valid.
fn a_clock_jumps(stage: &mut Stage, host: usize) -> Result<()> {
    for set in [Clock::ahead, Clock::back] {
        let refused = refusals(stage, host);
        set(&stage.clocks[host], YEAR)?;
        wait_for("the other year to be seen", SOON, || {
            let [there, elsewhere] = [host, (host + 1) % MANAGERS].map(|by| year(stage, by));
            ensure!(there? != elsewhere?, "not yet");
            Ok(())
        })?;
        stage.clients.go_on(&others(host))?;
        // By such a clock each certificate is to be replaced; who did would be shut out once connections are made anew.
        wait_for("the wrong clock to be noticed", SOON, || {
            ensure!(refusals(stage, host) > refused, "not yet");
            Ok(())
        })?;
        stage.clocks[host].ahead(Duration::ZERO)?;
        settled(&stage.hosts.all)?;
    }
    stage.clients.go_on(&[0, 1, 2])
}

/// How often a manager has refused to sign since it takes its clock for wrong.
fn refusals(stage: &Stage, manager: usize) -> usize {
    stage.hosts.all[manager].skep.log(usize::MAX).matches("nothing is signed here").count()
}

/// The year in which a manager wrote last, by its clock.
fn year(stage: &Stage, manager: usize) -> Result<String> {
    let asked = ["config", "inspect", "-f", "{{.UpdatedAt.Year}}", &clients::name(manager)];
    stage.hosts.all[manager].docker().ok(&asked)
}

/// The worker's engine ends with all its containers, and comes back.
fn an_engine_dies(stage: &mut Stage) -> Result<()> {
    let worker = &mut stage.hosts.all[MANAGERS].engine;
    Engine::kill9(worker)?;
    stage.clients.go_on(&[0, 1, 2])?;
    worker.launch()
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
