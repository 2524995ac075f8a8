//! Verifies chains of issued certificates and cross-signed intermediates as a peer would, by
//! signature, names, key identifiers and times; the TLS library's own verdict is tested where TLS
//! is.

use rcgen::{DnType, KeyPair, PKCS_ECDSA_P384_SHA384};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

use crate::test_support::{CLUSTER, DAY, NODE, NOW};
use crate::{
    Error, NodeRole, RootCa, cross_sign, generate_node, is_signed_by, leaf_issuer, pem,
    read_identity, renewal_window, x509,
};

/// Walks from the leaf to the root; every link must hold.
fn verify(chain_pem: &str, root_pem: &str) -> Result<(), String> {
    let mut links = pem::certificates(chain_pem).map_err(|e| e.to_string())?;
    links.extend(pem::certificates(root_pem).map_err(|e| e.to_string())?);
    for pair in links.windows(2) {
        let child = x509::parse(&pair[0]).map_err(|e| e.to_string())?;
        let parent = x509::parse(&pair[1]).map_err(|e| e.to_string())?;
        if child.issuer().as_raw() != parent.subject().as_raw() {
            return Err("names differ".to_owned());
        }
        child.verify_signature(Some(parent.public_key())).map_err(|e| e.to_string())?;
        if authority_key_id(&child) != x509::subject_key_id(&parent) {
            return Err("key identifiers differ".to_owned());
        }
        if !parent.is_ca() || !x509::is_valid_at(&child, NOW) || !x509::is_valid_at(&parent, NOW) {
            return Err("no valid CA".to_owned());
        }
    }
    Ok(())
}

fn authority_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| {
        if let ParsedExtension::AuthorityKeyIdentifier(id) = extension.parsed_extension() {
            id.key_identifier.as_ref().map(|id| id.0.to_vec())
        } else {
            None
        }
    })
}

fn leaf(root: &RootCa) -> Result<String, Error> {
    let node = generate_node(root, NODE, NodeRole::Manager, CLUSTER, NOW, 90 * DAY)?;
    Ok(node.certificate_pem)
}

/// A root as a user may bring it: another curve, a longer name, no `swarm-ca` in it.
fn users_root() -> RootCa {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::OrganizationName, "Example, Inc.");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("ring makes such keys");
    let certificate = params.self_signed(&key).expect("valid parameters");
    RootCa::from_pem(&certificate.pem(), &key.serialize_pem()).expect("a root")
}

#[test]
fn issued_certificates_verify() -> Result<(), Error> {
    let (ours, users) = (RootCa::generate(NOW)?, users_root());
    for root in [&ours, &users] {
        assert_eq!(verify(&leaf(root)?, &root.certificate_pem), Ok(()));
        let read = RootCa::from_pem(&root.certificate_pem, &root.key_pem)?;
        assert_eq!(verify(&leaf(&read)?, &root.certificate_pem), Ok(()));
        assert!(is_signed_by(&leaf(root)?, &root.certificate_pem)?);
    }
    let stranger = RootCa::generate(NOW)?;
    assert!(verify(&leaf(&stranger)?, &ours.certificate_pem).is_err());
    assert!(!is_signed_by(&leaf(&stranger)?, &ours.certificate_pem)?);
    Ok(())
}

#[test]
fn cross_signed_chains_verify_against_the_old_root() -> Result<(), Error> {
    let roots = [RootCa::generate(NOW)?, RootCa::generate(NOW)?, users_root()];
    for (old, new) in [(0, 1), (0, 2), (2, 0)] {
        let (old, new) = (&roots[old], &roots[new]);
        let intermediate = cross_sign(old, &new.certificate_pem, NOW)?;
        let leaf = leaf(new)?;
        let chain = format!("{leaf}{intermediate}");
        assert_eq!(verify(&chain, &old.certificate_pem), Ok(()));
        assert_eq!(verify(&leaf, &new.certificate_pem), Ok(()), "peers that know the new root");
        assert!(verify(&leaf, &old.certificate_pem).is_err(), "not without the intermediate");
        assert!(is_signed_by(&chain, &old.certificate_pem)?);
        assert!(!is_signed_by(&leaf, &old.certificate_pem)?);
        let both = format!("{}{}", old.certificate_pem, new.certificate_pem);
        assert!(is_signed_by(&leaf, &both)? && is_signed_by(&chain, &both)?);
        let issuer = crate::issuer_of(&new.certificate_pem)?;
        assert_eq!(leaf_issuer(&chain, &old.certificate_pem)?, issuer);
        assert_eq!(leaf_issuer(&leaf, &both)?, issuer);
        assert_eq!(leaf_issuer(&leaf, &old.certificate_pem), Err(Error::Untrusted));
        assert_eq!(crate::issuer_of(&intermediate)?, issuer);
        assert_eq!(renewal_window(&intermediate)?, renewal_window(&new.certificate_pem)?);
        assert_eq!(read_identity(&chain)?.node_id, NODE, "the leaf of a chain is read");
    }
    Ok(())
}

#[test]
fn serial_numbers_differ() -> Result<(), Error> {
    let root = RootCa::generate(NOW)?;
    let serial = |text: &str| -> Result<Vec<u8>, Error> {
        let der = pem::certificates(text)?.swap_remove(0);
        Ok(x509::parse(&der)?.raw_serial().to_vec())
    };
    assert_ne!(serial(&leaf(&root)?)?, serial(&leaf(&root)?)?);
    assert_eq!(serial(&leaf(&root)?)?.len(), 16);
    Ok(())
}
