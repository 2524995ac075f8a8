//! Accepts connections on the daemon's hosts and serves the API on each. Knows no route.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use skep_api::backend::{Backend, Body};
use skep_api::router::serve;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::body::{is_own, patient};
use super::presence::Watched;
use crate::clock;
use crate::config::Address;

/// Connections served at once on one host; more wait to be accepted.
const CONNECTIONS_MAX: usize = 4096;
/// How long a connection may wait for, or take to send, the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(600);
/// From so many connections on a host, new ones have less time, so that idle ones never keep others out for long.
const CROWDED_FROM: usize = CONNECTIONS_MAX / 4 * 3;
/// How long that is.
const CROWDED_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the body of a request that skep answers itself may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest head of a request; the one of a client that sends credentials has a few KiB.
const HEAD_BYTES_MAX: usize = 256 << 10;
/// How long streams may go on once the daemon stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a host cannot be served.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The socket cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The host.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody serves there already.
    #[error("another daemon already serves {0}; stop it or choose another --host")]
    Taken(String),
}

/// The hosts being served.
pub struct Sockets {
    accepting: JoinSet<()>,
    paths: Vec<PathBuf>,
}

impl Sockets {
    /// Waits until connections have ended, a little while at most, and removes the sockets.
    pub async fn finish(mut self) {
        while let Some(ended) = self.accepting.join_next().await {
            if let Err(error) = ended {
                warn!(error = %error, "a host failed");
            }
        }
        for path in &self.paths {
            if let Err(error) = std::fs::remove_file(path) {
                debug!(error = %error, path = %path.display(), "socket not removed");
            }
        }
    }
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Binds every host and serves the API on it until `shutdown`. When this returns, all sockets are bound.
///
/// # Errors
/// Says which host cannot be served.
pub async fn listen(
    hosts: &[Address],
    backend: Arc<dyn Backend>,
    shutdown: CancellationToken,
) -> Result<Sockets, ListenError> {
    let mut bound = Vec::new();
    let mut paths = Vec::new();
    for host in hosts {
        let fail = |source| ListenError::Bind { address: host.to_string(), source };
        bound.push(match host {
            Address::Unix(path) => {
                let listener = bind_unix(path, host).await?;
                paths.push(path.clone());
                Listener::Unix(listener)
            }
            Address::Tcp(address) => {
                warn_if_open(address);
                Listener::Tcp(TcpListener::bind(address).await.map_err(fail)?)
            }
        });
    }
    let mut accepting = JoinSet::new();
    for listener in bound {
        accepting.spawn(accept(listener, backend.clone(), shutdown.clone()));
    }
    Ok(Sockets { accepting, paths })
}

fn warn_if_open(address: &str) {
    let local = ["127.", "localhost:", "[::1]"].iter().any(|start| address.starts_with(start));
    if !local {
        warn!(host = address, "whoever reaches this port controls this machine");
    }
}

async fn bind_unix(path: &Path, host: &Address) -> Result<UnixListener, ListenError> {
    let fail = |source| ListenError::Bind { address: host.to_string(), source };
    if UnixStream::connect(path).await.is_ok() {
        return Err(ListenError::Taken(host.to_string()));
    }
    // Nobody answers: what is there was left behind.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
        Err(_) | Ok(()) => {}
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    let listener = UnixListener::bind(path).map_err(fail)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(fail)?;
    // As with the engine's own socket, members of the group docker may use it, where there is one.
    if let Ok(Some(group)) = nix::unistd::Group::from_name("docker")
        && let Err(error) = nix::unistd::chown(path, None, Some(group.gid))
    {
        debug!(error = %error, "the socket stays with its owner's group");
    }
    Ok(listener)
}

async fn accept(listener: Listener, backend: Arc<dyn Backend>, shutdown: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let full = connections.len() >= CONNECTIONS_MAX;
        tokio::select! {
            accepted = listener.accept(), if !full => match accepted {
                Ok(stream) => {
                    let crowded = connections.len() >= CROWDED_FROM;
                    let limits = if crowded { Limits::CROWDED } else { Limits::USUAL };
                    connections.spawn(stream.serve(backend.clone(), limits, shutdown.clone()));
                }
                Err(error) => {
                    warn!(error = %error, "cannot accept a connection");
                    clock::sleep(Duration::from_millis(100)).await;
                }
            },
            _ = connections.join_next(), if !connections.is_empty() => {}
            () = shutdown.cancelled() => break,
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(FINISH_TIMEOUT, finished).await.is_err() {
        debug!("streams were cut off");
    }
}

/// How patient a connection is served.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) head: Duration,
    pub(super) body: Duration,
}

impl Limits {
    const USUAL: Self = Self { head: HEAD_TIMEOUT, body: BODY_TIMEOUT };
    const CROWDED: Self = Self { head: CROWDED_HEAD_TIMEOUT, body: BODY_TIMEOUT };
}

enum Stream {
    Unix(UnixStream),
    Tcp(tokio::net::TcpStream),
}

impl Listener {
    async fn accept(&self) -> std::io::Result<Stream> {
        match self {
            Self::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

impl Stream {
    async fn serve(self, backend: Arc<dyn Backend>, limits: Limits, shutdown: CancellationToken) {
        match self {
            Self::Unix(stream) => serve_connection(stream, backend, limits, shutdown).await,
            Self::Tcp(stream) => serve_connection(stream, backend, limits, shutdown).await,
        }
    }
}

/// Boxed, because the compiler cannot see through the routes' futures that they may move between threads.
fn answer(
    backend: Arc<dyn Backend>,
    request: http::Request<Body>,
) -> BoxFuture<'static, Result<http::Response<Body>, Infallible>> {
    Box::pin(async move { Ok(serve(backend, request).await) })
}

pub(super) async fn serve_connection<S>(
    stream: S,
    backend: Arc<dyn Backend>,
    limits: Limits,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = Watched::new(stream);
    let watch = stream.watch();
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (backend, watch) = (backend.clone(), watch.clone());
        let own = is_own(&request);
        let request = request.map(|body| patient(body, own.then_some(limits.body)));
        let answered = answer(backend, request);
        async move { answered.await.map(|response| response.map(|body| watch.over(body))) }
    });
    // Half close is how a client of `attach` says that its input has ended.
    let connection = http1::Builder::new()
        .half_close(true)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(error = %error, "connection ended");
    }
}
