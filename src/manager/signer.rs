//! Signs certificates of nodes as the cluster wants them now: by its root or, while that is replaced, by the next one, with
//! what lets those accept it who trust only the present one. Decides nothing about who gets one.

use skep_core::id::NodeId;
use skep_core::model::Sensitive;
use skep_core::model::cluster::Cluster;
use skep_core::model::node::Role;
use skep_pki::{NodePublicKey, RootCa};

use super::cluster::now_unix;

/// Signs what a node asked for; returns the certificate and what leads from it to the roots that nodes trust.
///
/// # Errors
/// When the request does not parse or the root cannot sign.
pub fn sign(
    cluster: &Cluster,
    node: &NodeId,
    role: Role,
    request_pem: &str,
) -> Result<String, skep_pki::Error> {
    let (root, appended) = match cluster.root_ca.rotation.as_deref() {
        Some(next) => (root_of(&next.certificate_pem, &next.key_pem)?, &*next.cross_signed_pem),
        None => (root_of(&cluster.root_ca.certificate_pem, &cluster.root_ca.key_pem)?, ""),
    };
    let role = match role {
        Role::Worker => skep_pki::NodeRole::Worker,
        Role::Manager => skep_pki::NodeRole::Manager,
    };
    let leaf = skep_pki::issue_node(
        &root,
        &NodePublicKey::from_request_pem(request_pem)?,
        node.as_str(),
        role,
        cluster.id.as_str(),
        now_unix(),
        cluster.spec.node_cert_expiry,
    )?;
    Ok(leaf + appended)
}

/// Reads a root with its key, as the cluster object holds them.
///
/// # Errors
/// When either does not parse.
pub fn root_of(certificate_pem: &str, key_pem: &Sensitive) -> Result<RootCa, skep_pki::Error> {
    RootCa::from_pem(certificate_pem, &String::from_utf8_lossy(&key_pem.0))
}
