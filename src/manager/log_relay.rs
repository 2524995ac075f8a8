//! The service `skep.v1.Logs`: other managers ask the leader for the output of tasks on nodes, which have their session with it.
//! Keeps no line.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use http::uri::PathAndQuery;
use skep_api::backend::{LogItem, LogOptions};
use skep_core::id::{NodeId, TaskId};
use skep_core::model::task::Task;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::streams::{Reader, is_wanted};
use crate::rpc::client::{Trust, channel};
use crate::rpc::convert;
use crate::rpc::glue::{Messages, RpcService, server_streaming, unimplemented};
use crate::rpc::proto::{ReadLogsMessage, ReadLogsRequest};

/// Lines of one task under way.
const LINES_MAX: usize = 64;

/// How long the leader may take to begin.
const BEGIN_LIMIT: Duration = Duration::from_secs(10);

/// How long a task may take to be known at the leader. It is as new as what the asker has seen.
const TASK_LIMIT: Duration = Duration::from_secs(5);

/// `skep.v1.Logs`.
pub struct LogRelay(pub Arc<Reader>);

#[async_trait]
impl RpcService for LogRelay {
    fn name(&self) -> &'static str {
        "skep.v1.Logs"
    }

    async fn call(&self, method: &str, request: http::Request<Body>) -> http::Response<Body> {
        match method {
            "Read" => server_streaming(request, |asked| serve(self.0.clone(), asked)).await,
            _ => unimplemented(),
        }
    }
}

async fn serve(
    reader: Arc<Reader>,
    request: Request<ReadLogsRequest>,
) -> Result<Messages<ReadLogsMessage>, Status> {
    let asked = request.into_inner();
    if !reader.raft.is_leader() {
        return Err(Status::unavailable("this manager does not lead"));
    }
    let unknown = || Status::not_found("the task is not known");
    let id: TaskId = asked.task_id.parse().map_err(|_| unknown())?;
    let options = convert::log_options(asked.options.unwrap_or_default());
    let mut states = reader.raft.watch();
    let known = states.wait_for(|state| state.tasks().contains_key(&id));
    let found = match tokio::time::timeout(TASK_LIMIT, known).await {
        Ok(Ok(state)) => state.tasks().get(&id).cloned(),
        Ok(Err(_)) | Err(_) => None,
    };
    let task = found.ok_or_else(unknown)?;
    let (sender, lines) = mpsc::channel(LINES_MAX);
    // Ends when the asker goes, the node says that there is no more, or the member stops.
    tokio::spawn(async move { reader.read(&task, &options, &sender).await });
    let lines = stream::unfold(lines, |mut lines| async move {
        lines.recv().await.map(|item| (Ok(wire(item)), lines))
    });
    Ok(lines.boxed())
}

fn wire(item: LogItem) -> ReadLogsMessage {
    match item {
        LogItem::Line(line) => {
            ReadLogsMessage { line: Some(convert::wire_line(line)), problem: String::new() }
        }
        LogItem::Problem(problem) => ReadLogsMessage { line: None, problem },
    }
}

/// Passes on what a task of another node wrote, by way of the leader.
pub(super) async fn read(
    reader: &Reader,
    task: &Task,
    node: &NodeId,
    options: &LogOptions,
    sender: &mpsc::Sender<LogItem>,
) {
    let ended = tokio::select! {
        ended = pass_on(reader, task, node, options, sender) => ended,
        () = sender.closed() => return,
    };
    if let Err(status) = ended {
        let text = format!("node {node} is not available: {}", status.message());
        // Nobody is there to read it otherwise.
        let _gone = sender.send(LogItem::Problem(text)).await;
    }
}

async fn pass_on(
    reader: &Reader,
    task: &Task,
    node: &NodeId,
    options: &LogOptions,
    sender: &mpsc::Sender<LogItem>,
) -> Result<(), Status> {
    let asking = tokio::time::timeout(BEGIN_LIMIT, Box::pin(ask(reader, task, options)));
    let mut lines =
        asking.await.map_err(|_| Status::deadline_exceeded("the leader does not answer"))??;
    while let Some(message) = lines.message().await? {
        let item = match message.line {
            Some(line) => {
                convert::log_line(line, &task.id, task.service.as_ref(), node).map(LogItem::Line)
            }
            None => Some(LogItem::Problem(message.problem)),
        };
        if let Some(item) = item.filter(|item| is_wanted(item, options))
            && sender.send(item).await.is_err()
        {
            break;
        }
    }
    Ok(())
}

async fn ask(
    reader: &Reader,
    task: &Task,
    options: &LogOptions,
) -> Result<Streaming<ReadLogsMessage>, Status> {
    let leader = reader.raft.leadership().borrow().leader;
    let address = leader.and_then(|id| reader.raft.members().addresses.get(&id).cloned());
    let address = address.ok_or_else(|| Status::unavailable("the swarm does not have a leader"))?;
    let channel = channel(&address, Trust::Mutual(reader.tls.clone()))
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
    let options = convert::subscription("", &task.id, options).options;
    let request = Request::new(ReadLogsRequest { task_id: task.id.to_string(), options });
    let path = PathAndQuery::from_static("/skep.v1.Logs/Read");
    let codec = ProstCodec::<ReadLogsRequest, ReadLogsMessage>::default();
    Ok(grpc.server_streaming(request, path, codec).await?.into_inner())
}
