//! Name servers on the gateway addresses of this node's bridges. What they answer is the core's to say.

pub mod message;
mod server;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use skep_core::net::names::NameTable;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::per_source::PerSource;
use crate::clock;

/// Questions forwarded at a time: for one asker, and for all.
const FORWARDS: (usize, usize) = (64, 512);
/// TCP connections open at a time: of one asker, and of all.
const CONNECTIONS: (usize, usize) = (16, 256);

/// The name servers of a node, one an address.
pub struct NameServers {
    shared: Arc<Shared>,
    servers: BTreeMap<IpAddr, CancellationToken>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// What all servers use.
struct Shared {
    port: u16,
    table: ArcSwap<NameTable>,
    /// Addresses we serve, which are therefore no one to forward to.
    own: ArcSwap<BTreeSet<IpAddr>>,
    resolv_conf: PathBuf,
    forwards: Arc<PerSource>,
    connections: Arc<PerSource>,
}

impl NameServers {
    pub fn new(port: u16, resolv_conf: PathBuf) -> Self {
        let shared = Shared {
            port,
            table: ArcSwap::default(),
            own: ArcSwap::default(),
            resolv_conf,
            forwards: PerSource::new(FORWARDS.0, FORWARDS.1),
            connections: PerSource::new(CONNECTIONS.0, CONNECTIONS.1),
        };
        Self {
            shared: Arc::new(shared),
            servers: BTreeMap::new(),
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Changes what is answered from now on.
    pub fn set_table(&self, table: NameTable) {
        if **self.shared.table.load() != table {
            self.shared.table.store(Arc::new(table));
        }
    }

    /// Opens and closes servers so that there is one on each of `addresses`. They may not exist yet.
    pub fn set_addresses(&mut self, addresses: BTreeSet<IpAddr>) {
        while self.tasks.try_join_next().is_some() {}
        self.servers.retain(|addr, server| {
            let keep = addresses.contains(addr);
            if !keep {
                server.cancel();
            }
            keep
        });
        for addr in &addresses {
            if !self.servers.contains_key(addr) {
                let stop = self.stop.child_token();
                let at = SocketAddr::new(*addr, self.shared.port);
                self.tasks.spawn(serve(self.shared.clone(), at, stop.clone()));
                self.servers.insert(*addr, stop);
            }
        }
        self.shared.own.store(Arc::new(addresses));
    }

    /// Closes all servers.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Keeps a server on one address. A question that makes it panic must not silence it.
async fn serve(shared: Arc<Shared>, at: SocketAddr, stop: CancellationToken) {
    debug!(socket.addr = %at, "name server starts");
    while !stop.is_cancelled() {
        let mut server = JoinSet::new();
        server.spawn(server::run(shared.clone(), at, stop.clone()));
        if let Some(Err(panic)) = server.join_next().await {
            error!(socket.addr = %at, error = %panic, "name server failed and starts again");
            clock::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
    debug!(socket.addr = %at, "name server stopped");
}

#[cfg(test)]
mod tests;
