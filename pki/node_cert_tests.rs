//! Tests of node certificates: their contents, refusals, and hostile input. Chains are verified in
//! `chain_tests.rs`.

use proptest::prelude::*;
use rcgen::{DnValue, PKCS_ECDSA_P384_SHA384};
use x509_parser::extensions::GeneralName;

use super::*;
use crate::test_support::{CLUSTER, DAY, NODE, NOW};

fn issue(node_id: &str, cluster_id: &str, validity: Duration) -> Result<String, Error> {
    let root = RootCa::generate(NOW)?;
    let request = generate_request()?;
    let key = NodePublicKey::from_request_pem(&request.request_pem)?;
    issue_node(&root, &key, node_id, NodeRole::Worker, cluster_id, NOW, validity)
}

fn dns_names(pem_text: &str) -> Vec<String> {
    let der = pem::certificates(pem_text).expect("own output").swap_remove(0);
    let certificate = x509::parse(&der).expect("own output");
    let names = certificate.subject_alternative_name().expect("parses").expect("present");
    let mut found = Vec::new();
    for name in &names.value.general_names {
        if let GeneralName::DNSName(dns) = name {
            found.push((*dns).to_owned());
        }
    }
    assert_eq!(found.len(), names.value.general_names.len(), "nothing but DNS names");
    found
}

#[test]
fn certificate_holds_what_nodes_expect() -> Result<(), Error> {
    let root = RootCa::generate(NOW)?;
    for (role, subject, names) in [
        (
            NodeRole::Manager,
            format!("O={CLUSTER}, OU=swarm-manager, CN={NODE}"),
            vec!["swarm-manager", NODE, "swarm-ca"],
        ),
        (
            NodeRole::Worker,
            format!("O={CLUSTER}, OU=swarm-worker, CN={NODE}"),
            vec!["swarm-worker", NODE],
        ),
    ] {
        let made = generate_node(&root, NODE, role, CLUSTER, NOW, 90 * DAY)?;
        let der = pem::certificates(&made.certificate_pem)?.swap_remove(0);
        let certificate = x509::parse(&der)?;
        assert_eq!(certificate.subject().to_string(), subject);
        assert_eq!(dns_names(&made.certificate_pem), names);
        assert!(!certificate.is_ca());
        let extended = certificate.extended_key_usage().ok().flatten().expect("present").value;
        assert!(extended.server_auth && extended.client_auth && !extended.any);
        let usage = certificate.key_usage().ok().flatten().expect("present").value;
        assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
        let window = renewal_window(&made.certificate_pem)?;
        assert_eq!(window, (NOW - 3600, NOW + 90 * 86_400));
        let expect = Identity { node_id: NODE.to_owned(), role, cluster_id: CLUSTER.to_owned() };
        assert_eq!(read_identity(&made.certificate_pem)?, expect);
        assert_eq!(read_identity_der(&der)?, expect);
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }
    Ok(())
}

#[test]
fn only_the_key_of_a_request_counts() -> Result<(), Error> {
    let root = RootCa::generate(NOW)?;
    let key = KeyPair::generate().expect("ring makes such keys");
    let mut params = CertificateParams::new(vec!["swarm-manager".to_owned()]).expect("valid name");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::OrganizationalUnitName, "swarm-manager");
    params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String("mallory".into()));
    let request = params.serialize_request(&key).expect("valid").pem().expect("encodes");
    let public_key = NodePublicKey::from_request_pem(&request)?;
    let issued = issue_node(&root, &public_key, NODE, NodeRole::Worker, CLUSTER, NOW, DAY)?;
    let identity = read_identity(&issued)?;
    assert_eq!((identity.role, identity.node_id.as_str()), (NodeRole::Worker, NODE));
    assert_eq!(dns_names(&issued), ["swarm-worker", NODE]);
    let (_, spki) = crate::issuer_of(&issued)?;
    assert_eq!(spki, key.subject_public_key_info());
    Ok(())
}

#[test]
fn refuses_bad_requests() -> Result<(), Error> {
    let good = generate_request()?;
    let der = pem::blocks(&good.request_pem)?.swap_remove(0).contents;
    let mut forged = der.to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let other_curve = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("ring makes it");
    let params = CertificateParams::default();
    let other_curve = params.serialize_request(&other_curve).expect("valid");
    let cases = [
        (String::new(), Error::InvalidRequest),
        (good.key_pem.to_string(), Error::InvalidRequest),
        (pem::encode(pem::CERTIFICATE, &der), Error::InvalidRequest),
        (good.request_pem.repeat(2), Error::InvalidRequest),
        (pem::encode("CERTIFICATE REQUEST", &forged), Error::InvalidRequest),
        (pem::encode("CERTIFICATE REQUEST", other_curve.der()), Error::UnsupportedKey),
    ];
    for (text, expect) in cases {
        assert_eq!(NodePublicKey::from_request_pem(&text).err(), Some(expect), "{text}");
    }
    Ok(())
}

