//! Findings about the kernel's features.

use skep_core::net::wire_link::Carrier;

use crate::doctor::facts::{Facts, Kernel, Module, Nft};
use crate::doctor::finding::{Findings, Level};

/// Features, how bad it is to lack them, and what they are for.
const FEATURES: [(&str, Level, &str); 4] = [
    ("bridge", Level::Problem, "networks of containers need it"),
    ("nf_conntrack", Level::Problem, "published ports and ways out of containers need it"),
    (
        "br_netfilter",
        Level::Note,
        "containers that reach each other through published ports need it",
    ),
    ("vxlan", Level::Warning, "overlay networks over several nodes need it"),
];

/// Share of tracked connections, in percent, from which the table counts as nearly full.
const CONNECTIONS_PERCENT: u64 = 90;

pub fn kernel(facts: &Facts, out: &mut Findings<'_>) {
    let kernel = &facts.kernel;
    let mut here = Vec::new();
    for (name, level, purpose) in FEATURES {
        match kernel.modules.get(name) {
            Some(Module::Here | Module::Loadable) => here.push(name),
            Some(Module::Absent) => out.at(
                level,
                format!("The kernel has no {name}; {purpose}."),
                format!("Install the kernel's modules, then run `modprobe {name}`."),
            ),
            Some(Module::Unknown) | None => out.note(
                format!("Whether the kernel has {name} could not be told; {purpose}."),
                format!("Try `modprobe {name}`."),
            ),
        }
    }
    if !here.is_empty() {
        out.ok(format!("The kernel has {}.", here.join(", ")));
    }
    match kernel.ip_forward {
        Some(true) => out.ok("IP forwarding is on."),
        Some(false) => out.problem(
            "IP forwarding is off: containers reach nothing beyond this machine.",
            "Run `sysctl -w net.ipv4.ip_forward=1` and keep it in /etc/sysctl.d.",
        ),
        None => out.unseen("Whether IP forwarding is on could not be read."),
    }
    encryption(kernel, out);
    if let Some((used, most)) = kernel.connections
        && used.saturating_mul(100) >= most.saturating_mul(CONNECTIONS_PERCENT)
    {
        out.warning(
            format!("{used} of {most} connections are tracked; new ones are dropped when the table is full."),
            "Raise net.netfilter.nf_conntrack_max.",
        );
    }
    nft(&kernel.nft, out);
}

/// Who encrypts what encrypted networks carry between nodes, or would.
fn encryption(kernel: &Kernel, out: &mut Findings<'_>) {
    let in_kernel =
        matches!(kernel.modules.get("wireguard"), Some(Module::Here | Module::Loadable));
    match &kernel.carrier {
        Some(Carrier::Kernel(_)) => out.ok("The kernel's WireGuard carries encrypted networks."),
        Some(Carrier::Process) if in_kernel => out.note(
            "A process carries encrypted networks, though the kernel has WireGuard, which is faster.",
            "Restart skep: it takes the kernel's then. Packets are lost until the other nodes have the new key.",
        ),
        Some(Carrier::Process) => out.ok("A process carries encrypted networks."),
        Some(Carrier::Nobody) | None if in_kernel => {
            out.ok("The kernel has WireGuard for encrypted networks.");
        }
        Some(Carrier::Nobody) | None if kernel.tun => {
            out.ok("The kernel has no WireGuard; a process would carry encrypted networks.");
        }
        Some(Carrier::Nobody) | None => out.note(
            "There is neither WireGuard nor a TUN device (/dev/net/tun); encrypted overlay networks over several nodes need either.",
            "Run `modprobe wireguard` or `modprobe tun` if you want them.",
        ),
    }
}

/// Things amiss that are named; more of them rarely say more.
const AMISS_MAX: usize = 5;

/// What the daemon finds of the host's part of the cluster's networks.
pub fn network(facts: &Facts, out: &mut Findings<'_>) {
    let Some(amiss) = &facts.network else { return };
    if amiss.is_empty() {
        out.ok("Tunnels, routes and packet rules are as the cluster wants them.");
        return;
    }
    let mut named = amiss.iter().take(AMISS_MAX).cloned().collect::<Vec<_>>().join("; ");
    if amiss.len() > AMISS_MAX {
        named.push_str(&format!("; and {} more", amiss.len() - AMISS_MAX));
    }
    out.problem(
        format!("The host's network is not as the cluster wants it: {named}."),
        "The daemon puts it right within seconds; if this stays, its log says why it cannot.",
    );
}

fn nft(nft: &Nft, out: &mut Findings<'_>) {
    match nft {
        Nft::Works(version) => out.ok(format!("nftables work ({version}).")),
        Nft::Untried(version) => {
            out.unseen(format!(
                "{version} is installed; whether the kernel takes its rules only root can try."
            ));
        }
        Nft::NoProgram => out.warning(
            "The program nft is missing; networks over several nodes need it.",
            "Install the package nftables.",
        ),
        Nft::Fails(reason) => out.warning(
            format!("The kernel does not take nftables rules: {reason}."),
            "Run `modprobe nf_tables`, or use a kernel that has it.",
        ),
    }
}
