//! What one node is shown of the cluster: a small state of its own, made of what its tasks need and what may reach them, and
//! the parts that change it. Of the cluster's own object, with its keys, it has a port number; of other nodes their
//! addresses, and of their tasks where they are. Sends nothing.

mod part;
mod shown;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

pub use part::Part;

use crate::assign::{Assigned, assigned};
use crate::id::{NetworkId, NodeId};
use crate::model::network::Network;
use crate::model::service::Service;
use crate::model::task::Task;
use crate::state::State;
use shown::{
    concerns, is_near, shown_neighbour, shown_network, shown_node, shown_service, shown_task,
};

/// What a node was shown, and the state it was made from.
#[derive(Debug, Clone)]
pub struct View {
    node: NodeId,
    source: State,
    shown: State,
}

impl View {
    /// Begins with nothing.
    pub fn new(node: NodeId) -> Self {
        Self { node, source: State::default(), shown: State::default() }
    }

    /// Returns what the node is shown.
    pub fn shown(&self) -> &State {
        &self.shown
    }

    /// Goes on to a newer state; returns what the node must be sent to be shown it, what is gone before what is new.
    pub fn follow(&mut self, state: &State) -> Vec<Part> {
        let wanted = assigned(state, &self.node);
        let mut changes = Changes::default();
        self.follow_cluster(state, &mut changes);
        let networks = self.follow_networks(state, &wanted, &mut changes);
        self.follow_nodes(state, &networks, &mut changes);
        self.follow_services(state, &networks, &mut changes);
        self.follow_tasks(&wanted, &mut changes);
        self.follow_neighbours(state, &networks, &mut changes);
        changes.differ(&self.shown.secrets, &wanted.secrets, Part::Secret, Part::NoSecret);
        changes.differ(&self.shown.configs, &wanted.configs, Part::Config, Part::NoConfig);
        self.source = state.clone();
        self.shown.index = state.index;
        let reported = std::mem::take(&mut changes.reported);
        let parts = changes.into_parts();
        for part in &parts {
            part.clone().put_into(&mut self.shown);
        }
        // The very object, so that it is known again without a look into it.
        reported.into_iter().for_each(|task| self.shown.put_task(task));
        gives_no_addresses(&mut self.shown);
        parts
    }

    fn follow_cluster(&self, state: &State, changes: &mut Changes) {
        let port = |state: &State| state.cluster.as_ref().map(|cluster| cluster.data_path_port);
        if let Some(wanted) = port(state).filter(|wanted| port(&self.shown) != Some(*wanted)) {
            changes.put.push(Part::DataPathPort(wanted));
        }
    }

    /// The node itself, and those that have a bridge of a network it has one of: tunnels lead there.
    fn follow_nodes(&self, state: &State, networks: &BTreeSet<NetworkId>, changes: &mut Changes) {
        let joined = networks.iter().filter_map(|id| state.networks.get(id));
        let joined = joined.filter(|network| network.gateways.contains_key(&self.node));
        let mut near: BTreeSet<&NodeId> = joined.flat_map(|it| it.gateways.keys()).collect();
        near.insert(&self.node);
        for node in near.iter().filter_map(|id| state.nodes.get(*id)) {
            let held = self.shown.nodes.get(&node.id);
            if held.is_some()
                && self.source.nodes.get(&node.id).is_some_and(|it| Arc::ptr_eq(it, node))
            {
                continue;
            }
            let node = if node.id == self.node { shown_node(node) } else { shown_neighbour(node) };
            if held.is_none_or(|held| **held != node) {
                changes.put.push(Part::Node(Arc::new(node)));
            }
        }
        let is_near = |id: &&NodeId| near.contains(*id) && state.nodes.contains_key(*id);
        let gone = self.shown.nodes.keys().filter(|id| !is_near(id));
        changes.gone.extend(gone.cloned().map(Part::NoNode));
    }

