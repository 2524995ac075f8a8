//! A disk of few megabytes, to be filled.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::sh;

/// Taken away when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Puts one of so many MiB at a folder, which is made if need be.
    pub fn mount(folder: PathBuf, mebibytes: u32) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let (path, size) = (folder.to_string_lossy(), format!("size={mebibytes}m,mode=700"));
        sh("mount", &["-t", "tmpfs", "-o", &size, "skep-small", &path])?;
        Ok(Self(folder))
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Makes it hold so many MiB.
    pub fn resize(&self, mebibytes: u32) -> Result<()> {
        let size = format!("remount,size={mebibytes}m");
        sh("mount", &["-o", &size, &self.0.to_string_lossy()]).map(drop)
    }

    /// Writes a file until not a byte is left.
    pub fn fill(&self) -> Result<()> {
        let mut file = std::fs::File::create(self.filler())?;
        for block in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0; block]).is_ok() {}
        }
        Ok(())
    }

    /// Takes that file away.
    pub fn free(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = sh("umount", &["-l", &self.0.to_string_lossy()]);
    }
}
