//! Certificates of nodes: issuing, reading who a certificate names, and when to renew. Whether a
//! node may have one is decided by the caller.

use std::fmt;
use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SignatureAlgorithm,
};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::der_parser::asn1_rs::Oid;
use x509_parser::oid_registry::{
    OID_X509_COMMON_NAME, OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT,
};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;
use zeroize::Zeroizing;

use crate::root::Signer;
use crate::{Error, RootCa, pem, x509};

/// What a node is allowed to be; it stands in the OU of its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeRole {
    /// A member of the consensus group.
    Manager,
    /// A node that only runs tasks.
    Worker,
}

impl NodeRole {
    /// Returns the OU that stands for the role, also a DNS name of the certificate.
    #[must_use]
    pub const fn organizational_unit(self) -> &'static str {
        match self {
            Self::Manager => "swarm-manager",
            Self::Worker => "swarm-worker",
        }
    }
}

/// Whom a node's certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The node, from the CN.
    pub node_id: String,
    /// Its role, from the OU.
    pub role: NodeRole,
    /// The cluster, from the O.
    pub cluster_id: String,
}

/// A node's certificate together with its private key.
#[derive(Clone)]
#[non_exhaustive]
pub struct NodeCertificate {
    /// The certificate, as PEM.
    pub certificate_pem: String,
    /// Its key, PKCS#8 as PEM.
    pub key_pem: Zeroizing<String>,
}

impl fmt::Debug for NodeCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCertificate")
            .field("certificate_pem", &self.certificate_pem)
            .field("key_pem", &"[redacted]")
            .finish()
    }
}

/// A certificate request together with the private key it was made for.
#[derive(Clone)]
#[non_exhaustive]
pub struct NodeRequest {
    /// The request, as PEM; its subject is empty, for the signer sets it.
    pub request_pem: String,
    /// The key, PKCS#8 as PEM.
    pub key_pem: Zeroizing<String>,
}

impl NodeRequest {
    /// Puts the certificate that was issued for the request beside its key.
    pub fn with_certificate(self, certificate_pem: String) -> NodeCertificate {
        NodeCertificate { certificate_pem, key_pem: self.key_pem }
    }
}

impl fmt::Debug for NodeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeRequest")
            .field("request_pem", &self.request_pem)
            .field("key_pem", &"[redacted]")
            .finish()
    }
}

/// The public key (ECDSA P-256) for which a node wants a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePublicKey {
    point: Vec<u8>,
}

impl NodePublicKey {
    /// Takes the public key, and nothing else, out of a certificate request whose signature it
    /// checks.
    ///
    /// # Errors
    /// When the request does not parse, is not signed by its key, or the key is not P-256.
    pub fn from_request_pem(request_pem: &str) -> Result<Self, Error> {
        let blocks = pem::blocks(request_pem)?;
        let [block] = blocks.as_slice() else { return Err(Error::InvalidRequest) };
        if block.label != "CERTIFICATE REQUEST" && block.label != "NEW CERTIFICATE REQUEST" {
            return Err(Error::InvalidRequest);
        }
        let request = match X509CertificationRequest::from_der(&block.contents) {
            Ok(([], request)) if request.signature_value.unused_bits == 0 => request,
            Ok(_) | Err(_) => return Err(Error::InvalidRequest),
        };
        request.verify_signature().map_err(|_| Error::InvalidRequest)?;
        let spki = &request.certification_request_info.subject_pki;
        let key = Self { point: spki.subject_public_key.data.to_vec() };
        // Written back as P-256 it must be the same, or it is another curve or kind of key.
        if key.subject_public_key_info() == spki.raw { Ok(key) } else { Err(Error::UnsupportedKey) }
    }
}

impl PublicKeyData for NodePublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// Makes a key and a request for it, as a node that joins sends it.
///
/// # Errors
/// When no key can be made.
pub fn generate_request() -> Result<NodeRequest, Error> {
    let key = KeyPair::generate().map_err(|_| Error::Signing)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(|_| Error::Signing)?;
    Ok(NodeRequest {
        request_pem: pem::encode("CERTIFICATE REQUEST", request.der()),
        key_pem: pem::encode_key(key.serialized_der()),
    })
}

/// Signs a node's certificate and returns it as PEM. It starts an hour before `now_unix` and ends
/// `validity` after it.
///
/// # Errors
/// When an id cannot stand in a certificate, the validity is under an hour, or the root does not
/// hold.
pub fn issue_node(
    root: &RootCa,
    public_key: &NodePublicKey,
    node_id: &str,
    role: NodeRole,
    cluster_id: &str,
    now_unix: i64,
    validity: Duration,
) -> Result<String, Error> {
    let mut params = node_params(node_id, role, cluster_id)?;
    if validity < VALIDITY_MIN {
        return Err(Error::ValidityTooShort);
    }
    let validity_seconds = i64::try_from(validity.as_secs()).map_err(|_| Error::Time)?;
    let not_before = now_unix.saturating_sub(x509::BACKDATE_SECONDS).max(0);
    params.not_before = x509::time_at(not_before)?;
    params.not_after = x509::time_at(now_unix.saturating_add(validity_seconds))?;
    params.serial_number = Some(x509::serial()?);
    let signer = Signer::new(root, now_unix)?;
    let certificate = x509::sign(&params, public_key, &signer.issuer, &signer.subject_der)?;
    Ok(pem::encode(pem::CERTIFICATE, certificate.der()))
}

