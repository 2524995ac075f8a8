//! Gathers the output of tasks into one stream: from the engine of this node, from nodes that have a session here, and by way
//! of the leader from all others.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use skep_api::backend::{LogItem, LogOptions, LogSelector};
use skep_core::id::{NodeId, TaskId};
use skep_core::model::task::{Task, TaskState};
use skep_core::state::State;
use skep_raft::RaftNode;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::log_broker::LogBroker;
use super::log_relay;
use crate::agent::logs::task_logs;
use crate::engine::Engine;
use crate::rpc::tls::Tls;

/// Lines under way to a slow client, over all tasks of a stream.
const LINES_MAX: usize = 256;

/// The ways to the output of tasks.
pub struct Reader {
    /// Consensus, for who leads and what there is.
    pub raft: Arc<RaftNode>,
    /// This node.
    pub node: NodeId,
    /// Its engine.
    pub engine: Arc<dyn Engine>,
    /// The nodes that have a session here, while this node leads.
    pub broker: Arc<LogBroker>,
    /// The credentials for calls to the leader.
    pub tls: Arc<Tls>,
}

/// Streams what the selected tasks wrote; when following, tasks that come later too.
pub fn logs(
    reader: Arc<Reader>,
    selector: LogSelector,
    options: LogOptions,
) -> BoxStream<'static, LogItem> {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    // The gathering task ends when the client goes, the member stops or everything was said.
    tokio::spawn(gather(reader, selector, options, sender));
    stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    })
    .boxed()
}

async fn gather(
    reader: Arc<Reader>,
    selector: LogSelector,
    options: LogOptions,
    sender: mpsc::Sender<LogItem>,
) {
    let mut states = reader.raft.watch();
    let mut begun = BTreeSet::new();
    let mut readers = JoinSet::new();
    loop {
        let state = states.borrow_and_update().clone();
        for task in selected(&state, &selector) {
            if is_readable(&task) && begun.insert(task.id.clone()) {
                let (reader, options, sender) = (reader.clone(), options.clone(), sender.clone());
                readers.spawn(async move { reader.read(&task, &options, &sender).await });
            }
        }
        if !options.follow || is_gone(&state, &selector) {
            break;
        }
        tokio::select! {
            changed = states.changed() => if changed.is_err() { break },
            () = sender.closed() => return,
        }
    }
    tokio::select! {
        () = async { while readers.join_next().await.is_some() {} } => {}
        () = sender.closed() => {}
    }
}

impl Reader {
    /// Passes on what one task wrote.
    pub async fn read(&self, task: &Task, options: &LogOptions, sender: &mpsc::Sender<LogItem>) {
        match task.node.as_ref().filter(|node| **node != self.node) {
            None => self.read_here(task, options, sender).await,
            Some(node) if self.raft.is_leader() => {
                self.read_from(task, node, options, sender).await;
            }
            Some(node) => log_relay::read(self, task, node, options, sender).await,
        }
    }

    async fn read_here(&self, task: &Task, options: &LogOptions, sender: &mpsc::Sender<LogItem>) {
        let mut items = task_logs(&self.engine, &self.node, task, options).await;
        loop {
            tokio::select! {
                item = items.next() => match item {
                    Some(item) => if sender.send(item).await.is_err() { return },
                    None => return,
                },
                () = sender.closed() => return,
            }
        }
    }

    /// Passes on what a task of a node wrote that has a session here.
    async fn read_from(
        &self,
        task: &Task,
        node: &NodeId,
        options: &LogOptions,
        sender: &mpsc::Sender<LogItem>,
    ) {
        let mut reading = self.broker.read(task, node, options);
        loop {
            let item = tokio::select! {
                item = reading.next() => item,
                () = sender.closed() => return,
            };
            let Some(item) = item else { return };
            if is_wanted(&item, options) && sender.send(item).await.is_err() {
                return;
            }
        }
    }
}

/// Nodes send both streams.
pub fn is_wanted(item: &LogItem, options: &LogOptions) -> bool {
    match item {
        LogItem::Line(line) if line.stderr => options.stderr,
        LogItem::Line(_) => options.stdout,
        LogItem::Problem(_) => true,
    }
}

/// Returns the selected tasks, oldest first, so that their lines come in an order that makes sense.
fn selected(state: &State, selector: &LogSelector) -> Vec<Arc<Task>> {
    let mut tasks: Vec<_> = match selector {
        LogSelector::Service(service) => state.service_tasks(service).cloned().collect(),
        LogSelector::Task(task) => state.tasks().get(task).cloned().into_iter().collect(),
    };
    let key = |task: &Arc<Task>| -> (_, TaskId) { (task.meta.created_at, task.id.clone()) };
    tasks.sort_by_key(key);
    tasks
}

/// Tells whether a task has, or had, a container to read from.
fn is_readable(task: &Task) -> bool {
    task.status.container.is_some() && task.status.state != TaskState::Rejected
        || task.status.state == TaskState::Running
}

/// Tells whether nothing more can come: the service, or the one task, is gone.
fn is_gone(state: &State, selector: &LogSelector) -> bool {
    match selector {
        LogSelector::Service(service) => !state.services().contains_key(service),
        LogSelector::Task(task) => {
            state.tasks().get(task).is_none_or(|task| task.status.state.is_terminal())
        }
    }
}
