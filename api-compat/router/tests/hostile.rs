//! Every route against requests that no client sends: no panic, no status that Docker would not give, errors as JSON.
//!
//! The routes are read from the comments in `route.rs`, so that a new one is here without anyone thinking of it.

mod bodies;
mod encodings;
mod values;

use std::sync::Arc;

use http::{HeaderValue, Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::error::deliberate::is_deliberate;
use crate::fake::Fake;
use crate::reply;
use crate::route::{Route, route};
use crate::router::serve;

/// A route as its comment describes it.
#[derive(Debug, Clone)]
struct Described {
    name: String,
    method: Method,
    /// With `{id}` and the like still in it.
    path: String,
}

impl Described {
    /// Returns an address of the route for the thing of this name.
    fn path_for(&self, name: &str) -> String {
        let mut pieces = self.path.split(['{', '}']);
        let mut path = pieces.next().unwrap_or_default().to_owned();
        // After each piece in braces comes one that is not.
        while let (Some(_), Some(rest)) = (pieces.next(), pieces.next()) {
            path.push_str(name);
            path.push_str(rest);
        }
        path
    }

    /// Returns an address under which something is found, as far as anything is there.
    fn found_path(&self) -> String {
        let kind = self.path.split('/').nth(1).unwrap_or("");
        let name = match kind {
            "nodes" => "one",
            "networks" => "net",
            "secrets" => "secret",
            "configs" => "config",
            _ => "web",
        };
        let mark = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{mark}version=2&stdout=1&until=1", self.path_for(name))
    }
}

/// Reads the routes.
fn routes() -> Vec<Described> {
    let source = include_str!("../../route.rs");
    let from = source.find("pub enum Route {").expect("the routes are there");
    let body = &source[from..];
    let body = &body[..body.find("\n}").expect("the list ends")];
    let mut found = Vec::new();
    let mut comment = String::new();
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            comment.push_str(text);
            continue;
        }
        let name: String = line.chars().take_while(char::is_ascii_alphanumeric).collect();
        let spelt = comment.split('`').find_map(|code| code.split_once(" /"));
        if let Some((method, path)) = spelt.filter(|_| !name.is_empty()) {
            let method = Method::from_bytes(method.as_bytes()).expect("the comment names a method");
            found.push(Described { name, method, path: format!("/{path}") });
        }
        comment.clear();
    }
    found
}

#[test]
fn comments_name_the_routes() {
    let found = routes();
    for described in &found {
        let reached = route(&described.method, &described.path_for("x"));
        let name = format!("{reached:?}");
        let name = name.split('(').next().unwrap_or_default();
        assert_eq!(name, described.name, "{described:?}");
    }
    // All but the two that stand for everything else.
    let source = include_str!("../../route.rs");
    let list = source.split("pub enum Route {").nth(1).and_then(|rest| rest.split("\n}").next());
    let variants = list.unwrap_or_default().lines().filter(|line| line.ends_with(',')).count();
    assert_eq!(found.len(), variants - 2, "a route's comment does not say method and path");
    assert!(
        !found.iter().any(|described| route(&described.method, &described.path) == Route::Engine)
    );
}

/// A request that may be anything.
struct Sent<'a> {
    method: Method,
    path: String,
    headers: Vec<(&'static str, &'a [u8])>,
    body: Vec<u8>,
}

impl Sent<'_> {
    fn json(described: &Described, path: String, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type", &b"application/json"[..])];
        Self { method: described.method.clone(), path, headers, body: body.into() }
    }
}

/// A cluster in which one thing of each kind exists.
async fn inhabited() -> Arc<Fake> {
    let fake = Fake::cluster();
    for (path, body) in [
        ("/networks/create", json!({"Name": "net", "Driver": "overlay", "Attachable": true})),
        ("/secrets/create", json!({"Name": "secret", "Data": "aGk="})),
        ("/configs/create", json!({"Name": "config", "Data": "aGk="})),
        ("/services/create", bodies::small_service()),
    ] {
        let answer = super::ask(&fake, "POST", path, &body.to_string()).await;
        assert!(answer.status == 201, "{path}: {} {}", answer.status, answer.text());
    }
    fake
}

/// Sends a request and judges the answer. Returns its status; 0 if no such request can be made at all.
async fn send(fake: &Arc<Fake>, sent: Sent<'_>) -> u16 {
    let mut request = Request::builder().method(sent.method.clone()).uri(&sent.path);
    for (name, value) in sent.headers {
        let Ok(value) = HeaderValue::from_bytes(value) else { return 0 };
        request = request.header(name, value);
    }
    let shown = String::from_utf8_lossy(&sent.body).chars().take(400).collect::<String>();
    let Ok(request) = request.body(reply::full(sent.body)) else { return 0 };
    let (head, body) = serve(fake.clone(), request).await.into_parts();
    let body = body.collect().await.expect("no body breaks off").to_bytes();
    let status = head.status.as_u16();
    let told = format!(
        "{} {} {shown}: {status} {}",
        sent.method,
        sent.path,
        String::from_utf8_lossy(&body)
    );
    if status < 400 {
        return status;
    }
    let kind = head.headers.get("content-type").and_then(|kind| kind.to_str().ok());
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    if kind == Some("text/plain; charset=utf-8") && body.starts_with(b"client version ") {
        return status;
    }
    assert_eq!(kind, Some("application/json"), "{told}");
    let message = value["message"].as_str();
    assert!(message.is_some_and(|message| !message.is_empty()), "{told}");
    assert!(is_deliberate(status, message.unwrap_or_default()), "{told}");
    status
}

/// Makes sure that a cluster which was shot at serves as before.
async fn still_works(fake: &Arc<Fake>) {
    let answer = super::ask(fake, "GET", "/services", "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let name = format!("after{}", fake.inner().state.services().len());
    let mut spec = bodies::small_service();
    spec["Name"] = json!(name);
    spec["EndpointSpec"] = Value::Null;
    let answer = super::ask(fake, "POST", "/services/create", &spec.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    // Whatever was accepted has to be planned as well.
    fake.settle();
}
