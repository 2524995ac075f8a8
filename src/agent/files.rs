//! Secrets and configs as files in memory, one folder a task. Nothing of them reaches a disk.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use skep_core::agent::{FileMount, PayloadFile};
use skep_core::id::TaskId;

/// Where the payloads of tasks live while their containers do.
pub trait PayloadFiles: Send + Sync + 'static {
    /// Writes the files of a task anew; returns what to mount.
    fn write(&self, task: &TaskId, files: &[PayloadFile]) -> io::Result<Vec<FileMount>>;

    /// Removes the files of a task.
    fn remove(&self, task: &TaskId) -> io::Result<()>;

    /// Lists tasks that have files.
    fn list(&self) -> io::Result<Vec<TaskId>>;

    /// Removes the place itself with all that is in it; for a node that has left its cluster.
    fn dissolve(&self) -> io::Result<()>;
}

/// Files on a tmpfs of their own, which outlives this process, as the containers do.
pub struct TmpfsFiles {
    root: PathBuf,
}

impl TmpfsFiles {
    /// Mounts a tmpfs at `root` unless one is there. Needs to be root.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        if !is_own_tmpfs(root)? {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("skep"), root, Some("tmpfs"), flags, Some("mode=0700"))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    fn folder(&self, task: &TaskId) -> PathBuf {
        self.root.join(task.as_str())
    }
}

/// Tells whether a file system in memory begins at `root`.
fn is_own_tmpfs(root: &Path) -> io::Result<bool> {
    let parent = root.parent().unwrap_or(root);
    let begins = fs::metadata(root)?.dev() != fs::metadata(parent)?.dev();
    Ok(begins && statfs(root)?.filesystem_type() == TMPFS_MAGIC)
}

impl PayloadFiles for TmpfsFiles {
    fn write(&self, task: &TaskId, files: &[PayloadFile]) -> io::Result<Vec<FileMount>> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        self.remove(task)?;
        write_folder(&self.folder(task), files)
    }

    fn remove(&self, task: &TaskId) -> io::Result<()> {
        match fs::remove_dir_all(self.folder(task)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn list(&self) -> io::Result<Vec<TaskId>> {
        let mut tasks = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            if let Some(task) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                tasks.push(task);
            }
        }
        Ok(tasks)
    }

    fn dissolve(&self) -> io::Result<()> {
        // Detached, for a container that is still going may hold a file; the memory is free when it is gone.
        if is_own_tmpfs(&self.root)? {
            umount2(&self.root, MntFlags::MNT_DETACH)?;
        }
        fs::remove_dir_all(&self.root)
    }
}

fn write_folder(folder: &Path, files: &[PayloadFile]) -> io::Result<Vec<FileMount>> {
    fs::DirBuilder::new().mode(0o700).create(folder)?;
    let mut mounts = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let path = folder.join(number.to_string());
        let mut opened =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        io::Write::write_all(&mut opened, &file.data.0)?;
        chown(&path, Some(file.uid), Some(file.gid))?;
        // After the change of owner, which takes special bits away.
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
        let source = path.to_string_lossy().into_owned();
        mounts.push(FileMount { source, target: file.target.clone() });
    }
    Ok(mounts)
}

/// Files that are only remembered, for tests with a simulated engine.
#[derive(Default)]
pub struct NoFiles;

impl PayloadFiles for NoFiles {
    fn write(&self, task: &TaskId, files: &[PayloadFile]) -> io::Result<Vec<FileMount>> {
        let mounts = files.iter().enumerate().map(|(number, file)| FileMount {
            source: format!("/memory/{task}/{number}"),
            target: file.target.clone(),
        });
        Ok(mounts.collect())
    }

    fn remove(&self, _task: &TaskId) -> io::Result<()> {
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<TaskId>> {
        Ok(Vec::new())
    }

    fn dissolve(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::model::Sensitive;

    #[test]
    fn files_have_their_owner_and_mode() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let me = fs::metadata(folder.path())?;
        let file = PayloadFile {
            target: "/run/secrets/a".into(),
            data: Sensitive(b"hush".to_vec()),
            uid: me.uid(),
            gid: me.gid(),
            mode: 0o440,
        };
        let mounts = write_folder(&folder.path().join("task"), &[file])?;
        let written = fs::metadata(&mounts[0].source)?;
        assert_eq!(written.mode() & 0o7777, 0o440);
        assert_eq!(fs::read(&mounts[0].source)?, b"hush");
        assert_eq!(fs::metadata(folder.path().join("task"))?.mode() & 0o7777, 0o700);
        Ok(())
    }
}
