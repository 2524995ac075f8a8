//! By which state every node leads packets: a task that is to stop goes on until nobody is led to it. Nodes are asked only
//! while somebody waits, and tell once for all who wait by then.

use skep_core::id::{NodeId, TaskId};
use skep_core::net::drain::leading;
use tokio::sync::watch;
use tonic::{Request, Status};

use super::Dispatcher;
use crate::rpc::proto::{AwaitRequest, AwaitResponse, InForceRequest, InForceResponse};
use crate::rpc::server::member_of;

/// What is asked and told of the state that packets are led by.
pub(super) struct InForce {
    /// Index of the newest state that somebody waits for.
    asked: watch::Sender<u64>,
    /// Counts what nodes told.
    told: watch::Sender<u64>,
    /// The index here.
    own: watch::Receiver<u64>,
}

impl InForce {
    pub(super) fn new(own: watch::Receiver<u64>) -> Self {
        Self { asked: watch::Sender::default(), told: watch::Sender::default(), own }
    }

    /// Returns what nodes are asked for.
    pub(super) fn asked(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    fn ask(&self, index: u64) {
        self.asked.send_if_modified(|asked| {
            let newer = index > *asked;
            *asked = index.max(*asked);
            newer
        });
    }
}

impl Dispatcher {
    /// Waits until every node that may lead packets to a task does so by the state of `index`, or a later one. Nodes that are
    /// down are not waited for.
    ///
    /// # Errors
    /// When this manager does not lead, or stops.
    pub async fn await_in_force(&self, task: &TaskId, index: u64) -> Result<(), Status> {
        let mut told = self.in_force.told.subscribe();
        let mut changed = self.changed.subscribe();
        let mut own = self.in_force.own.clone();
        self.in_force.ask(index);
        loop {
            told.borrow_and_update();
            changed.borrow_and_update();
            let is_behind = *own.borrow_and_update() < index;
            if !self.is_behind(task, index, is_behind)? {
                return Ok(());
            }
            let stops = || Status::unavailable("the manager stops");
            tokio::select! {
                news = told.changed() => news.map_err(|_| stops())?,
                news = changed.changed() => news.map_err(|_| stops())?,
                news = own.changed() => news.map_err(|_| stops())?,
                () = self.stop.cancelled() => return Err(stops()),
            }
        }
    }

    fn is_behind(&self, task: &TaskId, index: u64, own_is: bool) -> Result<bool, Status> {
        let state = self.raft.state();
        let nodes = state.tasks().get(task).map(|task| leading(&state, task)).unwrap_or_default();
        if own_is && nodes.contains(&self.node) {
            return self.lead(|_, _| true);
        }
        self.lead(|sessions, _| sessions.is_behind(&nodes, index))
    }

    /// Takes a node's word.
    pub(super) fn take_in_force(
        &self,
        request: Request<InForceRequest>,
    ) -> Result<InForceResponse, Status> {
        let node = member_of(&request)?.node;
        let InForceRequest { session_id, index } = request.into_inner();
        self.lead(|sessions, _| sessions.in_force(&node, &session_id, index))?
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.in_force.told.send_modify(|count| *count += 1);
        Ok(InForceResponse {})
    }

    /// Answers a node, for a task of its own, when all have told.
    pub(super) async fn answer_await(
        &self,
        request: Request<AwaitRequest>,
    ) -> Result<AwaitResponse, Status> {
        let node: NodeId = member_of(&request)?.node;
        let AwaitRequest { session_id, task_id, index } = request.into_inner();
        self.check(&node, &session_id)?;
        let task: TaskId = task_id.parse().map_err(|_| Status::invalid_argument("no task id"))?;
        let state = self.raft.state();
        if index > state.index() {
            return Err(Status::invalid_argument("no such state"));
        }
        if state.tasks().get(&task).is_some_and(|task| task.node.as_ref() != Some(&node)) {
            return Err(Status::permission_denied("the task is not this node's"));
        }
        self.await_in_force(&task, index).await?;
        Ok(AwaitResponse {})
    }
}
