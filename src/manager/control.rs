//! The cluster behind the API: answers from the committed state, puts commands through consensus. Knows no HTTP.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use http::{Request, Response};
use skep_api::backend::{
    Attachment, Backend, BackendError, Body, EngineVersion, InitCluster, JoinCluster, LogItem,
    LogOptions, LogSelector, Membership, Rotate,
};
use skep_api::services::Listing;
use skep_core::command::Command;
use skep_core::error::chain;
use skep_core::id::{NodeId, TaskId};
use skep_core::model::cluster::ClusterSpec;
use skep_core::model::task::Task;
use skep_core::state::{Applied, Event, Rejected, State};
use skep_core::time::Timestamp;
use skep_raft::{Backup, BackupKey};

use super::desired_root::desired_root;
use super::{cluster, streams};
use crate::clock;
use crate::node::{Node, propose, unreachable_leader};

#[async_trait]
impl Backend for Node {
    async fn read(&self) -> Result<Arc<State>, BackendError> {
        self.member()?.raft.read().await.map_err(|error| unreachable_leader(&error))
    }

    fn listing(&self) -> &Listing {
        &self.listing
    }

    async fn propose(&self, command: Command) -> Result<Applied, BackendError> {
        propose(&self.member()?.raft, command).await
    }

    async fn changed(&self, index: u64, limit: Duration) -> Result<Arc<State>, BackendError> {
        let mut states = self.states()?;
        let newer = states.wait_for(|state| state.index() > index);
        match tokio::time::timeout(limit, newer).await {
            Err(_) => Err(BackendError::Timeout),
            Ok(Err(_)) => Err(BackendError::NotManager),
            Ok(Ok(state)) => Ok(state.clone()),
        }
    }

    async fn attach(&self, wanted: Attachment) -> Result<TaskId, BackendError> {
        Box::pin(Self::attach(self, wanted)).await
    }

    async fn detach(&self, attachment: &TaskId) -> Result<(), BackendError> {
        Box::pin(Self::detach(self, attachment)).await
    }

    async fn settle(&self, pid: i64, addrs: Vec<IpAddr>) {
        Self::settle(self, pid, addrs).await;
    }

    fn entropy(&self) -> u128 {
        clock::entropy()
    }

    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn membership(&self) -> Membership {
        Self::membership(self)
    }

    async fn init(&self, request: InitCluster) -> Result<NodeId, BackendError> {
        Self::init(self, request).await
    }

    async fn join(&self, request: JoinCluster) -> Result<(), BackendError> {
        Self::join(self, request).await
    }

    async fn leave(&self, force: bool) -> Result<(), BackendError> {
        Self::leave(self, force).await
    }

    async fn update_cluster(
        &self,
        version: u64,
        mut spec: ClusterSpec,
        rotate: Rotate,
    ) -> Result<(), BackendError> {
        let member = self.member()?;
        let state = self.read().await?;
        let current = state.cluster().ok_or(BackendError::NotManager)?;
        // A stale request is told so before anything is made of its certificates.
        if current.meta.version != version {
            return Err(BackendError::Rejected(Rejected::OutOfSequence));
        }
        let root = Box::pin(desired_root(current, &mut spec, &member.signer)).await?;
        let command = cluster::update(current, version, spec, rotate, root);
        propose(&member.raft, command).await?;
        member.key_kept().await
    }

    async fn unlock(&self, key: &str) -> Result<(), BackendError> {
        Self::unlock(self, key).await
    }

    async fn backup(&self, key: &str) -> Result<Vec<u8>, BackendError> {
        let key =
            BackupKey::parse(key).map_err(|error| BackendError::Invalid(error.to_string()))?;
        let state = self.read().await?;
        let node = self.member()?.identity.node.clone();
        let backup = Backup { made_at: clock::now(), node, state };
        // Encoding and sealing a large state takes its time.
        let sealed = tokio::task::spawn_blocking(move || backup.seal(&key)).await;
        let sealed = sealed.map_err(|error| BackendError::Internal(error.to_string()))?;
        sealed.map_err(|error| BackendError::Internal(chain(&error)))
    }

    async fn logs(
        &self,
        selector: LogSelector,
        options: LogOptions,
    ) -> Result<BoxStream<'static, LogItem>, BackendError> {
        let member = self.member()?;
        Ok(streams::logs(member.logs.clone(), selector, options))
    }

    async fn events(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Event>, BackendError> {
        Ok(self.member()?.events.stream(since, until, clock::now()))
    }

    async fn engine(&self, request: Request<Body>) -> Result<Response<Body>, BackendError> {
        self.proxy.call(request).await
    }

    fn engine_version(&self) -> EngineVersion {
        self.proxy.version()
    }

    fn known(&self) -> Option<(NodeId, Arc<State>)> {
        Self::known(self)
    }

    async fn network(&self) -> Result<Vec<String>, String> {
        Self::amiss(self).await.map_err(|error| chain(&error).to_string())
    }

    async fn relay(
        &self,
        task: &Arc<Task>,
        request: Request<Body>,
    ) -> Result<Response<Body>, BackendError> {
        let relay = self.member()?.relay.clone();
        Box::pin(relay.request(task, request)).await
    }
}
