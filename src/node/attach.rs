//! Addresses for containers that users make on this node: a manager puts them into the state, a worker asks for them.

use std::net::IpAddr;
use std::sync::Arc;

use skep_api::backend::{Attachment, BackendError};
use skep_core::id::TaskId;
use skep_core::state::State;
use tokio::sync::watch;

use super::{Node, Standing};
use crate::agent::link;
use crate::dataplane::Endpoints;
use crate::manager::resource_allocator;

impl Node {
    /// Watches what this node knows of the cluster.
    ///
    /// # Errors
    /// `NotManager` where it is in none.
    pub(crate) fn states(&self) -> Result<watch::Receiver<Arc<State>>, BackendError> {
        match &*self.standing() {
            Standing::Worker(worker) => Ok(worker.states()),
            Standing::Active(_)
            | Standing::Inactive
            | Standing::Pending
            | Standing::Locked(..)
            | Standing::Failed(..) => Ok(self.member()?.raft.watch()),
        }
    }

    /// Takes an address for a container of this node; returns the task that holds it.
    ///
    /// # Errors
    /// Says why there is none.
    pub async fn attach(&self, wanted: Attachment) -> Result<TaskId, BackendError> {
        match &*self.standing() {
            Standing::Worker(worker) => link::attach(worker.way(), &wanted).await,
            Standing::Active(_)
            | Standing::Inactive
            | Standing::Pending
            | Standing::Locked(..)
            | Standing::Failed(..) => {
                let member = self.member()?;
                resource_allocator::attach(&member.raft, &member.identity.node, wanted).await
            }
        }
    }

    /// Has other nodes reach a container at addresses that it holds.
    pub async fn settle(&self, pid: i64, addrs: Vec<IpAddr>) {
        Endpoints::new(&self.around.machine.data_plane).settle(pid, addrs).await;
    }

    /// Gives back what a task of this node holds for a container.
    ///
    /// # Errors
    /// Says why it still holds it.
    pub async fn detach(&self, attachment: &TaskId) -> Result<(), BackendError> {
        match &*self.standing() {
            Standing::Worker(worker) => link::detach(worker.way(), attachment).await,
            Standing::Active(_)
            | Standing::Inactive
            | Standing::Pending
            | Standing::Locked(..)
            | Standing::Failed(..) => {
                let member = self.member()?;
                resource_allocator::detach(&member.raft, &member.identity.node, attachment).await
            }
        }
    }
}
