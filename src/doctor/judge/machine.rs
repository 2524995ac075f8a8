//! Findings about ports, clock, disks and limits.

use super::bytes;
use crate::doctor::facts::{Disk, Facts, Need, Port, PortState, Room, Tmpfs};
use crate::doctor::finding::{Findings, Level};

/// Room below which skep's folder counts as nearly full; the daemon refuses changes below the
/// smaller one.
const OURS_LOW: u64 = 256 << 20;
const OURS_REFUSES: u64 = 4 << 20;
/// The same for the engine's folder, which holds images.
const ENGINE_LOW: u64 = 2 << 30;
const ENGINE_FULL: u64 = 128 << 20;
/// Share of free inodes, in percent, below which few are left.
const INODES_PERCENT: u64 = 5;
/// Time to make a write durable from which a disk counts as slow.
const SYNC_SLOW_MICROS: u64 = 20_000;
/// Open files below which a busy node runs out.
const FILES_LOW: u64 = 4096;

pub fn ports(facts: &Facts, out: &mut Findings<'_>) {
    for port in &facts.ports {
        one_port(port, out);
    }
}

fn one_port(port: &Port, out: &mut Findings<'_>) {
    let Port { what, protocol, address, .. } = port;
    let name = format!("{what}, {address} {protocol},");
    let level = match port.needed {
        Need::Now => Level::Problem,
        Need::SeveralNodes => Level::Warning,
        Need::StockNodes => Level::Note,
    };
    let purpose = match port.needed {
        Need::Now => "The daemon needs it",
        Need::SeveralNodes => "Overlay networks over several nodes need it",
        Need::StockNodes => "skep itself does not use it; stock engines among the nodes do",
    };
    let taken = |by: &str, out: &mut Findings<'_>| {
        out.at(
            level,
            format!("{name} is taken by {by}."),
            format!(
                "{purpose}: stop what holds it, or choose another port at `docker swarm init`."
            ),
        );
    };
    match &port.state {
        PortState::Free => out.ok(format!("{name} is free.")),
        PortState::Ours => out.ok(format!("{name} is held by the skep daemon.")),
        PortState::Kernel { tunnels: true } => {
            out.ok(format!("{name} is held by the kernel for the tunnels of the cluster."));
        }
        PortState::Kernel { tunnels: false } => {
            taken("the kernel, for example for a VXLAN device", out);
        }
        PortState::Taken(holder) => {
            taken(holder.as_deref().unwrap_or("somebody; only root can see whom"), out);
        }
        PortState::NoSuchAddress => out.problem(
            format!("{name} is an address that this machine does not have any more."),
            "Give the machine its address back, or leave the cluster and make it anew.",
        ),
        PortState::Failed(reason) => out.at(
            level,
            format!("{name} cannot be had: {reason}."),
            format!(
                "{purpose}: run the daemon as root, or choose another port at `docker swarm init`."
            ),
        ),
    }
}

pub fn clock(facts: &Facts, out: &mut Findings<'_>) {
    let clock = &facts.clock;
    match (clock.synchronised, &clock.service) {
        (Some(true), service) => out.ok(format!(
            "The clock is synchronised{}.",
            service.as_ref().map(|name| format!(" by {name}")).unwrap_or_default()
        )),
        (Some(false), Some(service)) => out.warning(
            format!("{service} runs, but the clock is not synchronised."),
            "See whether it reaches its time servers.",
        ),
        (None, Some(service)) => {
            out.ok(format!(
                "{service} keeps the clock; whether it is synchronised could not be told."
            ));
        }
        (Some(false) | None, None) => out.warning(
            "Nothing keeps the clock right; certificates and timeouts rely on it.",
            "Install a time service, for example chrony or systemd-timesyncd.",
        ),
    }
}

pub fn disks(facts: &Facts, out: &mut Findings<'_>) {
    for disk in &facts.disks {
        let shown = format!("{} ({})", disk.what, disk.path.display());
        match &disk.room {
            Err(reason) => out.note(
                format!("The disk of {shown} could not be seen: {reason}."),
                "Run skep doctor as root, in the mount namespace of the engine.",
            ),
            Ok(room) => one_disk(disk, &shown, room, out),
        }
        if let Some((median, worst)) = disk.sync_micros {
            let times = format!("{} (worst {})", millis(median), millis(worst));
            if median < SYNC_SLOW_MICROS {
                out.ok(format!("A write is durable there after {times}."));
            } else {
                out.warning(
                    format!("A write there is durable only after {times}; each change of the cluster waits so long."),
                    "Put the data folder on a faster disk.",
                );
            }
        }
        if disk.ours && disk.in_memory {
            out.warning(
                format!(
                    "The disk of {shown} is in memory: the cluster is lost with the next boot."
                ),
                "Put the data folder on a disk with --data-dir.",
            );
        }
    }
}

fn one_disk(disk: &Disk, shown: &str, room: &Room, out: &mut Findings<'_>) {
    let (low, full) = if disk.ours { (OURS_LOW, OURS_REFUSES) } else { (ENGINE_LOW, ENGINE_FULL) };
    let free = format!("{} of {} are free", bytes(room.bytes_free), bytes(room.bytes));
    let (effect, advice) = if disk.ours {
        ("skep refuses changes, what runs goes on", "Make room on it; work goes on by itself then.")
    } else {
        (
            "images and containers find no room",
            "Make room on it, for example with `docker system prune`.",
        )
    };
    let inodes_low = room.inodes > 0
        && room.inodes_free.saturating_mul(100) < room.inodes.saturating_mul(INODES_PERCENT);
    if room.bytes_free < full {
        out.problem(format!("The disk of {shown} is full, {free}: {effect}."), advice);
    } else if room.bytes_free < low {
        out.warning(format!("The disk of {shown} is nearly full, {free}."), advice);
    } else {
        out.ok(format!("On the disk of {shown} {free}."));
    }
    if inodes_low {
        let level = if room.inodes_free == 0 { Level::Problem } else { Level::Warning };
        out.at(
            level,
            format!("The disk of {shown} has {} of {} inodes free.", room.inodes_free, room.inodes),
            "Remove what consists of many small files, or make the file system anew with more inodes.",
        );
    }
}

fn millis(micros: u64) -> String {
    format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10)
}

pub fn limits(facts: &Facts, out: &mut Findings<'_>) {
    match facts.files_max {
        Some(most) if most < FILES_LOW => out.warning(
            format!("The daemon may open {most} files only; each relayed connection takes two."),
            "Raise the limit, for example with LimitNOFILE=1048576 in its unit.",
        ),
        Some(u64::MAX) => out.ok("The number of open files is not limited."),
        Some(most) => out.ok(format!("The daemon may open {most} files.")),
        None => out.unseen("The daemon's limit of open files could not be read."),
    }
    match &facts.tmpfs {
        Tmpfs::Works => out.ok("A file system in memory can be mounted for secrets."),
        Tmpfs::Mounted => out.ok("Secrets are on a file system in memory."),
        Tmpfs::Untried => {
            out.unseen(
                "Whether a file system in memory can be mounted for secrets only root can try.",
            );
        }
        Tmpfs::Fails(reason) => out.problem(
            format!("No file system in memory can be mounted for secrets: {reason}."),
            "Run the daemon as root with CAP_SYS_ADMIN, outside of a container.",
        ),
    }
}
