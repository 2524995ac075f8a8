//! Which process holds a port or a file, and what it may open, from /proc.

use std::fs;
use std::path::Path;

use skep_core::net::kernel::TUNNEL_PREFIX;

/// Processes looked at at most.
const PROCESSES_MAX: usize = 65_536;

/// Who holds a port.
pub enum Holder {
    /// Process and its name.
    Process(i32, String),
    /// A socket without a process.
    Kernel,
    Unknown,
}

/// Finds who listens on a port in this network namespace. Whoever is root sees the files of all processes.
pub fn holder_of_port(protocol: &str, port: u16, root: bool) -> Holder {
    let inodes: Vec<String> = ["", "6"]
        .iter()
        .filter_map(|version| fs::read_to_string(format!("/proc/net/{protocol}{version}")).ok())
        .flat_map(|table| inodes(&table, protocol, port))
        .collect();
    let found = inodes.iter().find_map(|inode| with_open(&format!("socket:[{inode}]")));
    match found {
        Some((pid, name)) => Holder::Process(pid, name),
        // Sockets of the kernel's own have inodes as others do.
        None if protocol == "udp" && (root || inodes.is_empty()) => Holder::Kernel,
        None => Holder::Unknown,
    }
}

/// Whether this network namespace has tunnels of skep's.
pub fn has_tunnels() -> bool {
    fs::read_to_string("/proc/net/dev").is_ok_and(|table| lists_tunnel(&table))
}

/// Looks for a tunnel in the kernel's table of links.
fn lists_tunnel(table: &str) -> bool {
    table.lines().any(|line| line.trim_start().starts_with(TUNNEL_PREFIX))
}

/// Reads the sockets of a port out of a table of the kernel.
fn inodes(table: &str, protocol: &str, port: u16) -> Vec<String> {
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (Some(local), Some(state), Some(inode)) =
            (columns.get(1), columns.get(3), columns.get(9))
        else {
            continue;
        };
        let listens = protocol != "tcp" || *state == "0A";
        let number = local.rsplit(':').next().and_then(|hex| u16::from_str_radix(hex, 16).ok());
        if listens && number == Some(port) {
            found.push((*inode).to_owned());
        }
    }
    found
}

/// Finds the process that has a file open.
pub fn holder_of_file(path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    with_open(&path.to_string_lossy()).map(|(pid, name)| format!("{name} (process {pid})"))
}

fn with_open(target: &str) -> Option<(i32, String)> {
    for entry in fs::read_dir("/proc").ok()?.flatten().take(PROCESSES_MAX) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(files) = fs::read_dir(entry.path().join("fd")) else { continue };
        let held = files
            .flatten()
            .any(|file| fs::read_link(file.path()).is_ok_and(|to| to == Path::new(target)));
        if held {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some((pid, name.trim().to_owned()));
        }
    }
    None
}

/// Finds the first running process with one of these names.
pub fn running(names: &[&str]) -> Option<String> {
    for entry in fs::read_dir("/proc").ok()?.flatten().take(PROCESSES_MAX) {
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else { continue };
        if names.contains(&name.trim()) {
            return Some(name.trim().to_owned());
        }
    }
    None
}

/// Returns how many files a process may open: the running daemon, or this one, which raises its limit as the daemon does.
pub fn files_max(daemon: Option<i32>) -> Option<u64> {
    let process = daemon.map_or("self".to_owned(), |pid| pid.to_string());
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    match line.split_whitespace().nth(4)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_a_port_are_found() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0949 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0
   1: 0100007F:0949 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 12 1 0
   2: 00000000:1234 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 13 1 0
";
        assert_eq!(inodes(table, "tcp", 2377), ["11"]);
        assert_eq!(inodes(table, "udp", 2377), ["11", "12"]);
        assert!(inodes("garbage\nmore garbage", "tcp", 2377).is_empty());
    }

    #[test]
    fn tunnels_are_found_among_links() {
        let table = |link: &str| {
            format!(
                "Inter-|   Receive                            |  Transmit
 face |bytes    packets errs|bytes    packets errs
    lo:       0       0    0        0       0    0
{link:>6}:       0       0    0        0       0    0
"
            )
        };
        assert!(lists_tunnel(&table("skv4097")));
        for other in ["eth0", "vxlan0", "sk4097-3w4s", "skwg"] {
            assert!(!lists_tunnel(&table(other)), "{other}");
        }
    }
}
