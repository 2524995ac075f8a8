//! How a node gets certificates. The first: the root from any manager, checked against the token's digest, then a certificate
//! for the token. Further ones for the one it has. Joins nothing.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use skep_core::id::{ClusterId, NodeId};
use skep_core::model::node::Availability;
use skep_pki::{JoinToken, NodeCertificate, NodeRole};
use thiserror::Error;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::clock;
use crate::rpc::AGENT_KEY;
use crate::rpc::client::{Trust, channel};
use crate::rpc::proto::{
    Certificate, GetRootCaCertificateRequest, GetRootCaCertificateResponse, IssuanceState,
    IssueNodeCertificateRequest, IssueNodeCertificateResponse, NodeAvailability,
    NodeCertificateStatusRequest, NodeCertificateStatusResponse,
};
use crate::rpc::tls::Tls;

/// How long one manager may take for one answer.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// How long a manager is asked for a certificate that is yet to be signed, and the pause between.
const WAIT_LIMIT: Duration = Duration::from_secs(15);
const WAIT_PERIOD: Duration = Duration::from_secs(1);

/// Why a node got no certificate.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// The manager refused or did not answer.
    #[error("rpc error: code = {:?} desc = {}", .0.code(), .0.message())]
    Refused(Status),
    /// There is no way to the manager; Docker's words.
    #[error(
        "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial tcp {remote}: {reason}\""
    )]
    Dial {
        /// Where it should be.
        remote: String,
        /// What the system says.
        reason: String,
    },
    /// The address cannot be called.
    #[error("the address {0} cannot be used")]
    Address(String),
    /// Token, root or certificate are not what they should be.
    #[error(transparent)]
    Pki(#[from] skep_pki::Error),
    /// The manager's answer makes no sense.
    #[error("the manager's answer lacks {0}")]
    Answer(&'static str),
}

/// What a node was certified to be.
pub struct Enrolled {
    /// Its id.
    pub node: NodeId,
    /// The cluster.
    pub cluster: ClusterId,
    /// What it is certified to be.
    pub role: NodeRole,
    /// Its certificate and key.
    pub certificate: NodeCertificate,
    /// The root.
    pub root_pem: String,
}

/// Asks the manager at `remote` for the first certificate of a node.
///
/// # Errors
/// Says why there is none.
pub async fn enrol(
    remote: &str,
    token: &str,
    availability: Availability,
) -> Result<Enrolled, EnrolError> {
    let parsed = JoinToken::parse(token)?;
    let root = fetch_root(remote).await?;
    parsed.verify_root(&root)?;
    let root_pem = String::from_utf8(root).map_err(|_| EnrolError::Answer("a root"))?;
    let asked = IssueNodeCertificateRequest {
        token: token.to_owned(),
        availability: wire(availability).into(),
        ..IssueNodeCertificateRequest::default()
    };
    certify(remote, Trust::Root(root_pem.clone()), asked, root_pem).await
}

/// Asks the manager at `remote` for another certificate of this node, with the role it is to have now. The answer is verified
/// by `root_pem` alone.
///
/// # Errors
/// Says why there is none.
pub async fn renew(remote: &str, tls: Arc<Tls>, root_pem: String) -> Result<Enrolled, EnrolError> {
    let asked = IssueNodeCertificateRequest::default();
    certify(remote, Trust::Mutual(tls), asked, root_pem).await
}

async fn certify(
    remote: &str,
    trust: Trust,
    asked: IssueNodeCertificateRequest,
    root_pem: String,
) -> Result<Enrolled, EnrolError> {
    let request = skep_pki::generate_request()?;
    let csr = request.request_pem.clone().into_bytes();
    let asked = IssueNodeCertificateRequest { csr: csr.clone(), ..asked };
    let issue = PathAndQuery::from_static("/docker.swarmkit.v1.NodeCA/IssueNodeCertificate");
    let issued: IssueNodeCertificateResponse = call(remote, trust.clone(), issue, asked).await?;
    let certificate = Box::pin(signed(remote, trust, issued.node_id)).await?;
    if certificate.csr != csr {
        return Err(EnrolError::Answer("the certificate asked for"));
    }
    let pem = String::from_utf8(certificate.certificate)
        .map_err(|_| EnrolError::Answer("a certificate"))?;
    let identity = skep_pki::read_identity(&pem)?;
    let id = |_| EnrolError::Answer("an id");
    Ok(Enrolled {
        node: identity.node_id.parse().map_err(id)?,
        cluster: identity.cluster_id.parse().map_err(|_| EnrolError::Answer("a cluster"))?,
        role: identity.role,
        certificate: request.with_certificate(pem),
        root_pem,
    })
}

/// Asks until the certificate is signed, as who signs may be away for a while.
async fn signed(remote: &str, trust: Trust, node_id: String) -> Result<Certificate, EnrolError> {
    let until = clock::uptime().after(WAIT_LIMIT);
    loop {
        let path = PathAndQuery::from_static("/docker.swarmkit.v1.NodeCA/NodeCertificateStatus");
        let asked = NodeCertificateStatusRequest { node_id: node_id.clone() };
        let answer: NodeCertificateStatusResponse =
            Box::pin(call(remote, trust.clone(), path, asked)).await?;
        let status = answer.status.unwrap_or_default();
        if status.state() != IssuanceState::Pending {
            return answer.certificate.ok_or(EnrolError::Answer("a certificate"));
        }
        if clock::uptime() >= until {
            return Err(EnrolError::Refused(Status::unavailable(status.err)));
        }
        clock::sleep(WAIT_PERIOD).await;
    }
}

async fn fetch_root(remote: &str) -> Result<Vec<u8>, EnrolError> {
    let path = PathAndQuery::from_static("/docker.swarmkit.v1.CA/GetRootCACertificate");
    let answer: GetRootCaCertificateResponse =
        call(remote, Trust::Unverified, path, GetRootCaCertificateRequest {}).await?;
    Ok(answer.certificate)
}

async fn call<Q, R>(
    remote: &str,
    trust: Trust,
    path: PathAndQuery,
    message: Q,
) -> Result<R, EnrolError>
where
    Q: prost::Message + Default + 'static,
    R: prost::Message + Default + 'static,
{
    let channel = channel(remote, trust).map_err(|_| EnrolError::Address(remote.to_owned()))?;
    let mut request = Request::new(message);
    let version = MetadataValue::from_static(env!("CARGO_PKG_VERSION"));
    request.metadata_mut().insert(AGENT_KEY, version);
    let answered = async {
        let mut grpc = Grpc::new(channel);
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        grpc.unary(request, path, ProstCodec::default()).await
    };
    match tokio::time::timeout(CALL_LIMIT, Box::pin(answered)).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(dialled(remote, &status).unwrap_or(EnrolError::Refused(status))),
        Err(_) => Err(EnrolError::Refused(Status::deadline_exceeded("context deadline exceeded"))),
    }
}

/// Finds in a failed call that no connection came about.
fn dialled(remote: &str, status: &Status) -> Option<EnrolError> {
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(failed) = error.downcast_ref::<std::io::Error>() {
            let reason = format!("connect: {}", plain(failed));
            return Some(EnrolError::Dial { remote: remote.to_owned(), reason });
        }
        cause = error.source();
    }
    None
}

/// Says what the system says, as Docker does: in small letters and without a number.
pub(super) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

fn wire(availability: Availability) -> NodeAvailability {
    match availability {
        Availability::Active => NodeAvailability::Active,
        Availability::Pause => NodeAvailability::Pause,
        Availability::Drain => NodeAvailability::Drain,
    }
}
