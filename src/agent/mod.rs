//! One node's agent: runs what it is assigned and reports what came of it. Decides nothing.

pub mod files;
mod images;
pub mod link;
pub mod logs;
mod prepare;
pub mod relay;
pub mod status;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use skep_core::agent::{
    Found, NodeContext, Sight, compare, needed_networks, network_plan, recover, stale_files,
};
use skep_core::assign::Assigned;
use skep_core::id::{NetworkId, NodeId, TaskId};
use skep_core::model::network::Network;
use skep_core::model::task::{Task, TaskState};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::clock;
use crate::dataplane::{Drains, Endpoints};
use crate::engine::{Engine, EngineError, Wake};
use files::PayloadFiles;
use images::Images;
use status::{ReportSink, Reports};
use worker::{Input, Seen, Worker};

/// Most containers made or started at once.
const TURNS: usize = 12;

/// Time between two comparisons with the engine; only finds what no event told of.
const RESYNC: Duration = Duration::from_secs(5);

/// Waits between two tries to reach the engine, doubling from the first to the second.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Grace period for containers of no known task.
const GRACE_SECONDS: i64 = 10;

/// What an agent works with.
pub struct AgentDeps {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// This node.
    pub node: NodeId,
    /// What the node must run. `None` until that is known for sure: containers of tasks not in it are removed.
    pub assigned: watch::Receiver<Option<Arc<Assigned>>>,
    /// Where statuses go.
    pub reports: Arc<dyn ReportSink>,
    /// Where payloads are put.
    pub files: Arc<dyn PayloadFiles>,
    /// What tasks wait for before they stop.
    pub drains: Drains,
    /// The ends of networks in containers that users make.
    pub endpoints: Endpoints,
    /// Ends the agent; containers stay.
    pub shutdown: CancellationToken,
}

/// What workers share.
struct Shared {
    engine: Arc<dyn Engine>,
    node: NodeId,
    files: Arc<dyn PayloadFiles>,
    images: Images,
    reports: Reports,
    turns: Semaphore,
    /// Held while networks are made.
    ensuring: tokio::sync::Mutex<()>,
    /// Asks for unused networks to be removed.
    collect: Notify,
    context: Mutex<Option<NodeContext>>,
    drains: Drains,
    endpoints: Endpoints,
    shutdown: CancellationToken,
}

/// What is known of the containers of tasks that get a worker.
enum Containers {
    /// The engine was asked: those that tasks have.
    Found(BTreeMap<TaskId, String>),
    /// The tasks were assigned since.
    NoneYet,
    /// Nothing.
    Unknown,
}

struct WorkerHandle {
    input: watch::Sender<Input>,
    seen: Arc<Seen>,
}

/// The agent of one node.
pub struct Agent {
    shared: Arc<Shared>,
    assigned: watch::Receiver<Option<Arc<Assigned>>>,
    current: Arc<Assigned>,
    workers: BTreeMap<TaskId, WorkerHandle>,
    running: JoinSet<TaskId>,
    /// Leftover containers being removed.
    discards: JoinSet<String>,
    discarding: BTreeSet<String>,
    /// Networks that were needed when unused ones were last removed.
    needed: BTreeSet<NetworkId>,
    /// Whether the engine may have networks that are not needed.
    spare_networks: bool,
    /// Networks that stand without a task, as far as they were there or have just been begun.
    stand: BTreeSet<NetworkId>,
    /// Those being made.
    standing: JoinSet<()>,
}

impl Agent {
    /// Runs until shut down.
    pub async fn run(deps: AgentDeps) {
        let AgentDeps { engine, node, assigned, reports: sink, files, drains, endpoints, shutdown } =
            deps;
        let shared = Arc::new(Shared {
            images: Images::new(engine.clone()),
            engine,
            node,
            files,
            reports: Reports::default(),
            turns: Semaphore::new(TURNS),
            ensuring: tokio::sync::Mutex::new(()),
            collect: Notify::new(),
            context: Mutex::new(None),
            drains,
            endpoints,
            shutdown: shutdown.clone(),
        });
        let mut agent = Self {
            shared: shared.clone(),
            assigned,
            current: Arc::default(),
            workers: BTreeMap::new(),
            running: JoinSet::new(),
            discards: JoinSet::new(),
            discarding: BTreeSet::new(),
            needed: BTreeSet::new(),
            spare_networks: true,
            stand: BTreeSet::new(),
            standing: JoinSet::new(),
        };
        // Boxed for their size.
        let reporting = Box::pin(shared.reports.run(sink.as_ref(), &shutdown));
        let working = Box::pin(agent.work());
        tokio::join!(reporting, working);
        agent.finish().await;
    }

