//! Makes everything that a task's container needs, up to the container. Starts nothing.

use skep_core::agent::network::MISSING_ATTACHMENT;
use skep_core::agent::{InvalidTask, NodeContext, container_plan, network_plan, payload_files};
use skep_core::assign::Assigned;
use skep_core::id::TaskId;
use skep_core::model::service::Runtime;
use skep_core::model::task::Task;
use tracing::warn;

use super::Shared;
use crate::engine::{EngineError, Made};

/// Why a container could not be made.
#[derive(Debug)]
pub(super) enum PrepareError {
    /// The node has no address on a network yet.
    NoAddress,
    /// It will not work; the text is for users.
    Refused(String),
    /// It may work later.
    Temporary(String),
}

impl From<InvalidTask> for PrepareError {
    fn from(error: InvalidTask) -> Self {
        if error.0 == MISSING_ATTACHMENT { Self::NoAddress } else { Self::Refused(error.0) }
    }
}

impl From<EngineError> for PrepareError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Temporary(text) => Self::Temporary(text),
            EngineError::Fatal { message, .. } => Self::Refused(message),
        }
    }
}

impl Shared {
    /// Makes files, networks, image and container of a task.
    pub(super) async fn prepare(
        &self,
        task: &Task,
        assigned: &Assigned,
    ) -> Result<Made, PrepareError> {
        if let Runtime::Attachment { container_id } = &task.spec.runtime {
            self.make_networks(task, assigned).await?;
            return Ok(Made { id: container_id.clone(), existed: true });
        }
        let node = self.context().await?;
        let files = payload_files(task, &node, assigned)?;
        let written = self.files.write(&task.id, &files);
        let mounts = written.map_err(|error| PrepareError::Temporary(error.to_string()))?;
        let plan = container_plan(task, &node, &assigned.networks, mounts)?;
        let image = self.images.fetch(&plan.image, &task.spec.registry_auth);
        let ((), made) = tokio::join!(image, self.make_networks(task, assigned));
        made?;
        let Ok(_turn) = self.turns.acquire().await else {
            return Err(PrepareError::Temporary("the agent stops".to_owned()));
        };
        Ok(self.engine.create(&plan).await?)
    }

    pub(super) async fn make_networks(
        &self,
        task: &Task,
        assigned: &Assigned,
    ) -> Result<(), PrepareError> {
        let mut networks = Vec::new();
        for held in &task.networks {
            let network = assigned.networks.get(&held.network.id).unwrap_or(&held.network);
            networks.extend(network_plan(network, &self.node)?);
        }
        // One after another: engines that make a network twice at once may refuse both for an overlap.
        let _ensuring = self.ensuring.lock().await;
        for network in &networks {
            if let Err(error) = self.engine.ensure_network(network).await {
                return Err(self.judge_network(error, assigned).await);
            }
        }
        Ok(())
    }

    /// A refusal may come from a network that is about to be removed and has the name or the addresses of the new one.
    async fn judge_network(&self, error: EngineError, assigned: &Assigned) -> PrepareError {
        if let Ok(held) = self.engine.networks(&self.node).await {
            let stale = held.iter().any(|held| {
                held.network.as_ref().is_none_or(|id| !assigned.networks.contains_key(id))
            });
            if stale {
                self.collect.notify_one();
                return PrepareError::Temporary(error.to_string());
            }
        }
        error.into()
    }

    /// Returns what templates know of the node, asking the engine once.
    async fn context(&self) -> Result<NodeContext, EngineError> {
        if let Some(held) = self.context.lock().clone() {
            return Ok(held);
        }
        let found = self.engine.describe().await?;
        let context = NodeContext {
            id: self.node.clone(),
            hostname: found.hostname,
            os: found.os,
            architecture: found.architecture,
        };
        *self.context.lock() = Some(context.clone());
        Ok(context)
    }

    pub(super) fn remove_files(&self, task: &TaskId) {
        if let Err(error) = self.files.remove(task) {
            warn!(task.id = %task, %error, "files of a task not removed");
        }
    }
}
