//! Executes what the core's network plan says: names and published ports. Decides nothing, makes no network.

mod back_off;
mod dns;
#[cfg(test)]
mod fixture;
mod per_source;
mod relay;
mod socket;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use skep_core::State;
use skep_core::id::NodeId;
use skep_core::net::names::NameTable;
use skep_core::net::served::may_differ;
use skep_core::net::{bridges, ports};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// What is answered to a packet, apart from the sockets.
pub use dns::message;

use dns::NameServers;
use relay::Relays;

/// What of the data plane differs between a real node and a test.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Port of the name servers.
    pub dns_port: u16,
    /// Where the servers for outside names are listed.
    pub resolv_conf: PathBuf,
    /// The only address to publish ports on; all addresses of both families when absent.
    pub publish_on: Option<IpAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { dns_port: 53, resolv_conf: PathBuf::from("/etc/resolv.conf"), publish_on: None }
    }
}

/// Name servers and relays of one node.
pub struct DataPlane {
    names: NameServers,
    relays: Relays,
}

impl DataPlane {
    /// Makes one that serves nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            names: NameServers::new(settings.dns_port, settings.resolv_conf),
            relays: Relays::new(settings.publish_on),
        }
    }

    /// Follows the newest state until `shutdown`, then closes all sockets.
    ///
    /// Addresses are bound before the engine has made their bridges, so it needs no word from the engine.
    pub async fn run(
        mut self,
        mut states: watch::Receiver<Arc<State>>,
        node: NodeId,
        shutdown: CancellationToken,
    ) {
        let mut last: Option<Arc<State>> = None;
        loop {
            let state = states.borrow_and_update().clone();
            if last.as_ref().is_none_or(|last| may_differ(last, &state)) {
                self.follow(&state, &node);
            }
            last = Some(state);
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = states.changed() => if changed.is_err() { break },
            }
        }
        tokio::join!(self.names.stop(), self.relays.stop());
    }

    fn follow(&mut self, state: &State, node: &NodeId) {
        let gateways = bridges::gateways(state, node);
        let published = ports::published(state, node);
        debug!(
            state.index = state.index(),
            gateways = gateways.len(),
            ports = published.len(),
            "data plane follows"
        );
        self.names.set_table(NameTable::new(state, node));
        self.names.set_addresses(gateways);
        self.relays.set(published);
    }
}
