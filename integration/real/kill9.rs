//! skep is killed again and again while a stack is updated and users keep asking for things: what
//! was acknowledged stays, no container starts twice for the same wish, and all converges.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use skep_integration::{Docker, Follow, Generation, Lab, wait_for};

use crate::{app, in_swarm};

const SOON: Duration = Duration::from_secs(90);
const ROUNDS: u32 = 12;
/// Bounds what the user in the background asks for.
const MOST_REQUESTS: u32 = 150;

on_both_engines!(kill9_loop);

/// Names of what the user was told exists.
#[derive(Default)]
struct Acknowledged {
    services: Vec<String>,
    secrets: Vec<String>,
}

fn kill9_loop(generation: Generation) -> Result<()> {
    in_swarm(generation, |lab| {
        let starts = lab.engine.docker().follow(&[
            "events",
            "--format",
            "{{json .Actor.Attributes}}",
            "--filter",
            "type=container",
            "--filter",
            "event=start",
        ])?;
        app::deploy(lab.docker(), lab.engine.folder())?;
        let (docker, over) = (lab.docker().clone(), AtomicBool::new(false));
        let (wishes, acknowledged) = thread::scope(|scope| {
            let user = scope.spawn(|| keep_asking(&docker, &over));
            let wishes = kill_repeatedly(lab);
            over.store(true, Ordering::Relaxed);
            let acknowledged = user.join().map_err(|_| anyhow!("the user panicked"))?;
            anyhow::Ok((wishes?, acknowledged?))
        })?;
        ensure!(acknowledged.secrets.len() > 5, "too few requests were served to prove anything");
        lab.docker().converged(SOON)?;
        all_is_there(lab.docker(), &acknowledged)?;
        settled(lab, wishes)?;
        each_started_once(&starts, wishes)
    })
}

/// Asks for secrets and services without pause; most kills interrupt a request. Whatever is
/// refused or interrupted was not promised.
fn keep_asking(docker: &Docker, over: &AtomicBool) -> Result<Acknowledged> {
    let mut acknowledged = Acknowledged::default();
    for number in 0..MOST_REQUESTS {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let secret = format!("secret-{number}");
        if docker.run_with(&["secret", "create", &secret, "-"], secret.as_bytes())?.code == 0 {
            acknowledged.secrets.push(secret);
        }
        let service = format!("idle-{number}");
        if create(docker, &service, "0")?.code == 0 {
            acknowledged.services.push(service);
        }
    }
    Ok(acknowledged)
}

/// Kills and restarts; returns how many updates were acknowledged.
fn kill_repeatedly(lab: &mut Lab) -> Result<u32> {
    let mut wishes = 0;
    for round in 1..=ROUNDS {
        if round % 4 == 1 {
            let wish = format!("wish={}", wishes + 1);
            lab.docker().ok(&[
                "service",
                "update",
                "--detach",
                "--no-resolve-image",
                "--container-label-add",
                &wish,
                "app_web",
            ])?;
            wishes += 1;
        }
        create(lab.docker(), &format!("side-{round}"), "1")?.ok("create a service")?;
        live_until(lab, round)?;
        lab.skep()?.kill9()?;
        lab.skep()?.restart()?;
    }
    Ok(wishes)
}

fn create(docker: &Docker, name: &str, replicas: &str) -> Result<skep_integration::Output> {
    docker.run(&[
        "service",
        "create",
        "--detach",
        "--no-resolve-image",
        "--name",
        name,
        "--replicas",
        replicas,
        "--stop-signal",
        "SIGKILL",
        "busybox:latest",
        "tail",
        "-f",
        "/dev/null",
    ])
}

/// Lets skep live to a different moment in each round: at once, when a container of the round
/// exists, when it runs, when a task of the update was replaced.
fn live_until(lab: &Lab, round: u32) -> Result<()> {
    let engine = lab.engine.docker();
    let label = format!("label=com.docker.swarm.service.name=side-{round}");
    match round % 4 {
        0 => Ok(()),
        1 => wait_for("a container of this round", SOON, || {
            ensure!(!engine.ok(&["ps", "-aq", "--filter", &label])?.is_empty(), "none");
            Ok(())
        }),
        2 => wait_for("a running container of this round", SOON, || {
            ensure!(!engine.ok(&["ps", "-q", "--filter", &label])?.is_empty(), "none");
            Ok(())
        }),
        _ => {
            let before = engine.service_containers("app_web")?;
            wait_for("progress of the update", SOON, || {
                let now = engine.service_containers("app_web")?;
                let state = lab.docker().update_state("app_web")?;
                ensure!(now != before || state != "updating", "{state} {now:?}");
                Ok(())
            })
        }
    }
}

fn all_is_there(docker: &Docker, acknowledged: &Acknowledged) -> Result<()> {
    let services = docker.lines(&["service", "ls", "--format", "{{.Name}}"])?;
    let secrets = docker.lines(&["secret", "ls", "--format", "{{.Name}}"])?;
    let sides = (1..=ROUNDS).map(|round| format!("side-{round}"));
    for name in acknowledged.services.iter().cloned().chain(sides) {
        ensure!(services.contains(&name), "acknowledged service {name} is lost: {services:?}");
    }
    for name in &acknowledged.secrets {
        ensure!(secrets.contains(name), "acknowledged secret {name} is lost: {secrets:?}");
    }
    Ok(())
}

/// Waits until exactly three containers of the newest wish run.
fn settled(lab: &Lab, wish: u32) -> Result<()> {
    let engine = lab.engine.docker();
    wait_for("three tasks of the last update", SOON, || {
        let all = engine.service_containers("app_web")?;
        let newest = engine.running(&format!("wish={wish}"))?;
        ensure!(all.len() == 3 && newest == all, "all {all:?}, newest {newest:?}");
        Ok(())
    })
}

/// From the engine's own events: a slot never starts twice for one wish, and the last wish started
/// in every slot.
fn each_started_once(starts: &Follow, last_wish: u32) -> Result<()> {
    let mut count: BTreeMap<(String, String), u32> = BTreeMap::new();
    for line in starts.text()?.lines() {
        let labels: Value = serde_json::from_str(line)?;
        let label = |name: &str| labels[name].as_str().unwrap_or_default().to_owned();
        let task = label("com.docker.swarm.task.name");
        let slot = task.rsplit_once('.').context("a task name ends in its id")?.0.to_owned();
        *count.entry((slot, label("wish"))).or_default() += 1;
    }
    let twice: Vec<_> = count.iter().filter(|(_, times)| **times > 1).collect();
    ensure!(twice.is_empty(), "started more than once: {twice:?}");
    for slot in 1..=3 {
        let key = (format!("app_web.{slot}"), last_wish.to_string());
        ensure!(count.contains_key(&key), "{key:?} never started: {count:?}");
    }
    Ok(())
}
