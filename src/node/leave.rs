//! Leaving a cluster: what it would cost, and what must be cleared away.

use skep_api::backend::BackendError;
use skep_core::error::chain;
use skep_core::managers::{LeaveRisk, leave_risk};
use tracing::{info, warn};

use super::{Identity, Node, Standing};
use crate::{agent, dataplane};

impl Node {
    /// Leaves the cluster: forgets it and removes its containers and networks from the engine.
    ///
    /// # Errors
    /// Refuses without `force` what would lose the cluster's state (contract api.md section 1).
    pub async fn leave(&self, force: bool) -> Result<(), BackendError> {
        let _changing = self.changing.lock().await;
        let standing = self.standing();
        let identity = match &*standing {
            Standing::Inactive | Standing::Pending => return Err(BackendError::NotMember),
            Standing::Active(member) => member.identity.clone(),
            Standing::Worker(worker) => worker.identity.clone(),
            Standing::Locked(identity, _) | Standing::Failed(identity, _) => identity.clone(),
        };
        let led = match &*standing {
            Standing::Active(member) => member.raft.is_led().await,
            Standing::Inactive
            | Standing::Pending
            | Standing::Worker(_)
            | Standing::Locked(..)
            | Standing::Failed(..) => false,
        };
        if !force && let Some(text) = refusal(&standing, led) {
            return Err(BackendError::LeaveRefused(text));
        }
        self.around.data.begin_leave().map_err(|error| BackendError::Internal(chain(&error)))?;
        self.stand(Standing::Inactive);
        self.listing.clear();
        standing.stop().await;
        self.clear_away(&identity)
            .await
            .map_err(|error| BackendError::Internal(format!("{error:#}")))?;
        info!(node.id = %identity.node, "left the cluster");
        Ok(())
    }

    /// Clears away what an earlier leave could not. A start that finds its note would take it for one about the new
    /// cluster.
    pub(super) async fn finish_leave(&self) -> Result<(), BackendError> {
        let internal = |error: anyhow::Error| BackendError::Internal(format!("{error:#}"));
        let data = &self.around.data;
        let Some(old) = data.leaving().map_err(|error| internal(error.into()))? else {
            return Ok(());
        };
        self.clear_away(&old).await.map_err(internal)?;
        if data.leaving().map_err(|error| internal(error.into()))?.is_some() {
            return Err(BackendError::Engine(
                "what the last cluster left on it must be removed first".to_owned(),
            ));
        }
        Ok(())
    }

    /// Removes what a membership left on disk and in the engine; safe to repeat.
    pub(super) async fn clear_away(&self, identity: &Identity) -> anyhow::Result<()> {
        let data = &self.around.data;
        data.erase()?;
        let machine = &self.around.machine;
        let files = (machine.open_files)(&identity.node)?;
        // The engine's bridges go after what hangs on them.
        Box::pin(dataplane::clear(&machine.data_plane)).await;
        let cleared = agent::clear(&*machine.engine, &identity.node, &*files).await;
        if let Err(failure) = cleared {
            warn!(
                error = %failure,
                "containers or networks of the cluster are left; the next start removes them"
            );
            return Ok(());
        }
        data.end_leave()?;
        Ok(())
    }
}

/// The texts that clients match, for a manager whose leaving would cost something (contract api.md section 1); none for one
/// that is no manager any more.
fn refusal(standing: &Standing, led: bool) -> Option<String> {
    let participating =
        "You are attempting to leave the swarm on a node that is participating as a manager. ";
    let last = "Removing the last manager erases all current state of the swarm. \
                Use `--force` to ignore this message. ";
    let restore = "The only way to restore a swarm that has lost consensus is to reinitialize it with \
                   `--force-new-cluster`. Use `--force` to suppress this message.";
    let cost = match standing {
        Standing::Inactive | Standing::Pending | Standing::Worker(_) => return None,
        Standing::Locked(..) => {
            let text = "Swarm is encrypted and locked. Please unlock it first or use `--force` to \
                        ignore this message.";
            return Some(text.to_owned());
        }
        Standing::Failed(..) => "Doing so may lose the consensus of your cluster. ".to_owned(),
        Standing::Active(member) if *member.raft.removed().borrow() => return None,
        // Without a leader nobody knows who else is there.
        Standing::Active(_) if !led => String::new(),
        Standing::Active(member) => match leave_risk(&member.raft.state()) {
            LeaveRisk::Last => return Some(format!("{participating}{last}")),
            LeaveRisk::Quorum { left, all } => format!(
                "Removing this node leaves {left} managers out of {all}. Without a Raft quorum your \
                 swarm will be inaccessible. "
            ),
            LeaveRisk::None => String::new(),
        },
    };
    Some(format!("{participating}{cost}{restore}"))
}
