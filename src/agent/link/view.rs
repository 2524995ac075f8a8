//! Takes what the leader shows this node: whole at first, then what changes. A manager, which has a copy of the state, is
//! asked alone how far it is.

use std::sync::Arc;

use http::uri::PathAndQuery;
use skep_core::error::chain;
use skep_core::state::State;
use skep_core::view::{Incoming, Part};
use tokio::sync::watch;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::session::Open;
use crate::rpc::proto::{FollowRequest, ViewMessage};

/// Follows until the stream ends; returns why it did. What was shown stays what is known; `asked` takes the index that the
/// leader wants to hear of.
pub(super) async fn follow(
    open: &Open,
    views: Option<&watch::Sender<Arc<State>>>,
    asked: &watch::Sender<u64>,
) -> Status {
    let mut incoming = Incoming::default();
    let mut messages = match ask(open, views.is_none()).await {
        Ok(messages) => messages,
        Err(status) => return status,
    };
    loop {
        let message = match messages.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Status::unavailable("the leader shows no more"),
            Err(status) => return status,
        };
        if let Some(views) = views {
            match take(&mut incoming, &message) {
                Ok(Some(state)) => drop(views.send_replace(state)),
                Ok(None) => {}
                Err(status) => return status,
            }
        }
        if message.asked {
            asked.send_replace(message.index);
        }
    }
}

async fn ask(open: &Open, is_manager: bool) -> Result<Streaming<ViewMessage>, Status> {
    let request = Request::new(FollowRequest { session_id: open.id.clone(), is_manager });
    let path = PathAndQuery::from_static("/skep.v1.Agent/Follow");
    let codec = ProstCodec::<FollowRequest, ViewMessage>::default();
    let answer = open.grpc().await?.server_streaming(request, path, codec).await?;
    Ok(answer.into_inner())
}

/// Takes a message; returns what is shown once a change is complete.
fn take(incoming: &mut Incoming, message: &ViewMessage) -> Result<Option<Arc<State>>, Status> {
    if message.anew {
        incoming.begin_anew();
    }
    for bytes in &message.parts {
        let part: Part =
            skep_raft::decode(bytes).map_err(|error| Status::internal(chain(&error)))?;
        incoming.take(part);
    }
    Ok(message.complete.then(|| incoming.shown(message.index)))
}
