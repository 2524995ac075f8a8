//! Sends the output of this node's tasks where it is wanted: the leader asks for one task at a time. Keeps none.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, FuturesUnordered};
use http::uri::PathAndQuery;
use skep_api::backend::{LogItem, LogOptions};
use skep_core::id::TaskId;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;
use tracing::debug;

use super::session::{Open, Way};
use crate::agent::logs::task_logs;
use crate::rpc::convert;
use crate::rpc::proto::{
    ListenSubscriptionsRequest, PublishLogsMessage, PublishLogsResponse, SubscriptionMessage,
};

/// Tasks read at once; what is asked for beyond is answered with nothing.
const READERS_MAX: usize = 256;

/// How long to wait for a task that is asked for and not known here yet.
const TASK_WAIT: Duration = Duration::from_secs(3);

/// Serves wishes until the session ends; returns why it did.
pub(super) async fn serve(way: &Way, open: &Open) -> Status {
    let mut wishes = match ask(open).await {
        Ok(wishes) => wishes,
        Err(status) if status.code() == Code::Unimplemented => std::future::pending().await,
        Err(status) => return status,
    };
    let mut readers = FuturesUnordered::new();
    let mut ends: BTreeMap<String, CancellationToken> = BTreeMap::new();
    loop {
        tokio::select! {
            wish = wishes.message() => match wish {
                Ok(Some(wish)) if wish.close => {
                    if let Some(end) = ends.remove(&wish.id) {
                        end.cancel();
                    }
                }
                Ok(Some(wish)) => {
                    let end = CancellationToken::new();
                    ends.insert(wish.id.clone(), end.clone());
                    let empty = readers.len() >= READERS_MAX;
                    readers.push(Box::pin(answer(way, open, wish, end, empty)));
                }
                Ok(None) => return Status::unavailable("nobody asks for output any more"),
                Err(status) => return status,
            },
            Some(id) = readers.next() => drop(ends.remove(&id)),
        }
    }
}

async fn ask(open: &Open) -> Result<Streaming<SubscriptionMessage>, Status> {
    let path = PathAndQuery::from_static("/docker.swarmkit.v1.LogBroker/ListenSubscriptions");
    let codec = ProstCodec::<ListenSubscriptionsRequest, SubscriptionMessage>::default();
    let request = Request::new(ListenSubscriptionsRequest {});
    let answer = open.grpc().await?.server_streaming(request, path, codec).await?;
    Ok(answer.into_inner())
}

/// Sends what one wish is for; returns its id.
async fn answer(
    way: &Way,
    open: &Open,
    wish: SubscriptionMessage,
    end: CancellationToken,
    empty: bool,
) -> String {
    let id = wish.id;
    let tasks = wish.selector.unwrap_or_default().task_ids;
    let task = tasks.first().and_then(|task| task.parse().ok()).filter(|_| !empty);
    let options = convert::log_options(wish.options.unwrap_or_default());
    let lines = match task {
        Some(task) => read(way, &task, &options).await,
        None => stream::empty().boxed(),
    };
    let subscription = id.clone();
    let messages = lines.filter_map(move |item| {
        let message = match item {
            LogItem::Line(line) => Some(PublishLogsMessage {
                subscription_id: subscription.clone(),
                messages: vec![convert::wire_line(line)],
                close: false,
            }),
            LogItem::Problem(text) => {
                debug!(reason = %text, "output of a task broke off");
                None
            }
        };
        std::future::ready(message)
    });
    let close =
        PublishLogsMessage { subscription_id: id.clone(), messages: Vec::new(), close: true };
    let messages = messages.take_until(end.cancelled_owned());
    let messages = messages.chain(stream::iter([close])).boxed();
    if let Err(status) = publish(open, messages).await {
        debug!(reason = status.message(), "output of a task was not taken");
    }
    id
}

async fn read(way: &Way, task: &TaskId, options: &LogOptions) -> BoxStream<'static, LogItem> {
    let mut states = way.states.clone();
    let known = states.wait_for(|state| state.tasks().contains_key(task));
    let found = match tokio::time::timeout(TASK_WAIT, known).await {
        Ok(Ok(state)) => state.tasks().get(task).cloned(),
        Ok(Err(_)) | Err(_) => None,
    };
    let Some(task) = found else { return stream::empty().boxed() };
    task_logs(&way.engine, &way.node, &task, options).await
}

async fn publish(
    open: &Open,
    messages: BoxStream<'static, PublishLogsMessage>,
) -> Result<(), Status> {
    let path = PathAndQuery::from_static("/docker.swarmkit.v1.LogBroker/PublishLogs");
    let codec = ProstCodec::<PublishLogsMessage, PublishLogsResponse>::default();
    let mut grpc = open.grpc().await?;
    grpc.client_streaming(Request::new(messages), path, codec).await.map(drop)
}
