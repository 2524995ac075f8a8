//! Making a cluster of this node. What fails leaves nothing behind here.

use std::sync::Arc;

use skep_api::backend::{BackendError, InitCluster};
use skep_core::command::Command;
use skep_core::error::chain;
use skep_core::id::NodeId;
use skep_raft::RaftNode;
use skep_raft::keys::{self, Keys};
use tracing::{info, warn};

use super::member::{Consensus, Member, consensus_failed, propose};
use super::{Identity, Node, Standing};
use crate::dataplane::describe_underlay;
use crate::manager::cluster::{self, FIRST_MEMBER};
use crate::manager::{SwarmAddresses, host_addresses};

impl Node {
    /// Makes a cluster of this node.
    ///
    /// # Errors
    /// Says why it cannot be made; nothing is left behind then.
    pub async fn init(&self, request: InitCluster) -> Result<NodeId, BackendError> {
        let _changing = self.changing.lock().await;
        if !matches!(&*self.standing(), Standing::Inactive) {
            if request.force_new_cluster {
                return Box::pin(self.force_new_cluster(&request)).await;
            }
            return Err(BackendError::AlreadyMember);
        }
        let addresses = self.addresses(&request)?;
        self.finish_leave().await?;
        let member = match self.found(&request, &addresses).await {
            Ok(member) => member,
            Err(failure) => {
                if let Err(left) = self.around.data.erase() {
                    warn!(error = %chain(&left), "a failed init left files behind");
                }
                return Err(failure);
            }
        };
        let id = member.identity.node.clone();
        self.stand(Standing::Active(member));
        info!(node.id = %id, addr = %addresses.advertise, "cluster made");
        Ok(id)
    }

    pub(super) fn addresses(&self, request: &InitCluster) -> Result<SwarmAddresses, BackendError> {
        let advertise = match (&request.advertise_addr, &self.around.config.advertise_addr) {
            (given, Some(default)) if given.is_empty() => default,
            (given, _) => given,
        };
        SwarmAddresses::resolve(
            &request.listen_addr,
            advertise,
            &request.data_path_addr,
            &host_addresses(),
        )
        .map_err(|error| BackendError::Invalid(error.to_string()))
    }

    async fn found(
        &self,
        request: &InitCluster,
        addresses: &SwarmAddresses,
    ) -> Result<Arc<Member>, BackendError> {
        let internal = |error: &dyn std::error::Error| BackendError::Internal(chain(error));
        let engine = &self.around.machine.engine;
        let description =
            engine.describe().await.map_err(|error| BackendError::Engine(error.to_string()))?;
        let description = describe_underlay(description, Some(addresses.data_path)).await;
        let made = cluster::found(request, addresses, description)
            .map_err(|error| BackendError::Invalid(error.to_string()))?;
        let data = &self.around.data;
        data.erase().map_err(|error| internal(&error))?;
        let key = match keys::load_or_create(&data.raft()).map_err(|error| internal(&error))? {
            Keys::Unlocked(key) => key,
            Keys::Locked(_) => {
                return Err(BackendError::Internal("a new data key is locked".to_owned()));
            }
        };
        let consensus = Consensus::open(data, key, FIRST_MEMBER).await?;
        if let Err(failure) = begin(&consensus.raft, addresses, made.command).await {
            // The store must be closed before its files go.
            consensus.raft.shutdown().await;
            return Err(failure);
        }
        let identity = Identity::new(made.node, made.cluster, addresses, FIRST_MEMBER)
            .on_host(&host_addresses());
        let member = Arc::new(Member::start(&self.around, identity.clone(), consensus).await?);
        let joined = match member.key_kept().await {
            Ok(()) => data.join(&identity).map_err(|error| internal(&error)),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = joined {
            member.stop().await;
            return Err(failure);
        }
        Ok(member)
    }
}

/// Makes a cluster of one voter and puts its first objects into it.
async fn begin(
    raft: &RaftNode,
    addresses: &SwarmAddresses,
    command: Command,
) -> Result<(), BackendError> {
    raft.initialize(&addresses.advertise.to_string())
        .await
        .map_err(|error| consensus_failed(&error))?;
    propose(raft, command).await?;
    Ok(())
}
