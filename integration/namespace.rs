//! A network namespace with loopback and one address, so that engines, published ports and swarm
//! ports of one test meet neither the machine's nor another test's; and the switch between several.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;

use crate::Output;
use crate::process::{finish, sh};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Exists as long as the value does.
pub struct Namespace {
    name: String,
    /// The far end of its cable.
    plug: String,
}

/// A switch that hosts are plugged into; a namespace with a bridge in it.
pub struct Fabric {
    space: String,
}

impl Fabric {
    pub fn new() -> Result<Self> {
        let fabric = Self { space: next_name() };
        let space = fabric.space.as_str();
        sh("ip", &["netns", "add", space])?;
        sh("ip", &["-n", space, "link", "add", "switch", "type", "bridge"])?;
        sh("ip", &["-n", space, "link", "set", "switch", "up"])?;
        Ok(fabric)
    }

    /// Cuts a host off, or plugs it in again.
    pub fn plug(&self, host: &Namespace, plugged: bool) -> Result<()> {
        let state = if plugged { "up" } else { "down" };
        sh("ip", &["-n", &self.space, "link", "set", &host.plug, state])?;
        Ok(())
    }
}

impl Fabric {
    /// Takes the cable of a host away for good, with what it ends in.
    pub fn unplug(&self, host: &Namespace) -> Result<()> {
        sh("ip", &["-n", &self.space, "link", "del", &host.plug]).map(drop)
    }

    /// Keeps from a host what others send, but not from others what it sends.
    pub fn deafen(&self, host: &Namespace) -> Result<()> {
        self.drop_frames(&format!("oifname {}", host.plug))
    }

    /// Keeps from others what a host sends, but not from it what they send.
    pub fn mute(&self, host: &Namespace) -> Result<()> {
        self.drop_frames(&format!("iifname {}", host.plug))
    }

    fn drop_frames(&self, which: &str) -> Result<()> {
        let table = "table bridge cut { chain frames { type filter hook forward priority 0; ";
        self.inside("nft", &[&format!("{table}{which} drop; }}; }}")])
    }

    /// Makes the way to a host a narrow one: a megabit a second, and a long queue before it.
    pub fn slow(&self, host: &Namespace) -> Result<()> {
        let how = ["root", "tbf", "rate", "1mbit", "burst", "8kb", "latency", "400ms"];
        self.inside("tc", &[&["qdisc", "add", "dev", host.plug.as_str()][..], &how].concat())
    }

    /// Takes back what [`Fabric::deafen`], [`Fabric::mute`] and [`Fabric::slow`] did.
    pub fn heal(&self, host: &Namespace) -> Result<()> {
        self.inside("nft", &["flush ruleset"])?;
        let _was_not_slow = self.inside("tc", &["qdisc", "del", "dev", &host.plug, "root"]);
        Ok(())
    }

    /// Counts from here on the packets between hosts that each of these conditions is true of, as nftables writes them.
    pub fn count(&self, conditions: &[&str]) -> Result<()> {
        let rules = conditions.iter().map(|condition| format!("{condition} counter; "));
        let hook = "type filter hook forward priority -1; ";
        let chain = format!("chain frames {{ {hook}{}}};", rules.collect::<String>());
        self.inside("nft", &[&format!("table bridge count {{ {chain} }}")])
    }

    /// Returns how many there were of each.
    pub fn counted(&self) -> Result<Vec<u64>> {
        let space = format!("--net=/var/run/netns/{}", self.space);
        let listed = sh("nsenter", &[&space, "nft", "list", "table", "bridge", "count"])?;
        let counts = listed.lines().filter_map(|line| {
            let words = line.split_once("counter packets ")?.1;
            words.split_whitespace().next()?.parse().ok()
        });
        Ok(counts.collect())
    }

    fn inside(&self, program: &str, args: &[&str]) -> Result<()> {
        let space = format!("--net=/var/run/netns/{}", self.space);
        sh("nsenter", &[&[space.as_str(), program][..], args].concat())?;
        Ok(())
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        let _gone = sh("ip", &["netns", "del", &self.space]);
    }
}

fn next_name() -> String {
    format!("skep-lab-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Namespace {
    /// Makes a namespace whose only interface beside loopback carries `address`.
    pub fn new(address: &str) -> Result<Self> {
        let space = Self { name: next_name(), plug: "nowhere".to_owned() };
        let name = space.name.as_str();
        sh("ip", &["netns", "add", name])?;
        // Both ends of the pair stay inside: it is a cable to nowhere that carries the address.
        sh("ip", &["-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", "nowhere"])?;
        sh("ip", &["-n", name, "link", "set", "nowhere", "up"])?;
        space.set_up(address)?;
        Ok(space)
    }

    /// Makes a namespace that is plugged into a switch.
    pub fn on(fabric: &Fabric, address: &str) -> Result<Self> {
        let name = next_name();
        let plug = format!("port{}", address.replace('.', ""));
        let space = Self { name, plug };
        let (name, plug) = (space.name.as_str(), space.plug.as_str());
        sh("ip", &["netns", "add", name])?;
        let ends = ["link", "add", "eth0", "type", "veth", "peer", "name", plug];
        sh("ip", &[&["-n", name][..], &ends, &["netns", &fabric.space]].concat())?;
        sh("ip", &["-n", &fabric.space, "link", "set", plug, "master", "switch"])?;
        sh("ip", &["-n", &fabric.space, "link", "set", plug, "up"])?;
        space.set_up(address)?;
        Ok(space)
    }

    fn set_up(&self, address: &str) -> Result<()> {
        let name = self.name.as_str();
        sh("ip", &["-n", name, "link", "set", "lo", "up"])?;
        sh("ip", &["-n", name, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
        sh("ip", &["-n", name, "link", "set", "eth0", "up"])?;
        Ok(())
    }

    /// Gives the interface another address instead of the one it has.
    pub fn move_to(&self, address: &str) -> Result<()> {
        let name = self.name.as_str();
        sh("ip", &["-n", name, "addr", "flush", "dev", "eth0"])?;
        sh("ip", &["-n", name, "addr", "add", &format!("{address}/24"), "dev", "eth0"]).map(drop)
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

    /// Does work inside, on a thread of its own and with what that needs to wait.
    pub fn enter<T: Send>(&self, work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
        let space = std::fs::File::open(self.path())?;
        let inside = || {
            nix::sched::setns(&space, nix::sched::CloneFlags::CLONE_NEWNET)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work())
        };
        let worked = std::thread::scope(|scope| scope.spawn(inside).join());
        worked.map_err(|_panicked| anyhow::anyhow!("the work in {} panicked", self.name))?
    }

    /// Takes it away before the value ends; nothing may run in it any more.
    pub fn remove(&self) -> Result<()> {
        sh("ip", &["netns", "del", &self.name]).map(drop)
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
