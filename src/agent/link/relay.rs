//! Connects those who want to reach a task's container with this node's engine: the leader tells of each, and this node, which
//! may be out of reach itself, connects to it. A connection a relay, so that one that is slow holds up nothing else.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use skep_core::id::TaskId;
use skep_core::model::task::Task;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;
use tracing::debug;

use super::session::{Open, Way};
use crate::rpc::line::Line;
use crate::rpc::proto::{ListenRelaysRequest, RelayWish};

/// How long to wait for a task that is asked for and not known here yet.
const TASK_WAIT: Duration = Duration::from_secs(3);

/// Serves wishes until the session ends; returns why it did. What was begun goes on beyond: a new leader breaks off nothing.
pub(super) async fn serve(way: &Arc<Way>, open: &Open) -> Status {
    let mut wishes = match ask(open).await {
        Ok(wishes) => wishes,
        Err(status) if status.code() == Code::Unimplemented => std::future::pending().await,
        Err(status) => return status,
    };
    loop {
        let wish = match wishes.message().await {
            Ok(Some(wish)) => wish,
            Ok(None) => return Status::unavailable("nobody asks for containers any more"),
            Err(status) => return status,
        };
        let (way, address) = (way.clone(), open.address.clone());
        // Ends with the line, or when this node stops.
        tokio::spawn(async move {
            if let Err(status) = Box::pin(answer(&way, &address, wish)).await {
                debug!(reason = status.message(), "a container could not be reached");
            }
        });
    }
}

async fn ask(open: &Open) -> Result<Streaming<RelayWish>, Status> {
    let path = PathAndQuery::from_static("/skep.v1.Relay/Listen");
    let codec = ProstCodec::<ListenRelaysRequest, RelayWish>::default();
    let request = Request::new(ListenRelaysRequest {});
    let answer = open.grpc().await?.server_streaming(request, path, codec).await?;
    Ok(answer.into_inner())
}

async fn answer(way: &Way, address: &str, wish: RelayWish) -> Result<(), Status> {
    let path = PathAndQuery::from_static("/skep.v1.Relay/Serve");
    let task = wish.task_id.parse().map_err(|_| Status::not_found("no task"))?;
    let task = find(way, &task).await.ok_or_else(|| Status::not_found("the task is not here"))?;
    let line = Line::dial(address, &way.tls, path, &wish.id).await?;
    way.relays.clone().serve(line, task).await;
    Ok(())
}

async fn find(way: &Way, task: &TaskId) -> Option<Arc<Task>> {
    let mut states = way.states.clone();
    let known = states.wait_for(|state| state.tasks().contains_key(task));
    let state = tokio::time::timeout(TASK_WAIT, known).await.ok()?.ok()?;
    state.tasks().get(task).cloned()
}
