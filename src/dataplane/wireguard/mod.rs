//! Keeps this host's end of the encrypted way as the plan says, and tells the cluster its key. The end outlives the daemon, so
//! that packets flow on.

mod beside;
mod end;
#[cfg(test)]
mod fixture;
mod genl;
mod link;
mod message;
mod process;
mod tunnel;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use skep_core::model::tunnel_key::TunnelKey;
use skep_core::net::kernel::Desired;
use skep_core::net::wire_link::Carrier;
use skep_core::net::wireguard::WireGuard;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock;
use end::{End, Ways};

pub use process::{ProcessError, run as run_process};

/// Wait after an end could not be made, and the least time that a process is to live.
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

/// Keeps the end as the plan says, until `stop`; tells `key` which key is the node's. Looks at the end
/// again when `stirs` says that links changed. It is left as it is then.
pub(super) async fn keep(
    mut plan: watch::Receiver<Option<Arc<Desired>>>,
    key: watch::Sender<OwnKey>,
    mut stirs: watch::Receiver<()>,
    stop: CancellationToken,
) {
    let ways = match Ways::open() {
        Ok(ways) => ways,
        Err(error) => {
            warn!(%error, "encrypted networks lead to no other host from here");
            key.send_replace(OwnKey::Known(None));
            return;
        }
    };
    let mut held = End::find(&ways).await;
    if let Some(end) = &held {
        info!(key = %end.key(), kernel = matches!(end, End::Kernel(_)), "the encrypted link is there");
    }
    loop {
        let known = OwnKey::Known(held.as_ref().map(End::key));
        key.send_if_modified(|key| std::mem::replace(key, known) != known);
        let wanted = plan.borrow_and_update().clone();
        let followed = match &wanted {
            Some(wanted) => follow(&mut held, wanted.wireguard.as_ref(), &ways).await,
            None => Ok(false),
        };
        let retry = match followed {
            // It has another key now.
            Ok(true) => continue,
            Ok(false) => false,
            Err(error) => {
                warn!(%error, "the encrypted link is not as it should be");
                if let Some(end) = held.take() {
                    held = end.after_failure().await;
                }
                if held.is_none() {
                    key.send_replace(OwnKey::Known(None));
                }
                true
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = plan.changed() => if changed.is_err() { return },
            () = changed(&mut held, &mut stirs) => {}
            () = clock::sleep(RETRY_PERIOD), if retry => {}
        }
    }
}

/// Waits until the end may have changed, or did. A link has to be looked at whenever links were stirred; a process ends, and is
/// not held then.
async fn changed(held: &mut Option<End>, stirs: &mut watch::Receiver<()>) {
    match held {
        None => std::future::pending().await,
        Some(End::Kernel(_)) => {
            // Nobody stirs any more when all ends.
            if stirs.changed().await.is_err() {
                std::future::pending().await
            }
        }
        Some(End::Process(process)) => {
            process.ended().await;
            *held = None;
        }
    }
}

/// Does what the plan says; tells whether there is another end now, or none any more.
async fn follow(
    held: &mut Option<End>,
    wanted: Option<&WireGuard>,
    ways: &Ways,
) -> io::Result<bool> {
    if let Some(end) = held
        && end.follow(wanted, ways).await?
    {
        return Ok(false);
    }
    let old = held.take();
    let had_one = old.is_some();
    if let Some(end) = old {
        end.end().await;
    }
    let Some(wanted) = wanted else { return Ok(had_one) };
    *held = Some(End::start(ways, wanted).await?);
    Ok(true)
}

/// Takes the end away, if there is one.
pub(super) async fn end() {
    let Ok(ways) = Ways::open() else { return };
    if let Some(end) = End::find(&ways).await {
        end.end().await;
    }
    ways.clear().await;
}

/// Says who has the end.
///
/// # Errors
/// Fails where the kernel does not answer.
pub async fn carrier() -> io::Result<Carrier> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    link::carrier(&handle).await
}

#[cfg(test)]
#[path = "keep_tests.rs"]
mod tests;
