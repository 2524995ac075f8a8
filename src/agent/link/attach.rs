//! Asks the managers for addresses of containers that users make here, and gives them back.

use std::time::Duration;

use http::uri::PathAndQuery;
use skep_api::backend::{Attachment, BackendError};
use skep_api::error::Code;
use skep_core::id::TaskId;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::session::{Open, Way};
use crate::rpc::convert;
use crate::rpc::proto::{
    AttachNetworkRequest, AttachNetworkResponse, DetachNetworkRequest, DetachNetworkResponse,
};

/// How long to try, over sessions that end: longer than it takes until another manager leads.
const ATTACH_LIMIT: Duration = Duration::from_secs(15);

/// How long a container's end waits for its address to be given back. The agent sees to what takes longer.
const DETACH_LIMIT: Duration = Duration::from_secs(3);

/// Takes an address in the session there is or the next ones. Where a session ends before it answers, the manager may have given
/// one already; that goes with the container.
///
/// # Errors
/// The manager's refusal, or that none answers.
pub async fn attach(way: &Way, wanted: &Attachment) -> Result<TaskId, BackendError> {
    let trying = Box::pin(async {
        let mut sessions = way.open.subscribe();
        loop {
            let open = sessions.wait_for(Option::is_some).await.ok().and_then(|it| it.clone());
            let open = open.ok_or_else(|| Status::unavailable("the node stops"))?;
            match ask_to_attach(&open, wanted).await {
                Err(status) if status.code() == tonic::Code::Unavailable => {
                    let ended = sessions.changed().await;
                    ended.map_err(|_| Status::unavailable("the node stops"))?;
                }
                answered => return answered,
            }
        }
    });
    let unanswered = || Status::unavailable("no manager answers");
    let answered = tokio::time::timeout(ATTACH_LIMIT, trying).await;
    answered.unwrap_or_else(|_| Err(unanswered())).map_err(|status| refusal(&status))
}

async fn ask_to_attach(open: &Open, wanted: &Attachment) -> Result<TaskId, Status> {
    let path = PathAndQuery::from_static("/docker.swarmkit.v1.ResourceAllocator/AttachNetwork");
    let codec = ProstCodec::<AttachNetworkRequest, AttachNetworkResponse>::default();
    let request = Request::new(convert::wire_attachment(wanted));
    let answer = open.grpc().await?.unary(request, path, codec).await?.into_inner();
    answer.attachment_id.parse().map_err(|_| Status::internal("the attachment has no id"))
}

/// Gives back what a task holds, if there is a session.
///
/// # Errors
/// Says why it still holds it.
pub async fn detach(way: &Way, attachment: &TaskId) -> Result<(), BackendError> {
    let open = way.open.borrow().clone();
    let open = open.ok_or_else(|| refusal(&Status::unavailable("no manager answers")))?;
    let path = PathAndQuery::from_static("/docker.swarmkit.v1.ResourceAllocator/DetachNetwork");
    let codec = ProstCodec::<DetachNetworkRequest, DetachNetworkResponse>::default();
    let request = Request::new(DetachNetworkRequest { attachment_id: attachment.to_string() });
    let asked = Box::pin(async { open.grpc().await?.unary(request, path, codec).await });
    let answered = tokio::time::timeout(DETACH_LIMIT, asked).await;
    let answered = answered.unwrap_or_else(|_| Err(Status::unavailable("no manager answers")));
    answered.map(drop).map_err(|status| refusal(&status))
}

fn refusal(status: &Status) -> BackendError {
    let code = match status.code() {
        tonic::Code::AlreadyExists => Code::AlreadyExists,
        tonic::Code::DeadlineExceeded => Code::DeadlineExceeded,
        tonic::Code::FailedPrecondition => Code::FailedPrecondition,
        tonic::Code::InvalidArgument => Code::InvalidArgument,
        tonic::Code::NotFound => Code::NotFound,
        tonic::Code::PermissionDenied => Code::PermissionDenied,
        tonic::Code::Unavailable => Code::Unavailable,
        tonic::Code::Unimplemented => Code::Unimplemented,
        tonic::Code::Ok
        | tonic::Code::Cancelled
        | tonic::Code::Unknown
        | tonic::Code::ResourceExhausted
        | tonic::Code::Aborted
        | tonic::Code::OutOfRange
        | tonic::Code::Internal
        | tonic::Code::DataLoss
        | tonic::Code::Unauthenticated => Code::Unknown,
    };
    BackendError::Refused { code, text: status.message().to_owned() }
}
