//! Certificates, requests, roots, join tokens and unlock keys: what is accepted stays what it was, the rest is an error.

use std::str::FromStr as _;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use skep_pki::{
    DesiredCa, JoinToken, NodePublicKey, NodeRole, RootCa, UnlockKey, issue_node, issuer_of,
    parse_desired_ca, read_identity, read_identity_der, renew_at, renewal_window,
};

use super::{choose, two_parts};

const NOW: i64 = 1_760_000_000;
const NODE: &str = "4l9xyqx2mzhv3y1wz7w8sb0kc";
const CLUSTER: &str = "zq1pzw0f5kd6vb1n7h2m8xj3r";

/// Reads one of the things a stranger may present, as text or as DER.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = choose(data, 8) else { return };
    let text = String::from_utf8_lossy(rest);
    match choice {
        0 => certificate(&text),
        1 => {
            let _ = read_identity_der(rest);
            certificate(&armoured("CERTIFICATE", rest));
        }
        2 => request(&text),
        3 => request(&armoured("CERTIFICATE REQUEST", rest)),
        4 => {
            let (certificate, key) = text.split_once('\0').unwrap_or((&text, ""));
            root(certificate, key);
        }
        5 => key_of_a_root(rest),
        6 => token(&text),
        _ => unlock_key(&text),
    }
}

/// The root of the cluster that everything is presented to.
fn our_root() -> &'static RootCa {
    static ROOT: OnceLock<RootCa> = OnceLock::new();
    ROOT.get_or_init(|| RootCa::generate(NOW).expect("the time fits into a certificate"))
}

fn armoured(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<String> =
        body.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn certificate(pem: &str) {
    let identity = read_identity(pem);
    let window = renewal_window(pem);
    let issuer = issuer_of(pem);
    if identity.is_ok() {
        assert!(window.is_ok() && issuer.is_ok(), "one reader takes what another refuses");
    }
    if let Ok((not_before, not_after)) = window {
        let _ = renew_at(not_before, not_after, 0.5);
    }
    if let Ok(DesiredCa::Internal(_)) = parse_desired_ca(pem, "", NOW) {
        panic!("a root without a key is not internal");
    }
}

fn request(pem: &str) {
    let Ok(key) = NodePublicKey::from_request_pem(pem) else { return };
    let day = Duration::from_secs(86_400);
    let issued = issue_node(our_root(), &key, NODE, NodeRole::Worker, CLUSTER, NOW, day);
    let issued = issued.expect("a key that was accepted can be signed for");
    let identity = read_identity(&issued).expect("what was issued can be read");
    assert_eq!((identity.node_id.as_str(), identity.role), (NODE, NodeRole::Worker));
}

fn root(certificate_pem: &str, key_pem: &str) {
    let desired = parse_desired_ca(certificate_pem, key_pem, NOW);
    let Ok(root) = RootCa::from_pem(certificate_pem, key_pem) else {
        assert!(!matches!(desired, Ok(DesiredCa::Internal(_))), "judged better than it is");
        return;
    };
    let again = RootCa::from_pem(&root.certificate_pem, &root.key_pem);
    let again = again.expect("the normal form is one that is read");
    assert_eq!(again.certificate_pem, root.certificate_pem);
    let _ = skep_pki::cross_sign(our_root(), &root.certificate_pem, NOW);
    let _ = skep_pki::cross_sign(&root, &our_root().certificate_pem, NOW);
}

/// Our root with a key in any of the forms that programs write.
fn key_of_a_root(data: &[u8]) {
    let Some((form, der)) = choose(data, 4) else { return };
    let label = ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"];
    root(&our_root().certificate_pem, &armoured(label[usize::from(form)], der));
    let (certificate, key) = two_parts(der);
    root(&armoured("CERTIFICATE", certificate), &armoured(label[usize::from(form)], key));
}

fn token(text: &str) {
    if let Ok(parsed) = JoinToken::parse(text) {
        let token = JoinToken::from_str(text).expect("it was parsed before");
        assert_eq!(token.expose(), text);
        assert!(token.matches(text) && !token.matches(""));
        assert!(parsed.verify_root(text).is_err(), "no text is its own digest");
    }
    let ours = JoinToken::generate(text, [7; 16]);
    let parsed = JoinToken::parse(ours.expose()).expect("what was made can be read");
    assert!(parsed.verify_root(text).is_ok() && *parsed.secret == [7; 16]);
}

fn unlock_key(text: &str) {
    if let Ok(key) = UnlockKey::parse(text) {
        let again = UnlockKey::parse(&key.expose()).expect("what was written can be read");
        assert_eq!(again.bytes(), key.bytes());
    }
}
