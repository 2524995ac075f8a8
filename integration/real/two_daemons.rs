//! Two swarms in one network namespace over one engine: different data folders, sockets and swarm
//! ports, and neither touches the other's containers.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_integration::{ADDRESS, Docker, Engine, Generation, Skep};

const SOON: Duration = Duration::from_secs(60);

on_both_engines!(two_daemons);

fn swarm_with_service(docker: &Docker, port: u16, service: &str) -> Result<()> {
    let address = format!("{ADDRESS}:{port}");
    docker.ok(&["swarm", "init", "--advertise-addr", &address, "--listen-addr", &address])?;
    docker.ok(&[
        "service",
        "create",
        "--detach",
        "--no-resolve-image",
        "--name",
        service,
        "--replicas",
        "2",
        "--stop-signal",
        "SIGKILL",
        "busybox:latest",
        "tail",
        "-f",
        "/dev/null",
    ])?;
    docker.converged(SOON)
}

fn two_daemons(generation: Generation) -> Result<()> {
    let engine = Engine::start(generation, ADDRESS)?;
    let mut first = Skep::start(&engine, "first")?;
    let mut second = Skep::start(&engine, "second")?;
    let outcome = (|| {
        swarm_with_service(first.docker(), 2377, "one")?;
        swarm_with_service(second.docker(), 2378, "two")?;
        let all = engine.docker().running("com.docker.swarm.task.id")?;
        ensure!(all.len() == 4, "two tasks of each: {all:?}");
        for skep in [&mut first, &mut second] {
            skep.kill9()?;
            skep.restart()?;
            skep.docker().converged(SOON)?;
        }
        ensure!(first.docker().ok(&["service", "ls", "--format", "{{.Name}}"])? == "one", "one");
        ensure!(second.docker().ok(&["service", "ls", "--format", "{{.Name}}"])? == "two", "two");
        let still = engine.docker().running("com.docker.swarm.task.id")?;
        ensure!(still == all, "before {all:?}, after both restarted {still:?}");
        Ok(())
    })();
    outcome.map_err(|error: anyhow::Error| {
        error.context(format!("first {}\nsecond {}", first.log(40), second.log(40)))
    })
}
