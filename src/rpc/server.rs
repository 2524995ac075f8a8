//! The cluster's port: TLS, who is calling, HTTP/2, and the way to the service. Decides nothing but what
//! [`Gate`](super::authorize::Gate) says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use skep_core::model::node::Role;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tracing::{debug, warn};

use super::authorize::{Gate, Lapse, PeerIdentity};
use super::glue::{RpcService, refuse, unimplemented};
use super::tls::Tls;
use crate::clock;

/// Connections at once; more are closed as they come.
const CONNECTIONS_MAX: usize = 20_000;

/// TLS handshakes at once, so that strangers cannot take all the time.
const HANDSHAKES_MAX: usize = 128;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A peer that answers no ping for so long is gone.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));

/// Most calls of one connection at once.
const STREAMS_MAX: u32 = 1024;

/// The other end of a connection, in the extensions of every request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it calls from.
    pub address: SocketAddr,
    /// Whom its certificate names, if it has one.
    pub identity: Option<PeerIdentity>,
    /// The connection.
    pub connection: Connection,
}

/// One connection, as long as it lasts.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Tells it from all others of this process.
    pub id: u64,
    /// Cancelled once it is closed.
    pub closed: CancellationToken,
}

/// What is served on the port.
pub struct Server {
    tls: Arc<Tls>,
    gate: Gate,
    services: BTreeMap<&'static str, Arc<dyn RpcService>>,
    handshakes: Semaphore,
    connections: AtomicU64,
}

impl Server {
    /// Puts services behind a gate.
    pub fn new(tls: Arc<Tls>, gate: Gate, services: Vec<Arc<dyn RpcService>>) -> Self {
        let services = services.into_iter().map(|service| (service.name(), service)).collect();
        let handshakes = Semaphore::new(HANDSHAKES_MAX);
        Self { tls, gate, services, handshakes, connections: AtomicU64::new(0) }
    }

    /// Serves until `stop`; then closes every connection.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let server = Arc::new(self);
        let mut connections = JoinSet::new();
        tokio::select! {
            _ = server.tls.ready() => {}
            () = stop.cancelled() => return,
        }
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) if connections.len() < CONNECTIONS_MAX => {
                        let serving = server.clone().serve(stream, address, stop.clone());
                        connections.spawn(serving);
                    }
                    Ok((_, address)) => warn!(peer.addr = %address, "too many connections"),
                    Err(error) => {
                        warn!(error = %error, "no connection could be accepted");
                        clock::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                () = stop.cancelled() => break,
            }
        }
        while connections.join_next().await.is_some() {}
    }

    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        stop: CancellationToken,
    ) {
        let shaken = tokio::select! {
            shaken = self.handshake(stream) => shaken,
            () = stop.cancelled() => return,
        };
        let Some(stream) = shaken else {
            debug!(peer.addr = %address, "no TLS");
            return;
        };
        let closed = CancellationToken::new();
        let _closing = closed.clone().drop_guard();
        let id = self.connections.fetch_add(1, Ordering::Relaxed);
        let identity = match identity_of(&stream) {
            Ok(identity) => identity,
            Err(error) => {
                warn!(peer.addr = %address, error = %error, "a certificate names no node");
                return;
            }
        };
        let peer = Peer { address, identity, connection: Connection { id, closed } };
        let answer = service_fn(|request| {
            let (server, peer) = (self.clone(), peer.clone());
            async move { Ok::<_, std::convert::Infallible>(server.answer(peer, request).await) }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(PING.0))
            .keep_alive_timeout(PING.1)
            .max_concurrent_streams(STREAMS_MAX)
            .serve_connection(TokioIo::new(stream), answer);
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                debug!(peer.addr = %address, error = %error, "connection broke");
            },
            () = stop.cancelled() => {}
        }
    }

    async fn handshake(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let _turn = self.handshakes.acquire().await.ok()?;
        stream.set_nodelay(true).ok()?;
        let configs = self.tls.configs()?;
        let accepting = TlsAcceptor::from(configs.server.clone()).accept(stream);
        tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await.ok()?.ok()
    }

    async fn answer(&self, peer: Peer, request: http::Request<Incoming>) -> http::Response<Body> {
        let path = request.uri().path().to_owned();
        if let Err(status) = self.gate.check(&path, peer.identity.as_ref()) {
            debug!(rpc.path = %path, peer.addr = %peer.address, reason = status.message(), "call refused");
            return refuse(status);
        }
        let parts = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        let found = parts.and_then(|(name, method)| Some((self.services.get(name)?, method)));
        let Some((service, method)) = found else { return unimplemented() };
        let (mut head, body) = request.into_parts();
        head.extensions.insert(peer);
        service.call(method, http::Request::from_parts(head, Body::new(body))).await
    }
}

/// Reads whom the client's certificate names; `None` if it brought none.
fn identity_of(stream: &TlsStream<TcpStream>) -> Result<Option<PeerIdentity>, skep_pki::Error> {
    let Some(leaf) = stream.get_ref().1.peer_certificates().and_then(<[_]>::first) else {
        return Ok(None);
    };
    let found = skep_pki::read_identity_der(leaf)?;
    let id = |_| skep_pki::Error::NoIdentity;
    Ok(Some(PeerIdentity {
        cluster: found.cluster_id.parse().map_err(id)?,
        node: found.node_id.parse().map_err(id)?,
        role: match found.role {
            skep_pki::NodeRole::Manager => Role::Manager,
            skep_pki::NodeRole::Worker => Role::Worker,
        },
        lapse: Lapse::of(skep_pki::validity_der(leaf)?, clock::now()),
    }))
}

/// Returns who makes a request.
///
/// # Errors
/// Never behind [`Server`].
pub fn peer_of<T>(request: &tonic::Request<T>) -> Result<Peer, tonic::Status> {
    let missing = || tonic::Status::internal("the caller is not known");
    request.extensions().get::<Peer>().cloned().ok_or_else(missing)
}

/// Returns the node that makes a request.
///
/// # Errors
/// When the caller has no certificate.
pub fn member_of<T>(request: &tonic::Request<T>) -> Result<PeerIdentity, tonic::Status> {
    let missing = || tonic::Status::permission_denied("permission denied: no certificate");
    peer_of(request)?.identity.ok_or_else(missing)
}
