//! A root whose key only a signer outside the cluster has: engines of both generations as workers, the way there and back.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use skep_integration::{Cluster, Docker, Generation, sh, wait_for};

const SOON: Duration = Duration::from_secs(60);

const SIGNER: &str = env!("CARGO_BIN_EXE_skep-signer");

/// Where the signer listens, on the manager's host.
const LISTEN: &str = "10.77.0.1:8888";

/// A signer that ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill().and_then(|()| self.0.wait());
    }
}

#[test]
fn a_signer_outside() -> Result<()> {
    let cluster =
        Cluster::start(Generation::Engine28, &[Generation::Debian20, Generation::Engine28])?;
    let outcome = there_and_back(&cluster);
    cluster.explain(outcome)
}

fn there_and_back(cluster: &Cluster) -> Result<()> {
    let (docker, folder) = (cluster.docker(), cluster.engine.folder());
    let (certificate, said) = (folder.join("ca.pem"), folder.join("signer.log"));
    let certificate = certificate.to_string_lossy();
    let folder_text = folder.to_string_lossy();
    sh(SIGNER, &["make", &folder_text])?;
    docker.ok(&["swarm", "leave", "--force"])?;
    let listed = format!("protocol=cfssl,url=https://{LISTEN}/api/v1/cfssl/sign");
    let init = format!("{listed},cacert={certificate}");
    docker.ok(&["swarm", "init", "--advertise-addr", "10.77.0.1", "--external-ca", &init])?;
    cluster.join(0)?;
    let rotate = ["swarm", "ca", "--rotate", "--ca-cert", &certificate, "--external-ca", &listed];
    let missing = docker.run(&rotate)?;
    ensure!(missing.stderr.contains("corresponding to the desired CA certificate"), "{missing:?}");

    let signer = start(cluster, folder)?;
    let shown = docker.on_terminal(&rotate)?;
    ensure!(shown.code == 0, "{shown:?}");
    for line in ["desired root digest: sha256:", "2/2 nodes"] {
        ensure!(shown.stdout.contains(line), "{line}: {}", shown.stdout);
    }
    let root = std::fs::read_to_string(certificate.as_ref())?;
    ensure!(docker.ok(&["swarm", "ca"])?.trim() == root.trim(), "the root is the signer's");
    cluster.join(1)?;
    wait_for("three nodes that are ready", SOON, || ready(docker, 3))?;
    let signed = std::fs::read_to_string(&said)?;
    for node in docker.lines(&["node", "ls", "-q"])? {
        ensure!(signed.contains(&node), "{node} is not among those signed for: {signed}");
    }

    // Without the signer an engine that joins waits; it comes when the signer does.
    let late = cluster.worker(1)?.docker();
    late.ok(&["swarm", "leave"])?;
    // A rotation waits for nodes that are away.
    docker.ok(&["node", "rm", "--force", "skep-3"])?;
    drop(signer);
    let joined = std::thread::scope(|scope| {
        let joining = scope.spawn(|| cluster.join(1));
        wait_for("the engine is admitted", SOON, || {
            let nodes = docker.lines(&["node", "ls", "-q"])?;
            ensure!(nodes.len() == 3, "{nodes:?}");
            Ok(())
        })?;
        let signer = start(cluster, folder)?;
        let joined = joining.join().unwrap_or_else(|_| anyhow::bail!("the join panicked"));
        joined.map(|_| signer)
    });
    let _signer = joined?;

    // The signer vouches for the cluster's next root.
    docker.ok(&["swarm", "ca", "--rotate", "--quiet"])?;
    ensure!(docker.ok(&["swarm", "ca"])?.trim() != root.trim(), "another root");
    wait_for("three nodes that are ready", SOON, || ready(docker, 3))
}

/// Starts a signer that knows the managers by the root they have now.
fn start(cluster: &Cluster, folder: &Path) -> Result<Running> {
    let clients = folder.join("clients.pem");
    std::fs::write(&clients, cluster.docker().ok(&["swarm", "ca"])?)?;
    let said = folder.join("signer.log");
    let log = std::fs::File::create(&said)?;
    let mut command = Command::new("nsenter");
    command.args(["--target", &cluster.engine.pid().to_string(), "--net", SIGNER, "serve", LISTEN]);
    command.args([folder, &clients]).stdin(Stdio::null()).stdout(log);
    let running = Running(command.spawn()?);
    wait_for("the signer", SOON, || {
        ensure!(!std::fs::read_to_string(&said)?.is_empty(), "it says nothing yet");
        Ok(())
    })?;
    Ok(running)
}

/// Tells whether so many nodes are ready, with certificates of the cluster's root.
fn ready(docker: &Docker, count: usize) -> Result<()> {
    let shown = docker.lines(&["node", "ls", "--format", "{{.Status}} {{.TLSStatus}}"])?;
    let is_ready = |line: &&String| *line == "Ready Ready";
    ensure!(shown.iter().filter(is_ready).count() == count, "{shown:?}");
    Ok(())
}
