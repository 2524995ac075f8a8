//! Three, five and seven managers, each with an engine of its own: whoever dies, one of three, two of five or three of seven at once,
//! writes go on and nothing acknowledged is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skep_integration::{Docker, Generation, Host, Hosts, cluster_address, wait_for};

const SOON: Duration = Duration::from_secs(60);

on_both_engines!(managers);

/// Waits until a manager shows so many of them that answer; returns which host leads.
fn leader(asked: &Docker, count: usize) -> Result<usize> {
    let format = "{{.Hostname}} {{.Status}} {{.ManagerStatus}}";
    let shown = wait_for("all managers answer", SOON, || {
        let shown = asked.lines(&["node", "ls", "--format", format])?;
        let answer =
            |line: &&String| line.ends_with("Ready Leader") || line.ends_with("Ready Reachable");
        ensure!(shown.iter().filter(answer).count() == count, "{shown:?}");
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

/// Kills managers at once, the leader among them, while the others write; returns what was acknowledged, and how long each host
/// took none.
fn lose(hosts: &mut [Host], lost: &[usize], round: usize) -> Result<(Vec<String>, Vec<Duration>)> {
    let dockers: Vec<Docker> = hosts.iter().map(|host| host.docker().clone()).collect();
    let stop = AtomicBool::new(false);
    let (tell, acknowledged) = channel();
    std::thread::scope(|scope| {
        for (host, docker) in dockers.iter().enumerate().filter(|(host, _)| !lost.contains(host)) {
            let (tell, stop) = (tell.clone(), &stop);
            scope.spawn(move || write(docker, host, round, stop, &tell));
        }
        drop(tell);
        let outcome = (|| {
            let mut names = Vec::new();
            while names.len() < 20 {
                names.push(acknowledged.recv_timeout(SOON)?.2);
            }
            for host in lost {
                hosts[*host].skep.kill9()?;
            }
            let killed = Instant::now();
            let mut outages = BTreeMap::new();
            while outages.len() < hosts.len() - lost.len() {
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
        let leader = leader(hosts[round].docker(), hosts.len())?;
        acknowledged.extend(lose_and_restart(hosts, &[leader], round)?);
        move_leader(hosts, round)?;
    }
    nothing_is_lost(hosts, &acknowledged)
}

/// The leader stops, and comes back on another address: the others find it there.
fn move_leader(hosts: &mut [Host], round: usize) -> Result<()> {
    let moves = leader(hosts[0].docker(), hosts.len())?;
    hosts[moves].skep.stop()?;
    let address = cluster_address(50 + 10 * round + moves);
    hosts[moves].engine.space().move_to(&address)?;
    hosts[moves].address.clone_from(&address);
    hosts[moves].skep.restart()?;
    let (name, known) = (format!("skep-{}", moves + 1), format!("{address}:2377 reachable"));
    for host in &*hosts {
        wait_for("the new address to be known", SOON, || {
            let format = "{{.ManagerStatus.Addr}} {{.ManagerStatus.Reachability}}";
            let shown = host.docker().ok(&["node", "inspect", &name, "-f", format])?;
            ensure!(shown == known, "{shown}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Returns what was acknowledged while managers died; they are back then.
fn lose_and_restart(hosts: &mut [Host], lost: &[usize], round: usize) -> Result<Vec<String>> {
    let (names, outages) = lose(hosts, lost, round)?;
    eprintln!("first writes {outages:?} after the leader's end");
    for host in lost {
        hosts[*host].skep.restart()?;
    }
    Ok(names)
}

fn nothing_is_lost(hosts: &[Host], acknowledged: &[String]) -> Result<()> {
    for host in hosts {
        leader(host.docker(), hosts.len())?;
        let known: BTreeSet<String> =
            host.docker().lines(&["config", "ls", "--format", "{{.Name}}"])?.into_iter().collect();
        let lost: Vec<_> = acknowledged.iter().filter(|name| !known.contains(*name)).collect();
        ensure!(lost.is_empty(), "{} writes, lost: {lost:?}", acknowledged.len());
    }
    Ok(())
}

#[test]
fn five_managers() -> Result<()> {
    // What consensus says at the level debug, five of them would be busy with.
    let mut hosts = Hosts::start_with(&[Generation::Engine28; 5], "info")?;
    let outcome = hosts.join().and_then(|()| lose_two_of_five(&mut hosts.all));
    hosts.explain(outcome)
}

fn lose_two_of_five(hosts: &mut [Host]) -> Result<()> {
    let first = leader(hosts[0].docker(), 5)?;
    let lost = [first, (first + 1) % 5];
    let acknowledged = lose_and_restart(hosts, &lost, 0)?;
    nothing_is_lost(hosts, &acknowledged)?;

    // One is demoted and leaves, another one is demoted and promoted; the leader goes last.
    let asked = |leads: usize| hosts[(leads + 1) % 5].docker();
    let leads = leader(hosts[0].docker(), 5)?;
    let host = |number: usize| format!("skep-{}", (leads + number) % 5 + 1);
    role(asked(leads), "demote", &host(3), "Ready")?;
    let leaves = hosts[(leads + 3) % 5].docker();
    wait_for("it leaves, once it knows that it is a worker", SOON, || {
        leaves.ok(&["swarm", "leave"])
    })?;
    role(asked(leads), "demote", &host(2), "Ready")?;
    role(asked(leads), "promote", &host(2), "Ready Reachable")?;
    role(asked(leads), "demote", &host(0), "Ready")?;
    leader(asked(leads), 3).map(drop)
}

#[test]
fn seven_managers() -> Result<()> {
    let mut hosts = Hosts::start_with(&[Generation::Engine28; 7], "info")?;
    let outcome = hosts.join().and_then(|()| lose_three_of_seven(&mut hosts.all));
    hosts.explain(outcome)
}

fn lose_three_of_seven(hosts: &mut [Host]) -> Result<()> {
    let first = leader(hosts[0].docker(), 7)?;
    let lost = [first, (first + 1) % 7, (first + 2) % 7];
    let acknowledged = lose_and_restart(hosts, &lost, 0)?;
    nothing_is_lost(hosts, &acknowledged)
}

/// Has a node made what it is to be, and waits until it shows. The CLI gives up where a node's report comes between its two calls.
fn role(docker: &Docker, verb: &str, node: &str, shows: &str) -> Result<()> {
    wait_for(&format!("{node} to {verb}"), SOON, || {
        docker.ok(&["node", verb, node])?;
        let format = "{{.Hostname}} {{.Status}} {{.ManagerStatus}}";
        let shown = docker.lines(&["node", "ls", "--format", format])?;
        let is_shown = |line: &String| line.trim_end() == format!("{node} {shows}");
        ensure!(shown.iter().any(is_shown), "{shown:?}");
        Ok(())
    })
}