    /// Waits for the first assignment, then keeps a connection to the engine and works by it.
    async fn work(&mut self) {
        let shutdown = self.shared.shutdown.clone();
        let first = self.assigned.wait_for(Option::is_some);
        tokio::select! {
            found = first => if found.is_err() { return },
            () = shutdown.cancelled() => return,
        }
        let mut wait = RECONNECT.0;
        while !shutdown.is_cancelled() {
            match self.connect().await {
                Ok(events) => {
                    wait = RECONNECT.0;
                    self.serve(events).await;
                }
                Err(error) => warn!(%error, "engine cannot be reached"),
            }
            tokio::select! {
                () = clock::sleep(wait) => wait = (wait * 2).min(RECONNECT.1),
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// Subscribes first and lists then, so that nothing is missed between.
    async fn connect(&mut self) -> Result<BoxStream<'static, Wake>, EngineError> {
        let events = self.shared.engine.events(&self.shared.node).await?;
        let found = self.shared.engine.list(&self.shared.node).await?;
        *self.shared.context.lock() = None;
        info!(containers.count = found.len(), "engine reached");
        self.take_assignment();
        self.compare(&found);
        self.sync_workers(&Containers::Found(recover(&self.current, &found).adopt));
        self.wake(None);
        Ok(events)
    }

    async fn serve(&mut self, mut events: BoxStream<'static, Wake>) {
        let shared = self.shared.clone();
        let mut resync = tokio::time::interval(RESYNC);
        resync.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shared.shutdown.cancelled() => return,
                changed = self.assigned.changed() => {
                    if changed.is_err() {
                        return shared.shutdown.cancelled().await;
                    }
                    self.take_assignment();
                    self.sync_workers(&Containers::NoneYet);
                    self.collect_networks(false).await;
                }
                event = events.next() => match event {
                    Some(wake) => if !self.is_expected(&wake) {
                        self.wake(wake.task());
                    },
                    None => return,
                },
                Some(ended) = self.running.join_next() => {
                    if let Err(error) = ended {
                        warn!(%error, "worker broke down");
                    }
                    self.workers.retain(|_, worker| !worker.input.is_closed());
                    self.sync_workers(&Containers::Unknown);
                    self.collect_networks(self.spare_networks).await;
                }
                Some(ended) = self.discards.join_next() => {
                    if let Ok(container) = ended {
                        self.discarding.remove(&container);
                    }
                }
                Some(_) = self.standing.join_next() => {}
                () = shared.collect.notified() => self.collect_networks(true).await,
                _ = resync.tick() => self.resync().await,
            }
        }
    }

    fn take_assignment(&mut self) {
        if let Some(newest) = self.assigned.borrow_and_update().clone() {
            self.current = newest;
        }
    }

    /// Tells workers what is assigned, and starts one for each new task.
    fn sync_workers(&mut self, containers: &Containers) {
        let current = self.current.clone();
        for (id, worker) in &self.workers {
            let task = current.tasks.get(id).cloned();
            worker.input.send_if_modified(|input| {
                let changed = !same_input(input, task.as_deref(), &current);
                input.task = task;
                input.assigned = current.clone();
                changed
            });
        }
        for (id, task) in &current.tasks {
            if self.workers.contains_key(id) {
                continue;
            }
            debug!(task.id = %id, "task assigned");
            let input = Input { task: Some(task.clone()), assigned: current.clone(), wakes: 0 };
            let (sender, receiver) = watch::channel(input);
            let seen = Arc::new(Seen::default());
            let worker =
                Worker::new(self.shared.clone(), receiver, seen.clone(), Task::clone(task));
            let worker = match containers {
                Containers::Found(adopt) => worker.with_container(adopt.get(id).cloned()),
                Containers::NoneYet if task.status.state < TaskState::Preparing => {
                    worker.without_container()
                }
                Containers::NoneYet | Containers::Unknown => worker,
            };
            self.running.spawn(worker.run());
            self.workers.insert(id.clone(), WorkerHandle { input: sender, seen });
        }
    }

    /// Makes a task's worker look at its container, or all workers.
    fn wake(&self, task: Option<&TaskId>) {
        let look = |worker: &WorkerHandle| worker.input.send_modify(|input| input.wakes += 1);
        match task {
            Some(task) => {
                if let Some(worker) = self.workers.get(task) {
                    look(worker);
                }
            }
            None => self.workers.values().for_each(look),
        }
    }

    /// Tells whether an event tells a task's worker nothing new, as it comes of what the worker does itself.
    fn is_expected(&self, wake: &Wake) -> bool {
        let seen = |task: &TaskId| self.workers.get(task).map(|worker| &worker.seen);
        match wake {
            Wake::Made(Some(task)) => seen(task).is_some_and(|seen| seen.knows_container()),
            Wake::Started(Some(task)) => seen(task).is_some_and(|seen| seen.is_acting()),
            Wake::Made(None) | Wake::Started(None) | Wake::Changed(_) => false,
        }
    }

    async fn resync(&mut self) {
        match self.shared.engine.list(&self.shared.node).await {
            Ok(found) => {
                self.compare(&found);
                self.collect_networks(true).await;
            }
            Err(error) => debug!(%error, "containers not listed"),
        }
    }

