//! What the kernel has, from /proc, /sys and the lists of its modules.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::doctor::facts::{Kernel, Module, Nft};

const MODULES: [&str; 5] = ["bridge", "br_netfilter", "vxlan", "nf_conntrack", "wireguard"];

pub async fn look(root: bool) -> Kernel {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let lists = Path::new("/lib/modules").join(release.trim());
    let built_in = fs::read_to_string(lists.join("modules.builtin")).ok();
    let loadable = fs::read_to_string(lists.join("modules.dep")).ok();
    let modules =
        MODULES.map(|name| (name, module(name, built_in.as_deref(), loadable.as_deref())));
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    Kernel {
        modules: modules.into(),
        ip_forward: number("/proc/sys/net/ipv4/ip_forward").map(|value| value != 0),
        tun: Path::new("/dev/net/tun").exists(),
        carrier: Box::pin(skep::dataplane::carrier()).await.ok(),
        connections: number("/proc/sys/net/netfilter/nf_conntrack_count")
            .zip(number("/proc/sys/net/netfilter/nf_conntrack_max")),
        nft: nft(root),
    }
}

fn module(name: &str, built_in: Option<&str>, loadable: Option<&str>) -> Module {
    // Settings that only exist while the part of the kernel does.
    let sign = match name {
        "br_netfilter" => "/proc/sys/net/bridge",
        "nf_conntrack" => "/proc/sys/net/netfilter/nf_conntrack_max",
        _ => "/nonexistent",
    };
    if Path::new("/sys/module").join(name).exists() || Path::new(sign).exists() {
        return Module::Here;
    }
    let listed = |list: &str| {
        list.lines().any(|line| {
            let file = line.split(':').next().unwrap_or_default().rsplit('/').next();
            // The files write a hyphen where the kernel says underscore, and may be compressed.
            let stem = file.and_then(|file| file.split('.').next()).unwrap_or_default();
            stem.replace('-', "_") == name
        })
    };
    match (built_in, loadable) {
        (Some(list), _) if listed(list) => Module::Here,
        (_, Some(list)) if listed(list) => Module::Loadable,
        (Some(_), Some(_)) => Module::Absent,
        (Some(_) | None, Some(_) | None) => Module::Unknown,
    }
}

/// Runs `nft`, as root with a rule set that is only checked.
fn nft(root: bool) -> Nft {
    let run = |arguments: &[&str], input: &str| {
        let mut child = Command::new("nft")
            .args(arguments)
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    };
    let Ok(version) = run(&["--version"], "") else { return Nft::NoProgram };
    let version = String::from_utf8_lossy(&version.stdout);
    let version = version.split(" (").next().unwrap_or_default().trim().to_owned();
    if !root {
        return Nft::Untried(version);
    }
    match run(&["--check", "--file", "-"], "add table inet skep_doctor\n") {
        Ok(output) if output.status.success() => Nft::Works(version),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            Nft::Fails(text.lines().next().unwrap_or("no reason given").to_owned())
        }
        Err(error) => Nft::Fails(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_in_the_lists() {
        let built_in = "kernel/net/bridge/xx_one.ko\n";
        let loadable = "kernel/drivers/net/xx-two.ko.xz: kernel/net/ipv4/udp_tunnel.ko.xz\n";
        let found = |name| module(name, Some(built_in), Some(loadable));
        assert_eq!(found("xx_one"), Module::Here);
        assert_eq!(found("xx_two"), Module::Loadable);
        assert_eq!(found("udp_tunnel_"), Module::Absent);
        assert_eq!(module("xx_three", None, Some(loadable)), Module::Unknown);
    }
}
