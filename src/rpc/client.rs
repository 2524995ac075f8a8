//! Channels to managers. A channel connects when first used and again after it broke; each connection uses the
//! credentials of its time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::tls::{self, CA_NAME, MANAGER_NAME, Tls, TlsError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// By then the kernel has asked twice. It would ask ever more seldom: when a link comes back, a new attempt finds it sooner.
const TCP_TIMEOUT: Duration = Duration::from_millis(1500);

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
        let stream = tokio::time::timeout(TCP_TIMEOUT, TcpStream::connect(target)).await??;
        stream.set_nodelay(true)?;
        TlsConnector::from(config).connect(name, stream).await
    };
    tokio::time::timeout(CONNECT_TIMEOUT, opening).await?
}
