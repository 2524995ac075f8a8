//! A clock of a process's own, which can be set ahead or back while it runs. Only the time of day: waits last as long as they
//! do elsewhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

/// The clock of whoever runs with its environment.
pub struct Clock {
    file: PathBuf,
    preloaded: PathBuf,
}

impl Clock {
    /// Makes one that is right, kept in a folder.
    pub fn new(folder: &Path) -> Result<Self> {
        let clock = Self { file: folder.join("clock"), preloaded: preloaded()? };
        clock.set("+0")?;
        Ok(clock)
    }

    /// Sets it this far ahead of the true time.
    pub fn ahead(&self, by: Duration) -> Result<()> {
        self.set(&format!("+{}", by.as_secs()))
    }

    /// Sets it this far back behind the true time.
    pub fn back(&self, by: Duration) -> Result<()> {
        self.set(&format!("-{}", by.as_secs()))
    }

    /// What a process needs in its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", &*self.preloaded.to_string_lossy()),
            ("FAKETIME_TIMESTAMP_FILE", &*self.file.to_string_lossy()),
            // It is looked at with every question for the time.
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// Whoever reads meanwhile finds the old text or the new one.
    fn set(&self, offset: &str) -> Result<()> {
        let next = self.file.with_extension("next");
        std::fs::write(&next, offset)?;
        Ok(std::fs::rename(next, &self.file)?)
    }
}

fn preloaded() -> Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib")?;
    folders
        .filter_map(Result::ok)
        .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.is_file())
        .context("no library to set clocks with: apt-get install libfaketime")
}
