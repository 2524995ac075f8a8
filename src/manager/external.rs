//! The signers outside the cluster: which of them sign for a root, and asking one after the other until one gives what was
//! asked for. Knows no HTTP, and decides not whether a certificate may be had.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Map, Value};
use skep_core::error::chain;
use skep_core::model::cluster::ExternalCa;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::cfssl::{self, CfsslError, Extension, SignRequest, Subject};
use super::cluster::now_unix;
use crate::rpc::tls::{Tls, TlsError};

/// How long one signer may take.
const SIGNER_LIMIT: Duration = Duration::from_secs(3);

/// How long all of them together may take: a Docker Engine that asks for its certificate waits 5 s for an answer.
const ALL_LIMIT: Duration = Duration::from_secs(4);

/// Signers asked for one certificate.
const SIGNERS_MAX: usize = 16;

/// Certificates asked for at once.
const ASKED_MAX: usize = 8;

/// By this name signers know requests for roots.
const CROSS_SIGNING_PROFILE: &str = "CA";

/// Why no signer outside gave a certificate.
#[derive(Debug, thiserror::Error)]
pub enum ExternalError {
    /// The last one gave none.
    #[error("the cluster's external CA does not sign")]
    Refused(#[source] CfsslError),
    /// What it gave is something else.
    #[error("the cluster's external CA signs something else")]
    Wrong(#[source] skep_pki::Error),
    /// It took too long.
    #[error("the cluster's external CA does not answer")]
    Late,
    /// This node's own certificate cannot be shown, or the root cannot be used.
    #[error("the cluster's external CA cannot be asked")]
    Tls(#[from] TlsError),
}

/// The way to signers outside.
pub struct External {
    tls: Arc<Tls>,
    /// Which one is asked first: one that did not answer costs its time once, not each time.
    first: AtomicUsize,
    asking: Semaphore,
}

impl External {
    /// Prepares to ask with the node's certificate.
    pub fn new(tls: Arc<Tls>) -> Self {
        Self { tls, first: AtomicUsize::new(0), asking: Semaphore::new(ASKED_MAX) }
    }

    /// Tells whether this node has a certificate to show: one that ran out opens no door.
    pub fn can_ask(&self) -> bool {
        self.tls.configs().is_some_and(|held| held.valid_until >= now_unix())
    }

    /// Asks one signer after the other, each verified by `roots_pem`, until one gives what `check` takes.
    ///
    /// # Errors
    /// What the last one said.
    pub async fn ask(
        &self,
        urls: &[&str],
        roots_pem: &str,
        request: &SignRequest,
        check: impl Fn(&str) -> Result<String, skep_pki::Error>,
    ) -> Result<String, ExternalError> {
        let asked = Box::pin(self.ask_each(urls, roots_pem, request, check));
        tokio::time::timeout(ALL_LIMIT, asked).await.unwrap_or(Err(ExternalError::Late))
    }

    async fn ask_each(
        &self,
        urls: &[&str],
        roots_pem: &str,
        request: &SignRequest,
        check: impl Fn(&str) -> Result<String, skep_pki::Error>,
    ) -> Result<String, ExternalError> {
        let Ok(_asking) = self.asking.acquire().await else { return Err(ExternalError::Late) };
        let mut outcome = Err(ExternalError::Late);
        for _ in urls {
            let place = self.first.load(Ordering::Relaxed) % urls.len();
            let config = self.tls.outside_client(roots_pem)?;
            // Whoever is asked meanwhile asks the next one, unless this one answers.
            self.first.store(place + 1, Ordering::Relaxed);
            let asked = cfssl::sign(urls[place], request, config);
            outcome = match tokio::time::timeout(SIGNER_LIMIT, asked).await {
                Ok(Ok(given)) => check(&given).map_err(ExternalError::Wrong),
                Ok(Err(error)) => Err(ExternalError::Refused(error)),
                Err(_) => Err(ExternalError::Late),
            };
            match &outcome {
                Ok(_) => {
                    self.first.store(place, Ordering::Relaxed);
                    return outcome;
                }
                Err(error) => {
                    let url = cfssl::shown(urls[place]);
                    warn!(signer.url = %url, error = %chain(error), "no certificate from a signer");
                }
            }
        }
        outcome
    }

    /// Tells whether one of these signers can be reached and shows a certificate of this root.
    pub async fn is_reachable(&self, urls: &[&str], root_pem: &str) -> bool {
        for url in urls {
            let reached = match self.tls.outside_client(root_pem) {
                Ok(config) => {
                    let reached = Box::pin(cfssl::reach(url, config));
                    tokio::time::timeout(SIGNER_LIMIT, reached).await
                }
                Err(error) => {
                    debug!(error = %chain(&error), "no signer can be asked");
                    return false;
                }
            };
            let url = cfssl::shown(url);
            match reached {
                Ok(Ok(())) => return true,
                Ok(Err(error)) => {
                    warn!(signer.url = %url, error = %chain(&error), "a signer cannot be used");
                }
                Err(_) => warn!(signer.url = %url, "a signer does not answer"),
            }
        }
        false
    }
}

/// Returns what others may know of a failure: what went wrong, but not where in this manager's network.
pub fn told(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Returns where to ask for certificates of a root, as a spec lists it; a signer for which no root was named is one of the
/// present root.
pub fn signers_of<'a>(
    listed: &'a [ExternalCa],
    present_pem: &'a str,
    root_pem: &str,
) -> Vec<&'a str> {
    let signs = |ca: &&ExternalCa| {
        let named = if ca.ca_cert.trim().is_empty() { present_pem } else { &ca.ca_cert };
        skep_pki::is_same(named, root_pem)
    };
    listed.iter().filter(signs).map(|ca| ca.url.as_str()).take(SIGNERS_MAX).collect()
}

/// Makes the request for a node's certificate.
pub fn for_node(wanted: &skep_pki::Identity, request_pem: &str) -> SignRequest {
    let hosts = skep_pki::node_names(&wanted.node_id, wanted.role);
    let names = [("OU", wanted.role.organizational_unit()), ("O", wanted.cluster_id.as_str())];
    let name: Map<String, Value> =
        names.into_iter().map(|(kind, value)| (kind.to_owned(), value.into())).collect();
    SignRequest {
        hosts: hosts.into_iter().map(str::to_owned).collect(),
        certificate_request: request_pem.to_owned(),
        subject: Subject { common_name: wanted.node_id.clone(), names: vec![name] },
        profile: "",
        extensions: Vec::new(),
    }
}

/// Has the signers of the present root vouch for the next one.
///
/// # Errors
/// As [`External::ask`].
pub async fn cross_sign(
    external: &External,
    urls: &[&str],
    present_pem: &str,
    next: &skep_pki::RootCa,
) -> Result<String, ExternalError> {
    let wanted = skep_pki::cross_signing(next).map_err(ExternalError::Wrong)?;
    let value = wanted.constraints.value.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |(kind, value): (&str, String)| Map::from_iter([(kind.to_owned(), value.into())]);
    let request = SignRequest {
        hosts: Vec::new(),
        certificate_request: wanted.request_pem,
        subject: Subject {
            common_name: wanted.common_name,
            names: wanted.names.into_iter().map(part).collect(),
        },
        profile: CROSS_SIGNING_PROFILE,
        extensions: vec![Extension {
            id: wanted.constraints.id.to_owned(),
            critical: wanted.constraints.critical,
            value,
        }],
    };
    let check = |given: &str| {
        skep_pki::verify_cross_signed(given, present_pem, &next.certificate_pem, now_unix())
    };
    external.ask(urls, present_pem, &request, check).await
}
