//! The stock docker CLI against one socket, with a configuration folder of its own.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::process::{Daemon, finish};
use crate::{Output, wait_for};

/// Users of the image that tests run; the differential scenarios name them.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n";

/// Most seconds one CLI call may take; exit code 124 says it took longer.
const PATIENCE: &str = "150";

/// One endpoint as the CLI sees it.
#[derive(Debug, Clone)]
pub struct Docker {
    host: String,
    config: PathBuf,
}

impl Docker {
    /// Talks to the socket at `socket`; keeps CLI state under `folder`.
    pub fn new(socket: &Path, folder: &Path) -> Self {
        Self { host: format!("unix://{}", socket.display()), config: folder.join("cli") }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-k", "5", PATIENCE, "docker"]).args(args);
        command.env("DOCKER_HOST", &self.host).env("DOCKER_CONFIG", &self.config);
        // The classic builder needs no plugin, which a bare machine does not have.
        command.env("DOCKER_BUILDKIT", "0");
        command.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_API_VERSION");
        command
    }

    /// Runs to the end, whatever the exit code.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        self.run_with(args, b"")
    }

    /// Runs with `input` as the whole of stdin.
    pub fn run_with(&self, args: &[&str], input: &[u8]) -> Result<Output> {
        finish(&mut self.command(args), input)
    }

    /// Runs a command that must succeed; returns its trimmed stdout.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        self.ok_with(args, b"")
    }

    /// As [`Docker::ok`], with `input` as the whole of stdin.
    pub fn ok_with(&self, args: &[&str], input: &[u8]) -> Result<String> {
        self.run_with(args, input)?.ok(&format!("docker {}", args.join(" ")))
    }

    /// The lines of a successful command's stdout, sorted.
    pub fn lines(&self, args: &[&str]) -> Result<Vec<String>> {
        let mut lines: Vec<String> = self.ok(args)?.lines().map(str::to_owned).collect();
        lines.sort();
        Ok(lines)
    }

    /// The stdout of a successful command as JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let text = self.ok(args)?;
        serde_json::from_str(&text).with_context(|| format!("docker {args:?}: {text}"))
    }

    /// Starts a command that streams into a file and whose input stays open.
    pub fn follow(&self, args: &[&str]) -> Result<Follow> {
        let file = tempfile::NamedTempFile::new()?;
        let mut command = Command::new("docker");
        command.args(args).env("DOCKER_HOST", &self.host).env("DOCKER_CONFIG", &self.config);
        let name = format!("docker {}", args.join(" "));
        let daemon = Daemon::start_with(&name, &mut command, Stdio::piped(), file.path())?;
        Ok(Follow { daemon, file })
    }

    /// Runs a command on a terminal of its own (`script`), as a person would.
    pub fn on_terminal(&self, args: &[&str]) -> Result<Output> {
        let quoted: Vec<String> =
            args.iter().map(|arg| format!("'{}'", arg.replace('\'', r"'\''"))).collect();
        let line = format!("docker {}", quoted.join(" "));
        let mut command = Command::new("timeout");
        command.args(["-k", "5", PATIENCE, "script", "-qec", &line, "/dev/null"]);
        command.env("DOCKER_HOST", &self.host).env("DOCKER_CONFIG", &self.config);
        finish(command.stderr(Stdio::piped()), b"")
    }

    /// Waits until every service of the swarm runs as many tasks as it wants, and none is updating.
    pub fn converged(&self, deadline: Duration) -> Result<()> {
        wait_for("all services converged", deadline, || {
            let services = self.lines(&["service", "ls", "--format", "{{.Name}} {{.Replicas}}"])?;
            for line in &services {
                let (name, counts) = line.split_once(' ').context("name and counts")?;
                let counts = counts.split(' ').next().unwrap_or_default();
                let (running, wanted) = counts.split_once('/').context("running/wanted")?;
                ensure!(running == wanted, "{services:?}");
                let state = self.update_state(name)?;
                ensure!(state != "updating", "{name} is {state}");
            }
            Ok(())
        })
    }

    /// Makes a swarm whose first manager, this one, is found at `address`.
    pub fn found(&self, address: &str) -> Result<()> {
        self.ok(&["swarm", "init", "--advertise-addr", address]).map(drop)
    }

    /// Joins another one, in that role, to the swarm that this one manages at `address`; returns what its CLI printed.
    pub fn admit(&self, address: &str, other: &Self, role: &str) -> Result<String> {
        let token = self.ok(&["swarm", "join-token", "-q", role])?;
        other.ok(&["swarm", "join", "--token", &token, &format!("{address}:2377")])
    }

    /// The state of a service's last update, empty if there was none.
    pub fn update_state(&self, service: &str) -> Result<String> {
        let format = "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}";
        self.ok(&["service", "inspect", "--format", format, service])
    }

    /// Full ids of the running containers that carry a label, sorted.
    pub fn running(&self, label: &str) -> Result<Vec<String>> {
        let filter = format!("label={label}");
        self.lines(&["ps", "-q", "--no-trunc", "--filter", &filter])
    }

    /// Full ids of a service's running containers, sorted.
    pub fn service_containers(&self, service: &str) -> Result<Vec<String>> {
        self.running(&format!("com.docker.swarm.service.name={service}"))
    }

    /// Imports a root file system that holds a static busybox and its applets as `busybox:latest`.
    pub fn import_busybox(&self, scratch: &Path) -> Result<()> {
        let root = scratch.join("busybox");
        for folder in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        let program = ["/bin/busybox", "/usr/bin/busybox"]
            .into_iter()
            .find(|path| Path::new(path).is_file())
            .context("no busybox: install busybox-static")?;
        std::fs::copy(program, root.join("bin/busybox"))?;
        std::fs::write(root.join("etc/passwd"), PASSWD)?;
        std::fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
        let applets = finish(Command::new(program).arg("--list"), b"")?.ok("busybox --list")?;
        for applet in applets.lines().filter(|name| *name != "busybox") {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
        }
        let archive = scratch.join("busybox.tar");
        let packed = finish(
            Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&root).arg("."),
            b"",
        )?;
        packed.ok("tar")?;
        let archive = archive.to_string_lossy().into_owned();
        self.ok(&["import", "-c", r#"CMD ["sh"]"#, &archive, "busybox:latest"])?;
        Ok(())
    }
}

/// A running command whose output can be looked at; killed when dropped.
pub struct Follow {
    daemon: Daemon,
    file: tempfile::NamedTempFile,
}

impl Follow {
    /// Everything written so far.
    pub fn text(&self) -> Result<String> {
        let mut file = File::open(self.file.path())?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Types `text` into the running command.
    pub fn types(&mut self, text: &str) -> Result<()> {
        self.daemon.write(text.as_bytes())
    }

    /// Waits until the output contains `text`.
    pub fn shows(&self, text: &str, deadline: Duration) -> Result<()> {
        wait_for(&format!("output {text:?}"), deadline, || {
            let seen = self.text()?;
            ensure!(seen.contains(text), "{seen}");
            Ok(())
        })
    }

    /// Waits until the command has ended by itself.
    pub fn ends(&mut self, deadline: Duration) -> Result<()> {
        wait_for("end of the followed command", deadline, || match self.daemon.alive() {
            Ok(()) => bail!("still running"),
            Err(_) => Ok(()),
        })
    }
}
