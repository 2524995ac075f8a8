//! A cluster for tests of routes: the real state machine and planners, without consensus, time or an engine. Output, events
//! and the engine's answers are what a test says they are.

mod backend;
mod client;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skep_core::command::{Command, Proposal};
use skep_core::id::{ClusterId, NetworkId, NodeId};
use skep_core::model::Annotations;
use skep_core::model::cluster::{Cluster, ClusterSpec};
use skep_core::model::network::{Network, NetworkSpec};
use skep_core::model::node::{ManagerStatus, Node, NodeState, Role};
use skep_core::plan::{Limits, Planner};
use skep_core::state::audit::{audit, audit_applied};
use skep_core::state::{Applied, Event, State};
use skep_core::time::Timestamp;

use crate::backend::{
    BackendError, InitCluster, LogItem, LogOptions, LogSelector, Membership, Rotate,
};
use crate::services::Listing;

pub use client::Answer;

/// The time in every cluster: 2026-01-02T03:04:05Z.
pub const NOW: Timestamp = Timestamp(1_767_323_045_000_000_000);

/// Plans after which a cluster is taken never to settle.
const PLANS_MAX: usize = 200;

/// What a plan does here: little, so that services with endless replicas are soon planned.
const LIMITS: Limits = Limits {
    tasks_per_plan: 20,
    changes_per_plan: 200,
    bytes_per_plan: 1 << 20,
    tasks_ahead: 40,
    tasks_ahead_per_node: 0,
};

/// Host part of the one node's address.
const ADDR: &str = "10.1.0.1";

/// The cluster.
#[derive(Default)]
pub struct Fake {
    inner: Mutex<Inner>,
    listing: Listing,
}

/// What the cluster is made of, and what was asked of it.
pub struct Inner {
    /// Its state.
    pub state: State,
    /// How the node stands to it.
    pub membership: Membership,
    /// Lowest and highest API version of the engine.
    pub api: ((u32, u32), (u32, u32)),
    /// What the engine was asked, in order.
    pub asked: Vec<String>,
    /// What other nodes' engines were asked, each behind the task, in order.
    pub relayed: Vec<String>,
    /// What output was asked for, in order.
    pub output_asked: Vec<(LogSelector, LogOptions)>,
    /// The events of all commands.
    pub events: Vec<Event>,
    /// The last request to make a cluster.
    pub initialised: Option<InitCluster>,
    /// The last request to change the cluster's spec.
    pub updated: Option<(u64, ClusterSpec, Rotate)>,
    planner: Planner,
    entropy: u128,
    engine: BTreeMap<String, (u16, String)>,
    output: Vec<LogItem>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            state: State::default(),
            membership: Membership::Inactive,
            api: ((1, 24), (1, 51)),
            asked: Vec::new(),
            relayed: Vec::new(),
            output_asked: Vec::new(),
            events: Vec::new(),
            initialised: None,
            updated: None,
            planner: Planner::new(LIMITS),
            entropy: 0,
            engine: BTreeMap::new(),
            output: Vec::new(),
        }
    }
}

/// Returns the id of the node.
///
/// # Panics
/// Never: the text is an id.
pub fn node_id() -> NodeId {
    "4mbqnode0000000000000000a".parse().expect("25 characters")
}

impl Fake {
    /// Makes a node that is in no cluster.
    pub fn outside() -> Arc<Self> {
        Arc::default()
    }

    /// Makes the manager of a fresh cluster with nothing in it, on a node that has told nothing of itself but its name.
    pub fn bare() -> Arc<Self> {
        Self::founded(&[], |_| {})
    }

