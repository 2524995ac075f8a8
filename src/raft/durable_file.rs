//! Files that are either wholly there or not at all after a crash. Knows nothing of what they hold.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The end of the name of a file that is still being written.
pub(super) const UNFINISHED: &str = ".unfinished";

/// Makes a directory that only its owner may look into.
pub(super) fn create_private_dir(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Makes an empty file that only its owner may use.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
}

/// Opens a file that is there for reading and writing.
pub(super) fn open_existing(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Puts a file in place at once: written beside it, synced, renamed, and the directory synced. On an
/// error the old file is as it was, and nothing of the new one takes up room.
pub fn replace(dir: &Path, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    replace_all(dir, &[(name, parts)])
}

/// Puts files in place that belong together: none, unless there was room for all. A crash may leave
/// the first of them new.
pub fn replace_all(dir: &Path, files: &[(&str, &[&[u8]])]) -> io::Result<()> {
    let unfinished = |name: &str| dir.join(format!("{name}{UNFINISHED}"));
    let write = || {
        for (name, parts) in files {
            write_new(&unfinished(name), parts)?;
        }
        for (name, _) in files {
            std::fs::rename(unfinished(name), dir.join(name))?;
        }
        Ok(())
    };
    let written: io::Result<()> = write();
    if written.is_err() {
        for (name, _) in files {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(unfinished(name));
        }
    }
    written?;
    sync_dir(dir)
}

fn write_new(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// Makes renames and removals in a directory last.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
