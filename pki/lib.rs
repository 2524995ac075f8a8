//! Certificates, join tokens and unlock keys of a cluster. Pure: it opens no file or socket and
//! reads no clock; it does not decide when to renew, rotate or admit, its callers do.

mod chain;
#[cfg(test)]
mod chain_tests;
mod error;
mod external;
mod key;
mod node_cert;
mod pem;
mod root;
mod rotation;
#[cfg(test)]
mod test_support;
mod token;
mod unlock;
mod x509;

pub use chain::{is_signed_by, leaf_issuer};
pub use error::Error;
pub use external::{
    Constraints, CrossSigning, cross_signing, is_same, verify_cross_signed, verify_node,
};
pub use node_cert::{
    Identity, NodeCertificate, NodePublicKey, NodeRequest, NodeRole, generate_node,
    generate_request, issue_node, node_names, read_identity, read_identity_der, renew_at,
    renewal_window, validity_der,
};
pub use root::{RootCa, issuer_of};
pub use rotation::{DesiredCa, cross_sign, parse_desired_ca};
pub use token::{JoinToken, ParsedToken};
pub use unlock::UnlockKey;
/// Holds a secret and wipes it when dropped; re-exported because the public types carry it.
pub use zeroize::Zeroizing;
