//! The daemon's side of the process that has the encrypted link where the kernel has no WireGuard: finds the one that runs,
//! starts one, tells it the nodes to reach. The process outlives the daemon, so that packets flow on.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use skep_core::model::tunnel_key::TunnelKey;
use skep_core::net::wireguard::{WireGuard, WirePeer};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::RETRY_PERIOD;
use super::message::{Ask, Hello, VERSION, receive, send};
use crate::clock;

/// Where the sockets of such processes are, one for each network namespace.
const FOLDER: &str = "/run/skep/wireguard";

/// How long a process may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Returns where the process of this network namespace listens.
pub(super) fn socket() -> io::Result<PathBuf> {
    let space = std::fs::metadata("/proc/self/ns/net")?.ino();
    Ok(Path::new(FOLDER).join(format!("{space}.sock")))
}

/// A running process.
pub(super) struct Beside {
    stream: UnixStream,
    hello: Hello,
    /// The nodes it was told.
    told: Option<BTreeMap<TunnelKey, WirePeer>>,
    since: Instant,
    /// Absent where an earlier daemon started it.
    child: Option<std::process::Child>,
}

impl Beside {
    /// Finds the one that an earlier daemon left.
    pub(super) async fn find(path: &Path) -> Option<Self> {
        Self::connect(path, None).await.ok()
    }

    pub(super) async fn start(path: &Path, wanted: &WireGuard) -> io::Result<Self> {
        let child = spawn(path, wanted.endpoint, wanted.addr)?;
        Self::connect(path, Some(child)).await
    }

    async fn connect(path: &Path, mut child: Option<std::process::Child>) -> io::Result<Self> {
        let talk = async {
            let mut stream = UnixStream::connect(path).await?;
            let hello: Hello = receive(&mut stream).await?;
            io::Result::Ok((stream, hello))
        };
        let late = || io::Error::other("the process of the encrypted link does not answer");
        let talked = timeout(ANSWER_LIMIT, talk).await.map_err(|_| late()).flatten();
        match talked {
            Ok((stream, hello)) => {
                Ok(Self { stream, hello, told: None, since: Instant::now(), child })
            }
            Err(error) => {
                if let Some(child) = &mut child {
                    let _ = child.kill();
                }
                reap(child).await;
                Err(error)
            }
        }
    }

    pub(super) const fn key(&self) -> TunnelKey {
        self.hello.key
    }

    /// Tells it whom to reach; tells whether it is one that can.
    pub(super) async fn follow(&mut self, wanted: Option<&WireGuard>) -> io::Result<bool> {
        let none = BTreeMap::new();
        if wanted.is_some_and(|wanted| !self.fits(wanted)) {
            return Ok(false);
        }
        self.tell(wanted.map_or(&none, |wanted| &wanted.peers)).await?;
        Ok(true)
    }

    fn fits(&self, wanted: &WireGuard) -> bool {
        let Hello { version, endpoint, addr, key: _ } = self.hello;
        (version, endpoint, addr) == (VERSION, wanted.endpoint, wanted.addr)
    }

    async fn tell(&mut self, peers: &BTreeMap<TunnelKey, WirePeer>) -> io::Result<()> {
        if self.told.as_ref() == Some(peers) {
            return Ok(());
        }
        let list = peers.iter().map(|(key, peer)| (*key, *peer)).collect();
        let asked = timeout(ANSWER_LIMIT, send(&mut self.stream, &Ask::Peers(list))).await;
        asked.map_err(io::Error::other).flatten()?;
        self.told = Some(peers.clone());
        Ok(())
    }

    /// Waits until it ended. One that hardly lived is not to be followed by the next one at once.
    pub(super) async fn ended(&mut self) {
        self.silent().await;
        warn!("the process of the encrypted link ended");
        clock::sleep(RETRY_PERIOD.saturating_sub(self.since.elapsed())).await;
    }

    /// Waits until it ended. It says nothing more before.
    async fn silent(&mut self) {
        let _ = self.stream.read(&mut [0]).await;
        reap(self.child.take()).await;
    }

    pub(super) async fn end(mut self) {
        let asked = async {
            let _ = send(&mut self.stream, &Ask::End).await;
            self.silent().await;
        };
        if timeout(ANSWER_LIMIT, asked).await.is_err() {
            warn!("the process of the encrypted link does not end");
        }
    }
}

/// Lets the kernel forget a process that ended.
async fn reap(child: Option<std::process::Child>) {
    let Some(mut child) = child else { return };
    let waited = tokio::task::spawn_blocking(move || child.wait()).await;
    if let Ok(Ok(status)) = waited
        && !status.success()
    {
        warn!(%status, "the process of the encrypted link failed");
    }
}

/// Starts a process that listens on a socket which nobody else can reach: it is in a folder of the administrator's.
fn spawn(path: &Path, endpoint: Ipv4Addr, addr: Ipv4Addr) -> io::Result<std::process::Child> {
    let folder = path.parent().unwrap_or(path);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    // The program that runs, also after another one took its place on disk; what is sent to the daemon's group is not for it.
    let mut command = Command::new("/proc/self/exe");
    command.args(["wg", &endpoint.to_string(), &addr.to_string()]);
    command.stdin(OwnedFd::from(listener)).stdout(Stdio::null()).process_group(0);
    command.spawn()
}
