//! A cluster for tests of routes: the real state machine without consensus, tasks' output as told, no engine.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use skep_core::command::{Command, Proposal};
use skep_core::id::NodeId;
use skep_core::model::Annotations;
use skep_core::model::cluster::{Cluster, ClusterSpec};
use skep_core::model::network::{Network, NetworkSpec};
use skep_core::model::node::Node;
use skep_core::state::{Applied, Event, State};
use skep_core::time::Timestamp;

use crate::backend::{
    Backend, BackendError, Body, EngineVersion, InitCluster, JoinCluster, LogItem, LogOptions,
    LogSelector, Membership, Rotate,
};
use crate::reply;
use crate::services::Listing;

/// The cluster.
pub(crate) struct Fake {
    inner: Mutex<Inner>,
    listing: Listing,
}

#[derive(Default)]
struct Inner {
    state: State,
    entropy: u128,
    output: Vec<LogItem>,
    asked: Vec<(LogSelector, LogOptions)>,
}

/// What came back: status, content type, body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Reads the body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// Returns status and message of an error.
    pub(crate) fn error(&self) -> (u16, String) {
        let message = self.json()["message"].as_str().map(str::to_owned);
        (self.status, message.expect("the body is an error"))
    }
}

impl Fake {
    /// Makes a cluster of one node with an ingress network.
    pub(crate) fn new() -> Arc<Self> {
        let network = |ordinal, name: &str, ingress| Network {
            id: skep_core::id::NetworkId::from_entropy(ordinal),
            spec: NetworkSpec {
                annotations: Annotations { name: name.to_owned(), ..Annotations::default() },
                ingress,
                ..NetworkSpec::default()
            },
            ..Network::default()
        };
        let mut node = Node { id: NodeId::from_entropy(7), ..Node::default() };
        "host1".clone_into(&mut node.description.hostname);
        let fake = Arc::new(Self { inner: Mutex::default(), listing: Listing::default() });
        fake.apply(Command::CreateCluster {
            cluster: Box::new(Cluster::default()),
            node: Box::new(node),
            networks: vec![network(1, "ingress", true), network(2, "front", false)],
        })
        .expect("an empty state takes a cluster");
        fake
    }

    /// Carries out a command.
    pub(crate) fn apply(&self, command: Command) -> Result<Applied, BackendError> {
        let mut inner = self.lock();
        let index = inner.state.index() + 1;
        let proposal = Proposal { at: self.now(), command };
        Ok(inner.state.apply(index, &proposal)?)
    }

    /// Returns the state.
    pub(crate) fn state(&self) -> State {
        self.lock().state.clone()
    }

    /// Sets what tasks have written.
    pub(crate) fn say(&self, output: Vec<LogItem>) {
        self.lock().output = output;
    }

    /// Returns what output was asked for.
    pub(crate) fn asked(&self) -> Vec<(LogSelector, LogOptions)> {
        self.lock().asked.clone()
    }

    /// Sends a request with an empty body or one of JSON.
    pub(crate) async fn send(
        self: &Arc<Self>,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let bytes = body.map(|value| value.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header("x-registry-auth", if path.contains("auth") { "e30=" } else { "" })
            .body(reply::full(bytes))
            .expect("a valid request");
        let response = crate::serve(Arc::clone(self) as Arc<dyn Backend>, request).await;
        let kind = response.headers().get("content-type");
        let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("the body ends well").to_bytes();
        Answer { status, kind, body }
    }

    /// Gets a path.
    pub(crate) async fn get(self: &Arc<Self>, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    /// Gets a path, which has a `?`, with filters.
    pub(crate) async fn list(self: &Arc<Self>, path: &str, filters: &str) -> Answer {
        let escaped: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.get(&format!("{path}&filters={escaped}")).await
    }

    /// Posts JSON to a path.
    pub(crate) async fn post(self: &Arc<Self>, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(body)).await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Backend for Fake {
    fn listing(&self) -> &Listing {
        &self.listing
    }

    async fn read(&self) -> Result<Arc<State>, BackendError> {
        Ok(Arc::new(self.state()))
    }

    async fn propose(&self, command: Command) -> Result<Applied, BackendError> {
        self.apply(command)
    }

    fn entropy(&self) -> u128 {
        let mut inner = self.lock();
        inner.entropy += 1_000;
        inner.entropy
    }

    fn now(&self) -> Timestamp {
        Timestamp(1_767_323_045_123_456_789)
    }

    fn membership(&self) -> Membership {
        let (node, addr) = (NodeId::from_entropy(7), "127.0.0.1".to_owned());
        Membership::Manager { node, addr, managers: Vec::new() }
    }

    async fn init(&self, _request: InitCluster) -> Result<NodeId, BackendError> {
        Err(BackendError::AlreadyMember)
    }

    async fn join(&self, _request: JoinCluster) -> Result<(), BackendError> {
        Err(BackendError::AlreadyMember)
    }

    async fn leave(&self, _force: bool) -> Result<(), BackendError> {
        Err(BackendError::NotMember)
    }

    async fn update_cluster(
        &self,
        _version: u64,
        _spec: ClusterSpec,
        _rotate: Rotate,
    ) -> Result<(), BackendError> {
        Ok(())
    }

    async fn unlock(&self, _key: &str) -> Result<(), BackendError> {
        Err(BackendError::NotLocked)
    }

    async fn logs(
        &self,
        selector: LogSelector,
        options: LogOptions,
    ) -> Result<BoxStream<'static, LogItem>, BackendError> {
        let mut inner = self.lock();
        inner.asked.push((selector, options));
        Ok(stream::iter(inner.output.clone()).boxed())
    }

    async fn events(
        &self,
        _since: Option<Timestamp>,
        _until: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Event>, BackendError> {
        Ok(stream::empty().boxed())
    }

    /// Knows the networks `none` and `mine`, nothing else.
    async fn engine(&self, request: Request<Body>) -> Result<Response<Body>, BackendError> {
        let name = request.uri().path().rsplit('/').next().unwrap_or("");
        if matches!(name, "none" | "mine") {
            return Ok(reply::json(StatusCode::OK, &json!({"Name": name, "Scope": "local"})));
        }
        Ok(reply::json(StatusCode::NOT_FOUND, &json!({"message": "not found"})))
    }

    fn engine_version(&self) -> EngineVersion {
        EngineVersion {
            engine: "28.5.2".to_owned(),
            api_max: (1, 51),
            api_min: (1, 24),
            experimental: false,
        }
    }
}
