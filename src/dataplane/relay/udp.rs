//! One published UDP port: a flow a client, each to one task, for as long as either side talks. Looks into nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::{Backends, Relay, in_turn};
use crate::clock;
use crate::dataplane::back_off::BackOff;
use crate::dataplane::socket::{Datagrams, Origin, any_like};

/// The client silent for longest gives way to a new one.
const FLOWS_MAX: usize = 1024;
/// Datagrams that wait for a flow; more are dropped, as a full link would.
const QUEUE_MAX: usize = 64;
/// As long as the engine's own relay waits.
const IDLE: Duration = Duration::from_secs(90);
const DATAGRAM_BYTES_MAX: usize = 65_535;
const PAUSE: Duration = Duration::from_millis(50);

struct Flow {
    number: u64,
    last_used: u64,
    backend: SocketAddr,
    queue: mpsc::Sender<Bytes>,
}

/// The flows of one port. A flow ends when its queue is dropped.
#[derive(Default)]
struct Flows {
    by_origin: BTreeMap<Origin, Flow>,
    tasks: JoinSet<(Origin, u64)>,
    clock: u64,
    turn: usize,
}

/// Relays until the port is closed.
pub async fn run(mut relay: Relay) {
    let mut flows = Flows::default();
    let mut back_off = BackOff::new("a published udp port", relay.at.addr);
    let mut socket: Option<Arc<Datagrams>> = None;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let backends = relay.backends.borrow_and_update().clone();
        flows.keep(&backends);
        let wanted = !backends.is_empty();
        if !wanted {
            // Without a socket the kernel tells clients that nothing listens.
            socket = None;
        } else if socket.is_none() {
            match Datagrams::bind(&relay.at) {
                Ok(bound) => {
                    back_off.succeeded();
                    socket = Some(Arc::new(bound));
                }
                Err(error) => back_off.failed(&error),
            }
        }
        tokio::select! {
            () = relay.close.cancelled() => return,
            changed = relay.backends.changed() => if changed.is_err() { return },
            () = back_off.wait(), if wanted && socket.is_none() => {}
            received = receive(socket.as_deref(), &mut buffer) => match (received, &socket) {
                (Ok((length, origin)), Some(socket)) => {
                    flows.pass(origin, &buffer[..length], &backends, socket);
                }
                (Ok(_), None) => {}
                (Err(error), _) => {
                    debug!(socket.addr = %relay.at.addr, %error, "published port receives nothing");
                    clock::sleep(PAUSE).await;
                }
            },
            Some(ended) = flows.tasks.join_next(), if !flows.tasks.is_empty() => {
                if let Ok((origin, number)) = ended {
                    flows.forget(&origin, number);
                }
            }
        }
    }
}

async fn receive(
    socket: Option<&Datagrams>,
    buffer: &mut [u8],
) -> std::io::Result<(usize, Origin)> {
    match socket {
        Some(socket) => socket.recv(buffer).await,
        None => std::future::pending().await,
    }
}

impl Flows {
    /// Ends the flows to tasks that are gone; their clients get another task with the next datagram.
    fn keep(&mut self, backends: &Backends) {
        self.by_origin.retain(|_, flow| backends.contains(&flow.backend));
    }

    fn forget(&mut self, origin: &Origin, number: u64) {
        if self.by_origin.get(origin).is_some_and(|flow| flow.number == number) {
            self.by_origin.remove(origin);
        }
    }

    fn pass(&mut self, origin: Origin, data: &[u8], backends: &Backends, socket: &Arc<Datagrams>) {
        self.clock += 1;
        if !self.by_origin.contains_key(&origin) {
            self.start(origin, backends, socket);
        }
        let Some(flow) = self.by_origin.get_mut(&origin) else { return };
        flow.last_used = self.clock;
        if flow.queue.try_send(Bytes::copy_from_slice(data)).is_err() {
            debug!(peer = %origin.peer, "datagram dropped");
        }
    }

    fn start(&mut self, origin: Origin, backends: &Backends, socket: &Arc<Datagrams>) {
        let Some(backend) = in_turn(backends, &mut self.turn).next() else { return };
        if self.by_origin.len() >= FLOWS_MAX {
            let oldest = self.by_origin.iter().min_by_key(|(_, flow)| flow.last_used);
            if let Some(oldest) = oldest.map(|(origin, _)| *origin) {
                self.by_origin.remove(&oldest);
            }
        }
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let (number, socket) = (self.clock, socket.clone());
        self.tasks.spawn(async move {
            if let Err(error) = relay_flow(backend, waiting, &socket, &origin).await {
                debug!(backend = %backend, %error, "flow ends");
            }
            (origin, number)
        });
        self.by_origin.insert(origin, Flow { number, last_used: number, backend, queue });
    }
}

/// Passes datagrams both ways until the queue closes, the task refuses, or neither side has talked for a while.
async fn relay_flow(
    backend: SocketAddr,
    mut waiting: mpsc::Receiver<Bytes>,
    clients: &Datagrams,
    origin: &Origin,
) -> std::io::Result<()> {
    let socket = UdpSocket::bind(any_like(backend.ip())).await?;
    socket.connect(backend).await?;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let step = async {
            tokio::select! {
                data = waiting.recv() => match data {
                    Some(data) => socket.send(&data).await.map(|_| true),
                    None => Ok(false),
                },
                received = socket.recv(&mut buffer) => {
                    clients.send(&buffer[..received?], origin).await.map(|_| true)
                }
            }
        };
        match timeout(IDLE, step).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) | Err(_) => return Ok(()),
            Ok(Err(error)) => return Err(error),
        }
    }
}
