//! Channels to managers. A channel connects when first used and again after it broke; each connection uses the
//! credentials of its time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::tls::{self, CA_NAME, MANAGER_NAME, Tls, TlsError};
use crate::clock;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a manager may take to accept a connection.
const TCP_TIMEOUT: Duration = Duration::from_millis(1500);

/// Between two attempts of one connection. The kernel asks again after a second only: when a link comes back, a new attempt
/// finds it sooner.
const KNOCK_PERIOD: Duration = Duration::from_millis(250);

/// A manager that answers no ping for so long is gone.
const PING: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(3));

/// Which certificate the caller shows and whom it takes for a manager.
#[derive(Clone)]
pub enum Trust {
    /// Verifies nothing: only to fetch the root, which the token's digest verifies.
    Unverified,
    /// Verifies the manager by these roots (PEM), shows no certificate: asks for the first one.
    Root(String),
    /// Verifies and shows the node's certificate.
    Mutual(Arc<Tls>),
}

impl Trust {
    fn config(&self) -> Result<(Arc<ClientConfig>, &'static str), TlsError> {
        Ok(match self {
            Self::Unverified => (Arc::new(tls::unverified_client()?), CA_NAME),
            Self::Root(roots) => (Arc::new(tls::verifying_client(roots)?), CA_NAME),
            Self::Mutual(tls) => {
                let configs = tls.configs().ok_or(TlsError::Pem("certificate"))?;
                (configs.client.clone(), MANAGER_NAME)
            }
        })
    }
}

/// Returns a channel to the manager at `address` (`host:port`) that connects when it is used.
///
/// # Errors
/// When the address cannot stand in a URI.
pub fn channel(address: &str, trust: Trust) -> Result<Channel, tonic::transport::Error> {
    let target = address.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let (target, trust) = (target.clone(), trust.clone());
        async move { connect(&target, &trust).await.map(TokioIo::new) }
    });
    // TLS is the connector's part; with https tonic would want to do it itself.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_with_connector_lazy(connector))
}

async fn connect(target: &str, trust: &Trust) -> io::Result<TlsStream<TcpStream>> {
    let (config, name) = trust.config().map_err(io::Error::other)?;
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    let opening = async {
        let stream =
            tokio::time::timeout(TCP_TIMEOUT, knock(|| TcpStream::connect(target))).await??;
        stream.set_nodelay(true)?;
        TlsConnector::from(config).connect(name, stream).await
    };
    tokio::time::timeout(CONNECT_TIMEOUT, opening).await?
}

/// Opens a connection, by one attempt after another. The earlier ones go on beside: on a slow link theirs is the first answer.
async fn knock<Opening: Future>(open: impl Fn() -> Opening) -> Opening::Output {
    let mut attempts = FuturesUnordered::new();
    loop {
        attempts.push(open());
        tokio::select! {
            Some(opened) = attempts.next() => return opened,
            () = clock::sleep(KNOCK_PERIOD) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::Notify;

    use super::*;

    /// Returns which of two attempts is answered first; the first one is only as the second begins, if at all.
    async fn first(is_late: bool, is_second_answered: bool) -> u32 {
        let (begun, second_begun) = (Cell::new(0), Notify::new());
        let attempt = || {
            let number = begun.replace(begun.get() + 1);
            if number == 1 && is_late {
                second_begun.notify_one();
            }
            let second_begun = &second_begun;
            async move {
                match number {
                    0 => second_begun.notified().await,
                    _ if is_second_answered => {}
                    _ => std::future::pending().await,
                }
                number
            }
        };
        knock(attempt).await
    }

    #[tokio::test]
    async fn a_manager_is_asked_again_where_nothing_is_heard() {
        assert_eq!(first(false, true).await, 1);
        assert_eq!(first(true, false).await, 0, "the way there is long");
    }
}
