//! A new cluster of what one manager knows, for when most of the others are lost for good.

use std::sync::Arc;

use skep_api::backend::{BackendError, InitCluster};
use skep_core::command::{Change, Command};
use skep_core::error::chain;
use skep_core::id::NodeId;
use skep_core::model::node::{ManagerStatus, Role};
use skep_core::state::Rejected;
use skep_raft::DataKey;
use skep_raft::keys::{self, Keys};
use tracing::{info, warn};

use super::member::{Member, propose};
use super::{Identity, Node, Standing};
use crate::manager::{SwarmAddresses, host_addresses};

/// How often the others are taken out of the list while it changes under the attempt.
const ATTEMPTS_MAX: u32 = 20;

impl Node {
    /// Makes a cluster of one of what this manager knows. Nothing is touched where the addresses cannot be used.
    ///
    /// # Errors
    /// Says why it cannot be made.
    pub(super) async fn force_new_cluster(
        &self,
        request: &InitCluster,
    ) -> Result<NodeId, BackendError> {
        let addresses = self.addresses(request)?;
        let (old, key) = match &*self.standing() {
            Standing::Active(member) if !*member.raft.removed().borrow() => {
                (member.identity.clone(), member.key().clone())
            }
            // Without the others, or without its old address, it may not even start.
            Standing::Failed(identity, _) if identity.role == Role::Manager => {
                (identity.clone(), self.unlocked_key()?)
            }
            // One that is locked is told to be unlocked first.
            Standing::Active(_) | Standing::Worker(_) | Standing::Locked(..) => {
                return Err(BackendError::NotManager);
            }
            Standing::Inactive | Standing::Pending | Standing::Failed(..) => {
                return Err(BackendError::AlreadyMember);
            }
        };
        self.standing().stop().await;
        let identity = Identity::new(old.node, old.cluster, &addresses, old.raft_id)
            .on_host(&host_addresses());
        match self.begin_anew(&identity, &addresses, key).await {
            Ok(member) => {
                note_alone(&member).await;
                self.stand(Standing::Active(member));
                info!(node.id = %identity.node, "a new cluster was made of what this manager knew");
                Ok(identity.node)
            }
            Err(failure) => {
                self.stand(Standing::Failed(identity, failure.to_string()));
                Err(failure)
            }
        }
    }

    fn unlocked_key(&self) -> Result<DataKey, BackendError> {
        match keys::load(&self.around.data.raft()) {
            Ok(Keys::Unlocked(key)) => Ok(key),
            Ok(Keys::Locked(_)) => Err(BackendError::NotManager),
            Err(error) => Err(BackendError::Internal(chain(&error))),
        }
    }

    async fn begin_anew(
        &self,
        identity: &Identity,
        addresses: &SwarmAddresses,
        key: DataKey,
    ) -> Result<Arc<Member>, BackendError> {
        let internal = |error: &dyn std::error::Error| BackendError::Internal(chain(error));
        let data = &self.around.data;
        let (dir, held, address) = (data.raft(), key.clone(), addresses.advertise.to_string());
        let id = identity.raft_id;
        let forced = tokio::task::spawn_blocking(move || {
            skep_raft::force_new_group(&dir, held, id, &address)
        });
        forced.await.map_err(|error| internal(&error))?.map_err(|error| internal(&error))?;
        data.join(identity).map_err(|error| internal(&error))?;
        self.start(identity.clone(), key).await
    }
}

/// Notes what the group is now before anybody asks: this node leads, and no other one belongs to it. What is not noted here
/// shows as a manager that does not answer, and can be demoted.
async fn note_alone(member: &Member) {
    let identity = &member.identity;
    let manager = Some(ManagerStatus {
        leader: true,
        reachable: true,
        addr: identity.advertise.to_string(),
        raft_id: identity.raft_id,
    });
    let id = identity.node.clone();
    let led = Command::ReportNode { id, description: None, status: None, manager };
    let mut noted = propose(&member.raft, led).await.map(drop);
    for _ in 0..ATTEMPTS_MAX {
        let state = member.raft.state();
        let others = state.nodes().values().filter(|node| {
            node.id != identity.node && node.manager.is_some() && node.spec.role == Role::Manager
        });
        let set = |id| Change::SetRole { id, role: Role::Manager };
        let changes: Vec<_> = others.map(|node| set(node.id.clone())).collect();
        if noted.is_err() || changes.is_empty() {
            break;
        }
        let plan = Command::Plan { based_on: state.index(), changes };
        noted = match propose(&member.raft, plan).await {
            Ok(_) | Err(BackendError::Rejected(Rejected::StalePlan)) => Ok(()),
            Err(failure) => Err(failure),
        };
    }
    if let Err(failure) = noted {
        warn!(error = %failure, "the list of managers is yet to be settled");
    }
}
