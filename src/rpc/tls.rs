//! TLS between nodes, from PEM texts: what the server offers, what clients trust, both replaceable while connections
//! live. Knows nothing of roles; whom a certificate names is read by the server.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
};
use thiserror::Error;
use tokio::sync::watch;

/// The name of every manager in its certificate, for all calls but the first of a join.
pub const MANAGER_NAME: &str = "swarm-manager";

/// The name of a manager that certificates are asked of.
pub const CA_NAME: &str = "swarm-ca";

/// Engines of either generation speak one of these.
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A certificate or key text does not parse.
    #[error("the {0} is not readable pem")]
    Pem(&'static str),
    /// The parts do not make a configuration.
    #[error("certificate, key and root do not fit together")]
    Unfit(#[source] rustls::Error),
    /// No root to verify peers by.
    #[error("no root certificate to verify peers by")]
    NoRoot(#[source] rustls::server::VerifierBuilderError),
}

/// What one certificate allows: to serve and to call.
pub struct Configs {
    /// For the cluster's port.
    pub server: Arc<ServerConfig>,
    /// For calls to managers.
    pub client: Arc<ClientConfig>,
    /// PEM of the roots that peers are verified by.
    pub roots_pem: String,
    /// When the certificate runs out, in seconds since 1970.
    pub valid_until: i64,
}

/// The node's credentials of now. New connections use the newest; old ones live on.
pub struct Tls {
    current: watch::Sender<Option<Arc<Configs>>>,
}

impl Default for Tls {
    fn default() -> Self {
        Self { current: watch::channel(None).0 }
    }
}

impl Tls {
    /// Takes a certificate chain (leaf first), its key and the roots that peers are verified by into use.
    ///
    /// # Errors
    /// Says which part cannot be used; what was in use stays so.
    pub fn replace(&self, chain_pem: &str, key_pem: &str, roots_pem: &str) -> Result<(), TlsError> {
        let configs = Configs {
            server: Arc::new(server_config(chain_pem, key_pem, roots_pem)?),
            client: Arc::new(mutual_config(chain_pem, key_pem, roots_pem)?),
            roots_pem: roots_pem.to_owned(),
            valid_until: skep_pki::renewal_window(chain_pem).map_or(0, |(_, end)| end),
        };
        self.current.send_replace(Some(Arc::new(configs)));
        Ok(())
    }

    /// Returns what is in use; `None` before the first certificate.
    pub fn configs(&self) -> Option<Arc<Configs>> {
        self.current.borrow().clone()
    }

    /// A client that shows the node's certificate to who is no node: HTTP of the first version, verified by these roots.
    ///
    /// # Errors
    /// When there is no certificate yet or the roots do not parse.
    pub fn outside_client(&self, roots_pem: &str) -> Result<ClientConfig, TlsError> {
        let configs = self.configs().ok_or(TlsError::Pem("certificate"))?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(TlsError::Unfit)?
            .with_root_certificates(root_store(roots_pem)?)
            .with_client_cert_resolver(configs.client.client_auth_cert_resolver.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Waits for the first certificate.
    pub async fn ready(&self) -> Arc<Configs> {
        let mut current = self.current.subscribe();
        loop {
            if let Some(configs) = current.borrow_and_update().clone() {
                return configs;
            }
            if current.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

fn server_config(chain: &str, key: &str, roots: &str) -> Result<ServerConfig, TlsError> {
    // A joining node has no certificate yet; one that is given must be ours.
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(root_store(roots)?), provider())
            .allow_unauthenticated()
            .build()
            .map_err(TlsError::NoRoot)?;
    let verifier = Arc::new(EvenOutOfTime(verifier));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(TlsError::Unfit)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(chain)?, private_key(key)?)
        .map_err(TlsError::Unfit)?;
    // A resumed session would not be verified against the roots of now.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn mutual_config(chain: &str, key: &str, roots: &str) -> Result<ClientConfig, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(TlsError::Unfit)?
        .with_root_certificates(root_store(roots)?)
        .with_client_auth_cert(certificates(chain)?, private_key(key)?)
        .map_err(TlsError::Unfit)?;
    Ok(with_h2(config))
}

/// A client without a certificate that verifies the server: asks for the first certificate.
///
/// # Errors
/// When the roots do not parse.
pub fn verifying_client(roots_pem: &str) -> Result<ClientConfig, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(TlsError::Unfit)?
        .with_root_certificates(root_store(roots_pem)?)
        .with_no_client_auth();
    Ok(with_h2(config))
}

/// A client that verifies nothing: fetches the root, whose digest the join token pins.
///
/// # Errors
/// Never for the built-in provider.
pub fn unverified_client() -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(TlsError::Unfit)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider())))
        .with_no_client_auth();
    config.enable_sni = false;
    Ok(with_h2(config))
}

fn with_h2(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.map_err(|_| TlsError::Pem("certificate"))
}

fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| TlsError::Pem("key"))
}

fn root_store(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for root in certificates(pem)? {
        store.add(root).map_err(TlsError::Unfit)?;
    }
    Ok(store)
}

/// Verifies clients as they would be while their certificate holds. What they may do with one that ran out, or does not hold
/// yet, is little, and the gate's business.
#[derive(Debug)]
struct EvenOutOfTime(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for EvenOutOfTime {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let since_epoch = |seconds| u64::try_from(seconds).ok().map(Duration::from_secs);
        let window = skep_pki::validity_der(end_entity).ok();
        let window = window.and_then(|(start, end)| Some((since_epoch(start)?, since_epoch(end)?)));
        let at = window.filter(|(start, end)| start <= end).map_or(now, |(start, end)| {
            let now = Duration::from_secs(now.as_secs());
            UnixTime::since_unix_epoch(now.clamp(start, end))
        });
        self.0.verify_client_cert(end_entity, intermediates, at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Takes any server. What comes from it must be verified by other means.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
