//! Certificates that a signer outside the cluster makes: what it is asked for, and whether what it gives is that. How it is
//! asked is the caller's affair.

use rcgen::PublicKeyData as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::Oid;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName};
use x509_parser::oid_registry::{
    OID_X509_COMMON_NAME, OID_X509_COUNTRY_NAME, OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_LOCALITY_NAME, OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT,
    OID_X509_STATE_OR_PROVINCE_NAME,
};

use crate::key::key_of;
use crate::node_cert::{node_names, read_identity_der};
use crate::root::{RootCa, params_like, root_certificate};
use crate::{Error, Identity, NodePublicKey, pem, x509};

/// What a signer needs to know to vouch for another root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrossSigning {
    /// A request for the root's name and key, as PEM.
    pub request_pem: String,
    /// The root's common name.
    pub common_name: String,
    /// The rest of its name: CFSSL's word for each part, and the part.
    pub names: Vec<(&'static str, String)>,
    /// The extension that says that it may sign others.
    pub constraints: Constraints,
}

/// The extension `basicConstraints` of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraints {
    /// Its object identifier.
    pub id: &'static str,
    /// Whether who does not know it must refuse the certificate.
    pub critical: bool,
    /// Its value, as DER.
    pub value: Vec<u8>,
}

/// Prepares to ask the signer of the present root to vouch for another one.
///
/// # Errors
/// When the root does not parse, or its name cannot be written into a request.
pub fn cross_signing(new: &RootCa) -> Result<CrossSigning, Error> {
    let der = new.certificate_der()?;
    let certificate = x509::parse(&der)?;
    let key = key_of(&new.key_pem, certificate.public_key().raw)?;
    let request = params_like(&certificate)?.serialize_request(&key).map_err(|_| Error::Signing)?;
    let constraints = certificate
        .extensions()
        .iter()
        .find(|extension| extension.oid == OID_X509_EXT_BASIC_CONSTRAINTS)
        .ok_or(Error::NotARoot)?;
    let parts = |oid: &Oid<'_>| -> Vec<String> {
        let values = certificate.subject().iter_by_oid(oid);
        values.filter_map(|value| value.as_str().ok().map(str::to_owned)).collect()
    };
    let names =
        NAMES.into_iter().flat_map(|(word, oid)| parts(&oid).into_iter().map(move |it| (word, it)));
    Ok(CrossSigning {
        request_pem: pem::encode("CERTIFICATE REQUEST", request.der()),
        common_name: parts(&OID_X509_COMMON_NAME).into_iter().next().unwrap_or_default(),
        names: names.collect(),
        constraints: Constraints {
            id: "2.5.29.19",
            critical: constraints.critical,
            value: constraints.value.to_vec(),
        },
    })
}

/// Verifies that a signer gave a node the certificate asked for: signed by this root, with the node's key and name, and good
/// for what nodes do with it. Returns it alone, as PEM; what else was sent is left out.
///
/// # Errors
/// Says in what it is another one.
pub fn verify_node(
    certificate_pem: &str,
    root_pem: &str,
    public_key: &NodePublicKey,
    wanted: &Identity,
    now_unix: i64,
) -> Result<String, Error> {
    let der = pem::certificates(certificate_pem)?.swap_remove(0);
    let leaf = x509::parse(&der)?;
    verify_issuer(&leaf, root_pem, now_unix)?;
    if leaf.public_key().raw != public_key.subject_public_key_info() {
        return Err(Error::NotAsked("it holds another key"));
    }
    if read_identity_der(&der).ok().as_ref() != Some(wanted) {
        return Err(Error::NotAsked("it names another node, role or cluster"));
    }
    let named = leaf.subject_alternative_name().ok().flatten();
    let named = named.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let holds = |name: &str| {
        named.iter().any(|it| matches!(it, GeneralName::DNSName(held) if *held == name))
    };
    if !node_names(&wanted.node_id, wanted.role).into_iter().all(holds) {
        return Err(Error::NotAsked("it lacks a host name"));
    }
    let uses = leaf.extended_key_usage().map_err(|_| Error::InvalidCertificate)?;
    let is_good = |it: &ExtendedKeyUsage<'_>| it.any || it.client_auth && it.server_auth;
    if uses.is_some_and(|uses| !is_good(uses.value)) {
        return Err(Error::NotAsked("it is not good for both ends of a connection"));
    }
    if leaf.is_ca() {
        return Err(Error::NotAsked("it may sign others"));
    }
    Ok(pem::encode(pem::CERTIFICATE, &der))
}

/// Verifies that a signer of the old root vouches for the new one: its name and key, so that what the new root signed is accepted
/// where only the old one is trusted. Returns that certificate alone, as PEM.
///
/// # Errors
/// Says in what it is another one.
pub fn verify_cross_signed(
    certificate_pem: &str,
    old_pem: &str,
    new_pem: &str,
    now_unix: i64,
) -> Result<String, Error> {
    let der = pem::certificates(certificate_pem)?.swap_remove(0);
    let new_der = root_certificate(new_pem)?;
    let (signed, new) = (x509::parse(&der)?, x509::parse(&new_der)?);
    verify_issuer(&signed, old_pem, now_unix)?;
    if signed.public_key().raw != new.public_key().raw {
        return Err(Error::NotAsked("it holds another key"));
    }
    // Leaves name their issuer by these bytes.
    if signed.subject().as_raw() != new.subject().as_raw() {
        return Err(Error::NotAsked("it names the new root in another form"));
    }
    let signs = signed.key_usage().map_err(|_| Error::InvalidCertificate)?;
    if !signed.is_ca() || signs.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(Error::NotAsked("it may not sign others"));
    }
    Ok(pem::encode(pem::CERTIFICATE, &der))
}

