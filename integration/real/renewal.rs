//! Certificates are renewed while everything runs: by their age, as the clock says it, with the second validity after the first.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_integration::{Clock, Generation, Host, Hosts, wait_for};

/// A node looks at its certificate's age every 20 s.
const SOON: Duration = Duration::from_secs(60);

/// More than four fifths of the hour that a certificate is valid, and less than all of it.
const NEARLY: Duration = Duration::from_secs(55 * 60);

#[test]
fn certificates_are_renewed_before_they_run_out() -> Result<()> {
    let mut hosts = Hosts::start(&[Generation::Engine28, Generation::Debian20])?;
    let outcome = grow_old(&mut hosts.all);
    hosts.explain(outcome)
}

fn grow_old(hosts: &mut [Host]) -> Result<()> {
    let mut clocks = Vec::new();
    for host in &mut *hosts {
        host.skep.stop()?;
        let clock = Clock::new(host.engine.folder())?;
        host.skep.add_environment(clock.environment());
        host.skep.restart()?;
        clocks.push(clock);
    }
    let [manager, worker] = &*hosts else { return Ok(()) };
    let docker = manager.docker();
    docker.ok(&["swarm", "init", "--advertise-addr", &manager.address, "--cert-expiry", "1h"])?;
    manager.admit(worker.docker(), "worker")?;
    for round in 1..=2 {
        let old = certificates(hosts)?;
        for clock in &clocks {
            clock.ahead(NEARLY * round)?;
        }
        wait_for("both certificates to be new", SOON, || {
            let new = certificates(hosts)?;
            ensure!(old.iter().zip(&new).all(|(old, new)| old != new), "not yet");
            Ok(())
        })?;
        ready(&hosts[0])?;
    }
    // What they had first has run out now; new connections need what they have since.
    for host in &mut *hosts {
        host.skep.kill9()?;
        host.skep.restart()?;
    }
    ready(&hosts[0])?;
    let everywhere = ["service", "create", "-q", "--name", "app", "--mode", "global"];
    hosts[0].docker().ok(&[&everywhere[..], &["busybox:latest", "sleep", "9999"]].concat())?;
    Ok(())
}

/// The certificates as they lie on the disks.
fn certificates(hosts: &[Host]) -> Result<Vec<String>> {
    let read = |host: &Host| {
        let path = host.skep.data().join("certificates/swarm-node.crt");
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    hosts.iter().map(read).collect()
}

fn ready(manager: &Host) -> Result<()> {
    wait_for("both to be ready", SOON, || {
        let nodes = manager.docker().lines(&["node", "ls", "--format", "{{.Status}}"])?;
        ensure!(nodes == ["Ready", "Ready"], "{nodes:?}");
        Ok(())
    })
}
