//! skep is killed again and again while a stack is updated and a user keeps asking for things: what
//! was acknowledged stays, no container starts twice for the same wish, and all converges.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use skep_integration::{Docker, Follow, Generation, Lab, wait_for};

use crate::in_swarm;

const SOON: Duration = Duration::from_secs(90);
const ROUNDS: u32 = 12;

on_both_engines!(kill9_loop);

/// What the user was told exists.
#[derive(Default)]
struct Acknowledged {
    services: Vec<String>,
    secrets: Vec<String>,
    updates: u32,
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
        create(lab.docker(), "web", 3)?.ok("create web")?;
        lab.docker().converged(SOON)?;
        let mut acknowledged = Acknowledged { services: vec!["web".into()], ..Default::default() };
        for round in 1..=ROUNDS {
            ask(lab.docker(), round, &mut acknowledged)?;
            live_until(lab, round)?;
            lab.skep()?.kill9()?;
            lab.skep()?.restart()?;
        }
        ensure!(acknowledged.updates > 0 && acknowledged.secrets.len() > 1, "requests were served");
        lab.docker().converged(SOON)?;
        all_is_there(lab.docker(), &acknowledged)?;
        settled(lab, acknowledged.updates)?;
        each_started_once(&starts, acknowledged.updates)
    })
}

fn create(docker: &Docker, name: &str, replicas: u32) -> Result<skep_integration::Output> {
    docker.run(&[
        "service",
        "create",
        "--detach",
        "--no-resolve-image",
        "--name",
        name,
        "--replicas",
        &replicas.to_string(),
        "--container-label",
        "wish=0",
        "--update-parallelism",
        "1",
        "--update-delay",
        "300ms",
        "--update-monitor",
        "100ms",
        "--stop-signal",
        "SIGKILL",
        "busybox:latest",
        "tail",
        "-f",
        "/dev/null",
    ])
}

/// One more update, service and secret; a request may fail, but then nothing was promised.
fn ask(docker: &Docker, round: u32, acknowledged: &mut Acknowledged) -> Result<()> {
    if round % 4 == 1 {
        let wish = format!("wish={}", acknowledged.updates + 1);
        let update = ["service", "update", "--detach", "--no-resolve-image"];
        let args = [&update[..], &["--container-label-add", &wish, "web"]].concat();
        docker.ok(&args)?;
        acknowledged.updates += 1;
    }
    let (service, secret) = (format!("side-{round}"), format!("secret-{round}"));
    if create(docker, &service, 1)?.code == 0 {
        acknowledged.services.push(service);
    }
    if docker.run_with(&["secret", "create", &secret, "-"], secret.as_bytes())?.code == 0 {
        acknowledged.secrets.push(secret);
    }
    Ok(())
}

/// Lets skep live a little longer in each round, so that kills fall into different moments: at
/// once, when a container of the round exists, when it runs, when the update moved on.
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
        _ => lab.docker().converged(SOON),
    }
}

fn all_is_there(docker: &Docker, acknowledged: &Acknowledged) -> Result<()> {
    let services = docker.lines(&["service", "ls", "--format", "{{.Name}}"])?;
    let secrets = docker.lines(&["secret", "ls", "--format", "{{.Name}}"])?;
    for name in &acknowledged.services {
        ensure!(services.contains(name), "acknowledged service {name} is lost: {services:?}");
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
        let all = engine.service_containers("web")?;
        let newest = engine.running(&format!("wish={wish}"))?;
        let newest: Vec<&String> = newest.iter().filter(|id| all.contains(id)).collect();
        ensure!(all.len() == 3 && newest.len() == 3, "all {all:?}, newest {newest:?}");
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
        let key = (format!("web.{slot}"), last_wish.to_string());
        ensure!(count.contains_key(&key), "{key:?} never started: {count:?}");
    }
    Ok(())
}
