//! The loops of one name server, UDP and TCP on one address. Understands no message.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Shared;
use super::message::{self, Decision, Transport};
use super::upstream;
use crate::clock;
use crate::dataplane::back_off::BackOff;
use crate::dataplane::per_source::Permit;
use crate::dataplane::socket::{bind_tcp, bind_udp};

/// Longer questions than this are nobody's.
const UDP_QUESTION_BYTES_MAX: usize = 4096;
const TCP_IDLE: Duration = Duration::from_secs(10);
const TCP_BACKLOG: u32 = 128;
/// After an error that may last, such as no more file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves one address until `stop`.
pub async fn run(shared: Arc<Shared>, at: SocketAddr, stop: CancellationToken) {
    let mut back_off = BackOff::new("the name server of containers", at);
    let (udp, tcp) = loop {
        match open(at) {
            Ok(sockets) => break sockets,
            Err(error) => back_off.failed(&error),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = back_off.wait() => {}
        }
    };
    back_off.succeeded();
    tokio::select! {
        () = stop.cancelled() => {}
        () = serve_udp(shared.clone(), Arc::new(udp)) => {}
        () = serve_tcp(shared, tcp) => {}
    }
}

fn open(at: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let spot = at.into();
    Ok((bind_udp(&spot)?, bind_tcp(&spot)?.listen(TCP_BACKLOG)?))
}

async fn serve_udp(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
    let mut forwards = JoinSet::new();
    let mut buffer = vec![0; UDP_QUESTION_BYTES_MAX];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok((length, from)) => {
                    let packet = &buffer[..length];
                    handle_datagram(&shared, &socket, packet, from, &mut forwards).await;
                }
                Err(error) => {
                    debug!(%error, "name server receives nothing");
                    clock::sleep(PAUSE).await;
                }
            },
            Some(_) = forwards.join_next(), if !forwards.is_empty() => {}
        }
    }
}

async fn handle_datagram(
    shared: &Arc<Shared>,
    socket: &Arc<UdpSocket>,
    packet: &[u8],
    from: SocketAddr,
    forwards: &mut JoinSet<()>,
) {
    let transport = Transport::Udp;
    let reply = match shared.decide(from, packet, transport) {
        Decision::Drop => return,
        Decision::Reply(reply) => reply,
        Decision::Forward { servers, failure } => {
            if let Some(permit) = shared.forwards.take(from.ip()) {
                let (shared, socket, packet) = (shared.clone(), socket.clone(), packet.to_vec());
                forwards.spawn(async move {
                    let answer = shared.forward(&servers, &packet, transport, permit).await;
                    let answer = answer.unwrap_or(failure);
                    send(&socket, &answer, from).await;
                });
                return;
            }
            failure
        }
    };
    send(socket, &reply, from).await;
}

/// Sends an answer; the asker asks again if it gets lost.
async fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(answer, to).await {
        debug!(peer = %to, %error, "answer not sent");
    }
}

async fn serve_tcp(shared: Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    if let Some(permit) = shared.connections.take(from.ip()) {
                        connections.spawn(serve_connection(shared.clone(), stream, from, permit));
                    }
                }
                Err(error) => {
                    debug!(%error, "name server accepts nothing");
                    clock::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn serve_connection(
    shared: Arc<Shared>,
    mut stream: TcpStream,
    from: SocketAddr,
    _permit: Permit,
) {
    while let Ok(Ok(packet)) = timeout(TCP_IDLE, upstream::read_framed(&mut stream)).await {
        let answer = match shared.decide(from, &packet, Transport::Tcp) {
            Decision::Drop => return,
            Decision::Reply(reply) => reply,
            Decision::Forward { servers, failure } => match shared.forwards.take(from.ip()) {
                Some(permit) => {
                    let answer = shared.forward(&servers, &packet, Transport::Tcp, permit).await;
                    answer.unwrap_or(failure)
                }
                None => failure,
            },
        };
        let written = timeout(TCP_IDLE, upstream::write_framed(&mut stream, &answer)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

impl Shared {
    fn decide(&self, from: SocketAddr, packet: &[u8], transport: Transport) -> Decision {
        let source = from.ip().to_canonical();
        // Questions come in patterns (IPv4 then IPv6, one name then another) that a counter would run in step with.
        let turn = usize::from(u16::from_be_bytes(clock::random_bytes()));
        message::decide(&self.table.load(), source, packet, transport, turn)
    }

    async fn forward(
        &self,
        servers: &[std::net::IpAddr],
        packet: &[u8],
        transport: Transport,
        _permit: Permit,
    ) -> Option<Vec<u8>> {
        let servers = if servers.is_empty() {
            upstream::listed(&self.resolv_conf).await
        } else {
            servers.iter().copied().map(upstream::usual).collect()
        };
        let own = self.own.load_full();
        upstream::ask(&servers, &own, packet, transport).await
    }
}
