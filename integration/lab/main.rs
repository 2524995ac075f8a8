//! `skep-lab GENERATION[+GENERATION...] COMMAND...`: boots an engine and skep in a namespace, runs the command with
//! `DOCKER_HOST` and `SKEP_TARGET` (socket@address) set, and takes everything down with it. With more generations
//! there is a swarm already, and engines without skep beside it whose sockets are in `WORKER1`, `WORKER2` and so on.
//! With a comma in place of the plus, each host runs an engine and skep, in no swarm yet: `SKEP_TARGET` has them all, and
//! `HOST1`, `ADDR1`, `ENGINE1` and `SKEP1_PID` tell of the first, and so on.

use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result, bail};
use skep_integration::{ADDRESS, Cluster, Generation, Hosts, Lab};

fn main() -> Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let generations = args.next().unwrap_or_default();
    let program = args.next().unwrap_or_else(|| "bash".to_owned());
    let mut command = Command::new(&program);
    command.args(args);
    let status = if generations.contains(',') {
        let generations = generations.split(',').map(parse).collect::<Result<Vec<_>>>()?;
        on_hosts(&mut command, &generations)
    } else {
        let generations = generations.split('+').map(parse).collect::<Result<Vec<_>>>()?;
        beside_engines(&mut command, &generations)
    };
    let status = status.with_context(|| format!("run {program}"))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

const USAGE: &str =
    "usage: skep-lab debian20|engine28[+|,debian20|engine28]... COMMAND [ARGUMENT...]";

fn parse(generation: &str) -> Result<Generation> {
    match generation {
        "debian20" => Ok(Generation::Debian20),
        "engine28" => Ok(Generation::Engine28),
        _ => bail!("{USAGE}"),
    }
}

/// Runs the command over hosts that each have skep.
fn on_hosts(command: &mut Command, generations: &[Generation]) -> Result<ExitStatus> {
    let hosts = Hosts::start(generations)?;
    let mut targets = Vec::new();
    for (number, host) in (1..).zip(&hosts.all) {
        let docker = host.docker().host();
        targets.push(format!("{docker}@{}", host.address));
        command.env(format!("HOST{number}"), docker);
        command.env(format!("ADDR{number}"), &host.address);
        command.env(format!("ENGINE{number}"), host.engine.docker().host());
        command.env(format!("SKEP{number}_PID"), host.skep.pid()?.to_string());
    }
    let first = hosts.all.first().context(USAGE)?.docker().host();
    Ok(command.env("DOCKER_HOST", first).env("SKEP_TARGET", targets.join(",")).status()?)
}

/// Runs the command over one host with skep, and engines alone.
fn beside_engines(command: &mut Command, generations: &[Generation]) -> Result<ExitStatus> {
    match generations {
        [generation] => {
            let lab = Lab::bare(*generation)?;
            run(command, lab.docker().host())
        }
        [manager, workers @ ..] => {
            let cluster = Cluster::start(*manager, workers)?;
            for (place, worker) in cluster.workers.iter().enumerate() {
                command.env(format!("WORKER{}", place + 1), worker.docker().host());
                command.env(format!("WORKER{}_PID", place + 1), worker.pid().to_string());
            }
            run(command, cluster.docker().host())
        }
        [] => bail!("{USAGE}"),
    }
}

fn run(command: &mut Command, host: &str) -> Result<ExitStatus> {
    command.env("DOCKER_HOST", host).env("SKEP_TARGET", format!("{host}@{ADDRESS}"));
    Ok(command.status()?)
}
