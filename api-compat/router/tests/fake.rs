//! A cluster of one manager in memory, and an engine that answers what a test tells it to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use skep_core::command::{Command, Proposal};
use skep_core::id::{ClusterId, NodeId};
use skep_core::model::cluster::{Cluster, ClusterSpec};
use skep_core::model::node::{ManagerStatus, Node, NodeState, Role};
use skep_core::state::{Applied, Event, State};
use skep_core::time::Timestamp;

use crate::backend::{
    Backend, BackendError, Body, EngineVersion, InitCluster, JoinCluster, LogItem, LogOptions,
    LogSelector, Membership, Rotate,
};
use crate::reply;
use crate::router::serve;
use crate::services::Listing;

/// 2026-01-02T03:04:05Z.
pub(super) const NOW: Timestamp = Timestamp(1_767_323_045_000_000_000);

#[derive(Default)]
pub(super) struct Inner {
    pub(super) state: State,
    entropy: u128,
    engine: BTreeMap<String, (u16, String)>,
    /// What the engine was asked, in order.
    pub(super) asked: Vec<String>,
    pub(super) events: Vec<Event>,
    pub(super) initialised: Option<InitCluster>,
    pub(super) updated: Option<(u64, ClusterSpec, Rotate)>,
}

#[derive(Clone)]
pub(super) struct Fake {
    inner: Arc<Mutex<Inner>>,
    listing: Arc<Listing>,
    pub(super) membership: Membership,
    /// Lowest and highest version of the engine.
    pub(super) api: ((u32, u32), (u32, u32)),
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            inner: Arc::default(),
            listing: Arc::default(),
            membership: Membership::Inactive,
            api: ((1, 24), (1, 51)),
        }
    }
}

pub(super) fn node_id() -> NodeId {
    "4mbqnode0000000000000000a".parse().expect("25 characters")
}

/// Returns a manager of a fresh cluster.
pub(super) fn manager() -> Fake {
    let fake = Fake {
        membership: Membership::Manager {
            node: node_id(),
            addr: "10.1.0.1".to_owned(),
            managers: vec![(node_id(), "10.1.0.1:2377".to_owned())],
        },
        ..Fake::default()
    };
    let mut node = Node { id: node_id(), role: Role::Manager, ..Node::default() };
    node.spec.role = Role::Manager;
    node.description.hostname = "one".to_owned();
    node.status.state = NodeState::Ready;
    node.status.addr = "10.1.0.1".to_owned();
    node.manager = Some(ManagerStatus {
        leader: true,
        reachable: true,
        addr: "10.1.0.1:2377".to_owned(),
        raft_id: 1,
    });
    let cluster = Cluster {
        id: ClusterId::from_entropy(7),
        address_pools: vec!["10.0.0.0/8".to_owned()],
        subnet_size: 24,
        data_path_port: 4789,
        ..Cluster::default()
    };
    let command = Command::CreateCluster {
        cluster: Box::new(cluster),
        node: Box::new(node),
        networks: Vec::new(),
    };
    fake.apply(command).expect("the state is empty");
    fake
}

impl Fake {
    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics while holding it")
    }

    /// Has the engine answer a request with a status and JSON.
    pub(super) fn engine(&self, target: &str, status: u16, body: &str) {
        self.inner().engine.insert(target.to_owned(), (status, body.to_owned()));
    }

    pub(super) fn apply(&self, command: Command) -> Result<Applied, BackendError> {
        let mut inner = self.inner();
        let index = inner.state.index() + 1;
        let applied = inner.state.apply(index, &Proposal { at: NOW, command })?;
        inner.events.extend(applied.events.iter().cloned());
        Ok(applied)
    }
}

#[async_trait]
impl Backend for Fake {
    async fn read(&self) -> Result<Arc<State>, BackendError> {
        match self.membership {
            Membership::Manager { .. } => Ok(Arc::new(self.inner().state.clone())),
            Membership::Inactive
            | Membership::Pending { .. }
            | Membership::Worker { .. }
            | Membership::Locked
            | Membership::Failed { .. } => Err(BackendError::NotManager),
        }
    }

    fn listing(&self) -> &Listing {
        &self.listing
    }

    async fn propose(&self, command: Command) -> Result<Applied, BackendError> {
        self.apply(command)
    }

    fn entropy(&self) -> u128 {
        let mut inner = self.inner();
        inner.entropy += 1;
        inner.entropy
    }

    fn now(&self) -> Timestamp {
        NOW
    }

    fn membership(&self) -> Membership {
        self.membership.clone()
    }

    async fn init(&self, request: InitCluster) -> Result<NodeId, BackendError> {
        self.inner().initialised = Some(request);
        Ok(node_id())
    }

    async fn join(&self, _request: JoinCluster) -> Result<(), BackendError> {
        Err(BackendError::Timeout)
    }

    async fn leave(&self, _force: bool) -> Result<(), BackendError> {
        Err(BackendError::NotMember)
    }

    async fn update_cluster(
        &self,
        version: u64,
        spec: ClusterSpec,
        rotate: Rotate,
    ) -> Result<(), BackendError> {
        self.inner().updated = Some((version, spec, rotate));
        Ok(())
    }

    async fn unlock(&self, _key: &str) -> Result<(), BackendError> {
        Err(BackendError::NotLocked)
    }

    async fn logs(
        &self,
        _selector: LogSelector,
        _options: LogOptions,
    ) -> Result<BoxStream<'static, LogItem>, BackendError> {
        Ok(stream::empty().boxed())
    }

    async fn events(
        &self,
        _since: Option<Timestamp>,
        _until: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Event>, BackendError> {
        Ok(stream::iter(self.inner().events.clone()).boxed())
    }

    async fn engine(&self, request: Request<Body>) -> Result<Response<Body>, BackendError> {
        let target = request.uri().to_string();
        let mut inner = self.inner();
        inner.asked.push(target.clone());
        let missing = || (404, "{\"message\":\"no such thing\"}\n".to_owned());
        let (status, body) = inner.engine.get(&target).cloned().unwrap_or_else(missing);
        let status = StatusCode::from_u16(status).expect("a test's status is one");
        let mut response = reply::with_body(status, reply::full(body));
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert("content-type", json);
        Ok(response)
    }

    fn engine_version(&self) -> EngineVersion {
        EngineVersion {
            engine: "28.5.2".to_owned(),
            api_min: self.api.0,
            api_max: self.api.1,
            experimental: false,
        }
    }
}

/// A reply, taken apart.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    headers: HeaderMap,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("headers are text"))
    }

    #[track_caller]
    pub(super) fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.body.as_str()), (status, body));
        if body.starts_with('{') {
            assert_eq!(self.header("content-type"), "application/json");
        }
    }

    /// Returns the body as JSON.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

pub(super) async fn ask(fake: &Fake, method: &str, path: &str, body: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(reply::full(body.to_owned()))
        .expect("a test's request is one");
    let (head, body) = serve(Arc::new(fake.clone()), request).await.into_parts();
    let body = body.collect().await.expect("no body breaks off").to_bytes();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}
