//! The disk of the data folder fills up: changes are refused with a reason, reads and containers go
//! on, and with room again work goes on without a restart. Nothing acknowledged is lost.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use skep_integration::{ADDRESS, Docker, Engine, Generation, Skep, SmallDisk, wait_for};

const SOON: Duration = Duration::from_secs(30);
/// Bytes of a secret, and how many are tried at most.
const SECRET: usize = 200 << 10;
const SECRETS_MAX: u32 = 200;

on_both_engines!(refuses_and_goes_on);

fn refuses_and_goes_on(generation: Generation) -> Result<()> {
    let engine = Engine::start(generation, ADDRESS)?;
    let disk = SmallDisk::mount(engine.folder().join("skep/data"), 16)?;
    let mut skep = Skep::start(&engine, "skep")?;
    let outcome = fill_and_free(&mut skep, &disk);
    outcome.with_context(|| skep.log(60))
}

fn fill_and_free(skep: &mut Skep, disk: &SmallDisk) -> Result<()> {
    let docker = skep.docker().clone();
    docker.ok(&["swarm", "init", "--advertise-addr", ADDRESS])?;
    docker.ok(&["service", "create", "-q", "--name", "app", "busybox", "sleep", "9999"])?;
    let mut acknowledged = vec![secret(&docker, 0)?];

    disk.fill()?;
    refused(&docker, disk.folder())?;
    reads(&docker, &acknowledged)?;
    disk.free()?;
    acknowledged.push(secret(&docker, 1)?);

    // Until skep itself has filled it.
    let full = (2..SECRETS_MAX).find_map(|number| match secret(&docker, number) {
        Ok(name) => {
            acknowledged.push(name);
            None
        }
        Err(error) => Some(error),
    });
    let error = format!("{:#}", full.context("never full")?);
    ensure!(error.contains("no space left on device"), "{error}");
    reads(&docker, &acknowledged)?;

    // Not a byte is left to whoever starts now.
    disk.fill()?;
    skep.kill9()?;
    skep.restart()?;
    wait_for("what was acknowledged", SOON, || reads(&docker, &acknowledged))?;
    refused(&docker, disk.folder())?;
    disk.free()?;
    disk.resize(64)?;
    acknowledged.push(secret(&docker, SECRETS_MAX)?);
    skep.kill9()?;
    skep.restart()?;
    wait_for("what was acknowledged", SOON, || reads(&docker, &acknowledged))
}

fn secret(docker: &Docker, number: u32) -> Result<String> {
    let name = format!("secret-{number}");
    let output = docker.run_with(&["secret", "create", &name, "-"], &vec![b'x'; SECRET])?;
    if output.code == 0 { Ok(name) } else { bail!("{}", output.stderr) }
}

fn refused(docker: &Docker, folder: &Path) -> Result<()> {
    let error = secret(docker, 999).err().context("written on a full disk")?.to_string();
    let folder = folder.to_string_lossy();
    ensure!(error.contains("no space left on device") && error.contains(&*folder), "{error}");
    Ok(())
}

/// What was acknowledged is listed, and the service's container runs.
fn reads(docker: &Docker, acknowledged: &[String]) -> Result<()> {
    let listed = docker.lines(&["secret", "ls", "--format", "{{.Name}}"])?;
    for name in acknowledged {
        ensure!(listed.contains(name), "{name} is lost; there are {listed:?}");
    }
    let running = docker.lines(&["service", "ps", "app", "--format", "{{.CurrentState}}"])?;
    ensure!(running.iter().any(|state| state.starts_with("Running")), "{running:?}");
    Ok(())
}
