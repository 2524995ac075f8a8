//! A machine that is starved of CPU: nobody is taken for dead, and nobody's tasks are replaced. A session may be opened anew.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skep_integration::{Generation, Host, Hosts, wait_for};

const SOON: Duration = Duration::from_secs(90);

/// Three times what makes a silent node count as down.
const HUNGER: Duration = Duration::from_secs(15);

/// Programs that want all they can get, on a machine of a few cores.
const EATERS: usize = 32;

on_both_engines!(starved);

fn starved(generation: Generation) -> Result<()> {
    let hosts = Hosts::start(&[generation; 3])?;
    let outcome = live(&hosts.all);
    hosts.explain(outcome)
}

fn live(hosts: &[Host]) -> Result<()> {
    let manager = hosts[0].docker();
    Hosts::join_as(hosts, ["worker", "worker"])?;
    let make = ["service", "create", "-q", "-d", "--name", "calm", "--mode", "global"];
    let how = ["--network", "bridge", "--stop-signal", "KILL", "--no-resolve-image"];
    manager.ok(&[&make[..], &how, &["busybox:latest", "sleep", "100000"]].concat())?;
    manager.converged(SOON)?;
    let tasks = || manager.lines(&["service", "ps", "-q", "--no-trunc", "calm"]);
    let before = tasks()?;
    // Events have whole seconds.
    let since = now()?;
    let eaten = eat(|| {
        let shown = manager.lines(&["node", "ls", "--format", "{{.Status}}"])?;
        ensure!(!shown.iter().any(|status| status == "Down"), "{shown:?}");
        Ok(())
    })?;
    eprintln!("{EATERS} programs for {HUNGER:?}, {eaten} looks at the nodes");
    wait_for("what happened to nodes", SOON, || {
        let until = now()?;
        let events = ["events", "--since", &since, "--until", &until, "--filter", "type=node"];
        let verdicts = manager.lines(&[&events[..], &["--filter", "event=update"]].concat())?;
        let fell = verdicts.iter().any(|line| line.contains("state.new=down"));
        ensure!(!fell, "a verdict fell: {verdicts:?}");
        Ok(())
    })?;
    ensure!(tasks()? == before, "tasks were replaced");
    Ok(())
}

fn now() -> Result<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(now.as_secs().to_string())
}

/// Lets the programs run and looks all the time; returns how often.
fn eat(look: impl Fn() -> Result<()>) -> Result<usize> {
    let mut eaters = Vec::new();
    for _ in 0..EATERS {
        let mut command = Command::new("busybox");
        eaters.push(command.args(["sh", "-c", "while :; do :; done"]).spawn().context("eat")?);
    }
    let begun = Instant::now();
    let mut looks = 0;
    let outcome = loop {
        if begun.elapsed() >= HUNGER {
            break Ok(looks);
        }
        match look() {
            Ok(()) => looks += 1,
            Err(error) => break Err(error),
        }
    };
    for mut eater in eaters {
        eater.kill()?;
        eater.wait()?;
    }
    outcome
}
