//! Joining a cluster: certificate first; then a worker opens a session, and a manager enters the consensus group, as a learner
//! until the log has come. What fails leaves nothing behind here.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use skep_api::backend::{BackendError, JoinCluster};
use skep_core::id::NodeId;
use skep_core::model::node::NodeState;
use skep_pki::{JoinToken, NodeRole};
use skep_raft::Change;
use tonic::client::Grpc;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tracing::{info, warn};

use super::assigner::catch_up;
use super::enrol::{EnrolError, Enrolled, enrol};
use super::member::Member;
use super::worker::Worker;
use super::{Identity, Node, Standing};
use crate::clock;
use crate::manager::addresses::with_port;
use crate::manager::{SwarmAddresses, host_addresses};
use crate::rpc::client::{Trust, channel};
use crate::rpc::proto::{JoinGroupRequest, JoinGroupResponse};
use skep_core::error::chain;

/// How long the group may take to take the node in, and its log to come.
const GROUP_LIMIT: Duration = Duration::from_secs(20);

/// How long a node that joined waits to count as one that works.
const READY_LIMIT: Duration = Duration::from_secs(5);

/// What Docker says of a worker that has no session in time.
const LATE: &str = "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use \
                    the \"docker info\" command to see the current swarm status of your node.";

impl Node {
    /// Joins the cluster that the managers named belong to.
    ///
    /// # Errors
    /// Says why it cannot join; nothing is left behind then.
    pub async fn join(&self, mut request: JoinCluster) -> Result<(), BackendError> {
        request.remote_addrs.iter_mut().for_each(|remote| *remote = with_port(remote));
        JoinToken::parse(&request.join_token)
            .map_err(|error| BackendError::Internal(error.to_string()))?;
        let _changing = self.changing.lock().await;
        if !matches!(&*self.standing(), Standing::Inactive) {
            return Err(BackendError::AlreadyMember);
        }
        let addresses = self.join_addresses(&request)?;
        self.finish_leave().await?;
        self.stand(Standing::Pending);
        let (standing, outcome) = match Box::pin(self.try_join(&request, &addresses)).await {
            Ok(standing) => (standing, Ok(())),
            Err(failure) => {
                if let Err(left) = self.around.data.erase() {
                    warn!(error = %chain(&left), "a failed join left files behind");
                }
                (Standing::Inactive, Err(failure))
            }
        };
        self.stand(standing);
        outcome?;
        match &*self.standing() {
            // It goes on trying, as Docker does.
            Standing::Worker(worker) if !worker.connected(GROUP_LIMIT).await => {
                Err(BackendError::Unavailable(LATE.to_owned()))
            }
            Standing::Worker(_)
            | Standing::Active(_)
            | Standing::Inactive
            | Standing::Pending
            | Standing::Locked(..)
            | Standing::Failed(..) => Ok(()),
        }
    }

    /// Without an address to tell others, it is the one that the way to the cluster begins at.
    fn join_addresses(&self, request: &JoinCluster) -> Result<SwarmAddresses, BackendError> {
        let given = match (&request.advertise_addr, &self.around.config.advertise_addr) {
            (given, Some(default)) if given.is_empty() => default.clone(),
            (given, _) => given.clone(),
        };
        let advertise = if given.is_empty() {
            let remotes = request.remote_addrs.iter();
            remotes.filter_map(|remote| way_to(remote)).next().map_or(given, |ip| ip.to_string())
        } else {
            given
        };
        let host = host_addresses();
        SwarmAddresses::resolve(&request.listen_addr, &advertise, &request.data_path_addr, &host)
            .map_err(|error| BackendError::Invalid(error.to_string()))
    }

    async fn try_join(
        &self,
        request: &JoinCluster,
        addresses: &SwarmAddresses,
    ) -> Result<Standing, BackendError> {
        let mut refused = BackendError::Invalid("no manager to join was named".to_owned());
        for remote in &request.remote_addrs {
            match enrol(remote, &request.join_token, request.availability).await {
                Ok(enrolled) => return self.enter(enrolled, remote, addresses).await,
                Err(error @ (EnrolError::Refused(_) | EnrolError::Dial { .. })) => {
                    refused = BackendError::Unavailable(error.to_string());
                }
                Err(error) => refused = BackendError::Internal(chain(&error)),
            }
        }
        Err(refused)
    }

