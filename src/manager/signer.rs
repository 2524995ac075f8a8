//! Signs certificates of nodes as the cluster wants them now: of its root or, while that is replaced, of the next one, with
//! what lets those accept it who trust only the present one. The root's key signs, or a signer outside the cluster. Decides
//! nothing about who gets one.

use std::sync::Arc;

use skep_core::clocks::Apart;
use skep_core::id::NodeId;
use skep_core::model::Sensitive;
use skep_core::model::cluster::Cluster;
use skep_core::model::node::Role;
use skep_pki::{Identity, NodePublicKey, NodeRole, RootCa};
use thiserror::Error;

use super::clocks::PeerClocks;
use super::cluster::now_unix;
use super::external::{External, ExternalError, for_node, signers_of};
use crate::rpc::tls::Tls;

/// Why nothing was signed.
#[derive(Debug, Error)]
pub enum SignError {
    /// The request does not parse, or the root cannot sign.
    #[error(transparent)]
    Pki(#[from] skep_pki::Error),
    /// Whoever has the key was asked in vain.
    #[error(transparent)]
    External(#[from] ExternalError),
    /// Nobody has the key.
    #[error(
        "the cluster has no key of its root and no external CA for it: name one with docker swarm update --external-ca"
    )]
    Nobody,
    /// The key is outside, and this node has nothing to show there.
    #[error(
        "the cluster's external CA cannot be asked, as this node has no certificate to show: docker swarm ca --rotate with --ca-cert and --ca-key gives the cluster the root's key"
    )]
    Uncertified,
    /// What is signed now may hold for nobody else, and lock its owner out.
    #[error(transparent)]
    Clock(#[from] Apart),
}

/// Signs for one manager.
pub struct Signer {
    /// The way to signers outside.
    pub external: External,
    clocks: Arc<PeerClocks>,
}

impl Signer {
    /// Prepares to sign while the own clock agrees with `clocks`; signers outside are shown the certificate in `tls`.
    pub fn new(tls: Arc<Tls>, clocks: Arc<PeerClocks>) -> Self {
        Self { external: External::new(tls), clocks }
    }

    /// Tells whether the clock by which is signed can be right.
    ///
    /// # Errors
    /// Says why nothing is to be signed.
    pub fn judge_clock(&self) -> Result<(), Apart> {
        self.clocks.judge()
    }

    /// Signs what a node asked for; returns the certificate and what leads from it to the roots that nodes trust.
    ///
    /// # Errors
    /// When the request does not parse, the clock may be wrong or nobody signs.
    pub async fn sign(
        &self,
        cluster: &Cluster,
        node: &NodeId,
        role: Role,
        request_pem: &str,
    ) -> Result<String, SignError> {
        self.judge_clock()?;
        let root = &cluster.root_ca;
        let (root_pem, key_pem, appended) = match root.rotation.as_deref() {
            Some(next) => (&next.certificate_pem, &next.key_pem, &*next.cross_signed_pem),
            None => (&root.certificate_pem, &root.key_pem, ""),
        };
        let wanted = identity(cluster, node, role);
        let public_key = NodePublicKey::from_request_pem(request_pem)?;
        let urls = signers_of(&cluster.spec.external_cas, &root.certificate_pem, root_pem);
        let has_key = !key_pem.0.is_empty();
        // Who made the cluster has no certificate yet, but the key; so has who is given it because the certificate ran out.
        let leaf = match (urls.is_empty(), has_key, self.external.can_ask()) {
            (true, true, _) | (false, true, false) => skep_pki::issue_node(
                &root_of(root_pem, key_pem)?,
                &public_key,
                &wanted.node_id,
                wanted.role,
                &wanted.cluster_id,
                now_unix(),
                cluster.spec.node_cert_expiry,
            )?,
            (true, false, _) => return Err(SignError::Nobody),
            (false, false, false) => return Err(SignError::Uncertified),
            (false, _, true) => {
                let check = |given: &str| {
                    skep_pki::verify_node(given, root_pem, &public_key, &wanted, now_unix())
                };
                let request = for_node(&wanted, request_pem);
                self.external.ask(&urls, &root.trusted_pem(), &request, check).await?
            }
        };
        Ok(leaf + appended)
    }
}

fn identity(cluster: &Cluster, node: &NodeId, role: Role) -> Identity {
    Identity {
        node_id: node.to_string(),
        role: match role {
            Role::Worker => NodeRole::Worker,
            Role::Manager => NodeRole::Manager,
        },
        cluster_id: cluster.id.to_string(),
    }
}

/// Reads a root with its key, as the cluster object holds them.
///
/// # Errors
/// When either does not parse.
pub fn root_of(certificate_pem: &str, key_pem: &Sensitive) -> Result<RootCa, skep_pki::Error> {
    RootCa::from_pem(certificate_pem, &String::from_utf8_lossy(&key_pem.0))
}
