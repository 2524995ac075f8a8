//! The process itself: it tells its supervisor when it is ready and when it stops, serves TCP
//! beside its socket, and leaves no socket behind.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_integration::{ADDRESS, Engine, Generation, Skep, binary, wait_for};

const SOON: Duration = Duration::from_secs(60);

on_both_engines!(readiness_tcp_and_clean_stop);

fn readiness_tcp_and_clean_stop(generation: Generation) -> Result<()> {
    let engine = Engine::start(generation, ADDRESS)?;
    let supervisor = engine.folder().join("notify.sock");
    let notices = UnixDatagram::bind(&supervisor)?;
    notices.set_read_timeout(Some(SOON))?;
    let tcp = format!("tcp://{ADDRESS}:23750");
    let environment = [("NOTIFY_SOCKET", &*supervisor.to_string_lossy())];
    let mut skep = Skep::start_with(&engine, "skep", &["--host", &tcp], &environment)?;
    told(&notices, "READY=1").with_context(|| skep.log(30))?;

    wait_for("an answer over TCP", SOON, || {
        let mut command = engine.space().command("docker");
        let output =
            command.args(["-H", &tcp, "version", "--format", "{{.Server.Os}}"]).output()?;
        ensure!(output.stdout == b"linux\n", "{output:?}");
        Ok(())
    })
    .with_context(|| skep.log(30))?;

    let status = Command::new(binary()?).args(["status", "-H", skep.docker().host()]).output()?;
    ensure!(status.status.success() && !status.stdout.is_empty(), "{status:?}");

    skep.stop().with_context(|| skep.log(30))?;
    told(&notices, "STOPPING=1")?;
    let socket = engine.folder().join("skep/skep.sock");
    ensure!(!socket.exists(), "a stopped daemon leaves its socket behind");
    Ok(())
}

/// Reads notices until one contains `wanted`.
fn told(notices: &UnixDatagram, wanted: &str) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = notices.recv(&mut buffer).with_context(|| format!("no {wanted}"))?;
        if String::from_utf8_lossy(&buffer[..length]).contains(wanted) {
            return Ok(());
        }
    }
}
