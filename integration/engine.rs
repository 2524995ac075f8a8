//! A genuine dockerd of one of two generations, in a namespace and folders of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Daemon, sh, tail};
use crate::{Docker, Namespace, wait_for};

/// Where the newer engine may lie; the first that holds a dockerd wins.
const NEWER: [&str; 2] = ["/opt/engine28", "/opt/skep-engine28"];
const START: Duration = Duration::from_secs(60);

/// The engines skep promises to work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Docker 20.10 as Debian 12 ships it.
    Debian20,
    /// Docker 28 as `integration/fetch-engine28` unpacks it.
    Engine28,
}

impl Generation {
    /// The dockerd to run. That it is missing is a failure, never a reason to skip.
    fn dockerd(self) -> Result<PathBuf> {
        let chosen = std::env::var_os("SKEP_ENGINE28_DIR").map(PathBuf::from);
        let candidates: Vec<PathBuf> = match self {
            Self::Debian20 => vec!["/usr".into()],
            Self::Engine28 => chosen.into_iter().chain(NEWER.map(PathBuf::from)).collect(),
        };
        candidates
            .iter()
            .map(|folder| folder.join("sbin/dockerd"))
            .chain(candidates.iter().map(|folder| folder.join("usr/sbin/dockerd")))
            .find(|program| program.is_file())
            .with_context(|| match self {
                Self::Debian20 => "no /usr/sbin/dockerd: apt-get install docker.io",
                Self::Engine28 => "no newer engine: run integration/fetch-engine28",
            })
    }
}

/// One running engine.
pub struct Engine {
    daemon: Daemon,
    docker: Docker,
    generation: Generation,
    folder: TempDir,
    space: Namespace,
    host_name: String,
}

impl Engine {
    /// Starts a dockerd, waits until it answers and gives it `busybox:latest`.
    pub fn start(generation: Generation, address: &str) -> Result<Self> {
        Self::start_in(generation, Namespace::new(address)?, "skep-1")
    }

    /// As [`Engine::start`], on a host of its own name.
    pub fn start_in(generation: Generation, space: Namespace, host_name: &str) -> Result<Self> {
        Self::start_with(generation, space, host_name, Value::Null)
    }

    /// As [`Engine::start_in`], with more in its configuration file.
    pub fn start_with(
        generation: Generation,
        space: Namespace,
        host_name: &str,
        settings: Value,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("skep-lab-").tempdir()?;
        let docker = Docker::new(&folder.path().join("engine.sock"), folder.path());
        let host_name = host_name.to_owned();
        configure(folder.path(), settings)?;
        let daemon = spawn(generation, &space, folder.path(), &host_name)?;
        let mut engine = Self { daemon, docker, generation, folder, space, host_name };
        engine.wait_ready()?;
        engine.docker.import_busybox(engine.folder.path())?;
        Ok(engine)
    }

    fn wait_ready(&mut self) -> Result<()> {
        wait_for("an answering engine", START, || {
            self.daemon.alive()?;
            self.docker.ok(&["version", "--format", "{{.Server.Version}}"])
        })
        .with_context(|| self.log(30))?;
        Ok(())
    }

    /// Stops dockerd, and with it every container, and starts it again.
    pub fn restart(&mut self) -> Result<()> {
        self.daemon.terminate(Duration::from_secs(60))?;
        self.launch()
    }

    /// Ends dockerd as a power cut would; its containers are killed with it.
    pub fn kill9(&mut self) -> Result<()> {
        self.daemon.kill()
    }

    /// Starts dockerd again after [`Engine::kill9`].
    pub fn launch(&mut self) -> Result<()> {
        self.daemon = spawn(self.generation, &self.space, self.folder.path(), &self.host_name)?;
        self.wait_ready()
    }

    /// Forgets what a host has in memory alone, once nothing of it runs.
    pub(crate) fn lose_memory(&self) -> Result<()> {
        let folder = self.folder.path();
        unmount_below(folder);
        std::fs::remove_dir_all(folder.join("exec"))?;
        for file in ["engine.pid", "engine.sock"] {
            std::fs::remove_file(folder.join(file))?;
        }
        Ok(())
    }

    /// Starts it over what is left on disk, in another network.
    pub(crate) fn boot(&mut self, space: Namespace) -> Result<()> {
        self.space = space;
        self.launch()
    }

    /// The CLI against the engine itself, behind skep's back.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    pub fn space(&self) -> &Namespace {
        &self.space
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process whose network and host name skep shares.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    pub fn log(&self, lines: usize) -> String {
        format!("dockerd log:\n{}", tail(&self.folder.path().join("engine.log"), lines))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Containers would outlive the daemon as orphans of their shims.
        if let Ok(ids) = self.docker.lines(&["ps", "-aq"]) {
            let mut args = vec!["rm", "-f", "-v"];
            args.extend(ids.iter().map(String::as_str));
            if !ids.is_empty() {
                let _gone = self.docker.run(&args);
            }
        }
        let _ended = self.daemon.terminate(Duration::from_secs(30));
        unmount_below(self.folder.path());
    }
}

/// Name of the engine's configuration file.
const CONFIG: &str = "engine.json";

/// Replaces the engine's configuration file, to look at what an engine can be set to, such as generic resources.
const ENGINE_CONFIG: &str = "SKEP_LAB_ENGINE_CONFIG";

/// Writes the engine's configuration file.
fn configure(folder: &Path, settings: Value) -> Result<()> {
    // runc before 1.2 knows no time namespaces.
    let mut all = serde_json::json!({ "features": { "time-namespaces": false } });
    if let (Value::Object(all), Value::Object(more)) = (&mut all, settings) {
        all.extend(more);
    }
    let text = std::env::var(ENGINE_CONFIG).unwrap_or_else(|_| all.to_string());
    Ok(std::fs::write(folder.join(CONFIG), text)?)
}

fn spawn(
    generation: Generation,
    space: &Namespace,
    folder: &Path,
    host_name: &str,
) -> Result<Daemon> {
    let program = generation.dockerd()?;
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let mut command = space.command("unshare");
    command.args(["--uts", "sh", "-c", r#"hostname "$0" && exec "$@""#, host_name]);
    command.arg(&program).arg("--config-file").arg(folder.join(CONFIG));
    command.args(["-H", &format!("unix://{}", at("engine.sock"))]);
    command.args(["--data-root", &at("data"), "--exec-root", &at("exec")]);
    command.args(["--pidfile", &at("engine.pid")]);
    if generation == Generation::Engine28 {
        // Its own runc needs a newer C library than Debian 12 has.
        command.args(["--add-runtime", "old=/usr/sbin/runc", "--default-runtime", "old"]);
    }
    let sbin = program.parent().context("dockerd lies in a folder")?;
    let bin = sbin.parent().context("sbin lies in a folder")?.join("bin");
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{}:/usr/sbin:/sbin:{path}", sbin.display(), bin.display()));
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NOTIFY_SOCKET"] {
        command.env_remove(name);
    }
    Daemon::start("dockerd", &mut command, &folder.join("engine.log"))
}

fn unmount_below(folder: &Path) {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let below: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| Path::new(point).starts_with(folder))
        .collect();
    for point in below.iter().rev() {
        let _gone = sh("umount", &["-l", point]);
    }
}
