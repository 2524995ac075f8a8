//! The service `ResourceAllocator`: gives containers that users make their place on attachable networks, each held by a task on
//! the node that asks. A manager's own containers take the same functions.

use std::sync::Arc;

use async_trait::async_trait;
use skep_api::backend::{Attachment, BackendError};
use skep_core::command::Command;
use skep_core::id::{NodeId, TaskId};
use skep_core::model::Kind;
use skep_core::model::network::Network;
use skep_core::model::node::NodeAgent;
use skep_core::model::service::{NetworkAttachment, Runtime};
use skep_core::state::{Rejected, State};
use skep_raft::RaftNode;
use tonic::body::Body;
use tonic::{Request, Status};
use tracing::info;

use crate::clock;
use crate::node::{propose, unreachable_leader};
use crate::rpc::convert;
use crate::rpc::glue::{RpcService, unary, unimplemented};
use crate::rpc::proto;
use crate::rpc::server::member_of;

/// What a Docker Engine that joined by itself prints for `docker run --network`.
const NOT_FOR_ENGINES: &str = "this Docker Engine joined the cluster without skep, which its overlay networks need: \
     start skep beside it and join through skep's socket, or run the container on a node with skep";

/// Takes an address for a container of a node; returns the task that holds it.
///
/// # Errors
/// Says why there is none.
pub async fn attach(
    raft: &RaftNode,
    node: &NodeId,
    wanted: Attachment,
) -> Result<TaskId, BackendError> {
    let state = raft.read().await.map_err(|error| unreachable_leader(&error))?;
    let network = find(&state, &wanted.target)?;
    if !network.spec.attachable {
        let network = network.spec.annotations.name.clone();
        return Err(Rejected::NotAttachable { network }.into());
    }
    let held = state.nodes().get(node);
    if held.is_some_and(|held| held.agent == Some(NodeAgent::Engine)) {
        return Err(BackendError::Unsupported(NOT_FOR_ENGINES.to_owned()));
    }
    let id = TaskId::from_entropy(clock::entropy());
    let network = NetworkAttachment {
        target: network.id.clone(),
        aliases: wanted.aliases,
        addresses: wanted.addresses,
        ..NetworkAttachment::default()
    };
    let (node, container) = (node.clone(), wanted.container);
    propose(raft, Command::Attach { id: id.clone(), node, container, network }).await?;
    Ok(id)
}

/// Finds a network as a container names it: those that engines have of themselves are theirs to give.
fn find<'a>(state: &'a State, reference: &str) -> Result<&'a Arc<Network>, Rejected> {
    let networks = || state.networks().values().filter(|network| !network.spec.predefined);
    let found = networks().find(|network| network.id.as_str() == reference);
    let found = found.or_else(|| networks().find(|it| it.spec.annotations.name == reference));
    let missing = || Rejected::NotFound { kind: Kind::Network, reference: reference.to_owned() };
    found.ok_or_else(missing)
}

/// Gives back what a task of a node holds for a container.
///
/// # Errors
/// Says why it still holds it.
pub async fn detach(
    raft: &RaftNode,
    node: &NodeId,
    attachment: &TaskId,
) -> Result<(), BackendError> {
    let state = raft.read().await.map_err(|error| unreachable_leader(&error))?;
    let reference = attachment.to_string();
    let missing = || Rejected::NotFound { kind: Kind::Task, reference };
    let task = state.tasks().get(attachment).ok_or_else(missing)?;
    match &task.spec.runtime {
        Runtime::Attachment { .. } if task.node.as_ref() == Some(node) => {}
        Runtime::Attachment { .. } | Runtime::Container(_) => {
            return Err(BackendError::Invalid("the attachment is not the node's".to_owned()));
        }
    }
    propose(raft, Command::Detach { id: attachment.clone() }).await.map(drop)
}

/// `docker.swarmkit.v1.ResourceAllocator`. A node takes and gives back for itself alone.
pub struct ResourceAllocator(pub Arc<RaftNode>);

impl ResourceAllocator {
    async fn attach(
        &self,
        request: Request<proto::AttachNetworkRequest>,
    ) -> Result<proto::AttachNetworkResponse, Status> {
        let node = member_of(&request)?.node;
        let wanted = convert::attachment_wanted(request.into_inner())?;
        let container = wanted.container.clone();
        let attached = attach(&self.0, &node, wanted).await;
        let id = attached.map_err(|error| status(&error))?;
        info!(node.id = %node, container.id = %container, task.id = %id, "container attached");
        Ok(proto::AttachNetworkResponse { attachment_id: id.to_string() })
    }

    async fn detach(
        &self,
        request: Request<proto::DetachNetworkRequest>,
    ) -> Result<proto::DetachNetworkResponse, Status> {
        let node = member_of(&request)?.node;
        let id = request.into_inner().attachment_id;
        let id = id.parse().map_err(|_| Status::invalid_argument("the attachment has no id"))?;
        detach(&self.0, &node, &id).await.map_err(|error| status(&error))?;
        info!(node.id = %node, task.id = %id, "container detached");
        Ok(proto::DetachNetworkResponse {})
    }
}

/// Says no so that an engine's user sees why; that nobody leads is the one reason to ask another time.
fn status(error: &BackendError) -> Status {
    let text = error.to_string();
    match error {
        BackendError::Rejected(Rejected::NotFound { .. }) => Status::not_found(text),
        BackendError::Rejected(Rejected::NotAttachable { .. }) | BackendError::Invalid(_) => {
            Status::permission_denied(text)
        }
        BackendError::NotManager | BackendError::NoLeader => Status::unavailable(text),
        BackendError::Timeout => Status::deadline_exceeded(text),
        BackendError::Rejected(_)
        | BackendError::Refused { .. }
        | BackendError::AlreadyMember
        | BackendError::NotMember
        | BackendError::LeaveRefused(_)
        | BackendError::NotLocked
        | BackendError::InvalidKey
        | BackendError::WrongKey
        | BackendError::Unavailable(_)
        | BackendError::Unsupported(_)
        | BackendError::Engine(_)
        | BackendError::Internal(_) => Status::failed_precondition(text),
    }
}

#[async_trait]
impl RpcService for ResourceAllocator {
    fn name(&self) -> &'static str {
        "docker.swarmkit.v1.ResourceAllocator"
    }

    async fn call(&self, method: &str, request: http::Request<Body>) -> http::Response<Body> {
        match method {
            "AttachNetwork" => unary(request, |asked| self.attach(asked)).await,
            "DetachNetwork" => unary(request, |asked| self.detach(asked)).await,
            _ => unimplemented(),
        }
    }
}
