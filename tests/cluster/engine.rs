//! The engine's own API, as far as requests are passed through to it: its version, what it tells of itself, events that never
//! come, its networks, and containers of the simulated engine whose programs give back what they are given.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use skep::engine::sim::SimEngine;
use skep_core::agent::network::NETWORK_LABEL;
use skep_core::agent::step::Container;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::watch;

const VERSION: &str =
    r#"{"Version":"28.0.0","ApiVersion":"1.48","MinAPIVersion":"1.24","Experimental":false}"#;

const INFO: &str = r#"{"Name":"lab","Warnings":null,"Swarm":{"LocalNodeState":"inactive"}}"#;

/// What the id of an exec begins with; the rest is its container's.
const EXEC: &str = "e";

type Body = BoxBody<Bytes, Infallible>;

/// Streams of output that somebody reads.
pub type Readers = watch::Receiver<usize>;

#[derive(Clone)]
struct Served {
    sim: SimEngine,
    readers: Arc<watch::Sender<usize>>,
}

/// Counts a stream for as long as it is held.
struct Reading(Arc<watch::Sender<usize>>);

impl Reading {
    fn new(readers: Arc<watch::Sender<usize>>) -> Self {
        readers.send_modify(|count| *count += 1);
        Self(readers)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Serves at `socket` for as long as the runtime lives.
pub fn serve(socket: &Path, sim: SimEngine) -> Readers {
    let listener = UnixListener::bind(socket).expect("the folder is new");
    let (readers, reading) = watch::channel(0);
    let served = Served { sim, readers: Arc::new(readers) };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let served = served.clone();
            let service = service_fn(move |request| {
                let served = served.clone();
                async move { Ok::<_, Infallible>(served.answer(request).await) }
            });
            tokio::spawn(async move {
                let server = hyper::server::conn::http1::Builder::new();
                // A node that stops hangs up in the middle of the events.
                let connection = server.serve_connection(TokioIo::new(stream), service);
                let _ = connection.with_upgrades().await;
            });
        }
    });
    reading
}

fn answer(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).boxed());
    *response.status_mut() = status;
    response
}

fn missing(what: &str) -> Response<Body> {
    answer(StatusCode::NOT_FOUND, json!({ "message": what }).to_string())
}

fn pending(first: &'static str, held: Option<Reading>) -> Response<Body> {
    let first = (!first.is_empty()).then(|| Ok(Frame::data(Bytes::from_static(first.as_bytes()))));
    let rest = stream::pending::<Result<Frame<Bytes>, Infallible>>();
    let pieces = stream::iter(first).chain(rest).map(move |piece| {
        let _as_long_as_the_stream = &held;
        piece
    });
    Response::new(BodyExt::boxed(StreamBody::new(pieces)))
}

impl Served {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let parts = if parts[0].starts_with("v1.") { &parts[1..] } else { &parts[..] };
        match parts {
            ["events"] => pending("", None),
            ["version"] => answer(StatusCode::OK, VERSION),
            ["info"] => answer(StatusCode::OK, INFO),
            ["containers", name, rest @ ..] => match self.container(name) {
                Some(id) => self.ask_container(&id, rest, request).await,
                None => missing(&format!("No such container: {name}")),
            },
            ["networks", rest @ ..] => {
                self.ask_networks(rest, request.uri().query().unwrap_or_default())
            }
            ["exec", id, "json"] => {
                let container = id.strip_prefix(EXEC).and_then(|id| self.container(id));
                let shown = json!({ "ID": id, "ContainerID": container, "ExitCode": 7 });
                answer(StatusCode::OK, shown.to_string())
            }
            ["exec", _, "start"] => echo(request),
            _ => missing("page not found"),
        }
    }

    /// Shows networks, all or those whose label's value the question has in it. Joining one is as good as done.
    fn ask_networks(&self, rest: &[&str], question: &str) -> Response<Body> {
        let all = self.sim.engine_networks().into_iter().map(|(id, plan)| {
            json!({ "Id": id, "Name": plan.name, "Scope": "local", "Labels": plan.labels })
        });
        let asked = |network: &serde_json::Value| {
            let label = network["Labels"][NETWORK_LABEL].as_str();
            question.is_empty() || label.is_some_and(|id| question.contains(id))
        };
        match rest {
            [] => {
                let shown: Vec<_> = all.filter(asked).collect();
                answer(StatusCode::OK, json!(shown).to_string())
            }
            [name] => {
                let mut found = all.filter(|it| it["Id"] == *name || it["Name"] == *name);
                match found.next() {
                    Some(network) => answer(StatusCode::OK, network.to_string()),
                    None => missing(&format!("network {name} not found")),
                }
            }
            [_, "connect" | "disconnect"] => answer(StatusCode::OK, ""),
            [..] => missing("page not found"),
        }
    }

    /// Finds a container by id or name.
    fn container(&self, name: &str) -> Option<String> {
        let mut held = self.sim.containers().into_iter();
        held.find(|(id, held)| id == name || held.plan.name == name).map(|(id, _)| id)
    }

    async fn ask_container(
        &self,
        id: &str,
        rest: &[&str],
        request: Request<Incoming>,
    ) -> Response<Body> {
        match (request.method().clone(), rest) {
            (Method::GET, ["json"]) => answer(StatusCode::OK, json!({ "Id": id }).to_string()),
            (Method::DELETE, []) => {
                self.sim.set_state(id, Container::Absent);
                answer(StatusCode::NO_CONTENT, "")
            }
            (Method::POST, ["exec"]) => {
                let made = json!({ "Id": format!("{EXEC}{id}") });
                answer(StatusCode::CREATED, made.to_string())
            }
            (Method::POST, ["attach"]) => echo(request),
            (Method::GET, ["logs"]) => pending("line\n", Some(Reading::new(self.readers.clone()))),
            (Method::PUT, ["archive"]) => {
                let body = request.into_body().collect().await.expect("the body is whole");
                let length = body.to_bytes().len();
                answer(StatusCode::OK, json!({ "length": length }).to_string())
            }
            (Method::GET, ["archive"]) => answer(StatusCode::OK, vec![7; 9 << 20]),
            _ => missing("page not found"),
        }
    }
}

/// Gives back what comes, and says so once nothing more does.
fn echo(request: Request<Incoming>) -> Response<Body> {
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(request).await.expect("the client upgrades");
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
        let mut bytes = vec![0; 4096];
        while let Ok(count @ 1..) = read.read(&mut bytes).await {
            if write.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
        let _ = write.write_all(b"the end").await;
        let _ = write.shutdown().await;
    });
    let mut response = answer(StatusCode::SWITCHING_PROTOCOLS, "");
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("tcp"));
    response
}