#[test]
fn refuses_bad_ids_and_times() {
    let long = "a".repeat(65);
    for id in ["", "a.b", "a b", "é", "swarm-manager", "Swarm-CA", "swarm-worker", "*", &long] {
        assert_eq!(issue(id, CLUSTER, DAY).err(), Some(Error::InvalidId), "{id}");
        assert_eq!(issue(NODE, id, DAY).err(), Some(Error::InvalidId), "{id}");
    }
    let short = Duration::from_secs(3599);
    assert_eq!(issue(NODE, CLUSTER, short).err(), Some(Error::ValidityTooShort));
    assert_eq!(issue(NODE, CLUSTER, Duration::MAX).err(), Some(Error::Time));
    assert_eq!(issue(NODE, CLUSTER, 4_000_000 * DAY).err(), Some(Error::Time));
    assert!(issue(NODE, CLUSTER, Duration::from_secs(3600)).is_ok());
}

#[test]
fn refuses_certificates_without_identity() -> Result<(), Error> {
    let root = RootCa::generate(NOW)?;
    assert_eq!(read_identity(&root.certificate_pem).err(), Some(Error::NoIdentity));
    let key = KeyPair::generate().expect("ring makes such keys");
    for (unit, node) in [("swarm-boss", NODE), ("swarm-manager", ""), ("", NODE)] {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, CLUSTER);
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        params.distinguished_name.push(DnType::CommonName, node);
        let certificate = params.self_signed(&key).expect("valid");
        assert_eq!(read_identity(&certificate.pem()).err(), Some(Error::NoIdentity));
    }
    Ok(())
}

#[test]
fn renewal_lies_between_half_and_four_fifths() {
    // A certificate for an hour, which starts an hour before its signing.
    for (fraction, expect) in [
        (0.0, 5400),
        (0.5, 5940),
        (1.0, 6480),
        (-3.0, 5400),
        (7.0, 6480),
        (f64::NAN, 5400),
        (f64::INFINITY, 5400),
    ] {
        assert_eq!(renew_at(0, 7200, fraction), expect, "{fraction}");
    }
    // Others sign without starting earlier.
    assert_eq!(renew_at(1000, 2000, 0.0), 1750);
    let day = 86_400;
    assert_eq!(renew_at(-3600, 90 * day, 0.0), 45 * day);
    assert_eq!(renew_at(2000, 1000, 0.5), 2000, "a certificate turned around is due");
    assert!(renew_at(i64::MIN, i64::MAX, 0.5) > 0);
}

proptest! {
    #[test]
    fn renewal_never_leaves_its_bounds(start: i64, end: i64, f: f64) {
        let at = renew_at(start, end, f);
        prop_assert!(at >= start && at <= end.max(start));
    }

    #[test]
    fn never_panics_on_text(text in "(?s).{0,200}") {
        prop_assert!(read_identity(&text).is_err());
        prop_assert!(renewal_window(&text).is_err());
        prop_assert!(NodePublicKey::from_request_pem(&text).is_err());
    }

    #[test]
    fn never_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read_identity_der(&bytes).is_err());
        let request = pem::encode("CERTIFICATE REQUEST", &bytes);
        prop_assert!(NodePublicKey::from_request_pem(&request).is_err());
    }
}

#[test]
fn a_signature_of_broken_bytes_is_refused() {
    let root = RootCa::generate(NOW).expect("makes a root");
    let mut block = pem::blocks(&root.certificate_pem).expect("own output").swap_remove(0);
    // The signature's frame: its tag, its length, and how many bits of its last byte do not count.
    let is_frame = |bytes: &[u8]| matches!(bytes, [3, 70..=74, 0, 0x30, ..]);
    let unused = (0..block.contents.len()).rev().find(|at| is_frame(&block.contents[*at..]));
    block.contents[unused.expect("a signature") + 2] = 2;
    let damaged = pem::encode(&block.label, &block.contents);
    assert!(RootCa::from_pem(&damaged, &root.key_pem).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A bit turned anywhere in honest input gives an answer or an error, never a panic.
    #[test]
    fn never_panics_on_damaged_input(place in any::<proptest::sample::Index>(), bit in 0..8_u8) {
        let root = RootCa::generate(NOW).expect("makes a root");
        let node = generate_node(&root, NODE, NodeRole::Manager, CLUSTER, NOW, DAY).expect("signs");
        let request = generate_request().expect("makes a request");
        let damage = |text: &str| {
            let mut block = pem::blocks(text).expect("own output").swap_remove(0);
            let at = place.index(block.contents.len());
            block.contents[at] ^= 1 << bit;
            pem::encode(&block.label, &block.contents)
        };
        let certificate = damage(&root.certificate_pem);
        let _ = crate::issuer_of(&certificate);
        // The frame of the signature, which is not signed itself, has more than one form that is read.
        let length = pem::blocks(&certificate).expect("own output")[0].contents.len();
        let is_frame = place.index(length) + 90 > length;
        let taken = RootCa::from_pem(&certificate, &root.key_pem).is_ok();
        prop_assert!(!taken || is_frame, "self-signature");
        let _ = RootCa::from_pem(&root.certificate_pem, &damage(&root.key_pem));
        let _ = read_identity(&damage(&node.certificate_pem));
        let _ = renewal_window(&damage(&node.certificate_pem));
        let _ = NodePublicKey::from_request_pem(&damage(&request.request_pem));
    }
}
