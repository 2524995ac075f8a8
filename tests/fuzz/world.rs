//! A cluster without consensus, engine or time: what requests do to the state, and what the planners make of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::{Request, Response, StatusCode};
use serde_json::json;
use skep_api::backend::{
    Backend, BackendError, Body, EngineVersion, InitCluster, JoinCluster, LogItem, LogOptions,
    LogSelector, Membership, Rotate,
};
use skep_api::reply;
use skep_api::services::Listing;
use skep_core::command::{Command, Proposal};
use skep_core::id::{ClusterId, NetworkId, NodeId};
use skep_core::model::Annotations;
use skep_core::model::cluster::{Cluster, ClusterSpec};
use skep_core::model::network::{Network, NetworkSpec};
use skep_core::model::node::{Node, NodeState, Role};
use skep_core::plan::Planner;
use skep_core::state::audit::{audit, audit_applied};
use skep_core::state::{Applied, Event, State};
use skep_core::time::Timestamp;

/// Plans that a state may need until nothing more is to be done; each makes up to a bounded number of tasks.
const PLANS_MAX: usize = 64;

/// 2026-01-02T03:04:05Z.
const NOW: Timestamp = Timestamp(1_767_323_045_000_000_000);

/// The cluster of one manager.
#[derive(Default)]
pub struct World {
    inner: Mutex<Inner>,
    listing: Listing,
}

#[derive(Default)]
struct Inner {
    state: State,
    planner: Planner,
    entropy: u128,
    output: Vec<LogItem>,
}

impl World {
    /// Makes a cluster of one node with two networks.
    pub fn new() -> Arc<Self> {
        let network = |ordinal, name: &str, ingress| Network {
            id: NetworkId::from_entropy(ordinal),
            spec: NetworkSpec {
                annotations: Annotations { name: name.to_owned(), ..Annotations::default() },
                ingress,
                attachable: !ingress,
                ..NetworkSpec::default()
            },
            ..Network::default()
        };
        let mut node = Node { id: node_id(), role: Role::Manager, ..Node::default() };
        node.spec.role = Role::Manager;
        node.description.hostname = "one".to_owned();
        node.description.nano_cpus = 2_000_000_000;
        node.description.memory_bytes = 4 << 30;
        node.status.state = NodeState::Ready;
        node.status.addr = "10.1.0.1".to_owned();
        let cluster = Cluster {
            id: ClusterId::from_entropy(7),
            address_pools: vec!["10.0.0.0/8".to_owned()],
            subnet_size: 24,
            data_path_port: 4789,
            ..Cluster::default()
        };
        let world = Arc::new(Self::default());
        let command = Command::CreateCluster {
            cluster: Box::new(cluster),
            node: Box::new(node),
            networks: vec![network(1, "ingress", true), network(2, "front", false)],
        };
        world.apply(command).expect("an empty state takes a cluster");
        world
    }

    /// Carries out a command; whether it was accepted or not, the state must be sound after it.
    pub fn apply(&self, command: Command) -> Result<Applied, BackendError> {
        let mut inner = self.lock();
        let index = inner.state.index() + 1;
        let applied = inner.state.apply(index, &Proposal { at: NOW, command });
        let findings = audit_applied(&inner.state);
        assert!(findings.is_empty(), "{findings:?}");
        Ok(applied?)
    }

    /// Plans until there is nothing to do, as a leader does.
    pub fn settle(&self) {
        for _ in 0..PLANS_MAX {
            let (state, plan) = {
                let mut inner = self.lock();
                let state = inner.state.clone();
                let plan = inner.planner.plan(&state, NOW);
                (state, plan)
            };
            if plan.changes.is_empty() {
                let findings = audit(&state);
                assert!(findings.is_empty(), "{findings:?}");
                return;
            }
            let command = Command::Plan { based_on: state.index(), changes: plan.changes };
            self.apply(command).expect("a plan fits the state it was made from");
        }
    }

    /// Sets what tasks have written.
    pub fn say(&self, output: Vec<LogItem>) {
        self.lock().output = output;
    }

    /// Returns the state.
    pub fn state(&self) -> State {
        self.lock().state.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn node_id() -> NodeId {
    NodeId::from_entropy(7)
}

#[async_trait]
impl Backend for World {
    fn listing(&self) -> &Listing {
        &self.listing
    }

    async fn read(&self) -> Result<Arc<State>, BackendError> {
        Ok(Arc::new(self.lock().state.clone()))
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
        NOW
    }

    fn membership(&self) -> Membership {
        Membership::Manager { node: node_id(), addr: "10.1.0.1".to_owned(), managers: Vec::new() }
    }

    async fn init(&self, _request: InitCluster) -> Result<NodeId, BackendError> {
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
        _rotate: Rotate,
    ) -> Result<(), BackendError> {
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
        _selector: LogSelector,
        _options: LogOptions,
    ) -> Result<BoxStream<'static, LogItem>, BackendError> {
        Ok(stream::iter(self.lock().output.clone()).boxed())
    }

    async fn events(
        &self,
        _since: Option<Timestamp>,
        _until: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Event>, BackendError> {
        Ok(stream::empty().boxed())
    }

    /// Knows nothing.
    async fn engine(&self, _request: Request<Body>) -> Result<Response<Body>, BackendError> {
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
