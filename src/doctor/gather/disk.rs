//! Room of a disk, and how long it takes to make a write last.

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::sys::statvfs::statvfs;

use crate::doctor::facts::{Disk, Room};

/// Writes that are timed, and their size.
const TRIES: usize = 15;
const BLOCK: [u8; 4096] = [0x5a; 4096];

/// Looks at the disk of a folder, or of the nearest one above that is there.
pub fn look(what: &'static str, path: &Path, ours: bool, writable: bool) -> Disk {
    let present = path.ancestors().find(|folder| folder.exists()).unwrap_or(path);
    // Only a folder that is skep's own is written to.
    let sync_micros = if writable && present == path { sync_micros(path).ok() } else { None };
    Disk {
        what,
        path: path.to_owned(),
        ours,
        room: room(present),
        in_memory: in_memory(present),
        sync_micros,
    }
}

/// Tells whether a folder is in memory.
pub fn in_memory(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
}

fn room(path: &Path) -> Result<Room, String> {
    let found = statvfs(path).map_err(|errno| io::Error::from(errno).to_string())?;
    let block = found.fragment_size();
    Ok(Room {
        bytes: found.blocks().saturating_mul(block),
        bytes_free: found.blocks_available().saturating_mul(block),
        inodes: found.files(),
        inodes_free: found.files_available(),
    })
}

/// Times appends as the log makes them; returns median and worst.
fn sync_micros(folder: &Path) -> io::Result<(u64, u64)> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let timed = timed_writes(&path);
    // The file may be there even after an error.
    let _ = std::fs::remove_file(&path);
    let mut times = timed?;
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok((median, times.last().copied().unwrap_or_default()))
}

fn timed_writes(path: &Path) -> io::Result<Vec<u64>> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    let mut times = Vec::with_capacity(TRIES);
    for _ in 0..TRIES {
        let begun = Instant::now();
        file.write_all(&BLOCK)?;
        file.sync_data()?;
        times.push(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(times)
}