/// Makes a key and signs a certificate for it.
///
/// # Errors
/// As [`issue_node`], or when no key can be made.
pub fn generate_node(
    root: &RootCa,
    node_id: &str,
    role: NodeRole,
    cluster_id: &str,
    now_unix: i64,
    validity: Duration,
) -> Result<NodeCertificate, Error> {
    let key = KeyPair::generate().map_err(|_| Error::Signing)?;
    let public_key = NodePublicKey { point: key.der_bytes().to_vec() };
    let certificate_pem =
        issue_node(root, &public_key, node_id, role, cluster_id, now_unix, validity)?;
    Ok(NodeCertificate { certificate_pem, key_pem: pem::encode_key(key.serialized_der()) })
}

/// Returns start and end, in seconds since the epoch, of the first certificate of a chain.
///
/// # Errors
/// When there is no certificate or it does not parse.
pub fn renewal_window(certificate_pem: &str) -> Result<(i64, i64), Error> {
    let found = pem::certificates(certificate_pem)?;
    validity_der(found.first().ok_or(Error::InvalidPem)?)
}

/// Returns start and end, in seconds since the epoch, of a certificate in DER.
///
/// # Errors
/// When it does not parse.
pub fn validity_der(certificate_der: &[u8]) -> Result<(i64, i64), Error> {
    if certificate_der.len() > CERTIFICATE_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    let certificate = x509::parse(certificate_der)?;
    let validity = certificate.validity();
    Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

/// Returns when to renew: between 50 and 80 percent of the validity, so that the nodes of a cluster
/// do not all come at once. `random_fraction` is drawn by the caller from 0 to 1. The validity counts
/// from the signing, which is later than the start: a certificate for one hour would be due at once.
#[must_use]
pub fn renew_at(not_before: i64, not_after: i64, random_fraction: f64) -> i64 {
    let fraction = if random_fraction.is_finite() { random_fraction.clamp(0.0, 1.0) } else { 0.0 };
    // In thousandths, so that the sum stays exact whatever the times are.
    #[expect(clippy::cast_possible_truncation, reason = "between 500 and 800")]
    let thousandths = 500 + (fraction * 300.0) as i64;
    let whole = (i128::from(not_after) - i128::from(not_before)).max(0);
    let before_signing = i128::from(x509::BACKDATE_SECONDS).min(whole / 2);
    let validity = whole - before_signing;
    let at = i128::from(not_before) + before_signing + validity * i128::from(thousandths) / 1000;
    i64::try_from(at).unwrap_or(not_after)
}

/// Reads whom the first certificate of a chain names. It does not verify who signed it.
///
/// # Errors
/// When there is no certificate, or it lacks a node, a known role or a cluster.
pub fn read_identity(certificate_pem: &str) -> Result<Identity, Error> {
    let found = pem::certificates(certificate_pem)?;
    read_identity_der(found.first().ok_or(Error::InvalidPem)?)
}

/// Reads whom a certificate in DER names, as a TLS peer presents it. It does not verify who signed
/// it.
///
/// # Errors
/// When it does not parse, or lacks a node, a known role or a cluster.
pub fn read_identity_der(certificate_der: &[u8]) -> Result<Identity, Error> {
    if certificate_der.len() > CERTIFICATE_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    let certificate = x509::parse(certificate_der)?;
    let subject = certificate.subject();
    let node_id = only(subject, &OID_X509_COMMON_NAME)?;
    let cluster_id = only(subject, &OID_X509_ORGANIZATION_NAME)?;
    let unit = only(subject, &OID_X509_ORGANIZATIONAL_UNIT)?;
    let role = [NodeRole::Manager, NodeRole::Worker]
        .into_iter()
        .find(|role| role.organizational_unit() == unit)
        .ok_or(Error::NoIdentity)?;
    check_id(&node_id).and_then(|()| check_id(&cluster_id)).map_err(|_| Error::NoIdentity)?;
    Ok(Identity { node_id, role, cluster_id })
}

/// Returns the attribute's value if it stands in the name exactly once: with two, another reader
/// might take the other one.
fn only(name: &X509Name<'_>, oid: &Oid<'_>) -> Result<String, Error> {
    let mut values = name.iter_by_oid(oid);
    match (values.next(), values.next()) {
        (Some(value), None) => value.as_str().map(str::to_owned).map_err(|_| Error::NoIdentity),
        _ => Err(Error::NoIdentity),
    }
}

/// Returns the host names that stand in a node's certificate.
pub fn node_names(node_id: &str, role: NodeRole) -> Vec<&str> {
    let mut names = vec![role.organizational_unit(), node_id];
    match role {
        NodeRole::Manager => names.push(CA_NAME),
        NodeRole::Worker => {}
    }
    names
}

fn node_params(
    node_id: &str,
    role: NodeRole,
    cluster_id: &str,
) -> Result<CertificateParams, Error> {
    check_id(node_id)?;
    check_id(cluster_id)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let unit = role.organizational_unit();
    params.distinguished_name.push(DnType::OrganizationName, cluster_id);
    params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
    params.distinguished_name.push(DnType::CommonName, node_id);
    for name in node_names(node_id, role) {
        params
            .subject_alt_names
            .push(SanType::DnsName(name.try_into().map_err(|_| Error::InvalidId)?));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// An id becomes a DNS name of the certificate, so it must not be one that stands for a role.
fn check_id(id: &str) -> Result<(), Error> {
    let reserved =
        [NodeRole::Manager.organizational_unit(), NodeRole::Worker.organizational_unit(), CA_NAME];
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_reserved = reserved.iter().any(|name| id.eq_ignore_ascii_case(name));
    if (1..=ID_BYTES_MAX).contains(&id.len()) && plain && !is_reserved {
        Ok(())
    } else {
        Err(Error::InvalidId)
    }
}

const CA_NAME: &str = "swarm-ca";
const VALIDITY_MIN: Duration = Duration::from_secs(3600);
/// The upper bound of X.520 for names of an organization.
const ID_BYTES_MAX: usize = 64;
const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
#[path = "node_cert_tests.rs"]
mod tests;
