//! A power cut of a host, and its start from what is left on its disks. What a real host has in memory alone is gone: processes,
//! its network, what is mounted, and all below `/run`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::sh;
use crate::{Fabric, Host, Namespace, wait_for};

/// How long processes may take to be gone once they are killed.
const END: Duration = Duration::from_secs(30);

impl Host {
    /// Ends everything on the host at once, without a word to anybody.
    pub fn cut_power(&mut self, fabric: &Fabric) -> Result<()> {
        let node = self.docker().ok(&["info", "-f", "{{.Swarm.NodeID}}"])?;
        let tunnel = self.skep.tunnel_socket()?;
        kill_all(self.engine.pid())?;
        self.skep.kill9()?;
        self.engine.kill9()?;
        fabric.unplug(self.engine.space())?;
        self.engine.space().remove()?;
        self.engine.lose_memory()?;
        let files = format!("/run/skep/files/{node}");
        sh("umount", &["-l", &files])?;
        fs::remove_dir(&files)?;
        self.skep.lose_memory(&tunnel)
    }

    /// Starts the host again: its network, the engine, skep, in this order.
    pub fn boot(&mut self, fabric: &Fabric) -> Result<()> {
        self.engine.boot(Namespace::on(fabric, &self.address)?)?;
        self.skep.follow(&self.engine);
        self.skep.restart()
    }
}

/// A process, whose number may be given to another one later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    pid: u32,
    /// When it began, in ticks since the machine did.
    began: u64,
}

/// Kills all processes of the host of this one: those that know the host by its name, and what these started.
fn kill_all(of_host: u32) -> Result<()> {
    let name = host_name_of(of_host).context("the host runs")?;
    ensure!(host_name_of(std::process::id()) != Some(name), "this is the machine itself");
    let mut doomed = BTreeSet::new();
    wait_for("the end of all processes", END, || {
        let mut left = Vec::new();
        let all = all_processes();
        // Parents come before what they started, but for numbers that begin anew.
        for _ in 0..2 {
            for (process, parent) in &all {
                let is_of_host = host_name_of(process.pid) == Some(name)
                    || doomed.iter().any(|held: &Process| held.pid == *parent);
                if is_of_host {
                    doomed.insert(*process);
                }
            }
        }
        for (process, _) in all {
            if doomed.contains(&process) {
                left.push(process.pid.to_string());
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let args: Vec<&str> = ["-9"].into_iter().chain(left.iter().map(String::as_str)).collect();
        let _some_are_gone = sh("kill", &args);
        anyhow::bail!("{left:?} are left")
    })
}

/// Which namespace of host names a process is in; nothing if it ended.
fn host_name_of(pid: u32) -> Option<u64> {
    Some(fs::metadata(format!("/proc/{pid}/ns/uts")).ok()?.ino())
}

/// All processes that did not end, with their parents.
fn all_processes() -> Vec<(Process, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut all: Vec<_> = pids.filter_map(process).collect();
    all.sort_unstable();
    all
}

fn process(pid: u32) -> Option<(Process, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold anything.
    let mut words = stat.rsplit_once(')')?.1.split_whitespace();
    let state = words.next()?;
    let parent = words.next()?.parse().ok()?;
    let began = words.nth(17)?.parse().ok()?;
    (state != "Z").then_some((Process { pid, began }, parent))
}
