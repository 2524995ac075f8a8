//! Keeps the process that has the encrypted link: finds the one that runs, starts one where one is needed, tells it the nodes
//! to reach and the cluster its key. The process outlives the daemon, so that packets flow on.

mod message;
mod process;
mod tunnel;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use skep_core::model::tunnel_key::TunnelKey;
use skep_core::net::kernel::Desired;
use skep_core::net::wireguard::{WireGuard, WirePeer};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock;
use message::{Ask, Hello, VERSION, receive, send};

pub use process::{ProcessError, run as run_process};

/// Where the sockets of such processes are, one for each network namespace.
const FOLDER: &str = "/run/skep/wireguard";

/// How long a process may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Wait after one could not be started, and the least time that one is to live.
const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// What this node's key is known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OwnKey {
    /// It was not looked yet.
    #[default]
    Unknown,
    /// There is one, or none.
    Known(Option<TunnelKey>),
}

impl OwnKey {
    /// Waits until it is known.
    pub async fn known(key: &mut watch::Receiver<Self>) -> Option<TunnelKey> {
        let known = key.wait_for(|key| *key != Self::Unknown).await;
        known.ok().and_then(|key| match *key {
            Self::Unknown => None,
            Self::Known(key) => key,
        })
    }
}

/// Keeps the process as the plan says, until `stop`; tells `key` which key is the node's. The process is left as it is then.
pub(super) async fn keep(
    mut plan: watch::Receiver<Option<Arc<Desired>>>,
    key: watch::Sender<OwnKey>,
    stop: CancellationToken,
) {
    let path = match socket() {
        Ok(path) => path,
        Err(error) => {
            warn!(%error, "encrypted networks lead to no other host from here");
            key.send_replace(OwnKey::Known(None));
            return;
        }
    };
    let mut held = Held::find(&path).await;
    loop {
        let known = OwnKey::Known(held.as_ref().map(|held| held.hello.key));
        key.send_if_modified(|key| std::mem::replace(key, known) != known);
        let wanted = plan.borrow_and_update().clone();
        let followed = match &wanted {
            Some(wanted) => follow(&mut held, wanted.wireguard.as_ref(), &path).await,
            None => Ok(false),
        };
        let retry = match followed {
            // It has another key now.
            Ok(true) => continue,
            Ok(false) => false,
            Err(error) => {
                warn!(%error, "the encrypted link is not as it should be");
                if let Some(process) = held.take() {
                    process.end().await;
                }
                key.send_replace(OwnKey::Known(None));
                true
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = plan.changed() => if changed.is_err() { return },
            () = ended(&mut held) => {}
            () = clock::sleep(RETRY_PERIOD), if retry => {}
        }
    }
}

/// Waits for the end of the process. One that hardly lived is not followed by the next one at once.
async fn ended(held: &mut Option<Held>) {
    let Some(process) = held else { return std::future::pending().await };
    process.ended().await;
    let lived = process.since.elapsed();
    warn!("the process of the encrypted link ended");
    clock::sleep(RETRY_PERIOD.saturating_sub(lived)).await;
    *held = None;
}

/// Does what the plan says; tells whether another process runs now.
async fn follow(
    held: &mut Option<Held>,
    wanted: Option<&WireGuard>,
    path: &Path,
) -> io::Result<bool> {
    let Some(wanted) = wanted else {
        // It stays: who needs it again need not wait for a new key to get around.
        if let Some(held) = held {
            held.tell(&BTreeMap::new()).await?;
        }
        return Ok(false);
    };
    if let Some(process) = held
        && process.fits(wanted)
    {
        process.tell(&wanted.peers).await?;
        return Ok(false);
    }
    if let Some(process) = held.take() {
        process.end().await;
    }
    let started = Held::start(path, wanted).await?;
    info!(key = %started.hello.key, "the process of the encrypted link runs");
    *held = Some(started);
    Ok(true)
}

/// Ends the process, if one runs.
pub(super) async fn end() {
    let Ok(path) = socket() else { return };
    if let Some(process) = Held::find(&path).await {
        process.end().await;
    }
    let _ = std::fs::remove_file(path);
}

/// Returns where the process of this network namespace listens.
fn socket() -> io::Result<PathBuf> {
    let space = std::fs::metadata("/proc/self/ns/net")?.ino();
    Ok(Path::new(FOLDER).join(format!("{space}.sock")))
}

/// A running process.
struct Held {
    stream: UnixStream,
    hello: Hello,
    /// The nodes it was told.
    told: Option<BTreeMap<TunnelKey, WirePeer>>,
    since: Instant,
    /// Absent where an earlier daemon started it.
    child: Option<std::process::Child>,
}

impl Held {
    /// Finds the one that an earlier daemon left.
    async fn find(path: &Path) -> Option<Self> {
        Self::connect(path, None).await.ok()
    }

    async fn start(path: &Path, wanted: &WireGuard) -> io::Result<Self> {
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

    /// Waits until it ended. It says nothing more before.
    async fn ended(&mut self) {
        let _ = self.stream.read(&mut [0]).await;
        reap(self.child.take()).await;
    }

    async fn end(mut self) {
        let asked = async {
            let _ = send(&mut self.stream, &Ask::End).await;
            self.ended().await;
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
