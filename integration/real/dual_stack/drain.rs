//! Long downloads by the mesh, over either family, while the task that they come from is replaced: they go on until they end, or
//! until the time that the service allows for it is over.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skep_integration::{Docker, Host, Namespace, wait_for};
use tempfile::NamedTempFile;

use super::{SOON, of_host};
use crate::packets::{container, inside};

/// Gives so many lines as it is asked for, five in a second, and a last one.
const SLOW: &str = r#"printf '#!/bin/sh\necho\nfor n in $(seq 1 $QUERY_STRING); do echo line $n; sleep 0.2; done\necho end\n' >/www/cgi-bin/slow
chmod +x /www/cgi-bin/slow"#;

/// What a download that ends has, which takes twelve seconds.
const LINES: u32 = 60;

/// What a download that ends is given, and one that lasts too long.
const SHORT: Duration = Duration::from_secs(30);
const OVER: Duration = Duration::from_secs(4);

/// How long after a download's end its task may go on, on a busy machine.
const LATE: Duration = Duration::from_secs(8);

pub(super) fn downloads_go_on(hosts: &[Host], outside: &Namespace) -> Result<()> {
    let manager = hosts[0].docker();
    manager.ok(&["service", "scale", "-d", "web=1"])?;
    manager.converged(SOON)?;
    one_that_ends_is_whole(hosts, outside)?;
    one_that_lasts_is_cut_off(hosts, outside)?;
    manager.ok(&["service", "update", "-q", "-d", "--label-rm", "skep.lb.drain", "web"])?;
    manager.ok(&["service", "scale", "-d", "web=3"])?;
    manager.converged(SOON)
}

/// The host of the only task, and its container; the slow page is there then.
fn prepare(hosts: &[Host]) -> Result<(usize, String)> {
    let place = wait_for("the task", SOON, || {
        hosts.iter().position(|host| container(host, "web").is_ok()).context("no host has it")
    })?;
    let task = container(&hosts[place], "web")?;
    inside(&hosts[place], &task, &["sh", "-c", SLOW])?;
    Ok((place, task))
}

/// One that goes on; killed when dropped.
struct Download {
    child: Child,
    file: NamedTempFile,
}

impl Download {
    fn start(outside: &Namespace, to: &str, lines: u32) -> Result<Self> {
        let file = NamedTempFile::new()?;
        let url = format!("http://{to}:18082/cgi-bin/slow?{lines}");
        let mut command = outside.command("busybox");
        command.args(["timeout", "60", "busybox", "wget", "-q", "-O", "-", &url]);
        let child = command.stdin(Stdio::null()).stdout(file.reopen()?).spawn().context("get")?;
        Ok(Self { child, file })
    }

    fn text(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.file.path())?)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _collected = self.child.wait();
    }
}

/// Where the task is asked from outside: by its host and by another one, over IPv4 and IPv6.
fn doors(hosts: &[Host], place: usize) -> Vec<String> {
    let by = |number: usize| [hosts[number].address.clone(), format!("[{}]", of_host(number))];
    [place, (place + 1) % hosts.len()].into_iter().flat_map(by).collect()
}

/// Whether the task answers by a door.
fn answers(outside: &Namespace, to: &str) -> Result<bool> {
    Ok(outside.get(&format!("http://{to}:18082/cgi-bin/who"))?.code == 0)
}

/// Starts downloads by all doors; returns once all of them have begun.
fn download(doors: &[String], outside: &Namespace, lines: u32) -> Result<Vec<Download>> {
    for to in doors {
        wait_for(&format!("an answer by {to}"), SOON, || {
            ensure!(answers(outside, to)?, "none");
            Ok(())
        })?;
    }
    let all = doors.iter().map(|to| Download::start(outside, to, lines));
    let all = all.collect::<Result<Vec<_>>>()?;
    wait_for("the beginning of each download", SOON, || {
        for (download, to) in all.iter().zip(doors) {
            ensure!(download.text()?.contains("line 1\n"), "nothing by {to}");
        }
        Ok(())
    })?;
    Ok(all)
}

/// Replaces the task, with so much time for what is under way.
fn replace(manager: &Docker, time: Duration) -> Result<()> {
    let label = format!("skep.lb.drain={}s", time.as_secs());
    let update = ["service", "update", "-q", "-d", "--force", "--no-resolve-image"];
    manager.ok(&[&update[..], &["--label-add", &label, "web"]].concat()).map(drop)
}

/// Returns once the container does not run any more.
fn stopped(host: &Host, task: &str) -> Result<()> {
    wait_for("the end of the task", SOON, || {
        let running = host.engine.docker().service_containers("web")?;
        ensure!(!running.iter().any(|id| id == task), "it runs");
        Ok(())
    })
}

fn one_that_ends_is_whole(hosts: &[Host], outside: &Namespace) -> Result<()> {
    let (place, task) = prepare(hosts)?;
    let doors = doors(hosts, place);
    let begun = Instant::now();
    let mut downloads = download(&doors, outside, LINES)?;
    replace(hosts[0].docker(), SHORT)?;
    // Nobody new is led there, and there is no other.
    wait_for("nobody to be led there", SOON, || {
        ensure!(!answers(outside, &doors[0])? && !answers(outside, &doors[3])?, "it answers");
        Ok(())
    })?;
    let left = begun.elapsed();
    let on = downloads.iter().map(Download::text).collect::<Result<Vec<_>>>()?;
    ensure!(!on.iter().any(|text| text.contains("end")), "over before the task left: {on:?}");
    for (download, to) in downloads.iter_mut().zip(&doors) {
        download.child.wait()?;
        let text = download.text()?;
        ensure!(text.ends_with(&format!("line {LINES}\nend\n")), "by {to}: {text}");
    }
    let ended = begun.elapsed();
    stopped(&hosts[place], &task)?;
    let gone = begun.elapsed();
    eprintln!(
        "nobody new after {left:.1?}, downloads end after {ended:.1?}, the task after {gone:.1?}"
    );
    ensure!(gone < ended + LATE, "the task goes on after its last download");
    hosts[0].docker().converged(SOON)
}

fn one_that_lasts_is_cut_off(hosts: &[Host], outside: &Namespace) -> Result<()> {
    let (place, task) = prepare(hosts)?;
    let downloads = download(&doors(hosts, place), outside, 300)?;
    let begun = Instant::now();
    replace(hosts[0].docker(), OVER)?;
    stopped(&hosts[place], &task)?;
    let after = begun.elapsed();
    eprintln!("cut off after {after:.1?}");
    ensure!(after >= OVER && after < OVER + LATE, "cut off after {after:?}, not {OVER:?}");
    for download in downloads {
        let text = download.text()?;
        ensure!(text.contains("line 15\n") && !text.contains("end"), "{text}");
    }
    hosts[0].docker().converged(SOON)
}
