//! Connections that break the rules of HTTP, or never go on: each ends, and none keeps others from being served.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use skep_api::fake::Fake;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::body::is_own;
use super::listen::{Limits, Sockets, listen, serve_connection};
use crate::config::Address;

const DEADLINE: Duration = Duration::from_secs(20);
const PING: &[u8] = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n";

struct Server {
    folder: tempfile::TempDir,
    stop: CancellationToken,
    sockets: Sockets,
}

impl Server {
    /// Serves a node that is in no cluster.
    async fn start() -> Self {
        Self::serve(Fake::outside()).await
    }

    async fn serve(fake: Arc<Fake>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let stop = CancellationToken::new();
        let host = Address::Unix(path(folder.path()));
        let sockets = listen(&[host], fake, stop.clone()).await;
        Self { sockets: sockets.expect("the folder is new"), folder, stop }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(path(self.folder.path())).await.expect("the host is served")
    }

    /// Sends bytes, says that they are all, and returns what comes back.
    async fn ask(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // A server that has heard enough may close before everything is sent.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        rest_of(&mut stream).await
    }

    async fn finish(self) {
        assert!(self.ask(PING).await.starts_with("HTTP/1.1 200"));
        self.stop.cancel();
        timeout(DEADLINE, self.sockets.finish()).await.expect("the host closes");
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("skep.sock")
}

async fn rest_of(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
    // What was sent and never read makes the end of a connection a reset, behind the answer.
    let _ = read.expect("the connection ends");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn requests_in_one_piece_are_answered_in_order() {
    let server = Server::start().await;
    let requests = [PING, b"GET /v1.51/nodes HTTP/1.1\r\nHost: x\r\n\r\n", PING].concat();
    let answer = server.ask(&requests).await;
    let codes: Vec<&str> = answer.matches("HTTP/1.1 ").collect();
    assert_eq!(codes.len(), 3, "{answer}");
    assert!(answer.find("200").expect("a ping") < answer.find("503").expect("no manager"));
    server.finish().await;
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let server = Server::start().await;
    let long = format!("GET /_ping HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET /_ping HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(10_000));
    let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1 << 20));
    let cases: [&[u8]; 10] = [
        b"\0\0\0\0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET /_ping HTTP/9.9\r\n\r\n",
        b"POST /services/create HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /services/create HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST /services/create HTTP/1.1\r\nTransfer-Encoding: nonsense\r\n\r\nxx",
        long.as_bytes(),
        many.as_bytes(),
        path.as_bytes(),
    ];
    for case in cases {
        let answer = server.ask(case).await;
        let status = answer.get(9..10);
        let shown = String::from_utf8_lossy(&case[..case.len().min(60)]).into_owned();
        assert!(answer.is_empty() || status == Some("4"), "{shown}: {answer}");
    }
    server.finish().await;
}

#[tokio::test]
async fn half_a_body_is_no_body() {
    let fake = Fake::cluster();
    let server = Server::serve(fake.clone()).await;
    let head =
        b"POST /swarm/update?version=1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let cases: [&[u8]; 3] = [
        b"Content-Length: 100\r\n\r\n{\"Name\":",
        b"Content-Length: 100\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n{\"Nam",
    ];
    for case in cases {
        let answer = server.ask(&[head, case].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("{\"message\":\"invalid JSON: unexpected EOF\"}"), "{answer}");
    }
    // An empty body is a valid update, which sets everything back.
    assert_eq!(fake.inner().updated, None);
    server.finish().await;
}

#[tokio::test]
async fn a_body_without_end_is_not_kept() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let head = b"POST /services/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head).await.expect("the server listens");
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
    // Ends when the server closes, which it must long before this bound.
    let mut sent = 0_usize;
    while sent < 1 << 30 && stream.write_all(&chunk).await.is_ok() {
        sent += chunk.len();
    }
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    let answer = rest_of(&mut stream).await;
    assert!(answer.is_empty() || answer.contains("ResourceExhausted"), "{answer}");
    server.finish().await;
}

#[tokio::test]
async fn connections_that_stand_still_keep_nobody_out() {
    let server = Server::start().await;
    let mut still = Vec::new();
    for number in 0..300 {
        let mut stream = server.connect().await;
        let part: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /_ping HTTP/1.1\r\nHo",
            _ => b"POST /services/create HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
        };
        stream.write_all(part).await.expect("the server listens");
        still.push(stream);
    }
    let answer = timeout(DEADLINE, server.ask(PING)).await.expect("others are served");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(still);
    server.finish().await;
}

/// Serves one connection with little patience and returns what a client gets that sends this and waits.
async fn served_impatiently(sent: &[u8]) -> String {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let brief = Duration::from_millis(50);
    let limits = Limits { head: brief, body: brief };
    let serving = serve_connection(server, Fake::outside(), limits, CancellationToken::new());
    let asking = async {
        client.write_all(sent).await.expect("the server reads");
        rest_of(&mut client).await
    };
    let (answer, ()) = tokio::join!(asking, serving);
    answer
}

#[tokio::test]
async fn a_head_that_never_ends_ends_the_connection() {
    served_impatiently(b"GET /_ping HTTP/1.1\r\nHo").await;
    served_impatiently(b"").await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_an_error() {
    for head in ["Content-Length: 1000", "Content-Length: 3000000", "Transfer-Encoding: chunked"] {
        let chunk = if head.starts_with('C') { "{" } else { "1\r\n{\r\n" };
        let sent = format!(
            "POST /services/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{head}\r\n\r\n{chunk}"
        );
        let answer = served_impatiently(sent.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head}: {answer}");
    }
}

#[test]
fn only_what_skep_answers_is_hurried() {
    let request = |method: &str, path: &str| {
        Request::builder().method(method).uri(path).body(()).expect("the request is valid")
    };
    assert!(is_own(&request("POST", "/v1.51/services/create")) && is_own(&request("GET", "/info")));
    assert!(!is_own(&request("POST", "/v1.51/build")));
    assert!(!is_own(&request("POST", "/images/load")));
    assert!(!is_own(&request("PUT", "/containers/x/archive")));
}
