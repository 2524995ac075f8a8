//! Child processes: one that runs to its end with its output kept, and one that stays until it is
//! told to go. Knows nothing of Docker.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::wait::{Hopeless, wait_for};

/// What a finished command left behind.
#[derive(Debug, Clone)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Returns stdout without the last line end, or an error that shows everything.
    pub fn ok(self, what: &str) -> Result<String> {
        ensure!(
            self.code == 0,
            "{what}: exit {}\nstdout: {}\nstderr: {}",
            self.code,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        );
        Ok(self.stdout.trim_end().to_owned())
    }
}

/// Runs a command to its end with `input` as its whole stdin.
pub fn finish(command: &mut Command, input: &[u8]) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    let input = input.to_vec();
    // A command may end without reading its input: a broken pipe is no failure here.
    let feeder = thread::spawn(move || stdin.write_all(&input).is_ok());
    let done = child.wait_with_output()?;
    let _read_all = feeder.join();
    Ok(Output {
        code: done.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
    })
}

/// Runs a program that must succeed.
pub fn sh(program: &str, args: &[&str]) -> Result<String> {
    let what = format!("{program} {}", args.join(" "));
    finish(Command::new(program).args(args), b"")?.ok(&what)
}

/// A long-running process whose output goes to a file; killed when dropped.
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it without input, with both outputs appended to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        Self::start_with(name, command, Stdio::null(), log)
    }

    /// As [`Daemon::start`], with something to read.
    pub fn start_with(name: &str, command: &mut Command, stdin: Stdio, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(stdin)
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its input, which stays open.
    pub fn write(&mut self, text: &[u8]) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("its input is no pipe")?;
        stdin.write_all(text)?;
        Ok(stdin.flush()?)
    }

    /// Fails with the end of the log if the process is gone.
    pub fn alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!(Hopeless(format!("{} ended ({status}): {}", self.name, tail(&self.log, 25))));
        }
        Ok(())
    }

    /// Sends SIGKILL and collects the process.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM; an error if it does not end cleanly within `patience`.
    pub fn terminate(&mut self, patience: Duration) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        sh("kill", &["-TERM", &self.pid().to_string()])?;
        let name = self.name.clone();
        let ended = wait_for(&format!("end of {name} after SIGTERM"), patience, || {
            self.child.try_wait()?.context("still running")
        });
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => bail!("{name} ended with {status} after SIGTERM"),
            Err(late) => {
                self.kill()?;
                Err(late)
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _gone = self.kill();
        }
    }
}

/// The last lines of a file, for failure reports.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
