//! The services `CA` and `NodeCA`: gives the root to anyone, and certificates to nodes with a join token or with a
//! certificate that runs out. What role a node gets is the token's or the cluster's word, never the node's.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use skep_core::command::Command;
use skep_core::error::chain;
use skep_core::id::NodeId;
use skep_core::model::Sensitive;
use skep_core::model::cluster::Cluster;
use skep_core::model::node::{Node, NodeAgent, Role};
use skep_core::state::State;
use skep_pki::{JoinToken, NodePublicKey};
use skep_raft::RaftNode;
use tonic::body::Body;
use tonic::{Request, Status};
use tracing::{info, warn};

use super::attempts::Attempts;
use super::external::told;
use super::signer::{SignError, Signer};
use crate::clock;
use crate::node::propose_rpc;
use crate::rpc::AGENT_KEY;
use crate::rpc::convert::availability_of;
use crate::rpc::glue::{RpcService, unary, unimplemented};
use crate::rpc::proto;
use crate::rpc::server::{Peer, peer_of};

/// Texts that the CLI of a stock engine prints.
const WRONG_TOKEN: &str = "A valid join token is necessary to join this cluster";
const NOT_FOR_ENGINES: &str = "a Docker Engine can join this cluster as a worker only: managers run skep. \
     Use the worker token (docker swarm join-token worker), or start skep beside the engine and join through its socket";

/// An honest request has about 330 bytes.
const REQUEST_BYTES_MAX: usize = 4096;

/// How long a status request waits for a node that another manager has just admitted.
const STATUS_WAIT: Duration = Duration::from_secs(5);

/// Certificates kept for nodes that ask twice.
const ISSUED_MAX: usize = 1024;

/// What both services share.
pub struct Authority {
    raft: Arc<RaftNode>,
    signer: Arc<Signer>,
    /// Wrong tokens by source.
    strangers: Mutex<Attempts<IpAddr>>,
    /// Renewals by node: an engine with a wrong clock renews for ever.
    renewals: Mutex<Attempts<NodeId>>,
    issued: Mutex<BTreeMap<NodeId, Issued>>,
}

#[derive(Clone)]
struct Issued {
    request: Vec<u8>,
    role: Role,
    /// What signed it.
    signer_pem: String,
    certificate_pem: String,
}

impl Authority {
    /// Prepares to certify by what signs for the cluster.
    pub fn new(raft: Arc<RaftNode>, signer: Arc<Signer>) -> Arc<Self> {
        Arc::new(Self {
            raft,
            signer,
            strangers: Mutex::new(Attempts::new(20, Duration::from_secs(1))),
            renewals: Mutex::new(Attempts::new(10, Duration::from_secs(30))),
            issued: Mutex::default(),
        })
    }

    fn root(&self) -> Result<proto::GetRootCaCertificateResponse, Status> {
        let state = self.raft.state();
        let certificate = cluster_of(&state)?.root_ca.certificate_pem.clone().into_bytes();
        Ok(proto::GetRootCaCertificateResponse { certificate })
    }

    fn unlock_key(&self) -> Result<proto::GetUnlockKeyResponse, Status> {
        let state = self.raft.state();
        let cluster = cluster_of(&state)?;
        Ok(proto::GetUnlockKeyResponse {
            unlock_key: cluster.unlock_key.0.clone(),
            version: Some(proto::Version { index: cluster.meta.version }),
        })
    }

    async fn issue(
        &self,
        request: Request<proto::IssueNodeCertificateRequest>,
    ) -> Result<proto::IssueNodeCertificateResponse, Status> {
        let peer = peer_of(&request)?;
        let is_skep = request.metadata().contains_key(AGENT_KEY);
        let asked = request.into_inner();
        if asked.csr.len() > REQUEST_BYTES_MAX || public_key(&asked.csr).is_err() {
            return Err(Status::invalid_argument("the certificate request is invalid"));
        }
        let node = match &peer.identity {
            Some(identity) => self.renew(&identity.node, asked.csr).await?,
            None => self.admit(&peer, is_skep, asked).await?,
        };
        Ok(proto::IssueNodeCertificateResponse {
            node_id: node.to_string(),
            node_membership: proto::NodeMembership::Accepted.into(),
        })
    }

