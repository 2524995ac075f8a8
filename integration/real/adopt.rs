//! Containers outlive skep: after a kill or a stop it adopts what runs, and only what is gone is
//! replaced.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_integration::{Docker, Generation, Lab, wait_for};

use crate::in_swarm;

const SOON: Duration = Duration::from_secs(60);

on_both_engines!(skep_restarts_containers_stay, lost_containers_are_replaced, engine_restart_heals);

fn three_tasks(docker: &Docker) -> Result<()> {
    docker.ok(&[
        "service",
        "create",
        "--detach",
        "--no-resolve-image",
        "--name",
        "web",
        "--replicas",
        "3",
        "--restart-delay",
        "0s",
        "--stop-signal",
        "SIGKILL",
        "busybox:latest",
        "tail",
        "-f",
        "/dev/null",
    ])?;
    docker.converged(SOON)
}

/// Id and start time of each running container of `web`, from the engine itself.
fn alive(lab: &Lab) -> Result<Vec<String>> {
    let engine = lab.engine.docker();
    let ids = engine.service_containers("web")?;
    let mut args = vec!["inspect", "--format", "{{.Id}} {{.State.StartedAt}} {{.RestartCount}}"];
    args.extend(ids.iter().map(String::as_str));
    ensure!(!ids.is_empty(), "no container of web runs");
    engine.lines(&args)
}

/// Proves that a daemon is at work: it takes a new service all the way to a running container.
fn works(docker: &Docker, name: &str) -> Result<()> {
    docker.ok(&[
        "service",
        "create",
        "--detach",
        "--no-resolve-image",
        "--name",
        name,
        "--stop-signal",
        "SIGKILL",
        "busybox:latest",
        "tail",
        "-f",
        "/dev/null",
    ])?;
    docker.converged(SOON)
}

fn skep_restarts_containers_stay(generation: Generation) -> Result<()> {
    in_swarm(generation, |lab| {
        three_tasks(lab.docker())?;
        let before = alive(lab)?;
        ensure!(before.len() == 3, "{before:?}");

        lab.skep()?.kill9()?;
        ensure!(alive(lab)? == before, "containers outlive a killed skep");
        lab.skep()?.restart()?;
        works(lab.docker(), "after-kill")?;
        ensure!(alive(lab)? == before, "kill -9 and restart changed a container");

        lab.skep()?.stop()?;
        ensure!(alive(lab)? == before, "containers outlive a stopped skep");
        lab.skep()?.restart()?;
        works(lab.docker(), "after-stop")?;
        ensure!(alive(lab)? == before, "stop and restart changed a container");
        let history = lab.docker().ok(&["service", "ps", "-q", "web"])?;
        ensure!(history.lines().count() == 3, "no task was replaced: {history}");
        Ok(())
    })
}

fn lost_containers_are_replaced(generation: Generation) -> Result<()> {
    in_swarm(generation, |lab| {
        three_tasks(lab.docker())?;
        for how in [vec!["kill"], vec!["rm", "-f"], vec!["stop", "-t", "0"]] {
            let before = alive(lab)?;
            let victim = before.first().context("three run")?.clone();
            let id = victim.split(' ').next().context("an id")?.to_owned();
            let args: Vec<&str> = how.iter().copied().chain([id.as_str()]).collect();
            lab.engine.docker().ok(&args)?;
            replaced(lab, &before, &victim)?;
        }
        // The same while nobody watches.
        let before = alive(lab)?;
        let victim = before.first().context("three run")?.clone();
        let id = victim.split(' ').next().context("an id")?.to_owned();
        lab.skep()?.kill9()?;
        lab.engine.docker().ok(&["rm", "-f", &id])?;
        lab.skep()?.restart()?;
        replaced(lab, &before, &victim)
    })
}

/// Waits for three running containers: the two that were left alone and a new one.
fn replaced(lab: &Lab, before: &[String], victim: &String) -> Result<()> {
    wait_for("a replacement for the lost container", SOON, || {
        let now = alive(lab)?;
        ensure!(now.len() == 3 && !now.contains(victim), "before {before:?}, now {now:?}");
        Ok(())
    })?;
    let now = alive(lab)?;
    let kept = before.iter().filter(|line| now.contains(line)).count();
    ensure!(kept == 2, "the others were left alone: before {before:?}, now {now:?}");
    lab.docker().converged(SOON)
}

fn engine_restart_heals(generation: Generation) -> Result<()> {
    in_swarm(generation, |lab| {
        three_tasks(lab.docker())?;
        lab.engine.restart()?;
        wait_for("three containers after the engine came back", SOON, || {
            let now = alive(lab)?;
            ensure!(now.len() == 3, "{now:?}");
            lab.docker().converged(Duration::from_millis(1))
        })?;
        works(lab.docker(), "after-restart")
    })
}
