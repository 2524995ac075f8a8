//! The client's side of the fake cluster: requests out of texts, answers to compare with.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::Fake;
use crate::backend::Backend;
use crate::reply;

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, which may be no text.
    pub body: Bytes,
}

impl Answer {
    /// Returns a header, or nothing.
    ///
    /// # Panics
    /// If it is no text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("headers are text"))
    }

    /// Returns the body as text.
    ///
    /// # Panics
    /// If it is none.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// Reads the body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// Returns status and message of an error.
    ///
    /// # Panics
    /// If it is none.
    pub fn error(&self) -> (u16, String) {
        let message = self.json()["message"].as_str().map(str::to_owned);
        (self.status, message.expect("the body is an error"))
    }

    /// Compares status and body.
    ///
    /// # Panics
    /// If they are others.
    #[track_caller]
    pub fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.text()), (status, body));
        if body.starts_with('{') {
            assert_eq!(self.header("content-type"), "application/json");
        }
    }
}

impl Fake {
    /// Sends a request whose body, if any, claims to be JSON.
    ///
    /// # Panics
    /// If that is no request, or the answer breaks off.
    pub async fn ask(self: &Arc<Self>, method: &str, path: &str, body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("content-type", "application/json");
        if path.contains("auth") {
            request = request.header("x-registry-auth", "e30=");
        }
        let request = request.body(reply::full(body.to_owned())).expect("a valid request");
        let response = crate::serve(Arc::clone(self) as Arc<dyn Backend>, request).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("the body ends well").to_bytes();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// Sends a request with an empty body or one of JSON.
    pub async fn send(self: &Arc<Self>, method: &str, path: &str, body: Option<Value>) -> Answer {
        let text = body.map(|value| value.to_string()).unwrap_or_default();
        self.ask(method, path, &text).await
    }

    /// Gets a path.
    pub async fn get(self: &Arc<Self>, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    /// Gets a path, which has a `?`, with filters.
    pub async fn list(self: &Arc<Self>, path: &str, filters: &str) -> Answer {
        let escaped: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.get(&format!("{path}&filters={escaped}")).await
    }

    /// Posts JSON to a path.
    pub async fn post(self: &Arc<Self>, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(body)).await
    }
}