    /// Makes the manager of a cluster with an ingress network and one named `front`, on a node that can run tasks. Its
    /// engine knows the networks `none` and `mine`.
    pub fn cluster() -> Arc<Self> {
        let fake = Self::founded(&[("ingress", true), ("front", false)], |node| {
            node.description.nano_cpus = 2_000_000_000;
            node.description.memory_bytes = 4 << 30;
        });
        for name in ["none", "mine"] {
            let body = format!("{{\"Name\":\"{name}\",\"Scope\":\"local\"}}");
            fake.engine(&format!("/v1.51/networks/{name}"), 200, &body);
        }
        fake
    }

    fn founded(networks: &[(&str, bool)], describe: impl FnOnce(&mut Node)) -> Arc<Self> {
        let fake = Self::outside();
        let port = format!("{ADDR}:2377");
        fake.inner().membership = Membership::Manager {
            node: node_id(),
            addr: ADDR.to_owned(),
            managers: vec![(node_id(), port.clone())],
        };
        let mut node = Node { id: node_id(), role: Role::Manager, ..Node::default() };
        node.spec.role = Role::Manager;
        node.description.hostname = "one".to_owned();
        node.status.state = NodeState::Ready;
        node.status.addr = ADDR.to_owned();
        let addr = port;
        node.manager = Some(ManagerStatus { leader: true, reachable: true, addr, raft_id: 1 });
        describe(&mut node);
        let cluster = Cluster {
            id: ClusterId::from_entropy(7),
            address_pools: vec!["10.0.0.0/8".to_owned()],
            subnet_size: 24,
            data_path_port: 4789,
            ..Cluster::default()
        };
        let named =
            (1..).zip(networks).map(|(number, (name, ingress))| network(number, name, *ingress));
        let command = Command::CreateCluster {
            cluster: Box::new(cluster),
            node: Box::new(node),
            networks: named.collect(),
        };
        fake.apply(command).expect("an empty state takes a cluster");
        fake
    }

    /// Returns what the cluster is made of, to look at or to change.
    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the state.
    pub fn state(&self) -> State {
        self.inner().state.clone()
    }

    /// Has the engine answer a request with a status and JSON. It knows nothing else.
    pub fn engine(&self, target: &str, status: u16, body: &str) {
        self.inner().engine.insert(target.to_owned(), (status, body.to_owned()));
    }

    /// Sets what tasks have written.
    pub fn say(&self, output: Vec<LogItem>) {
        self.inner().output = output;
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// Says why the state refuses it.
    ///
    /// # Panics
    /// If the state keeps its rules no more, whether the command was accepted or not.
    pub fn apply(&self, command: Command) -> Result<Applied, BackendError> {
        let mut inner = self.inner();
        let index = inner.state.index() + 1;
        let applied = inner.state.apply(index, &Proposal { at: NOW, command });
        let findings = audit_applied(&inner.state);
        assert!(findings.is_empty(), "{findings:?}");
        let applied = applied?;
        inner.events.extend(applied.events.iter().cloned());
        Ok(applied)
    }

    /// Plans until nothing is left to do, as a leader does.
    ///
    /// # Panics
    /// If that takes too long, or the state keeps its rules no more.
    pub fn settle(&self) {
        for _ in 0..PLANS_MAX {
            let (based_on, changes) = {
                let inner = &mut *self.inner();
                (inner.state.index(), inner.planner.plan(&inner.state, NOW).changes)
            };
            if changes.is_empty() {
                let findings = audit(&self.state());
                assert!(findings.is_empty(), "{findings:?}");
                return;
            }
            let command = Command::Plan { based_on, changes };
            self.apply(command).expect("a plan fits the state it was made from");
        }
        panic!("{PLANS_MAX} plans are not enough");
    }
}

/// The ids are none that entropy gives.
fn network(number: u128, name: &str, ingress: bool) -> Network {
    let annotations = Annotations { name: name.to_owned(), ..Annotations::default() };
    Network {
        id: NetworkId::from_entropy((1 << 64) + number),
        spec: NetworkSpec { annotations, ingress, attachable: !ingress, ..NetworkSpec::default() },
        ..Network::default()
    }
}
