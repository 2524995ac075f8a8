//! Makes a worker a manager and a manager a worker, as the cluster says. What runs on the node goes on; only who tells it what
//! to run changes.

use std::sync::Arc;
use std::time::Duration;

use skep_api::backend::BackendError;
use skep_core::error::chain;
use skep_raft::keys::{self, Keys};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::join::new_raft_id;
use super::member::{Consensus, Member};
use super::worker::Worker;
use super::{Identity, Node, Standing};
use crate::agent::link::Manager;
use crate::clock;

/// Wait after a node could not become what it should.
const RETRY_PERIOD: Duration = Duration::from_secs(2);

impl Node {
    /// Follows what the cluster makes of this node, until `shutdown`.
    pub(super) async fn follow_roles(&self, shutdown: CancellationToken) {
        let mut standings = self.standing.subscribe();
        loop {
            let standing = standings.borrow_and_update().clone();
            let turned = async {
                match &*standing {
                    Standing::Worker(worker) => worker.promoted().await,
                    Standing::Active(member) => member.removed().await,
                    Standing::Inactive
                    | Standing::Pending
                    | Standing::Locked(..)
                    | Standing::Failed(..) => std::future::pending().await,
                }
            };
            tokio::select! {
                () = turned => {}
                changed = standings.changed() => if changed.is_err() { return } else { continue },
                () = shutdown.cancelled() => return,
            }
            if let Err(error) = Box::pin(self.turn(&standing)).await {
                warn!(error = %error, "the node's role could not be changed yet");
                tokio::select! {
                    () = clock::sleep(RETRY_PERIOD) => {}
                    () = shutdown.cancelled() => return,
                }
            }
        }
    }

    /// Changes the role, unless the node left or stopped meanwhile.
    async fn turn(&self, standing: &Arc<Standing>) -> Result<(), BackendError> {
        let _changing = self.changing.lock().await;
        if !Arc::ptr_eq(&self.standing(), standing) {
            return Ok(());
        }
        match &**standing {
            Standing::Worker(worker) => self.promote(worker).await,
            Standing::Active(member) => self.demote(member).await,
            Standing::Inactive
            | Standing::Pending
            | Standing::Locked(..)
            | Standing::Failed(..) => Ok(()),
        }
    }

    /// Makes a worker, which has a manager's certificate, a member of the consensus group. If it cannot be, it is a worker again.
    async fn promote(&self, worker: &Worker) -> Result<(), BackendError> {
        info!(node.id = %worker.identity.node, "the node becomes a manager");
        worker.stop().await;
        let managers = worker.managers();
        match self.become_member(&worker.identity, &managers).await {
            Ok(member) => {
                self.stand(Standing::Active(member));
                Ok(())
            }
            Err(failure) => {
                let identity = worker.identity.clone();
                self.begin_work(identity);
                Err(failure)
            }
        }
    }

    async fn become_member(
        &self,
        worker: &Identity,
        managers: &[Manager],
    ) -> Result<Arc<Member>, BackendError> {
        self.around
            .data
            .erase_consensus()
            .map_err(|error| BackendError::Internal(chain(&error)))?;
        let identity = worker.as_manager(new_raft_id());
        let remotes: Vec<&str> = managers.iter().map(|(_, address)| address.as_str()).collect();
        self.enter_as_manager(identity, &remotes).await
    }

    /// Makes a manager that was taken out of the group a worker.
    async fn demote(&self, member: &Member) -> Result<(), BackendError> {
        let internal = |error: &dyn std::error::Error| BackendError::Internal(chain(error));
        info!(node.id = %member.identity.node, "the node is no manager any more");
        let managers = other_managers(member);
        member.stop().await;
        self.listing.clear();
        let data = &self.around.data;
        let identity = member.identity.as_worker();
        // In this order: a start in between finds a manager that is none, or a worker that knows its managers and can read its key.
        data.write_managers(&managers).map_err(|error| internal(&error))?;
        data.reseal(member.key(), false).map_err(|error| internal(&error))?;
        data.join(&identity).map_err(|error| internal(&error))?;
        let erased = data.erase_consensus();
        self.begin_work(identity);
        erased.map_err(|error| internal(&error))
    }

    /// Starts the node's worker; where it cannot start, the node stands as one that failed.
    pub(super) fn begin_work(&self, identity: Identity) {
        let standing = match Worker::start(&self.around, identity.clone()) {
            Ok(worker) => Standing::Worker(Arc::new(worker)),
            Err(failure) => Standing::Failed(identity, failure.to_string()),
        };
        self.stand(standing);
    }

    /// Starts consensus with a new log and has the group take it in.
    pub(super) async fn enter_as_manager(
        &self,
        identity: Identity,
        remotes: &[&str],
    ) -> Result<Arc<Member>, BackendError> {
        let internal = |error: &dyn std::error::Error| BackendError::Internal(chain(error));
        let data = &self.around.data;
        let key = match keys::load_or_create(&data.raft()).map_err(|error| internal(&error))? {
            Keys::Unlocked(key) => key,
            Keys::Locked(_) => {
                return Err(BackendError::Internal("a new data key is locked".to_owned()));
            }
        };
        let consensus = Consensus::open(data, key, identity.raft_id).await?;
        let member = Arc::new(Member::start(&self.around, identity, consensus).await?);
        if let Err(failure) = self.enter_group(&member, remotes).await {
            member.stop().await;
            // It may go on as a worker.
            data.reseal(member.key(), false).map_err(|error| internal(&error))?;
            return Err(failure);
        }
        Ok(member)
    }
}

/// The managers that a member knows beside itself.
fn other_managers(member: &Member) -> Vec<Manager> {
    let state = member.raft.state();
    let others = state.nodes().values().filter(|node| node.id != member.identity.node);
    others
        .filter_map(|node| Some((node.id.clone(), node.manager.as_ref()?.addr.clone())))
        .filter(|(_, address)| !address.is_empty())
        .collect()
}