    async fn admit(
        &self,
        peer: &Peer,
        is_skep: bool,
        asked: proto::IssueNodeCertificateRequest,
    ) -> Result<NodeId, Status> {
        let source = peer.address.ip();
        if !self.strangers.lock().may_try(&source, clock::uptime()) {
            return Err(Status::resource_exhausted("too many wrong join tokens, try again later"));
        }
        let state = self.raft.state();
        let Some(role) = role_of_token(cluster_of(&state)?, &asked.token) else {
            self.strangers.lock().count(source, clock::uptime());
            warn!(peer.addr = %peer.address, "a wrong join token was presented");
            return Err(Status::invalid_argument(WRONG_TOKEN));
        };
        if role == Role::Manager && !is_skep {
            return Err(Status::failed_precondition(NOT_FOR_ENGINES));
        }
        if let Some(node) = state.admitted(role, &asked.csr) {
            return Ok(node.id.clone());
        }
        let id = NodeId::from_entropy(clock::entropy());
        let availability = availability_of(asked.availability)?;
        let request = asked.csr.clone();
        propose_rpc(&self.raft, Command::AdmitNode { id: id.clone(), role, availability, request })
            .await?;
        // A try of the same request may have been first.
        let state = self.raft.state();
        let admitted = state.admitted(role, &asked.csr).map(|node| node.id.clone());
        let id = admitted.unwrap_or(id);
        info!(node.id = %id, node.role = ?role, peer.addr = %peer.address, "node admitted");
        Ok(id)
    }

    async fn renew(&self, node: &NodeId, request: Vec<u8>) -> Result<NodeId, Status> {
        let state = self.raft.state();
        let Some(held) = state.nodes().get(node) else {
            return Err(Status::not_found("the node is not known"));
        };
        if held.certificate.request == request && !held.certificate.renew {
            return Ok(node.clone());
        }
        if !self.renewals.lock().may_try(node, clock::uptime()) {
            return Err(Status::resource_exhausted("too many certificates for one node"));
        }
        self.renewals.lock().count(node.clone(), clock::uptime());
        propose_rpc(&self.raft, Command::RenewNode { id: node.clone(), request }).await?;
        info!(node.id = %node, "certificate renewed");
        Ok(node.clone())
    }

    async fn status(
        &self,
        request: Request<proto::NodeCertificateStatusRequest>,
    ) -> Result<proto::NodeCertificateStatusResponse, Status> {
        let unknown = || Status::not_found("the node is not known");
        let id: NodeId = request.into_inner().node_id.parse().map_err(|_| unknown())?;
        let mut states = self.raft.watch();
        let known = states.wait_for(|state| state.nodes().contains_key(&id));
        let state = match tokio::time::timeout(STATUS_WAIT, known).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) | Err(_) => return Err(unknown()),
        };
        let node = state.nodes().get(&id).ok_or_else(unknown)?;
        if node.certificate.request.is_empty() {
            return Err(unknown());
        }
        let issued = match Box::pin(self.certify(cluster_of(&state)?, node)).await {
            Ok(issued) => issued,
            Err(SignError::Pki(_)) => {
                return Err(Status::internal("no certificate could be signed"));
            }
            // Docker Engines ask again, at longer and longer intervals, until it is signed; an error would end that.
            Err(
                error @ (SignError::External(_)
                | SignError::Nobody
                | SignError::Uncertified
                | SignError::Clock(_)),
            ) => return Ok(pending(&error)),
        };
        let status = proto::IssuanceStatus {
            state: proto::IssuanceState::Issued.into(),
            err: String::new(),
        };
        let role = match issued.role {
            Role::Worker => proto::NodeRole::Worker,
            Role::Manager => proto::NodeRole::Manager,
        };
        Ok(proto::NodeCertificateStatusResponse {
            status: Some(status.clone()),
            certificate: Some(proto::Certificate {
                role: role.into(),
                csr: issued.request,
                status: Some(status),
                certificate: issued.certificate_pem.into_bytes(),
                cn: id.to_string(),
            }),
        })
    }

    /// Signs what the node asked for, or returns what was signed for it already.
    async fn certify(&self, cluster: &Cluster, node: &Node) -> Result<Issued, SignError> {
        // An engine with a manager's certificate would break its swarm part for ever.
        let is_engine = node.agent == Some(NodeAgent::Engine);
        let role = if is_engine { Role::Worker } else { node.spec.role };
        let root = &cluster.root_ca;
        let next = root.rotation.as_ref().map(|next| &next.cross_signed_pem);
        let signer_pem = next.unwrap_or(&root.certificate_pem);
        let held = self.issued.lock().get(&node.id).cloned().filter(|held| {
            held.request == node.certificate.request
                && held.role == role
                && held.signer_pem == *signer_pem
        });
        if let Some(held) = held {
            return Ok(held);
        }
        let request = String::from_utf8_lossy(&node.certificate.request);
        let signed = Box::pin(self.signer.sign(cluster, &node.id, role, &request)).await;
        let certificate_pem = signed.inspect_err(|error| {
            warn!(node.id = %node.id, error = %chain(error), "no certificate could be signed");
        })?;
        let request = node.certificate.request.clone();
        let issued = Issued { request, role, signer_pem: signer_pem.clone(), certificate_pem };
        let mut all = self.issued.lock();
        if all.len() >= ISSUED_MAX {
            all.clear();
        }
        all.insert(node.id.clone(), issued.clone());
        Ok(issued)
    }
}

