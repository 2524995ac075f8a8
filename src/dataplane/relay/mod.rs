//! Relays published ports to the tasks behind them, in userspace. Which ports and tasks is the core's to say.

mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use skep_core::labels::Place;
use skep_core::model::service::PortProtocol;
use skep_core::net::ports::Publication;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::socket::{self, Spot};

/// The tasks behind a port at the moment.
type Backends = Arc<[SocketAddr]>;

/// The relays of a node, one a published port.
pub struct Relays {
    on: Option<IpAddr>,
    open: BTreeMap<(PortProtocol, u16), Open>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

struct Open {
    place: Option<Place>,
    backends: watch::Sender<Backends>,
    close: CancellationToken,
}

/// What a relay needs to know.
struct Relay {
    at: Spot,
    backends: watch::Receiver<Backends>,
    /// No new connections.
    close: CancellationToken,
    /// No connections at all.
    stop: CancellationToken,
}

impl Relays {
    /// Makes relays that listen on one address, or on all.
    pub fn new(on: Option<IpAddr>) -> Self {
        Self { on, open: BTreeMap::new(), tasks: JoinSet::new(), stop: CancellationToken::new() }
    }

    /// Opens, changes and closes relays so that there is one for each of `publications`.
    pub fn set(&mut self, publications: Vec<Publication>) {
        while self.tasks.try_join_next().is_some() {}
        let mut old = std::mem::take(&mut self.open);
        for publication in publications {
            let key = (publication.protocol, publication.port);
            let backends: Backends = publication.backends.into();
            let open = match old.remove(&key) {
                Some(open) if open.place == publication.place => {
                    open.backends.send_if_modified(|now| {
                        let changed = *now != backends;
                        *now = backends;
                        changed
                    });
                    open
                }
                elsewhere => {
                    elsewhere.inspect(|open| open.close.cancel());
                    self.start(key, publication.place, backends)
                }
            };
            self.open.insert(key, open);
        }
        for ((_, port), open) in old {
            info!(port.number = port, "port no longer published");
            open.close.cancel();
        }
    }

    fn start(
        &mut self,
        (protocol, port): (PortProtocol, u16),
        place: Option<Place>,
        backends: Backends,
    ) -> Open {
        let (sender, receiver) = watch::channel(backends);
        let close = self.stop.child_token();
        let all =
            || self.on.map_or_else(|| socket::wildcard(port), |addr| SocketAddr::new(addr, port));
        let at = match &place {
            None => all().into(),
            Some(Place::Address(addr)) => SocketAddr::new(*addr, port).into(),
            Some(Place::Interface(name)) => Spot { addr: all(), interface: Some(name.clone()) },
        };
        let relay = Relay { at, backends: receiver, close: close.clone(), stop: self.stop.clone() };
        match protocol {
            PortProtocol::Tcp => {
                info!(port.number = port, port.protocol = "tcp", "port published");
                self.tasks.spawn(tcp::run(relay));
            }
            PortProtocol::Udp => {
                info!(port.number = port, port.protocol = "udp", "port published");
                self.tasks.spawn(udp::run(relay));
            }
            PortProtocol::Sctp => {
                info!(port.number = port, port.protocol = "sctp", "port led by the kernel alone");
            }
        }
        Open { place, backends: sender, close }
    }

    /// Closes all relays and connections.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Goes through all backends once, each time from the next.
fn in_turn(backends: &Backends, turn: &mut usize) -> impl Iterator<Item = SocketAddr> + use<> {
    *turn = turn.wrapping_add(1);
    let start = turn.checked_rem(backends.len()).unwrap_or(0);
    let backends = backends.clone();
    (0..backends.len()).map(move |step| backends[(start + step) % backends.len()])
}
