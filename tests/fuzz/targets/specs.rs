//! Requests with specs, one after another: each is answered as Docker would, and the state and its plan stay sound.
//!
//! An input is requests with an empty line between them: method and path in the first line, below it the body.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use skep_api::backend::Backend;
use skep_api::error::deliberate::is_deliberate;
use skep_api::fake::Fake;
use skep_api::reply;
use skep_api::route::ApiVersion;

/// Requests of one input that are looked at.
const REQUESTS_MAX: usize = 8;

/// Sends the requests of an input.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let world = Fake::cluster();
    for piece in text.split("\n\n").take(REQUESTS_MAX) {
        let (first, body) = piece.split_once('\n').unwrap_or((piece, ""));
        let (method, path) = first.split_once(' ').unwrap_or(("POST", first));
        send(&world, method, path, body);
        world.settle();
    }
    show_all(&world);
}

/// Sends one request, if it is one, judges the answer and returns it if it is JSON.
pub(super) fn send(world: &Arc<Fake>, method: &str, path: &str, body: &str) -> Option<Value> {
    let body = self::body(world, method, path, body)?;
    serde_json::from_slice(&body).ok()
}

/// As `send`, and returns the answer as it is.
pub(super) fn body(world: &Arc<Fake>, method: &str, path: &str, body: &str) -> Option<Bytes> {
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    let body = reply::full(Bytes::copy_from_slice(body.as_bytes()));
    let request = Request::builder().method(method).uri(path);
    let request = request.header("content-type", "application/json").body(body).ok()?;
    let serving = skep_api::serve(Arc::clone(world) as Arc<dyn Backend>, request);
    let response = serving.now_or_never().expect("nothing here has to be waited for");
    let (head, body) = response.into_parts();
    let body = body.collect().now_or_never().expect("no stream stays open");
    let body = body.expect("no stream breaks off").to_bytes();
    let status = head.status.as_u16();
    // Clients older than any that is served do not read JSON.
    if status >= 400 && !body.starts_with(b"client version ") {
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        let message = value["message"].as_str().expect("an error has a message");
        assert!(is_deliberate(status, message), "{status} {path}: {message}");
    }
    Some(body)
}

/// Shows everything there is, each in the list and alone, and finds what is stored as it was shown.
fn show_all(world: &Arc<Fake>) {
    for kind in ["services", "tasks", "nodes", "secrets", "configs", "networks"] {
        let list = send(world, "GET", &format!("/{kind}"), "").unwrap_or_default();
        for held in list.as_array().into_iter().flatten() {
            let id = held["ID"].as_str().or(held["Id"].as_str()).expect("everything has an id");
            let one = send(world, "GET", &format!("/{kind}/{id}"), "").expect("JSON");
            assert!(one["message"].is_null(), "{kind} {id} is listed and not found: {one}");
        }
    }
    keep_services(world);
}

/// Updates every service with the spec that is shown of it: nothing may be lost, and no task started.
fn keep_services(world: &Arc<Fake>) {
    let before = world.state();
    for service in before.services().values() {
        let shown = skep_api::convert::service::service_spec(
            &skep_api::convert::service::written(&service.spec),
            &before,
            ApiVersion::MAX,
        );
        let shown = shown.expect("what is shown of a spec is one");
        assert_eq!(shown, *service.spec, "a spec is not what is shown of it");
    }
}
