//! Everything that was acknowledged is there after a crash, byte for byte as a client sees it, and
//! nothing secret lies readable on the disk. Nothing at all is left once the node has left.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use skep_integration::{Docker, Generation, wait_for};

use crate::in_swarm;

const SOON: Duration = Duration::from_secs(60);

on_both_engines!(restart_finds_everything, leaving_leaves_nothing);

/// What a client can read of the whole swarm, but for what time itself changes.
fn snapshot(docker: &Docker) -> Result<Vec<Value>> {
    Ok(vec![
        docker.json(&["service", "inspect", "web", "idle"])?,
        docker.json(&["secret", "inspect", "password"])?,
        docker.json(&["config", "inspect", "settings"])?,
        docker.json(&["network", "inspect", "inner"])?[0]["IPAM"].clone(),
        docker.json(&["node", "inspect", "self"])?[0]["Spec"].clone(),
        docker.json(&["info", "--format", "{{json .Swarm.Cluster}}"])?,
        docker.ok(&["swarm", "join-token", "-q", "worker"])?.into(),
        docker.ok(&["swarm", "join-token", "-q", "manager"])?.into(),
        docker.ok(&["node", "ls", "-q"])?.into(),
    ])
}

fn build_up(docker: &Docker) -> Result<()> {
    docker.ok(&["network", "create", "-d", "overlay", "--subnet", "10.200.7.0/24", "inner"])?;
    docker.ok_with(&["secret", "create", "password", "-"], b"a-very-secret-word")?;
    docker.ok_with(&["config", "create", "settings", "-"], b"a-plain-setting")?;
    let node = docker.ok(&["node", "ls", "-q"])?;
    docker.ok(&["node", "update", "--label-add", "rack=7", &node])?;
    docker.ok(&["swarm", "update", "--task-history-limit", "3"])?;
    docker.ok(&["swarm", "join-token", "--rotate", "-q", "worker"])?;
    for (name, replicas) in [("web", "2"), ("idle", "0")] {
        docker.ok(&[
            "service",
            "create",
            "--detach",
            "--no-resolve-image",
            "--name",
            name,
            "--replicas",
            replicas,
            "--network",
            "inner",
            "--secret",
            "password",
            "--config",
            "settings",
            "--constraint",
            "node.labels.rack==7",
            "--stop-signal",
            "SIGKILL",
            "busybox:latest",
            "tail",
            "-f",
            "/dev/null",
        ])?;
    }
    docker.converged(SOON)
}

fn restart_finds_everything(generation: Generation) -> Result<()> {
    in_swarm(generation, |lab| {
        build_up(lab.docker())?;
        let before = snapshot(lab.docker())?;
        for round in 0..3 {
            lab.skep()?.kill9()?;
            lab.skep()?.restart()?;
            wait_for("the same swarm as before", SOON, || {
                let now = snapshot(lab.docker())?;
                ensure!(now == before, "round {round}\nbefore: {before:?}\nnow: {now:?}");
                Ok(())
            })?;
        }
        let data = lab.skep()?.data();
        ensure!(!holds(&data, b"a-very-secret-word")?, "a secret lies readable on the disk");
        Ok(())
    })
}

fn leaving_leaves_nothing(generation: Generation) -> Result<()> {
    in_swarm(generation, |lab| {
        let docker = lab.docker();
        build_up(docker)?;
        let node = docker.ok(&["info", "--format", "{{.Swarm.NodeID}}"])?;
        ensure!(mounts()?.contains(&node), "secrets are not in memory");
        docker.ok(&["swarm", "leave", "--force"])?;
        let engine = lab.engine.docker();
        let containers = engine.lines(&["ps", "-aq", "--filter", "label=com.docker.swarm.task"])?;
        ensure!(containers.is_empty(), "containers are left: {containers:?}");
        let networks = engine.lines(&["network", "ls", "--format", "{{.Name}}"])?;
        ensure!(!networks.contains(&"inner".to_owned()), "a network is left: {networks:?}");
        ensure!(!mounts()?.contains(&node), "the place of secrets is left");
        Ok(())
    })
}

fn mounts() -> Result<String> {
    Ok(std::fs::read_to_string("/proc/self/mounts")?)
}

/// Whether any file below `folder` contains `needle`.
fn holds(folder: &Path, needle: &[u8]) -> Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let found = if kind.is_dir() {
            holds(&entry.path(), needle)?
        } else {
            kind.is_file()
                && std::fs::read(entry.path())?.windows(needle.len()).any(|part| part == needle)
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}
