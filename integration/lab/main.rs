//! `skep-lab GENERATION[+GENERATION...] COMMAND...`: boots an engine and skep in a namespace, runs the command with
//! `DOCKER_HOST` and `SKEP_TARGET` (socket@address) set, and takes everything down with it. With more generations
//! there is a swarm already, and engines without skep beside it whose sockets are in `WORKER1`, `WORKER2` and so on.

use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result, bail};
use skep_integration::{ADDRESS, Cluster, Generation, Lab};

fn main() -> Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let generations = args.next().unwrap_or_default();
    let generations: Vec<Generation> = generations.split('+').map(parse).collect::<Result<_>>()?;
    let program = args.next().unwrap_or_else(|| "bash".to_owned());
    let mut command = Command::new(&program);
    command.args(args);
    let status = match generations.as_slice() {
        [generation] => {
            let lab = Lab::bare(*generation)?;
            run(&mut command, lab.docker().host())
        }
        [manager, workers @ ..] => {
            let cluster = Cluster::start(*manager, workers)?;
            for (place, worker) in cluster.workers.iter().enumerate() {
                command.env(format!("WORKER{}", place + 1), worker.docker().host());
                command.env(format!("WORKER{}_PID", place + 1), worker.pid().to_string());
            }
            run(&mut command, cluster.docker().host())
        }
        [] => bail!("{USAGE}"),
    };
    let status = status.with_context(|| format!("run {program}"))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

const USAGE: &str =
    "usage: skep-lab debian20|engine28[+debian20|+engine28]... COMMAND [ARGUMENT...]";

fn parse(generation: &str) -> Result<Generation> {
    match generation {
        "debian20" => Ok(Generation::Debian20),
        "engine28" => Ok(Generation::Engine28),
        _ => bail!("{USAGE}"),
    }
}

fn run(command: &mut Command, host: &str) -> Result<ExitStatus> {
    command.env("DOCKER_HOST", host).env("SKEP_TARGET", format!("{host}@{ADDRESS}"));
    Ok(command.status()?)
}