    /// Returns which networks the node is shown: those it has a bridge of, and those its tasks will need one of.
    fn follow_networks(
        &self,
        state: &State,
        wanted: &Assigned,
        changes: &mut Changes,
    ) -> BTreeSet<NetworkId> {
        let needed = |network: &&Arc<Network>| {
            network.gateways.contains_key(&self.node) || wanted.networks.contains_key(&network.id)
        };
        let networks = state.networks.values().filter(needed);
        let networks: BTreeMap<_, _> = networks.map(|it| (it.id.clone(), it)).collect();
        for (id, network) in &networks {
            let held = self.shown.networks.get(id);
            let source = self.source.networks.get(id);
            if held.is_some() && source.is_some_and(|source| Arc::ptr_eq(source, network)) {
                continue;
            }
            let network = shown_network(network);
            if held.is_none_or(|held| **held != network) {
                changes.put.push(Part::Network(Arc::new(network)));
            }
        }
        let gone = self.shown.networks.keys().filter(|id| !networks.contains_key(*id));
        changes.gone.extend(gone.cloned().map(Part::NoNetwork));
        networks.into_keys().collect()
    }

    fn follow_services(
        &self,
        state: &State,
        networks: &BTreeSet<NetworkId>,
        changes: &mut Changes,
    ) {
        let shown = &self.shown.services;
        let walk = self.walk(&self.source.services, &state.services, shown, networks);
        walk.changed.iter().for_each(|service| self.follow_service(service, networks, changes));
        changes.gone.extend(walk.gone.into_iter().map(Part::NoService));
    }

    /// Finds which objects to look at: what differs from the state before, or all, as each may be of interest now or no
    /// more when the node's networks are others.
    fn walk<K: Ord + Clone, T: PartialEq>(
        &self,
        last: &OrdMap<K, Arc<T>>,
        next: &OrdMap<K, Arc<T>>,
        shown: &OrdMap<K, Arc<T>>,
        networks: &BTreeSet<NetworkId>,
    ) -> Walk<K, T> {
        let mut walk = Walk { changed: Vec::new(), gone: Vec::new() };
        if !self.shown.networks.keys().eq(networks) {
            walk.changed.extend(next.values().cloned());
            walk.gone.extend(shown.keys().filter(|id| !next.contains_key(*id)).cloned());
            return walk;
        }
        for difference in last.diff(next) {
            match difference {
                DiffItem::Add(_, new) | DiffItem::Update { new: (_, new), .. } => {
                    walk.changed.push(new.clone());
                }
                DiffItem::Remove(id, _) if shown.contains_key(id) => walk.gone.push(id.clone()),
                DiffItem::Remove(..) => {}
            }
        }
        walk
    }

    fn follow_service(
        &self,
        service: &Service,
        networks: &BTreeSet<NetworkId>,
        changes: &mut Changes,
    ) {
        let held = self.shown.services.get(&service.id);
        if !concerns(service, networks) {
            changes.gone.extend(held.map(|held| Part::NoService(held.id.clone())));
            return;
        }
        let service = shown_service(service);
        if held.is_none_or(|held| **held != service) {
            changes.put.push(Part::Service(Arc::new(service)));
        }
    }

    fn follow_tasks(&self, wanted: &Assigned, changes: &mut Changes) {
        for (id, task) in &wanted.tasks {
            match self.shown.tasks.get(id) {
                Some(held) if Arc::ptr_eq(held, task) => {}
                Some(held) if only_status_differs(held, task) => {
                    changes.reported.push(task.clone());
                    changes.put.push(Part::Status(id.clone(), task.meta, task.status.clone()));
                }
                Some(_) | None => changes.put.push(Part::Task(task.clone())),
            }
        }
        let own = self.shown.tasks.values().filter(|task| task.node.as_ref() == Some(&self.node));
        let gone = own.filter(|task| !wanted.tasks.contains_key(&task.id));
        changes.gone.extend(gone.map(|task| Part::NoTask(task.id.clone())));
    }

