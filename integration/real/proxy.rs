//! What belongs to the engine passes through skep's socket: run, exec, attach, cp, logs, build,
//! stats, save and load, with their streams, half-closed inputs and exit codes.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_integration::{Docker, Generation, Lab};

const SOON: Duration = Duration::from_secs(30);

on_both_engines!(
    run_streams_and_exit_codes,
    exec_and_attach_half_close,
    files_and_images,
    logs_and_stats_stream,
);

/// These need no swarm.
fn beside_engine(
    generation: Generation,
    test: impl FnOnce(&Docker, &Lab) -> Result<()>,
) -> Result<()> {
    let lab = Lab::bare(generation)?;
    test(lab.docker(), &lab)
}

fn run_streams_and_exit_codes(generation: Generation) -> Result<()> {
    beside_engine(generation, |docker, _| {
        let output = docker.run(&[
            "run",
            "--rm",
            "busybox",
            "sh",
            "-c",
            "echo out; echo err >&2; exit 7",
        ])?;
        ensure!(output.code == 7, "{output:?}");
        ensure!(output.stdout == "out\n" && output.stderr.contains("err\n"), "{output:?}");

        // The container sees the end of its input and still answers afterwards.
        let script = "cat; echo after the end";
        let echoed =
            docker.ok_with(&["run", "--rm", "-i", "busybox", "sh", "-c", script], b"one\ntwo\n")?;
        ensure!(echoed == "one\ntwo\nafter the end", "{echoed:?}");

        let large = vec![b'x'; 3_000_000];
        let counted = docker.ok_with(&["run", "--rm", "-i", "busybox", "wc", "-c"], &large)?;
        ensure!(counted.trim() == "3000000", "{counted:?}");

        let terminal = docker.on_terminal(&["run", "--rm", "-t", "busybox", "tty"])?;
        ensure!(terminal.stdout.contains("/dev/pts/0"), "{terminal:?}");
        let missing = docker.run(&["run", "--rm", "busybox", "no-such-program"])?;
        ensure!(missing.code == 127, "{missing:?}");
        Ok(())
    })
}

fn exec_and_attach_half_close(generation: Generation) -> Result<()> {
    beside_engine(generation, |docker, _| {
        docker.ok(&["run", "-d", "--name", "idle", "busybox", "tail", "-f", "/dev/null"])?;
        let echoed = docker
            .ok_with(&["exec", "-i", "idle", "sh", "-c", "cat; echo after the end"], b"words\n")?;
        ensure!(echoed == "words\nafter the end", "{echoed:?}");
        let output = docker.run(&["exec", "idle", "sh", "-c", "exit 9"])?;
        ensure!(output.code == 9, "{output:?}");

        // The container stays: what one writes just before its end may miss an attached client.
        let script = "read word; echo got $word; exec tail -f /dev/null";
        docker.ok(&["run", "-d", "-i", "--name", "asks", "busybox", "sh", "-c", script])?;
        let mut attached = docker.follow(&["attach", "asks"])?;
        attached.types("hello\n")?;
        attached.shows("got hello\n", SOON)?;
        docker.ok(&["kill", "asks"])?;
        attached.ends(SOON)?;
        Ok(())
    })
}

fn files_and_images(generation: Generation) -> Result<()> {
    beside_engine(generation, |docker, lab| {
        let folder = lab.engine.folder().join("files");
        std::fs::create_dir_all(&folder)?;
        let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
        std::fs::write(at("letter"), "dear engine\n")?;
        docker.ok(&["create", "--name", "box", "busybox", "cat", "/letter"])?;
        docker.ok(&["cp", &at("letter"), "box:/letter"])?;
        let read = docker.ok(&["start", "-a", "box"])?;
        ensure!(read == "dear engine", "{read:?}");
        docker.ok(&["cp", "box:/letter", &at("answer")])?;
        ensure!(std::fs::read_to_string(at("answer"))? == "dear engine\n", "copied back");

        std::fs::write(at("Dockerfile"), "FROM busybox\nCOPY letter /letter\nRUN wc -l /letter\n")?;
        docker.ok(&["build", "-t", "built:1", &folder.to_string_lossy()])?;
        let read = docker.ok(&["run", "--rm", "built:1", "cat", "/letter"])?;
        ensure!(read == "dear engine", "{read:?}");
        std::fs::write(at("Dockerfile"), "FROM scratch\nCOPY letter /letter\n")?;
        docker.ok(&["build", "-t", "bare:1", &folder.to_string_lossy()])?;

        docker.ok(&["save", "-o", &at("image.tar"), "built:1"])?;
        ensure!(std::fs::metadata(at("image.tar"))?.len() > 1_000_000, "a whole image was saved");
        docker.ok(&["rmi", "built:1"])?;
        docker.ok(&["load", "-i", &at("image.tar")])?;
        docker.ok(&["image", "inspect", "built:1"])?;
        Ok(())
    })
}

fn logs_and_stats_stream(generation: Generation) -> Result<()> {
    beside_engine(generation, |docker, _| {
        let script = "echo first; read word; echo $word; exit 3";
        docker.ok(&["run", "-d", "-i", "--name", "talks", "busybox", "sh", "-c", script])?;
        let mut logs = docker.follow(&["logs", "-f", "talks"])?;
        logs.shows("first\n", SOON)?;
        let stats = docker.ok(&["stats", "--no-stream", "--format", "{{.Name}}", "talks"])?;
        ensure!(stats == "talks", "{stats:?}");
        let events = docker.follow(&["events", "--filter", "container=talks"])?;
        let answer = docker.run_with(&["attach", "talks"], b"second\n")?;
        ensure!(answer.code == 3, "{answer:?}");
        logs.shows("second\n", SOON)?;
        logs.ends(SOON)?;
        events.shows("container die", SOON)?;
        ensure!(docker.ok(&["wait", "talks"])? == "3", "exit code through wait");
        Ok(())
    })
}