/// Tells whether two texts hold the same certificates, however they are written.
pub fn is_same(one_pem: &str, other_pem: &str) -> bool {
    match (pem::certificates(one_pem), pem::certificates(other_pem)) {
        (Ok(one), Ok(other)) => one == other,
        (_, Err(_)) | (Err(_), _) => false,
    }
}

fn verify_issuer(below: &X509Certificate<'_>, root_pem: &str, now_unix: i64) -> Result<(), Error> {
    let root_der = root_certificate(root_pem)?;
    let root = x509::parse(&root_der)?;
    let is_named = below.issuer().as_raw() == root.subject().as_raw();
    if !is_named || below.verify_signature(Some(root.public_key())).is_err() {
        return Err(Error::Untrusted);
    }
    if x509::is_valid_at(below, now_unix) { Ok(()) } else { Err(Error::NotValidNow) }
}

const NAMES: [(&str, Oid<'static>); 5] = [
    ("C", OID_X509_COUNTRY_NAME),
    ("ST", OID_X509_STATE_OR_PROVINCE_NAME),
    ("L", OID_X509_LOCALITY_NAME),
    ("O", OID_X509_ORGANIZATION_NAME),
    ("OU", OID_X509_ORGANIZATIONAL_UNIT),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{CLUSTER, DAY, NODE, NOW};
    use crate::{NodeRole, cross_sign, generate_request, issue_node};

    #[test]
    fn a_certificate_that_was_not_asked_for_is_refused() -> Result<(), Error> {
        let (root, stranger) = (RootCa::generate(NOW)?, RootCa::generate(NOW)?);
        let key = || NodePublicKey::from_request_pem(&generate_request()?.request_pem);
        let (key, other_key) = (key()?, key()?);
        let wanted = |role| Identity { node_id: NODE.into(), role, cluster_id: CLUSTER.into() };
        let manager = wanted(NodeRole::Manager);
        let signed = |root, key, node, role| issue_node(root, key, node, role, CLUSTER, NOW, DAY);
        let good = signed(&root, &key, NODE, NodeRole::Manager)?;
        let check = |given: &str, wanted: &Identity, at| {
            verify_node(given, &root.certificate_pem, &key, wanted, at)
        };
        // A signer may send its root along.
        let bundle = format!("{good}{}", root.certificate_pem);
        assert_eq!(check(&bundle, &manager, NOW)?, good);
        let end = NOW + 86_400;
        let cases = [
            (signed(&stranger, &key, NODE, NodeRole::Manager)?, NOW, Error::Untrusted),
            (good.clone(), end + 1, Error::NotValidNow),
            (
                signed(&root, &other_key, NODE, NodeRole::Manager)?,
                NOW,
                Error::NotAsked("it holds another key"),
            ),
            (
                signed(&root, &key, NODE, NodeRole::Worker)?,
                NOW,
                Error::NotAsked("it names another node, role or cluster"),
            ),
            (
                signed(&root, &key, "another", NodeRole::Manager)?,
                NOW,
                Error::NotAsked("it names another node, role or cluster"),
            ),
            ("nothing".to_owned(), NOW, Error::InvalidPem),
        ];
        for (given, at, expect) in cases {
            assert_eq!(check(&given, &manager, at), Err(expect));
        }
        let worker = wanted(NodeRole::Worker);
        let misnamed = check(&good, &worker, NOW);
        assert_eq!(misnamed, Err(Error::NotAsked("it names another node, role or cluster")));
        Ok(())
    }

    #[test]
    fn a_root_is_vouched_for_by_the_old_one_alone() -> Result<(), Error> {
        let (old, new, other) =
            (RootCa::generate(NOW)?, RootCa::generate(NOW)?, RootCa::generate(NOW)?);
        let check = |given: &str| {
            verify_cross_signed(given, &old.certificate_pem, &new.certificate_pem, NOW)
        };
        let good = cross_sign(&old, &new.certificate_pem, NOW)?;
        assert_eq!(check(&good)?, good);
        let by_other = cross_sign(&other, &new.certificate_pem, NOW)?;
        assert_eq!(check(&by_other), Err(Error::Untrusted));
        let of_other = cross_sign(&old, &other.certificate_pem, NOW)?;
        assert_eq!(check(&of_other), Err(Error::NotAsked("it holds another key")));
        assert_eq!(check(&new.certificate_pem), Err(Error::Untrusted));
        Ok(())
    }

    #[test]
    fn a_request_to_vouch_tells_all_a_signer_needs() -> Result<(), Error> {
        let asked = cross_signing(&RootCa::generate(NOW)?)?;
        assert_eq!((asked.common_name.as_str(), asked.names.as_slice()), ("swarm-ca", &[][..]));
        // SEQUENCE { BOOLEAN true }
        assert_eq!(asked.constraints.value, [0x30, 3, 1, 1, 0xff]);
        assert!(asked.constraints.critical);
        NodePublicKey::from_request_pem(&asked.request_pem).map(drop)
    }

    #[test]
    fn the_same_root_is_known_in_another_dress() -> Result<(), Error> {
        let (one, other) = (RootCa::generate(NOW)?, RootCa::generate(NOW)?);
        let dressed = format!("\n# root\n{}\n\n", one.certificate_pem.replace('\n', "\r\n"));
        assert!(is_same(&one.certificate_pem, &dressed));
        assert!(!is_same(&one.certificate_pem, &other.certificate_pem) && !is_same("", ""));
        Ok(())
    }
}
