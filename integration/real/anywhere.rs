//! exec, attach, cp, logs, stats, top, wait and kill of a task's container from every manager, wherever the task runs: through the
//! leader, through another manager, on workers, beside a worker that is an engine alone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_integration::{Docker, Engine, Generation, Host, Hosts, Namespace, wait_for};

const SOON: Duration = Duration::from_secs(60);

/// Says one word, repeats what it is told and stays.
const PROGRAM: &str = "echo ready; while read word; do echo got $word; done; tail -f /dev/null";

on_both_engines!(containers_are_reached_from_every_manager);

fn containers_are_reached_from_every_manager(generation: Generation) -> Result<()> {
    let other = match generation {
        Generation::Debian20 => Generation::Engine28,
        Generation::Engine28 => Generation::Debian20,
    };
    // The worker's engine speaks another version of the API than the managers'.
    let hosts = Hosts::start(&[generation, generation, other])?;
    let space = Namespace::on(&hosts.fabric, "10.77.0.4")?;
    let alone = Engine::start_in(generation, space, "skep-4")?;
    let outcome = live(&hosts.all, &alone);
    hosts.explain(outcome)
}

fn live(hosts: &[Host], alone: &Engine) -> Result<()> {
    let [leader, follower, worker] = hosts else { anyhow::bail!("there are three hosts") };
    let first = leader.docker();
    Hosts::join_as(hosts, ["manager", "worker"])?;
    leader.admit(alone.docker(), "worker")?;
    let create = ["service", "create", "-q", "-d", "--name", "all", "--mode", "global"];
    let how = ["--network", "bridge", "--stop-signal", "KILL", "--no-resolve-image"];
    let what = ["busybox:latest", "sh", "-c", PROGRAM];
    wait_for("four nodes", SOON, || {
        let nodes = first.lines(&["node", "ls", "-q"])?;
        ensure!(nodes.len() == 4, "{nodes:?}");
        Ok(())
    })?;
    first.ok(&[&create[..], &how, &what].concat())?;
    wait_for("a task on each node", SOON, || {
        let shown = first.ok(&["service", "ls", "--format", "{{.Replicas}}"])?;
        ensure!(shown == "4/4", "{shown}");
        Ok(())
    })?;
    for asked in [leader, follower] {
        for (host, name) in [(leader, "skep-1"), (follower, "skep-2"), (worker, "skep-3")] {
            let task = Task::on(first, name, host.engine.docker())?;
            task.is_reached(asked.docker())?;
            task.gives_files(asked)?;
        }
        engines_alone_give_output(asked.docker())?;
    }
    let task = Task::on(first, "skep-3", worker.engine.docker())?;
    task.ends(follower.docker())?;
    workers_reach_their_own(worker, &Task::on(first, "skep-3", worker.engine.docker())?)
}

/// A task and its container.
struct Task {
    id: String,
    name: String,
    container: String,
}

impl Task {
    /// Finds the running task on a node, and its container as that node's engine knows it.
    fn on(manager: &Docker, node: &str, engine: &Docker) -> Result<Self> {
        wait_for("a task with a container", SOON, || {
            let running = ["--filter", "desired-state=running", "--format", "{{.ID}} {{.Name}}"];
            let shown = manager.ok(&[&["node", "ps", "--no-trunc", node][..], &running].concat())?;
            let (id, _) = shown.split_once(' ').context("an id and a name")?;
            let label = format!("com.docker.swarm.task.id={id}");
            let held = engine.running(&label)?;
            let container = held.first().context("a container")?.clone();
            let name = engine.ok(&["inspect", "-f", "{{.Name}}", &container])?;
            let name = name.trim_start_matches('/').to_owned();
            Ok(Self { id: id.to_owned(), name, container })
        })
    }