/// Says that the request waits, and what for.
fn pending(error: &SignError) -> proto::NodeCertificateStatusResponse {
    proto::NodeCertificateStatusResponse {
        status: Some(proto::IssuanceStatus {
            state: proto::IssuanceState::Pending.into(),
            err: told(error),
        }),
        certificate: None,
    }
}

fn public_key(request: &[u8]) -> Result<NodePublicKey, skep_pki::Error> {
    let text = std::str::from_utf8(request).map_err(|_| skep_pki::Error::InvalidRequest)?;
    NodePublicKey::from_request_pem(text)
}

/// Both tokens are compared, so that the time tells nothing of either.
fn role_of_token(cluster: &Cluster, presented: &str) -> Option<Role> {
    let matches = |held: &Sensitive| {
        let token =
            std::str::from_utf8(&held.0).ok().and_then(|text| text.parse::<JoinToken>().ok());
        token.is_some_and(|token| token.matches(presented))
    };
    let (worker, manager) = (matches(&cluster.tokens.worker), matches(&cluster.tokens.manager));
    match (worker, manager) {
        (true, _) => Some(Role::Worker),
        (false, true) => Some(Role::Manager),
        (false, false) => None,
    }
}

fn cluster_of(state: &State) -> Result<&Arc<Cluster>, Status> {
    state.cluster().ok_or_else(|| Status::unavailable("there is no cluster yet"))
}

/// `docker.swarmkit.v1.CA`.
pub struct RootService(pub Arc<Authority>);

#[async_trait]
impl RpcService for RootService {
    fn name(&self) -> &'static str {
        "docker.swarmkit.v1.CA"
    }

    async fn call(&self, method: &str, request: http::Request<Body>) -> http::Response<Body> {
        let authority = &self.0;
        match method {
            "GetRootCACertificate" => {
                unary(request, |_: Request<proto::GetRootCaCertificateRequest>| async {
                    authority.root()
                })
                .await
            }
            "GetUnlockKey" => {
                unary(request, |_: Request<proto::GetUnlockKeyRequest>| async {
                    authority.unlock_key()
                })
                .await
            }
            _ => unimplemented(),
        }
    }
}

/// `docker.swarmkit.v1.NodeCA`.
pub struct NodeService(pub Arc<Authority>);

#[async_trait]
impl RpcService for NodeService {
    fn name(&self) -> &'static str {
        "docker.swarmkit.v1.NodeCA"
    }

    async fn call(&self, method: &str, request: http::Request<Body>) -> http::Response<Body> {
        let authority = &self.0;
        match method {
            "IssueNodeCertificate" => unary(request, |asked| authority.issue(asked)).await,
            "NodeCertificateStatus" => unary(request, |asked| authority.status(asked)).await,
            _ => unimplemented(),
        }
    }
}
