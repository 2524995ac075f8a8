//! Asks one signer outside the cluster for one certificate, in the protocol of CFSSL: JSON over HTTPS, with the node's
//! certificate. Which signer is asked, and whether what it gives is right, are the caller's affair.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An answer longer than this holds no certificate.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// What of a signer's own words is kept.
const WORDS_MAX: usize = 200;

/// Why a signer gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum CfsslError {
    /// Its address is none.
    #[error("not an https address")]
    Address,
    /// There is no connection, or it broke.
    #[error("it cannot be reached")]
    Connection(#[source] Box<dyn Error + Send + Sync>),
    /// It said no, in words of its own.
    #[error("it refused: {0}")]
    Refused(String),
    /// It gave another answer than a certificate or a reason.
    #[error("it answered {0} without a certificate")]
    Answer(StatusCode),
}

/// What is to be signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignRequest {
    /// Host names.
    pub hosts: Vec<String>,
    /// The request, PEM.
    pub certificate_request: String,
    /// Whom it names.
    pub subject: Subject,
    /// Which of the signer's policies is meant; empty for its usual one.
    pub profile: &'static str,
    /// What the signer would leave out otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<Extension>,
}

/// Whom a certificate names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// Common name.
    #[serde(rename = "CN")]
    pub common_name: String,
    /// The other parts of the name: each a kind, as `OU`, and a value.
    pub names: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// An extension, its value in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Extension {
    /// Its object identifier.
    pub id: String,
    /// Whether who does not know it must refuse the certificate.
    pub critical: bool,
    /// Its value.
    pub value: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    success: bool,
    result: Option<Signed>,
    errors: Vec<Complaint>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Signed {
    certificate: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Complaint {
    message: String,
}

/// Asks the signer at `url`; returns what it gave for a certificate.
///
/// # Errors
/// Says why there is none.
pub async fn sign(
    url: &str,
    request: &SignRequest,
    tls: ClientConfig,
) -> Result<String, CfsslError> {
    let target = Target::parse(url)?;
    let body = serde_json::to_vec(request).map_err(|error| CfsslError::Connection(error.into()))?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(target.path.as_str())
        .header(HOST, target.authority.as_str())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| CfsslError::Address)?;
    let stream = target.connect(tls).await?;
    let (status, answer) = post(stream, request).await?;
    certificate_in(status, &answer)
}

/// Connects to the signer at `url` and asks nothing.
///
/// # Errors
/// Says why it cannot be asked.
pub async fn reach(url: &str, tls: ClientConfig) -> Result<(), CfsslError> {
    Target::parse(url)?.connect(tls).await.map(drop)
}

/// Returns a signer's address as logs may show it: who wrote a password into it did not mean them to.
pub fn shown(url: &str) -> String {
    match Target::parse(url) {
        Ok(target) => format!("https://{}:{}", target.host, target.port),
        Err(_) => "(no https address)".to_owned(),
    }
}

fn certificate_in(status: StatusCode, answer: &[u8]) -> Result<String, CfsslError> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| CfsslError::Answer(status))?;
    let certificate = answer.result.and_then(|signed| signed.certificate);
    match certificate.filter(|_| answer.success && status == StatusCode::OK) {
        Some(certificate) => Ok(certificate),
        None if answer.errors.is_empty() => Err(CfsslError::Answer(status)),
        None => {
            let said: Vec<_> = answer.errors.into_iter().map(|it| it.message).collect();
            let said = said.join("; ");
            let plain = said.chars().filter(|it| !it.is_control()).take(WORDS_MAX);
            Err(CfsslError::Refused(plain.collect()))
        }
    }
}

async fn post(
    stream: TlsStream<TcpStream>,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), CfsslError> {
    let broken = |error: hyper::Error| CfsslError::Connection(error.into());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let asked = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((status, body.map_err(CfsslError::Connection)?.to_bytes()))
    };
    tokio::pin!(connection, asked);
    tokio::select! {
        answer = &mut asked => answer,
        ended = &mut connection => match ended {
            // What came before the end is still to be read.
            Ok(()) => asked.await,
            Err(error) => Err(broken(error)),
        },
    }
}

/// Where a signer is.
struct Target {
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self, CfsslError> {
        let uri: Uri = url.parse().map_err(|_| CfsslError::Address)?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https"));
        let authority = authority.ok_or(CfsslError::Address)?;
        let host = authority.host();
        let port = authority.port_u16().unwrap_or(443);
        Ok(Self {
            authority: format!("{host}:{port}"),
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    async fn connect(&self, tls: ClientConfig) -> Result<TlsStream<TcpStream>, CfsslError> {
        let failed = |error: std::io::Error| CfsslError::Connection(error.into());
        let name = ServerName::try_from(self.host.clone()).map_err(|_| CfsslError::Address)?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed)?;
        TlsConnector::from(Arc::new(tls)).connect(name, stream).await.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_https_and_have_a_port() {
        let parsed = |url| {
            Target::parse(url).ok().map(|it| format!("{} {} {}", it.authority, it.host, it.path))
        };
        let cases = [
            (
                "https://ca.example/api/v1/cfssl/sign?a=b",
                "ca.example:443 ca.example /api/v1/cfssl/sign?a=b",
            ),
            ("https://192.0.2.1:8888", "192.0.2.1:8888 192.0.2.1 /"),
            ("https://[2001:db8::1]:8/sign", "[2001:db8::1]:8 2001:db8::1 /sign"),
        ];
        for (url, expect) in cases {
            assert_eq!(parsed(url).as_deref(), Some(expect), "{url}");
        }
        for url in ["http://ca.example/sign", "ca.example:8888", "/sign", ""] {
            assert_eq!(parsed(url), None, "{url}");
        }
        assert_eq!(shown("https://me:secret@ca.example/sign?key=secret"), "https://ca.example:443");
    }

    #[test]
    fn an_answer_is_a_certificate_or_a_reason() {
        let read = |status, text: &str| match certificate_in(status, text.as_bytes()) {
            Ok(certificate) => certificate,
            Err(error) => error.to_string(),
        };
        let (ok, bad) = (StatusCode::OK, StatusCode::BAD_REQUEST);
        let signed = r#"{"success":true,"result":{"certificate":"PEM"},"errors":[],"messages":[]}"#;
        assert_eq!(read(ok, signed), "PEM");
        let refused =
            r#"{"success":false,"result":null,"errors":[{"code":1,"message":"not\nyou"}]}"#;
        assert_eq!(read(bad, refused), "it refused: notyou");
        assert_eq!(read(ok, refused), "it refused: notyou");
        for (status, text) in
            [(ok, r#"{"success":true,"result":{}}"#), (ok, "<html>"), (bad, signed)]
        {
            assert!(read(status, text).ends_with("without a certificate"), "{text}");
        }
    }
}
