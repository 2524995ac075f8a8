//! Serves `skep.v1.Raft`: frames of consensus, and the way into the group for a new manager. The gate lets managers in only.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use skep_core::command::{Command, Proposal};
use skep_core::model::node::{ManagerStatus, Role};
use skep_raft::{Change, RaftNode};
use tonic::body::Body;
use tonic::{Request, Status, Streaming};
use tracing::info;

use super::clocks::{HEADER, PeerClocks};
use crate::clock;
use crate::rpc::glue::{RpcService, client_streaming, unary, unimplemented};
use crate::rpc::proto::{Frame, JoinGroupRequest, JoinGroupResponse};
use crate::rpc::server::member_of;
use skep_core::error::chain;

/// The service.
pub struct RaftService {
    raft: Arc<RaftNode>,
    clocks: Arc<PeerClocks>,
}

impl RaftService {
    /// Serves for this node's consensus.
    pub fn new(raft: Arc<RaftNode>, clocks: Arc<PeerClocks>) -> Self {
        Self { raft, clocks }
    }
}

#[async_trait]
impl RpcService for RaftService {
    fn name(&self) -> &'static str {
        "skep.v1.Raft"
    }

    async fn call(&self, method: &str, request: http::Request<Body>) -> http::Response<Body> {
        let raft = self.raft.clone();
        match method {
            "Call" => {
                self.clocks.hear(request.headers());
                let mut answer = unary(request, |request| handle(raft.clone(), request)).await;
                if let Some(time) = self.clocks.tell() {
                    answer.headers_mut().insert(HEADER, time);
                }
                answer
            }
            "Snapshot" => {
                client_streaming(request, |request| snapshot(raft.clone(), request)).await
            }
            "Join" => unary(request, |request| join(raft.clone(), request)).await,
            _ => unimplemented(),
        }
    }
}

async fn handle(raft: Arc<RaftNode>, request: Request<Frame>) -> Result<Frame, Status> {
    let answer = raft.handle(&request.into_inner().data).await;
    answer.map(|data| Frame { data }).map_err(|error| Status::invalid_argument(chain(&error)))
}

async fn snapshot(
    raft: Arc<RaftNode>,
    request: Request<Streaming<Frame>>,
) -> Result<Frame, Status> {
    let frames = request.into_inner().map(|frame| match frame {
        Ok(frame) => Ok(frame.data),
        Err(status) => Err(std::io::Error::other(status)),
    });
    let answer = raft.receive_snapshot(frames).await;
    answer.map(|data| Frame { data }).map_err(|error| Status::aborted(chain(&error)))
}

/// Makes the caller a learner. Its node is noted first, so that no member is ever without one.
async fn join(
    raft: Arc<RaftNode>,
    request: Request<JoinGroupRequest>,
) -> Result<JoinGroupResponse, Status> {
    let caller = member_of(&request)?.node;
    let JoinGroupRequest { raft_id, address } = request.into_inner();
    let unavailable = |error: &dyn std::error::Error| Status::unavailable(chain(error));
    if raft_id == 0 || address.parse::<std::net::SocketAddr>().is_err() {
        return Err(Status::invalid_argument("a manager joins with an id and an address"));
    }
    let state = raft.read().await.map_err(|error| unavailable(&error))?;
    let node = state.nodes().get(&caller).filter(|node| node.role == Role::Manager);
    let node = node.ok_or_else(|| Status::failed_precondition("the node is no manager"))?;
    let taken = state.nodes().values().any(|other| {
        other.id != caller && other.manager.as_ref().is_some_and(|it| it.member() == raft_id)
    });
    if taken {
        return Err(Status::already_exists("the id is another manager's"));
    }
    let known = node.manager.as_ref().is_some_and(|it| it.member() == raft_id);
    if !known {
        let manager =
            ManagerStatus { leader: false, reachable: true, addr: address.clone(), raft_id };
        let command = Command::ReportNode {
            id: caller.clone(),
            description: None,
            status: None,
            manager: Some(manager),
        };
        let noted = raft.propose(Proposal { at: clock::now(), command }).await;
        noted
            .map_err(|error| unavailable(&error))?
            .1
            .map_err(|rejected| Status::failed_precondition(rejected.to_string()))?;
    }
    let change = Change::AddLearner { id: raft_id, address: address.clone() };
    raft.change(change).await.map_err(|error| unavailable(&error))?;
    info!(node.id = %caller, raft.id = raft_id, addr = %address, "a manager joins the consensus group");
    Ok(JoinGroupResponse { managers: raft.members().addresses.into_values().collect() })
}
