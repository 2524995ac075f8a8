//! The built skep binary as a process beside an engine: start, kill without warning, stop, restart.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{Daemon, tail};
use crate::{Docker, Engine, wait_for};

const READY: Duration = Duration::from_secs(30);

/// The binary under test: `SKEP_BIN`, or the one that lies beside this executable.
pub fn binary() -> Result<PathBuf> {
    if let Some(chosen) = std::env::var_os("SKEP_BIN") {
        return Ok(chosen.into());
    }
    let here = std::env::current_exe()?;
    here.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("skep"))
        .find(|program| program.is_file())
        .context("no skep binary beside the tests: cargo build --bin skep, or set SKEP_BIN")
}

/// One daemon with its own data folder and socket.
pub struct Skep {
    name: String,
    folder: PathBuf,
    engine_pid: u32,
    engine_host: String,
    docker: Docker,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    daemon: Option<Daemon>,
}

impl Skep {
    /// Starts a daemon beside `engine`; `name` tells several of one test apart.
    pub fn start(engine: &Engine, name: &str) -> Result<Self> {
        Self::start_with(engine, name, &[], &[])
    }

    /// As [`Skep::start`], with more flags and environment.
    pub fn start_with(
        engine: &Engine,
        name: &str,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let folder = engine.folder().join(name);
        std::fs::create_dir_all(&folder)?;
        let mut skep = Self {
            name: name.to_owned(),
            engine_pid: engine.pid(),
            engine_host: engine.docker().host().to_owned(),
            docker: Docker::new(&folder.join("skep.sock"), &folder),
            folder,
            flags: flags.iter().map(ToString::to_string).collect(),
            environment: environment
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            daemon: None,
        };
        skep.launch()?;
        skep.wait_ready()?;
        Ok(skep)
    }

    /// Starts the process without waiting for an answer; it must not be running.
    pub fn launch(&mut self) -> Result<()> {
        ensure!(self.daemon.is_none(), "{} runs already", self.name);
        // The engine's namespaces: one host name, one set of addresses and ports.
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.engine_pid.to_string(), "--net", "--uts"]);
        command.arg(binary()?).arg("daemon");
        command.args(["--host", self.docker.host(), "--engine", &self.engine_host]);
        command.arg("--data-dir").arg(self.folder.join("data"));
        if !self.flags.iter().any(|flag| flag == "--log-level") {
            command.args(["--log-level", "debug"]);
        }
        command.args(["--log-format", "text"]);
        command.args(&self.flags);
        command.env_remove("NOTIFY_SOCKET").envs(self.environment.iter().cloned());
        self.daemon = Some(Daemon::start(&self.name, &mut command, &self.log_path())?);
        Ok(())
    }

    /// Waits until the socket answers as a Docker Engine does.
    pub fn wait_ready(&mut self) -> Result<()> {
        let log = self.log_path();
        let daemon = self.daemon.as_mut().context("not started")?;
        wait_for(&format!("an answer from {}", self.name), READY, || {
            daemon.alive()?;
            self.docker.ok(&["version", "--format", "{{.Server.Version}}"])
        })
        .with_context(|| format!("skep log:\n{}", tail(&log, 40)))?;
        Ok(())
    }

    /// Ends the process as a power cut would.
    pub fn kill9(&mut self) -> Result<()> {
        self.daemon.take().context("not running")?.kill()
    }

    /// Ends it with SIGTERM; it must go cleanly within ten seconds.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.take().context("not running")?.terminate(Duration::from_secs(10))
    }

    /// Starts it again over the same data and waits until it answers.
    pub fn restart(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_ready()
    }

    /// Adds to the environment of the process from its next start on.
    pub fn add_environment(&mut self, variables: Vec<(String, String)>) {
        self.environment.extend(variables);
    }

    /// Follows the engine into the host name and network of its new process; to be called while the daemon does not run.
    pub fn follow(&mut self, engine: &Engine) {
        self.engine_pid = engine.pid();
    }

    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// The process, which must be running.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.daemon.as_ref().context("not running")?.pid())
    }

    /// The folder that holds everything it has on disk.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("skep.log")
    }

    pub fn log(&self, lines: usize) -> String {
        log_of(&self.log_path(), lines)
    }
}

fn log_of(path: &Path, lines: usize) -> String {
    format!("skep log:\n{}", tail(path, lines))
}

impl Skep {
    /// Where the process of its tunnels listens, if there is one.
    pub(crate) fn tunnel_socket(&self) -> Result<PathBuf> {
        let space = std::fs::metadata(format!("/proc/{}/ns/net", self.engine_pid))?.ino();
        Ok(format!("/run/skep/wireguard/{space}.sock").into())
    }

    /// Forgets what a host has in memory alone, once nothing of it runs.
    pub(crate) fn lose_memory(&self, tunnel: &Path) -> Result<()> {
        for file in [tunnel, &self.folder.join("skep.sock")] {
            if file.exists() {
                std::fs::remove_file(file)?;
            }
        }
        Ok(())
    }

    /// Ends what the daemon left on its own: tunnels would hold the namespace, secrets and configs their memory.
    fn clean(&self) -> Result<()> {
        let identity = std::fs::read_to_string(self.data().join("node.json")).unwrap_or_default();
        let identity: serde_json::Value = serde_json::from_str(&identity).unwrap_or_default();
        let files = identity["node"].as_str().map(|node| Path::new("/run/skep/files").join(node));
        if let Some(files) = files.filter(|files| files.is_dir()) {
            Command::new("umount").arg("--lazy").arg(&files).status()?;
            std::fs::remove_dir(files)?;
        }
        if self.tunnel_socket()?.exists() {
            let mut command = Command::new("nsenter");
            command.args(["--target", &self.engine_pid.to_string(), "--net"]);
            command.arg(binary()?).args(["net", "clean"]).status()?;
        }
        Ok(())
    }
}

impl Drop for Skep {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ended = daemon.terminate(Duration::from_secs(10));
        }
        let _cleaned = self.clean();
    }
}
