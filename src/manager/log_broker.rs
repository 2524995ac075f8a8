//! The service `LogBroker`: asks nodes for the output of their tasks and passes the lines on. Keeps none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use parking_lot::Mutex;
use skep_api::backend::{LogItem, LogOptions};
use skep_core::id::{NodeId, ServiceId, TaskId};
use skep_core::model::node::NodeState;
use skep_core::model::task::Task;
use skep_core::state::State;
use skep_raft::RaftNode;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Request, Status, Streaming};

use crate::clock;
use crate::rpc::convert;
use crate::rpc::glue::{Messages, RpcService, client_streaming, server_streaming, unimplemented};
use crate::rpc::proto;
use crate::rpc::server::member_of;

/// Lines of one task under way.
const LINES_MAX: usize = 64;

/// How long a node may be silent that was asked for what there is.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What is wanted of nodes.
pub struct LogBroker {
    raft: Arc<RaftNode>,
    wanted: Mutex<BTreeMap<String, Wanted>>,
    /// Counts changes of `wanted`.
    changed: watch::Sender<u64>,
    stop: CancellationToken,
}

/// One task's output that somebody reads.
struct Wanted {
    node: NodeId,
    task: TaskId,
    service: Option<ServiceId>,
    asked: proto::SubscriptionMessage,
    /// Gone once the node said that there is no more.
    lines: Option<mpsc::Sender<LogItem>>,
}

/// The reading end. Dropping it tells the node to stop.
pub struct Reading {
    broker: Arc<LogBroker>,
    id: String,
    node: NodeId,
    lines: mpsc::Receiver<LogItem>,
    states: watch::Receiver<Arc<State>>,
    follow: bool,
    is_over: bool,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.broker.wanted.lock().remove(&self.id);
        self.broker.note_change();
    }
}

impl LogBroker {
    /// Prepares to ask nodes.
    pub fn new(raft: Arc<RaftNode>, stop: CancellationToken) -> Arc<Self> {
        let changed = watch::channel(0).0;
        Arc::new(Self { raft, wanted: Mutex::default(), changed, stop })
    }

    fn note_change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Asks a task's node for its output.
    pub fn read(self: &Arc<Self>, task: &Task, node: &NodeId, options: &LogOptions) -> Reading {
        let id = NodeId::from_entropy(clock::entropy()).to_string();
        let (sender, lines) = mpsc::channel(LINES_MAX);
        let wanted = Wanted {
            node: node.clone(),
            task: task.id.clone(),
            service: task.service.clone(),
            asked: convert::subscription(&id, &task.id, options),
            lines: Some(sender),
        };
        self.wanted.lock().insert(id.clone(), wanted);
        self.note_change();
        Reading {
            broker: self.clone(),
            id,
            node: node.clone(),
            lines,
            states: self.raft.watch(),
            follow: options.follow,
            is_over: false,
        }
    }

    /// Returns what a node is to be told: wishes it does not know and the ends of those it knows.
    fn news(&self, node: &NodeId, known: &mut Vec<String>) -> Option<proto::SubscriptionMessage> {
        let wanted = self.wanted.lock();
        if let Some(place) = known.iter().position(|id| !wanted.contains_key(id)) {
            return Some(convert::unsubscription(&known.swap_remove(place)));
        }
        let mut of_node = wanted.iter().filter(|(_, wanted)| wanted.node == *node);
        let (id, wish) = of_node.find(|(id, _)| !known.contains(id))?;
        known.push(id.clone());
        Some(wish.asked.clone())
    }

    fn listen(
        self: Arc<Self>,
        request: &Request<proto::ListenSubscriptionsRequest>,
    ) -> Result<Messages<proto::SubscriptionMessage>, Status> {
        let node = member_of(request)?.node;
        let changed = self.changed.subscribe();
        let start = (self, node, changed, Vec::new());
        Ok(Box::pin(stream::unfold(Some(start), |held| async move {
            let (broker, node, mut changed, mut known) = held?;
            loop {
                changed.borrow_and_update();
                if let Some(message) = broker.news(&node, &mut known) {
                    return Some((Ok(message), Some((broker, node, changed, known))));
                }
                tokio::select! {
                    news = changed.changed() => if news.is_err() { return None },
                    () = broker.stop.cancelled() => {
                        return Some((Err(Status::unavailable("the manager stops")), None));
                    }
                }
            }
        })))
    }

    async fn publish(
        &self,
        request: Request<Streaming<proto::PublishLogsMessage>>,
    ) -> Result<proto::PublishLogsResponse, Status> {
        let node = member_of(&request)?.node;
        let mut messages = request.into_inner();
        let mut last = None;
        while let Some(message) = messages.message().await? {
            let id = message.subscription_id.clone();
            self.pass_on(&node, message).await?;
            last = Some(id);
        }
        if let Some(id) = last {
            self.end(&node, &id);
        }
        Ok(proto::PublishLogsResponse {})
    }

    async fn pass_on(
        &self,
        node: &NodeId,
        message: proto::PublishLogsMessage,
    ) -> Result<(), Status> {
        let id = message.subscription_id;
        let found =
            self.wanted.lock().get(&id).filter(|wanted| wanted.node == *node).and_then(|wanted| {
                Some((wanted.lines.clone()?, wanted.task.clone(), wanted.service.clone()))
            });
        let Some((lines, task, service)) = found else {
            return Err(Status::not_found("nobody reads this"));
        };
        for line in message.messages {
            let line = convert::log_line(line, &task, service.as_ref(), node);
            if let Some(line) = line
                && lines.send(LogItem::Line(line)).await.is_err()
            {
                return Err(Status::not_found("nobody reads this any more"));
            }
        }
        if message.close {
            self.end(node, &id);
        }
        Ok(())
    }

    fn end(&self, node: &NodeId, id: &str) {
        if let Some(wanted) = self.wanted.lock().get_mut(id).filter(|wanted| wanted.node == *node) {
            wanted.lines = None;
        }
    }
}

impl Reading {
    /// Returns the next line; a reason if no more will come although there may be more; then `None`.
    pub async fn next(&mut self) -> Option<LogItem> {
        if self.is_over {
            return None;
        }
        let waiting = async {
            if self.follow { std::future::pending().await } else { clock::sleep(ANSWER_MAX).await }
        };
        let node = self.node.clone();
        let lost = self.states.wait_for(|state| !is_there(state, &node));
        let problem = tokio::select! {
            biased;
            item = self.lines.recv() => return item,
            () = waiting => "does not answer",
            _ = lost => "is not available",
        };
        self.is_over = true;
        Some(LogItem::Problem(format!("node {} {problem}", self.node)))
    }
}

fn is_there(state: &State, node: &NodeId) -> bool {
    state.nodes().get(node).is_some_and(|node| match node.status.state {
        NodeState::Ready => true,
        NodeState::Unknown | NodeState::Down | NodeState::Disconnected => false,
    })
}

/// `docker.swarmkit.v1.LogBroker`.
pub struct LogService(pub Arc<LogBroker>);

#[async_trait]
impl RpcService for LogService {
    fn name(&self) -> &'static str {
        "docker.swarmkit.v1.LogBroker"
    }

    async fn call(&self, method: &str, request: http::Request<Body>) -> http::Response<Body> {
        let broker = &self.0;
        match method {
            "ListenSubscriptions" => {
                server_streaming(request, |asked| {
                    let listening = broker.clone().listen(&asked);
                    async { listening }
                })
                .await
            }
            "PublishLogs" => client_streaming(request, |lines| broker.publish(lines)).await,
            _ => unimplemented(),
        }
    }
}