    /// Wakes workers that saw something else last, and removes containers and files of tasks that are nobody's.
    fn compare(&mut self, found: &[Found]) {
        let sights: BTreeMap<TaskId, Sight> =
            self.workers.iter().map(|(id, worker)| (id.clone(), worker.seen.sight())).collect();
        let comparison = compare(&self.current, &sights, found);
        for task in &comparison.look {
            self.wake(Some(task));
        }
        for leftover in comparison.discard {
            if self.discarding.insert(leftover.container.clone()) {
                info!(container.id = %leftover.container, "removing a container of no task");
                self.discards.spawn(discard(self.shared.clone(), leftover, self.current.clone()));
            }
        }
        let files = self.shared.files.list().unwrap_or_default();
        for task in stale_files(&self.current, &sights, found, files) {
            self.shared.remove_files(&task);
        }
    }

    /// Removes networks that no task needs. Runs between changes of the assignment, so no new task can need them yet.
    async fn collect_networks(&mut self, always: bool) {
        let needed = needed_networks(&self.current, &self.shared.node);
        self.make_standing();
        if !always && needed.is_superset(&self.needed) {
            self.needed = needed;
            return;
        }
        self.needed = needed;
        self.spare_networks = true;
        let Ok(held) = self.shared.engine.networks(&self.shared.node).await else { return };
        let is_there = |id: &NetworkId| held.iter().any(|it| it.network.as_ref() == Some(id));
        self.stand.retain(is_there);
        self.make_standing();
        let mut kept = false;
        for network in held {
            if network.network.as_ref().is_some_and(|id| self.needed.contains(id)) {
                continue;
            }
            // Refused while containers use it; a later look removes it then.
            match self.shared.engine.remove_network(&network.engine_id).await {
                Ok(()) => info!(network.id = ?network.network, "unused network removed"),
                Err(error) => {
                    kept = true;
                    debug!(%error, "unused network kept");
                }
            }
        }
        self.spare_networks = kept;
    }

    /// Makes networks that are needed without a task, each in its own time.
    fn make_standing(&mut self) {
        for network in self.current.standing(&self.shared.node) {
            if self.stand.insert(network.id.clone()) {
                self.standing.spawn(stand(self.shared.clone(), network.clone()));
            }
        }
    }

    /// Lets workers end by themselves; they stop at the next point where nothing is half done.
    async fn finish(&mut self) {
        self.discards.abort_all();
        self.standing.abort_all();
        while self.running.join_next().await.is_some() {}
    }
}

/// Tells whether a worker would do the same with both.
fn same_input(held: &Input, task: Option<&Task>, assigned: &Assigned) -> bool {
    let (Some(old), Some(new)) = (held.task.as_deref(), task) else {
        return held.task.is_none() && task.is_none();
    };
    let networks_same = new.networks.iter().all(|wanted| {
        let id = &wanted.network.id;
        held.assigned.networks.get(id) == assigned.networks.get(id)
    });
    networks_same
        && (std::ptr::eq(old, new)
            || (old.desired == new.desired && old.status.state == new.status.state))
}

/// Makes a network; the next comparison with the engine finds whether it is there.
async fn stand(shared: Arc<Shared>, network: Arc<Network>) {
    let Ok(Some(plan)) = network_plan(&network, &shared.node) else { return };
    let _ensuring = shared.ensuring.lock().await;
    if let Err(error) = shared.engine.ensure_network(&plan).await {
        warn!(network.id = %network.id, %error, "network of the routing mesh not made");
    }
}

/// Stops and removes a container that belongs to no assigned task.
async fn discard(shared: Arc<Shared>, leftover: Found, current: Arc<Assigned>) -> String {
    let removed = remove_container(shared.engine.as_ref(), &leftover).await;
    if let Err(error) = removed {
        debug!(container.id = %leftover.container, %error, "leftover container kept");
    } else if let Some(task) = leftover.task.filter(|task| !current.tasks.contains_key(task)) {
        shared.remove_files(&task);
    }
    leftover.container
}

async fn remove_container(engine: &dyn Engine, found: &Found) -> Result<(), EngineError> {
    if found.running {
        engine.stop(&found.container, GRACE_SECONDS).await?;
    }
    engine.remove(&found.container).await
}

/// Removes everything made for a node that has left its cluster: containers, networks, files.
pub async fn clear(
    engine: &dyn Engine,
    node: &NodeId,
    files: &dyn PayloadFiles,
) -> Result<(), EngineError> {
    let found = engine.list(node).await?;
    // Without grace, as users of `swarm leave` expect: nobody is left to wait for.
    let removals = found.iter().map(|found| engine.remove(&found.container));
    let outcomes = futures_util::future::join_all(removals).await;
    for network in engine.networks(node).await? {
        engine.remove_network(&network.engine_id).await?;
    }
    if let Err(error) = files.dissolve() {
        warn!(%error, "the place of secrets and configs not removed");
    }
    outcomes.into_iter().collect()
}
