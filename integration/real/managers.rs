//! Three managers on three hosts, each with an engine of its own: whoever dies, writes go on and nothing acknowledged is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skep_integration::{Docker, Generation, Host, Hosts, wait_for};

const SOON: Duration = Duration::from_secs(60);

/// Without a leader for at most 1.5 s; the rest is what the CLI takes on a busy machine.
const OUTAGE_MAX: Duration = Duration::from_secs(5);

on_both_engines!(managers);

/// Waits until a manager shows three of them that answer; returns which host leads.
fn leader(asked: &Docker) -> Result<usize> {
    let format = "{{.Hostname}} {{.Status}} {{.ManagerStatus}}";
    let shown = wait_for("three managers that answer", SOON, || {
        let shown = asked.lines(&["node", "ls", "--format", format])?;
        let answer =
            |line: &&String| line.ends_with("Ready Leader") || line.ends_with("Ready Reachable");
        ensure!(shown.iter().filter(answer).count() == 3, "{shown:?}");
        Ok(shown)
    })?;
    // Sorted by host name, which is the host's number.
    let leads = shown.iter().position(|line| line.ends_with("Leader"));
    leads.context("one of them leads")
}

/// An acknowledged write: through which host, when, and its name.
type Written = (usize, Instant, String);

/// Writes configs through one host until told to stop, and tells of each that was acknowledged.
fn write(docker: &Docker, host: usize, round: usize, stop: &AtomicBool, tell: &Sender<Written>) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("r{round}-{host}-{number}");
        let made = docker.run_with(&["config", "create", &name, "-"], b"x");
        let acknowledged = made.is_ok_and(|output| output.code == 0);
        if acknowledged && tell.send((host, Instant::now(), name)).is_err() {
            return;
        }
    }
}

/// Kills the leader while the others write; returns what was acknowledged, and how long each host took none.
fn lose_leader(
    hosts: &mut [Host],
    leader: usize,
    round: usize,
) -> Result<(Vec<String>, Vec<Duration>)> {
    let dockers: Vec<Docker> = hosts.iter().map(|host| host.docker().clone()).collect();
    let stop = AtomicBool::new(false);
    let (tell, acknowledged) = channel();
    std::thread::scope(|scope| {
        for (host, docker) in dockers.iter().enumerate().filter(|(host, _)| *host != leader) {
            let (tell, stop) = (tell.clone(), &stop);
            scope.spawn(move || write(docker, host, round, stop, &tell));
        }
        drop(tell);
        let outcome = (|| {
            let mut names = Vec::new();
            while names.len() < 20 {
                names.push(acknowledged.recv_timeout(SOON)?.2);
            }
            hosts[leader].skep.kill9()?;
            let killed = Instant::now();
            let mut outages = BTreeMap::new();
            while outages.len() < hosts.len() - 1 {
                let (host, at, name) = acknowledged.recv_timeout(SOON)?;
                names.push(name);
                if at > killed {
                    outages.entry(host).or_insert(at - killed);
                }
            }
            Ok((names, outages.into_values().collect()))
        })();
        stop.store(true, Ordering::Relaxed);
        let (mut names, outages): (Vec<String>, _) = outcome.map_err(|e: anyhow::Error| e)?;
        names.extend(acknowledged.iter().map(|(_, _, name)| name));
        Ok((names, outages))
    })
}

fn managers(generation: Generation) -> Result<()> {
    let mut hosts = Hosts::managers(&[generation; 3])?;
    let outcome = lose_leaders(&mut hosts.all);
    hosts.explain(outcome)
}

fn lose_leaders(hosts: &mut [Host]) -> Result<()> {
    let mut acknowledged = Vec::new();
    for round in 0..2 {
        let leader = leader(hosts[round].docker())?;
        let (names, outages) = lose_leader(hosts, leader, round)?;
        eprintln!("first writes {outages:?} after the leader's end");
        ensure!(outages.iter().all(|outage| *outage < OUTAGE_MAX), "{outages:?} without a write");
        acknowledged.extend(names);
        hosts[leader].skep.restart()?;
    }
    for host in hosts.iter() {
        leader(host.docker())?;
        let known: BTreeSet<String> =
            host.docker().lines(&["config", "ls", "--format", "{{.Name}}"])?.into_iter().collect();
        let lost: Vec<_> = acknowledged.iter().filter(|name| !known.contains(*name)).collect();
        ensure!(lost.is_empty(), "{} writes, lost: {lost:?}", acknowledged.len());
    }
    Ok(())
}
