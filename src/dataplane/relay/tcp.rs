//! One published TCP port: accepts, connects to the next task that answers, copies both ways. Looks into nothing.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::{Relay, in_turn};
use crate::clock;
use crate::dataplane::back_off::BackOff;
use crate::dataplane::socket::{Spot, bind_tcp, tune};

/// Further connections wait in the backlog.
const CONNECTIONS_MAX: usize = 4096;
const BACKLOG: u32 = 1024;
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// After an error that may last, such as no more file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// A port that is ours.
enum Door {
    /// Not ours yet.
    None,
    /// Held, so that no other program takes it; who connects is refused at once.
    Held(TcpSocket),
    /// Open.
    Open(TcpListener),
}

impl Door {
    /// Opens or holds the port.
    fn turn(self, at: &Spot, open: bool) -> io::Result<Self> {
        match (self, open) {
            (Self::None, true) => Ok(Self::Open(bind_tcp(at)?.listen(BACKLOG)?)),
            (Self::Held(socket), true) => Ok(Self::Open(socket.listen(BACKLOG)?)),
            (Self::Open(listener), true) => Ok(Self::Open(listener)),
            (Self::Held(socket), false) => Ok(Self::Held(socket)),
            (Self::None, false) => Ok(Self::Held(bind_tcp(at)?)),
            (Self::Open(listener), false) => {
                drop(listener);
                Ok(Self::Held(bind_tcp(at)?))
            }
        }
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        match self {
            Self::Open(listener) => Ok(listener.accept().await?.0),
            Self::None | Self::Held(_) => std::future::pending().await,
        }
    }
}

/// Relays until the port is closed; connections live on until they end or all stops.
pub async fn run(mut relay: Relay) {
    let mut connections = JoinSet::new();
    let mut back_off = BackOff::new("a published tcp port", relay.at.addr);
    let mut door = Door::None;
    let mut turn = 0;
    loop {
        let backends = relay.backends.borrow_and_update().clone();
        door = match door.turn(&relay.at, !backends.is_empty()) {
            Ok(door) => {
                back_off.succeeded();
                door
            }
            Err(error) => {
                back_off.failed(&error);
                Door::None
            }
        };
        tokio::select! {
            () = relay.close.cancelled() => break,
            changed = relay.backends.changed() => if changed.is_err() { break },
            () = back_off.wait(), if matches!(door, Door::None) => {}
            accepted = door.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok(client) => {
                    connections.spawn(serve(client, in_turn(&backends, &mut turn)));
                }
                Err(error) => {
                    debug!(socket.addr = %relay.at.addr, %error, "published port accepts nothing");
                    clock::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop(door);
    tokio::select! {
        () = relay.stop.cancelled() => {}
        () = async { while connections.join_next().await.is_some() {} } => {}
    }
}

async fn serve(mut client: TcpStream, backends: impl Iterator<Item = SocketAddr>) {
    let Some(mut backend) = connect(backends).await else {
        // A reset, as if nothing listened.
        if let Err(error) = client.set_zero_linger() {
            debug!(%error, "connection ends without a reset");
        }
        return;
    };
    let tuned = tune(&client).and_then(|()| tune(&backend));
    if let Err(error) = tuned {
        debug!(%error, "relayed connection is not tuned");
    }
    if let Err(error) = copy_bidirectional(&mut client, &mut backend).await {
        debug!(%error, "relayed connection broke");
    }
}

async fn connect(backends: impl Iterator<Item = SocketAddr>) -> Option<TcpStream> {
    for backend in backends {
        match timeout(CONNECT_PATIENCE, TcpStream::connect(backend)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => debug!(backend = %backend, %error, "task refuses"),
            Err(_) => debug!(backend = %backend, "task does not answer in time"),
        }
    }
    None
}
