//! The end of the encrypted way that this host has: the kernel's link where the kernel has WireGuard, else a process. What is
//! the same for both is said here once.

use std::io;
use std::path::PathBuf;

use rtnetlink::Handle;
use skep_core::model::tunnel_key::TunnelKey;
use skep_core::net::wireguard::WireGuard;
use tokio::sync::OnceCell;
use tracing::{debug, info};

use super::beside::{self, Beside};
use super::genl::WireFamily;
use super::link::{self, KernelLink};

/// The ways to ends of both kinds.
pub(super) struct Ways {
    socket: PathBuf,
    handle: Handle,
    /// The kernel's WireGuard, once somebody needed to know. It is looked for once: whoever is given it later has it from the
    /// next start.
    family: OnceCell<Option<WireFamily>>,
}

impl Ways {
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { socket: beside::socket()?, handle, family: OnceCell::new() })
    }

    /// Leaves nothing of what is no end any more.
    pub(super) async fn clear(self) {
        let _ = std::fs::remove_file(self.socket);
        if let Err(error) = link::remove(&self.handle).await {
            debug!(%error, "the encrypted link is not removed");
        }
    }

    async fn family(&self) -> Option<WireFamily> {
        let look = || async {
            let found = link::family().await;
            let found = found.inspect_err(|error| debug!(%error, "WireGuard is not looked for"));
            found.ok().flatten()
        };
        *self.family.get_or_init(look).await
    }
}

/// An end that is there. Either kind outlives the daemon.
pub(super) enum End {
    Kernel(KernelLink),
    Process(Beside),
}

impl End {
    /// Finds what an earlier daemon left.
    pub(super) async fn find(ways: &Ways) -> Option<Self> {
        if let Some(process) = Beside::find(&ways.socket).await {
            return Some(Self::Process(process));
        }
        let found = KernelLink::find(&ways.handle).await;
        let found = found.inspect_err(|error| debug!(%error, "the encrypted link is not seen"));
        found.ok().flatten().map(Self::Kernel)
    }

    /// Makes one, of the better kind that this host can have.
    pub(super) async fn start(ways: &Ways, wanted: &WireGuard) -> io::Result<Self> {
        if let Some(family) = ways.family().await {
            let link = KernelLink::start(&ways.handle, family).await?;
            info!(key = %link.key(), "the kernel's WireGuard has the encrypted link");
            return Ok(Self::Kernel(link));
        }
        link::remove(&ways.handle).await?;
        let process = Beside::start(&ways.socket, wanted).await?;
        let key = process.key();
        info!(%key, "the kernel has no WireGuard: a process has the encrypted link");
        Ok(Self::Process(process))
    }

    pub(super) const fn key(&self) -> TunnelKey {
        match self {
            Self::Kernel(link) => link.key(),
            Self::Process(process) => process.key(),
        }
    }

    /// Brings it to what it should be; tells whether it can be. One that is gone cannot, nor one of another kind than this host
    /// would have now.
    pub(super) async fn follow(
        &mut self,
        wanted: Option<&WireGuard>,
        ways: &Ways,
    ) -> io::Result<bool> {
        match self {
            Self::Kernel(link) => link.follow(wanted).await,
            Self::Process(_) if wanted.is_some() && ways.family().await.is_some() => Ok(false),
            Self::Process(process) => process.follow(wanted).await,
        }
    }

    /// Returns what of it is worth keeping after it could not be brought there.
    pub(super) async fn after_failure(self) -> Option<Self> {
        match self {
            Self::Kernel(link) => link.after_failure().await.map(Self::Kernel),
            Self::Process(process) => {
                process.end().await;
                None
            }
        }
    }

    pub(super) async fn end(self) {
        match self {
            Self::Kernel(link) => link.end().await,
            Self::Process(process) => process.end().await,
        }
    }
}