    fn is_reached(&self, docker: &Docker) -> Result<()> {
        let short = &self.container[..12];
        for reference in [&self.name, &self.container, short] {
            let host = docker.ok(&["exec", reference, "hostname"])?;
            ensure!(host == short, "{reference} is {host}, not {short}");
        }
        // By a task's id the CLI inspects the task, as ever, and finds the container for all that does not inspect first.
        docker.ok(&["inspect", "--format", "{{.NodeID}}", &self.id])?;
        docker.ok(&["top", &self.id])?;
        let name = self.name.as_str();
        let script = "cat; echo after the end";
        let echoed = docker.ok_with(&["exec", "-i", name, "sh", "-c", script], b"one\ntwo\n")?;
        ensure!(echoed == "one\ntwo\nafter the end", "{echoed:?}");
        let large = vec![b'x'; 3_000_000];
        let counted = docker.ok_with(&["exec", "-i", name, "wc", "-c"], &large)?;
        ensure!(counted.trim() == "3000000", "{counted:?}");
        let output = docker.run(&["exec", name, "sh", "-c", "echo bad >&2; exit 9"])?;
        ensure!(output.code == 9 && output.stderr == "bad\n", "{output:?}");
        let terminal = docker.on_terminal(&["exec", "-it", name, "tty"])?;
        ensure!(terminal.stdout.contains("/dev/pts/"), "{terminal:?}");
        let shown = docker.ok(&["top", name])?;
        ensure!(shown.contains("while read word") || shown.contains("tail -f"), "{shown}");
        let stats = docker.ok(&["stats", "--no-stream", "--format", "{{.Name}}", name])?;
        ensure!(stats == name, "{stats:?}");
        docker.follow(&["logs", "-f", name])?.shows("ready\n", SOON)
    }

    fn gives_files(&self, host: &Host) -> Result<()> {
        let folder = host.engine.folder().join("files");
        std::fs::create_dir_all(&folder)?;
        let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let bytes: Vec<u8> = (0..8_000_000_u32).map(|number| (number % 251) as u8).collect();
        std::fs::write(at("there"), &bytes)?;
        let docker = host.docker();
        docker.ok(&["cp", &at("there"), &format!("{}:/tmp/large", self.name)])?;
        docker.ok(&["cp", &format!("{}:/tmp/large", self.name), &at("back")])?;
        ensure!(std::fs::read(at("back"))? == bytes, "other bytes came back");
        let missing = docker.run(&["cp", &format!("{}:/nothing", self.name), &at("none")])?;
        ensure!(missing.code != 0 && missing.stderr.contains("/nothing"), "{missing:?}");
        Ok(())
    }

    /// Follows, attaches and waits until it is killed, all from afar.
    fn ends(&self, docker: &Docker) -> Result<()> {
        let mut attached = docker.follow(&["attach", "--no-stdin", &self.name])?;
        let mut logs = docker.follow(&["logs", "-f", &self.name])?;
        let waiting = docker.follow(&["wait", &self.name])?;
        logs.shows("ready\n", SOON)?;
        docker.ok(&["exec", &self.name, "sh", "-c", "echo seen >/proc/1/fd/1"])?;
        logs.shows("seen\n", SOON)?;
        wait_for("an attached client", SOON, || {
            docker.ok(&["exec", &self.name, "sh", "-c", "echo shown >/proc/1/fd/1"])?;
            ensure!(attached.text()?.contains("shown\n"), "{}", attached.text()?);
            Ok(())
        })?;
        docker.ok(&["kill", &self.name])?;
        logs.ends(SOON)?;
        attached.ends(SOON)?;
        waiting.shows("137\n", SOON)
    }
}

fn engines_alone_give_output(docker: &Docker) -> Result<()> {
    let running = ["--filter", "desired-state=running", "--format", "{{.Name}}.{{.ID}}"];
    let name = docker.ok(&[&["node", "ps", "--no-trunc", "skep-4"][..], &running].concat())?;
    let said = docker.ok(&["logs", &name])?;
    ensure!(said == "ready", "{said}");
    for command in [&["exec", &name, "true"][..], &["top", &name], &["kill", &name]] {
        let refused = docker.run(command)?;
        let says_so = refused.stderr.contains("a Docker Engine that joined without skep");
        ensure!(refused.code == 1 && says_so, "{refused:?}");
    }
    Ok(())
}

fn workers_reach_their_own(worker: &Host, task: &Task) -> Result<()> {
    let docker = worker.docker();
    docker.ok(&["top", &task.id])?;
    let host = docker.ok(&["exec", &task.name, "hostname"])?;
    ensure!(host == task.container[..12], "{host}");
    let foreign = docker.run(&["exec", "web.1.0123456789012345678901234", "true"])?;
    ensure!(foreign.stderr.contains("ask a manager"), "{foreign:?}");
    Ok(())
}
