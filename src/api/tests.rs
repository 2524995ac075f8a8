//! The way to the engine against an engine in this process.

use std::sync::Arc;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use skep_api::backend::Body;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::EngineProxy;
use crate::config::Address;

/// Answers each connection's requests with what `script` says, one text a request.
fn engine(folder: &std::path::Path, script: &'static [&'static [u8]]) -> Arc<EngineProxy> {
    let path = folder.join("engine.sock");
    let listener = UnixListener::bind(&path).expect("the folder is new");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, script));
        }
    });
    Arc::new(EngineProxy::new(&Address::Unix(path)))
}

async fn answer(mut stream: UnixStream, script: &'static [&'static [u8]]) {
    for reply in script {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        if stream.write_all(reply).await.is_err() {
            return;
        }
        if reply.starts_with(b"HTTP/1.1 101") {
            let mut input = Vec::new();
            // Ends when the other side says that its input has ended, not when it is gone.
            if stream.read_to_end(&mut input).await.is_ok() {
                input.reverse();
                let _ = stream.write_all(&input).await;
            }
            return;
        }
    }
}

fn get(path: &str) -> Request<Body> {
    let body = Full::default().map_err(|never| match never {}).boxed();
    Request::get(path).header("Host", "docker").body(body).expect("the request is valid")
}

#[tokio::test]
async fn kept_connections_and_closed_ones_both_answer() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The second answer on a connection never comes: the engine closes it after the first.
    let proxy = engine(folder.path(), &[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]);
    for _ in 0..20 {
        let response = proxy.call(get("/x")).await.expect("the engine answers");
        let body = response.into_body().collect().await.expect("the body is whole");
        assert_eq!(body.to_bytes(), "ok");
    }
}

#[tokio::test]
async fn the_version_is_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let proxy = engine(
        folder.path(),
        &[b"HTTP/1.1 200 OK\r\nContent-Length: 69\r\n\r\n{\"Version\":\"28.5.2\",\"ApiVersion\":\"1.51\",\"MinAPIVersion\":\"1.24\",\"x\":1}"],
    );
    proxy.refresh().await.expect("the engine answers");
    assert_eq!(proxy.version().api_max, (1, 51));
    assert_eq!(proxy.version().engine, "28.5.2");
}

#[tokio::test]
async fn an_engine_that_is_away_is_an_error() {
    let proxy = EngineProxy::new(&Address::Unix("/nonexistent/docker.sock".into()));
    assert!(proxy.call(get("/x")).await.is_err());
}

#[tokio::test]
async fn a_hijacked_stream_passes_with_its_half_close() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let proxy = engine(
        folder.path(),
        &[b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"],
    );
    let (client, server) = tokio::io::duplex(1024);
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let proxy = proxy.clone();
        async move {
            let request = request.map(|body| body.map_err(Into::into).boxed());
            proxy.call(request).await
        }
    });
    tokio::spawn(
        hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .serve_connection(hyper_util::rt::TokioIo::new(server), service)
            .with_upgrades(),
    );
    let mut client = client;
    client
        .write_all(b"POST /attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n")
        .await
        .expect("the server reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.expect("the head comes"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 UPGRADED"), "{}", String::from_utf8_lossy(&head));
    client.write_all(b"abc").await.expect("the stream is open");
    client.shutdown().await.expect("only this half closes");
    let mut output = String::new();
    client.read_to_string(&mut output).await.expect("the other half is open");
    assert_eq!(output, "cba");
}