    /// Tasks of other nodes that are on a network of this one.
    fn follow_neighbours(
        &self,
        state: &State,
        networks: &BTreeSet<NetworkId>,
        changes: &mut Changes,
    ) {
        let shown = &self.shown.tasks;
        let walk = self.walk(&self.source.tasks, &state.tasks, shown, networks);
        walk.changed.iter().for_each(|task| self.follow_neighbour(task, networks, changes));
        // Of its own the node has been told by what it must run.
        let others = walk.gone.into_iter().filter(|id| shown[id].node.as_ref() != Some(&self.node));
        changes.gone.extend(others.map(Part::NoTask));
    }

    fn follow_neighbour(&self, task: &Task, networks: &BTreeSet<NetworkId>, changes: &mut Changes) {
        if task.node.as_ref().is_none_or(|node| *node == self.node) {
            return;
        }
        let held = self.shown.tasks.get(&task.id);
        if !is_near(task, networks) {
            changes.gone.extend(held.map(|held| Part::NoTask(held.id.clone())));
            return;
        }
        let task = shown_task(task, networks);
        if held.is_none_or(|held| **held != task) {
            changes.put.push(Part::Task(Arc::new(task)));
        }
    }
}

/// Objects to look at, and those shown that are there no more.
struct Walk<K, T> {
    changed: Vec<Arc<T>>,
    gone: Vec<K>,
}

/// What is to be sent.
#[derive(Default)]
struct Changes {
    gone: Vec<Part>,
    put: Vec<Part>,
    /// Tasks of which only the status is sent.
    reported: Vec<Arc<Task>>,
}

impl Changes {
    fn into_parts(self) -> Vec<Part> {
        let Self { mut gone, put, reported: _ } = self;
        gone.extend(put);
        gone
    }

    fn differ<K: Ord + Clone, T: PartialEq>(
        &mut self,
        held: &OrdMap<K, Arc<T>>,
        wanted: &BTreeMap<K, Arc<T>>,
        put: fn(Arc<T>) -> Part,
        gone: fn(K) -> Part,
    ) {
        let differs = |id: &K, new: &Arc<T>| {
            held.get(id).is_none_or(|old| !Arc::ptr_eq(old, new) && old != new)
        };
        let newer = wanted.iter().filter(|(id, new)| differs(id, new));
        self.put.extend(newer.map(|(_, new)| put(new.clone())));
        let left = held.keys().filter(|id| !wanted.contains_key(*id));
        self.gone.extend(left.cloned().map(gone));
    }
}

/// Tells whether a task says the same but for what the node itself reported.
fn only_status_differs(old: &Task, new: &Task) -> bool {
    let same_spec = Arc::ptr_eq(&old.spec, &new.spec) || old.spec == new.spec;
    let as_old = |task: &Task| Task {
        meta: old.meta,
        status: old.status.clone(),
        spec: old.spec.clone(),
        ..task.clone()
    };
    same_spec && as_old(new) == *old
}

/// Which addresses are in use is for those to know who give them; parts that come in any order do not tell it.
fn gives_no_addresses(state: &mut State) {
    state.addresses.clear();
}

/// Tells whether two states may differ in what any node is shown.
pub fn may_differ(last: &State, next: &State) -> bool {
    let port = |state: &State| state.cluster.as_ref().map(|cluster| cluster.data_path_port);
    !(port(last) == port(next)
        && last.tasks.ptr_eq(&next.tasks)
        && last.nodes.ptr_eq(&next.nodes)
        && last.services.ptr_eq(&next.services)
        && last.networks.ptr_eq(&next.networks)
        && last.secrets.ptr_eq(&next.secrets)
        && last.configs.ptr_eq(&next.configs))
}

/// The view of a node as it comes in.
#[derive(Debug, Default)]
pub struct Incoming {
    state: State,
}

impl Incoming {
    /// Takes a part; what comes is shown only once all parts of a change are there.
    pub fn take(&mut self, part: Part) {
        part.put_into(&mut self.state);
    }

    /// Forgets everything: a whole view follows.
    pub fn begin_anew(&mut self) {
        self.state = State::default();
    }

    /// Ends a change, made from the state at `index`; returns what is shown from here on.
    pub fn shown(&mut self, index: u64) -> Arc<State> {
        self.state.index = index;
        gives_no_addresses(&mut self.state);
        Arc::new(self.state.clone())
    }
}
