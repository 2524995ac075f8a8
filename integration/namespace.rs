//! A network namespace with loopback and one address, so that engines, published ports and swarm
//! ports of one test meet neither the machine's nor another test's.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;

use crate::Output;
use crate::process::{finish, sh};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Exists as long as the value does.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace whose only interface beside loopback carries `address`.
    pub fn new(address: &str) -> Result<Self> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let space = Self { name: format!("skep-lab-{}-{count}", std::process::id()) };
        let name = space.name.as_str();
        sh("ip", &["netns", "add", name])?;
        sh("ip", &["-n", name, "link", "set", "lo", "up"])?;
        // Both ends of the pair stay inside: it is a cable to nowhere that carries the address.
        sh("ip", &["-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", "nowhere"])?;
        sh("ip", &["-n", name, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
        sh("ip", &["-n", name, "link", "set", "eth0", "up"])?;
        sh("ip", &["-n", name, "link", "set", "nowhere", "up"])?;
        Ok(space)
    }

    pub fn path(&self) -> String {
        format!("/var/run/netns/{}", self.name)
    }

    /// A command that will run inside. `ip netns exec` would remount /sys and hide the cgroups.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg(program);
        command
    }

    /// Fetches a page from inside. (wget of Debian's static busybox crashes on its own -T.)
    pub fn get(&self, url: &str) -> Result<Output> {
        finish(
            self.command("busybox").args(["timeout", "3", "busybox", "wget", "-q", "-O", "-", url]),
            b"",
        )
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _gone = sh("ip", &["netns", "del", &self.name]);
    }
}
