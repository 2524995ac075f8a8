//! `skep-lab GENERATION COMMAND...`: boots an engine and skep in a namespace, runs the command with
//! `DOCKER_HOST` and `SKEP_TARGET` (socket@address) set, and takes everything down with it.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use skep_integration::{ADDRESS, Generation, Lab};

fn main() -> Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let generation = match args.next().as_deref() {
        Some("debian20") => Generation::Debian20,
        Some("engine28") => Generation::Engine28,
        Some(_) | None => bail!("usage: skep-lab debian20|engine28 COMMAND [ARGUMENT...]"),
    };
    let program = args.next().unwrap_or_else(|| "bash".to_owned());
    let lab = Lab::bare(generation)?;
    let host = lab.docker().host();
    let status = Command::new(&program)
        .args(args)
        .env("DOCKER_HOST", host)
        .env("SKEP_TARGET", format!("{host}@{ADDRESS}"))
        .status()
        .with_context(|| format!("run {program}"))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