    /// Becomes what the node was certified to be.
    async fn enter(
        &self,
        enrolled: Enrolled,
        remote: &str,
        addresses: &SwarmAddresses,
    ) -> Result<Standing, BackendError> {
        let internal = |error: &dyn std::error::Error| BackendError::Internal(chain(error));
        let data = &self.around.data;
        data.erase().map_err(|error| internal(&error))?;
        data.write_certificate(&enrolled.certificate, &enrolled.root_pem, None)
            .map_err(|error| internal(&error))?;
        let identity = Identity::new(enrolled.node, enrolled.cluster, addresses, new_raft_id())
            .on_host(&host_addresses());
        match enrolled.role {
            NodeRole::Manager => {
                let member = self.enter_as_manager(identity.clone(), &[remote]).await?;
                info!(node.id = %identity.node, addr = %addresses.advertise, "joined as a manager");
                Ok(Standing::Active(member))
            }
            NodeRole::Worker => {
                let identity = identity.as_worker();
                // Which node that is, the first session tells.
                data.write_managers(&[(NodeId::default(), remote.to_owned())])
                    .map_err(|error| internal(&error))?;
                let worker = Worker::start(&self.around, identity.clone())?;
                if let Err(error) = data.join(&identity) {
                    worker.stop().await;
                    return Err(internal(&error));
                }
                info!(node.id = %identity.node, "joined as a worker");
                Ok(Standing::Worker(Arc::new(worker)))
            }
        }
    }

    /// Has the node taken into the group and waits for its log. From the moment that the membership is on disk, the vote
    /// is asked for again until it is given, however often the daemon starts.
    pub(super) async fn enter_group(
        &self,
        member: &Member,
        remotes: &[&str],
    ) -> Result<(), BackendError> {
        let identity = &member.identity;
        ask_any_to_join(member, remotes).await?;
        let mut states = member.raft.watch();
        // An older state may ask for another key, or none, on what is on disk.
        let arrived = catch_up(&member.raft, |state| {
            state.nodes().get(&identity.node).is_some_and(|node| node.manager.is_some())
        });
        let arrived = tokio::time::timeout(GROUP_LIMIT, Box::pin(arrived)).await;
        arrived.map_err(|_| BackendError::Timeout)?;
        member.key_kept().await?;
        let data = &self.around.data;
        let written = data.join(identity).and_then(|()| data.reseal(member.key(), true));
        written.map_err(|error| BackendError::Internal(chain(&error)))?;
        let promoted = member.raft.change(Change::Promote { id: identity.raft_id }).await;
        if let Err(error) = promoted {
            warn!(error = %error, "the vote is yet to come");
        }
        let works = states.wait_for(|state| {
            let node = state.nodes().get(&identity.node);
            node.is_some_and(|node| node.status.state == NodeState::Ready)
        });
        if tokio::time::timeout(READY_LIMIT, works).await.is_err() {
            warn!("no session with the leader yet");
        }
        Ok(())
    }
}

/// Asks one manager after the other until one answers.
async fn ask_any_to_join(member: &Member, remotes: &[&str]) -> Result<(), BackendError> {
    let identity = &member.identity;
    let request =
        JoinGroupRequest { raft_id: identity.raft_id, address: identity.advertise.to_string() };
    let mut refused = BackendError::Timeout;
    for remote in remotes {
        let trust = Trust::Mutual(member.tls.clone());
        let asked = ask_to_join(remote, trust, request.clone());
        match tokio::time::timeout(GROUP_LIMIT, Box::pin(asked)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(status)) => {
                refused = BackendError::Unavailable(format!(
                    "rpc error: code = {:?} desc = {}",
                    status.code(),
                    status.message()
                ));
            }
            Err(_) => refused = BackendError::Timeout,
        }
    }
    Err(refused)
}

async fn ask_to_join(
    remote: &str,
    trust: Trust,
    request: JoinGroupRequest,
) -> Result<JoinGroupResponse, Status> {
    let channel =
        channel(remote, trust).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
    let path = PathAndQuery::from_static("/skep.v1.Raft/Join");
    let codec = ProstCodec::<JoinGroupRequest, JoinGroupResponse>::default();
    grpc.unary(Request::new(request), path, codec).await.map(tonic::Response::into_inner)
}

/// Returns this host's address on the way to another.
pub(super) fn way_to(remote: &str) -> Option<IpAddr> {
    let target: std::net::SocketAddr = remote.parse().ok()?;
    let any: IpAddr = if target.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Nothing is sent: the kernel only looks up the route.
    socket.connect(target).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Makes a consensus id that no node had before. The first manager's is 1.
pub(super) fn new_raft_id() -> u64 {
    let [.., a, b, c, d, e, f, g, h] = clock::entropy().to_be_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h]).max(2)
}
