//! The engine's own API, as far as requests are passed through to it: its version, what it tells of itself, and events that
//! never come.

use std::convert::Infallible;
use std::path::Path;

use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

const VERSION: &str =
    r#"{"Version":"28.0.0","ApiVersion":"1.48","MinAPIVersion":"1.24","Experimental":false}"#;

const INFO: &str = r#"{"Name":"lab","Warnings":null,"Swarm":{"LocalNodeState":"inactive"}}"#;

type Body = BoxBody<Bytes, Infallible>;

/// Serves at `socket` for as long as the runtime lives.
pub fn serve(socket: &Path) {
    let listener = UnixListener::bind(socket).expect("the folder is new");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(async |request| Ok::<_, Infallible>(answer(&request)));
            tokio::spawn(async move {
                let server = hyper::server::conn::http1::Builder::new();
                // A node that stops hangs up in the middle of the events.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

fn answer(request: &http::Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    if path.ends_with("/events") {
        let nothing = stream::pending::<Result<Frame<Bytes>, Infallible>>();
        return Response::new(BodyExt::boxed(StreamBody::new(nothing)));
    }
    let (status, text) = match path.rsplit('/').next() {
        Some("version") => (StatusCode::OK, VERSION),
        Some("info") => (StatusCode::OK, INFO),
        Some(_) | None => (StatusCode::NOT_FOUND, r#"{"message":"page not found"}"#),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed());
    *response.status_mut() = status;
    response
}
