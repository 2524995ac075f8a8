//! What clients outside notice of updates, drains, upgrades and cut cables while they ask all the time: nothing.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use skep_integration::{Docker, Host, Hosts, Namespace, wait_for};

use super::{SOON, from_outside};
use crate::packets::{container, get, inside, under_load};

/// Longer than a node may be silent before it is down.
const CUT: Duration = Duration::from_secs(8);

/// How long the others are looked at meanwhile, at least.
const WATCHED: Duration = Duration::from_secs(3);

/// Asks by every host.
fn asked(outside: &Namespace) -> impl Fn(&String) -> Result<String> + Sync {
    |address| from_outside(address, outside)
}

fn addresses(hosts: &[Host]) -> Vec<String> {
    hosts.iter().map(|host| host.address.clone()).collect()
}

/// Each task is replaced by one that comes up with the old one killed at once: what stops is led to no more before.
pub(super) fn an_update_loses_no_request(hosts: &[Host], outside: &Namespace) -> Result<()> {
    under_load(&addresses(hosts), asked(outside), || {
        let update = ["service", "update", "-q", "--force", "--no-resolve-image"];
        let how = ["--update-monitor", "200ms", "--update-parallelism", "1", "web"];
        hosts[0].docker().ok(&[&update[..], &how].concat()).map(drop)
    })
}

/// The drained host leads on to the others.
pub(super) fn a_drain_loses_no_request(hosts: &[Host], outside: &Namespace) -> Result<()> {
    let manager = hosts[0].docker();
    let drained = manager.ok(&["node", "ls", "-q", "--filter", "role=worker"])?;
    let set =
        |availability| manager.ok(&["node", "update", "--availability", availability, &drained]);
    under_load(&addresses(hosts), asked(outside), || {
        set("drain")?;
        wait_for("an empty node", SOON, || {
            let running = ["node", "ps", "-q", "--filter", "desired-state=running", &drained];
            ensure!(manager.ok(&running)?.is_empty(), "tasks are left");
            Ok(())
        })?;
        manager.converged(SOON)
    })?;
    set("active")?;
    // Back to one on each host.
    for replicas in ["web=1", "web=3"] {
        manager.ok(&["service", "scale", "-d", replicas])?;
        manager.converged(SOON)?;
    }
    Ok(())
}

/// Each daemon ends and starts, as when its binary is replaced; the leader too.
pub(super) fn an_upgrade_loses_no_request(hosts: &mut [Host], outside: &Namespace) -> Result<()> {
    let all = addresses(hosts);
    under_load(&all, asked(outside), || {
        for host in &mut *hosts {
            host.skep.stop()?;
            host.skep.restart()?;
        }
        Ok(())
    })?;
    ready(hosts[0].docker(), 3)
}

fn ready(docker: &Docker, count: usize) -> Result<()> {
    wait_for("nodes that are ready", SOON, || {
        let shown = docker.lines(&["node", "ls", "--format", "{{.Status}}"])?;
        let ready = shown.iter().filter(|status| *status == "Ready").count();
        ensure!(ready == count, "{shown:?}");
        Ok(())
    })
}

/// Connections that are being opened to a host's task as it is lost go on to the others.
fn who_asks_a_lost_host_is_answered(host: &Host) -> Result<()> {
    let one = "busybox timeout 60 busybox wget -q -O - http://web/cgi-bin/who";
    let all = format!("for i in 1 2 3 4 5 6; do {one} & done; wait");
    let answers = inside(host, &container(host, "near")?, &["sh", "-c", &all])?;
    ensure!(answers.lines().filter(|it| !it.trim().is_empty()).count() == 6, "{answers:?}");
    Ok(())
}

/// The worker's cable is out until its node is down and replaced; the others go on, and with the cable back all is as it was.
pub(super) fn a_link_comes_back(hosts: &Hosts, outside: &Namespace) -> Result<()> {
    let [others @ .., cut] = hosts.all.as_slice() else { bail!("there are hosts") };
    let manager = hosts.all[0].docker();
    let space = cut.engine.space();
    hosts.fabric.plug(space, false)?;
    let begun = Instant::now();
    who_asks_a_lost_host_is_answered(&others[0])?;
    ready(manager, 2)?;
    // Counts of running tasks hold, as in Docker, those of the lost node too.
    wait_for("its task to run elsewhere", SOON, || {
        let ps = ["service", "ps", "web", "--filter", "desired-state=running"];
        let shown =
            manager.lines(&[&ps[..], &["--format", "{{.Node}} {{.CurrentState}}"]].concat())?;
        let elsewhere = |line: &&String| !line.starts_with("skep-3") && line.contains(" Running");
        ensure!(shown.iter().filter(elsewhere).count() == 3, "{shown:?}");
        Ok(())
    })?;
    // On a busy machine the others may have taken as long.
    let until = CUT.max(begun.elapsed() + WATCHED);
    under_load(&addresses(others), asked(outside), || {
        wait_for("the cut to be long", SOON, || {
            ensure!(begun.elapsed() > until, "not yet");
            Ok(())
        })
    })?;
    hosts.fabric.plug(space, true)?;
    let healed = Instant::now();
    ready(manager, 3)?;
    eprintln!("the node is ready {:.1?} after the cable was back", healed.elapsed());
    wait_for("the way to the host", SOON, || from_outside(&cut.address, outside))?;
    eprintln!("its ports are right {:.1?} after the cable was back", healed.elapsed());
    wait_for("a client on the host, which is another one now", SOON, || {
        let client = container(cut, "near")?;
        for _ in 0..6 {
            get(cut, &client, "http://web/cgi-bin/who")?;
        }
        Ok(())
    })?;
    eprintln!("names are right there for a new task {:.1?} after it was", healed.elapsed());
    manager.converged(SOON)
}
