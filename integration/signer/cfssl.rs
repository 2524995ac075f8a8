//! A signer outside the cluster, as CFSSL is one: JSON over HTTPS, for managers alone. Written with none of skep's code, so that
//! both ends do not share one mistake.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// A client that says nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request with a longer body asks for no certificate.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A root with its key, both PEM.
#[derive(Clone)]
pub struct Root {
    pub certificate_pem: String,
    pub key_pem: String,
}

/// Serves until the process ends.
pub struct Signer {
    /// Where it is asked.
    pub url: String,
    /// Whom it signed for: common names, in order.
    pub signed: Receiver<String>,
    /// While set, it refuses everything.
    pub away: Arc<AtomicBool>,
}

impl Signer {
    /// Signs for a root at this address, for managers that have a certificate of one of the roots in `clients_pem`.
    pub fn start(listen: SocketAddr, root: &Root, clients_pem: &str) -> Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let url = format!("https://{}/api/v1/cfssl/sign", listener.local_addr()?);
        let config = Arc::new(server_config(listen, root, clients_pem)?);
        let (tell, signed) = channel();
        let away = Arc::new(AtomicBool::new(false));
        let (root, is_away) = (root.clone(), away.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (root, config) = (root.clone(), config.clone());
                let (tell, is_away) = (tell.clone(), is_away.clone());
                std::thread::spawn(move || {
                    // Who only looks whether somebody is here says nothing.
                    let _served = serve(stream, &config, &root, &tell, &is_away);
                });
            }
        });
        Ok(Self { url, signed, away })
    }
}

fn issuer(root: &Root) -> Result<Issuer<'static, KeyPair>> {
    let key = KeyPair::from_pem(&root.key_pem)?;
    Ok(Issuer::from_ca_cert_pem(&root.certificate_pem, key)?)
}

fn server_config(listen: SocketAddr, root: &Root, clients_pem: &str) -> Result<ServerConfig> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::IpAddress(listen.ip())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let own = params.signed_by(&key, &issuer(root)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut clients = RootCertStore::empty();
    for client in CertificateDer::pem_slice_iter(clients_pem.as_bytes()) {
        clients.add(client?)?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(clients), provider.clone()).build()?;
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?;
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![own.der().clone()], key)?)
}

fn serve(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    root: &Root,
    tell: &Sender<String>,
    away: &AtomicBool,
) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let connection = ServerConnection::new(config.clone())?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let body = request(&mut stream)?;
    let stream = stream.get_mut();
    let answer = if away.load(Ordering::Relaxed) {
        Err(anyhow::anyhow!("out of office"))
    } else {
        sign(&stream.conn, root, &body)
    };
    let (status, answer) = match answer {
        Ok((name, certificate)) => {
            let _nobody_counts = tell.send(name);
            let result = json!({ "certificate": certificate });
            (200, json!({ "success": true, "result": result, "errors": [], "messages": [] }))
        }
        Err(error) => {
            let errors = json!([{ "code": 5000, "message": format!("{error:#}") }]);
            (400, json!({ "success": false, "result": null, "errors": errors, "messages": [] }))
        }
    };
    let answer = answer.to_string();
    let length = answer.len();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{answer}"
    )?;
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

/// Reads a request; returns its body.
fn request(stream: &mut impl BufRead) -> Result<Value> {
    let mut length = 0;
    for number in 0.. {
        let mut line = String::new();
        stream.by_ref().take(8192).read_line(&mut line)?;
        let line = line.trim_end();
        match line.split_once(':') {
            _ if number == 0 => ensure!(line.starts_with("POST "), "a request is a POST"),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse()?;
            }
            Some(_) => {}
            None if line.is_empty() => break,
            None => bail!("no header: {line}"),
        }
    }
    ensure!(length <= BODY_BYTES_MAX, "the request is too long");
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

/// Signs what a manager of a cluster asks for: certificates of nodes of that cluster, and under the profile `CA` of other roots.
/// Returns whom it named, and the certificate.
fn sign(connection: &ServerConnection, root: &Root, body: &Value) -> Result<(String, String)> {
    let client = connection.peer_certificates().and_then(|sent| sent.first());
    let cluster = cluster_of(client.context("the client shows no certificate")?)?;
    let mut asked = CertificateSigningRequestParams::from_pem(text(&body["certificate_request"])?)?;
    let is_ca = asked.params.is_ca == IsCa::Ca(BasicConstraints::Unconstrained);
    let params = &mut asked.params;
    if body["profile"] == "CA" && is_ca {
        ensure!(body["extensions"][0]["id"] == "2.5.29.19", "a root's extension is asked for");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    } else {
        ensure!(!is_ca, "roots are signed under the profile CA alone");
        let same = text(&body["subject"]["names"][0]["O"])? == cluster;
        ensure!(same, "sign request subject org does not match client certificate org");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        for host in body["hosts"].as_array().context("hosts are missing")? {
            params.subject_alt_names.push(SanType::DnsName(Ia5String::try_from(text(host)?)?));
        }
    }
    params.distinguished_name = subject(&body["subject"])?;
    params.use_authority_key_identifier_extension = true;
    let name = text(&body["subject"]["CN"])?.to_owned();
    Ok((name, asked.signed_by(&issuer(root)?)?.pem()))
}

/// Reads which cluster a client belongs to, if it is a manager.
fn cluster_of(client: &CertificateDer<'_>) -> Result<String> {
    let (_, client) = X509Certificate::from_der(client)?;
    let subject = client.subject();
    let mut unit = subject.iter_organizational_unit();
    let is_manager = unit.any(|unit| unit.as_str().is_ok_and(|unit| unit == "swarm-manager"));
    ensure!(is_manager, "client certificate OU must be \"swarm-manager\"");
    let cluster = subject.iter_organization().next();
    Ok(cluster.context("client certificate must have an Organization")?.as_str()?.to_owned())
}

/// Reads whom a certificate is to name.
fn subject(asked: &Value) -> Result<DistinguishedName> {
    let mut subject = DistinguishedName::new();
    for part in asked["names"].as_array().into_iter().flatten() {
        for (word, kind) in
            [("O", DnType::OrganizationName), ("OU", DnType::OrganizationalUnitName)]
        {
            if let Some(value) = part[word].as_str() {
                subject.push(kind, value);
            }
        }
    }
    subject.push(DnType::CommonName, text(&asked["CN"])?);
    Ok(subject)
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().context("a text is missing")
}

/// Makes a root as a company has one: with a name of several parts.
pub fn make_root(name: &str) -> Result<Root> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example Company");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let made = params.self_signed(&key)?;
    Ok(Root { certificate_pem: made.pem(), key_pem: key.serialize_pem() })
}
