//! Clients that others wrote, unchanged, against skep's socket: each makes a round trip that a script of
//! `integration/clients/` describes. `integration/fetch-clients` gets them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use skep_integration::{ADDRESS, Generation, Lab};

on_both_engines!(docker_py, aiodocker, compose, prometheus);

/// Most seconds one client may take.
const PATIENCE: &str = "280";

/// Ansible starts a process for each of its tasks: once is enough.
#[test]
fn ansible() -> Result<()> {
    round_trip(Generation::Engine28, |client| {
        let python = client.at("python/bin/python");
        let mut command = client.command("python/bin/ansible-playbook");
        command.args(["-v", "-i", "localhost,", "-e", &format!("address={ADDRESS}"), "-e"]);
        command.arg(format!("ansible_python_interpreter={}", python.display()));
        command.arg(script("playbook.yml"));
        command.env("ANSIBLE_COLLECTIONS_PATH", client.at("collections"));
        command.env("ANSIBLE_HOME", client.lab.engine.folder().join("ansible"));
        command.env("ANSIBLE_LOCALHOST_WARNING", "false").env("LC_ALL", "C.UTF-8");
        command
    })
}

fn docker_py(generation: Generation) -> Result<()> {
    round_trip(generation, |client| client.python("docker_sdk.py"))
}

fn aiodocker(generation: Generation) -> Result<()> {
    round_trip(generation, |client| client.python("asyncio_sdk.py"))
}

fn compose(generation: Generation) -> Result<()> {
    round_trip(generation, |client| client.python("compose_v1.py"))
}

fn prometheus(generation: Generation) -> Result<()> {
    round_trip(generation, |client| {
        let mut command = client.python("prometheus_sd.py");
        command.env("PROMETHEUS", client.at("prometheus/usr/bin/prometheus"));
        command
    })
}

/// Runs a client in the namespace of a fresh engine with skep; the client makes the swarm and leaves it.
fn round_trip(generation: Generation, make: impl FnOnce(&Client) -> Command) -> Result<()> {
    let lab = Lab::bare(generation)?;
    let folder =
        std::env::var_os("SKEP_CLIENTS_DIR").map_or("/opt/skep-clients".into(), PathBuf::from);
    ensure!(
        folder.join("stamp").is_file(),
        "no clients in {folder:?}: run integration/fetch-clients"
    );
    let client = Client { lab: &lab, folder };
    let mut command = make(&client);
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let outcome = if output.status.success() {
        Ok(())
    } else {
        Err(anyhow::anyhow!("{}\n{}", text(&output.stdout), text(&output.stderr)))
    };
    lab.explain(outcome.with_context(|| format!("{command:?}: {}", output.status)))
}

struct Client<'a> {
    lab: &'a Lab,
    folder: PathBuf,
}

impl Client<'_> {
    fn at(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.lab.engine.space().command("timeout");
        command.args(["-k", "5", PATIENCE]).arg(self.at(program));
        command.env("DOCKER_HOST", self.lab.docker().host());
        command.env("DOCKER_CONFIG", self.lab.engine.folder().join("cli"));
        command.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_API_VERSION");
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(name);
        }
        command
    }

    fn python(&self, name: &str) -> Command {
        let mut command = self.command("python/bin/python");
        command.arg(script(name)).arg(ADDRESS);
        command
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}
