//! What routes ask of the fake cluster.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use skep_core::command::Command;
use skep_core::id::{NodeId, TaskId};
use skep_core::model::Kind;
use skep_core::model::cluster::ClusterSpec;
use skep_core::model::network::Network;
use skep_core::model::service::NetworkAttachment;
use skep_core::model::task::Task;
use skep_core::state::{Applied, Event, Rejected, State};
use skep_core::time::Timestamp;

use super::{Fake, NOW, node_id};
use crate::backend::{
    Attachment, Backend, BackendError, Body, EngineVersion, InitCluster, JoinCluster, LogItem,
    LogOptions, LogSelector, Membership, Rotate,
};
use crate::reply;
use crate::services::Listing;

impl Fake {
    fn is_manager(&self) -> Result<(), BackendError> {
        match self.inner().membership {
            Membership::Manager { .. } => Ok(()),
            Membership::Inactive
            | Membership::Pending { .. }
            | Membership::Worker { .. }
            | Membership::Locked
            | Membership::Failed { .. } => Err(BackendError::NotManager),
        }
    }

    /// Answers as an engine.
    fn answer(&self, target: &str) -> Response<Body> {
        let missing = || (404, "{\"message\":\"no such thing\"}\n".to_owned());
        let (status, body) = self.inner().engine.get(target).cloned().unwrap_or_else(missing);
        let status = StatusCode::from_u16(status).expect("a test's status is one");
        let mut response = reply::with_body(status, reply::full(body));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

#[async_trait]
impl Backend for Fake {
    async fn read(&self) -> Result<Arc<State>, BackendError> {
        self.is_manager()?;
        Ok(Arc::new(self.state()))
    }

    fn listing(&self) -> &Listing {
        &self.listing
    }

    async fn propose(&self, command: Command) -> Result<Applied, BackendError> {
        self.is_manager()?;
        self.apply(command)
    }

    async fn attach(&self, wanted: Attachment) -> Result<TaskId, BackendError> {
        let named = |network: &&Arc<Network>| {
            network.spec.annotations.name == wanted.target || network.id.as_str() == wanted.target
        };
        let found = self.state().networks().values().find(named).map(|network| network.id.clone());
        let missing = Rejected::NotFound { kind: Kind::Network, reference: wanted.target.clone() };
        let id = TaskId::from_entropy(self.entropy());
        let network = NetworkAttachment {
            target: found.ok_or(missing)?,
            aliases: wanted.aliases,
            addresses: wanted.addresses,
            ..NetworkAttachment::default()
        };
        let (node, container) = (node_id(), wanted.container);
        self.apply(Command::Attach { id: id.clone(), node, container, network })?;
        Ok(id)
    }

    async fn detach(&self, attachment: &TaskId) -> Result<(), BackendError> {
        self.apply(Command::Detach { id: attachment.clone() }).map(drop)
    }

    async fn settle(&self, _pid: i64, _addrs: Vec<IpAddr>) {}

    fn entropy(&self) -> u128 {
        let mut inner = self.inner();
        inner.entropy += 1;
        inner.entropy
    }

    fn now(&self) -> Timestamp {
        NOW
    }

    fn membership(&self) -> Membership {
        self.inner().membership.clone()
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
        self.is_manager()?;
        self.inner().updated = Some((version, spec.clone(), rotate));
        let command = Command::UpdateCluster {
            version,
            spec: Box::new(spec),
            worker_token: None,
            manager_token: None,
            unlock_key: None,
            root_ca: None,
        };
        self.apply(command).map(|_| ())
    }

    async fn unlock(&self, _key: &str) -> Result<(), BackendError> {
        Err(BackendError::NotLocked)
    }

    async fn logs(
        &self,
        selector: LogSelector,
        options: LogOptions,
    ) -> Result<BoxStream<'static, LogItem>, BackendError> {
        let mut inner = self.inner();
        inner.output_asked.push((selector, options));
        Ok(stream::iter(inner.output.clone()).boxed())
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
        self.inner().asked.push(target.clone());
        Ok(self.answer(&target))
    }

    fn known(&self) -> Option<(NodeId, Arc<State>)> {
        match self.inner().membership {
            Membership::Manager { .. } | Membership::Worker { .. } => {}
            Membership::Inactive
            | Membership::Pending { .. }
            | Membership::Locked
            | Membership::Failed { .. } => return None,
        }
        Some((node_id(), Arc::new(self.state())))
    }

    async fn relay(
        &self,
        task: &Arc<Task>,
        request: Request<Body>,
    ) -> Result<Response<Body>, BackendError> {
        let target = request.uri().to_string();
        self.inner().relayed.push(format!("{} {target}", task.id));
        Ok(self.answer(&target))
    }

    fn engine_version(&self) -> EngineVersion {
        let (api_min, api_max) = self.inner().api;
        EngineVersion { engine: "28.5.2".to_owned(), api_max, api_min, experimental: false }
    }
}
