//! Lookups by id, name or prefix, and sums over a state. List filters belong to the API.

use std::str::FromStr;
use std::sync::Arc;

use imbl::OrdMap;
use thiserror::Error;

use super::State;
use crate::id::TaskId;
use crate::model::Kind;
use crate::model::network::Network;
use crate::model::node::Node;
use crate::model::secret::{Config, Secret};
use crate::model::service::{Service, ServiceMode};
use crate::model::task::{Task, TaskState};

/// Why a reference named no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LookupError {
    /// Nothing has this id, name or prefix.
    #[error("not found")]
    NotFound,
    /// So many have it.
    #[error("ambiguous ({0} matches found)")]
    Ambiguous(usize),
}

/// Finds the one object a reference means: by full id, then by exact name, then by the beginning of the id. Only the last
/// goes through all objects.
fn find<'a, K: Ord + FromStr, T>(
    objects: &'a OrdMap<K, Arc<T>>,
    reference: &str,
    id: impl Fn(&T) -> &str,
    named: Result<&'a Arc<T>, LookupError>,
) -> Result<&'a Arc<T>, LookupError> {
    if reference.is_empty() {
        return Err(LookupError::NotFound);
    }
    if let Some(found) = reference.parse().ok().and_then(|id: K| objects.get(&id)) {
        return Ok(found);
    }
    match named {
        Err(LookupError::NotFound) => {
            only(objects.values().filter(|o| id(o).starts_with(reference)))
        }
        found => found,
    }
}

fn only<'a, T>(mut found: impl Iterator<Item = &'a Arc<T>>) -> Result<&'a Arc<T>, LookupError> {
    let first = found.next().ok_or(LookupError::NotFound)?;
    match found.count() {
        0 => Ok(first),
        more => Err(LookupError::Ambiguous(more + 1)),
    }
}

impl State {
    /// Finds a node by id, host name or beginning of the id.
    ///
    /// # Errors
    /// Fails if none or several match.
    pub fn find_node(&self, reference: &str) -> Result<&Arc<Node>, LookupError> {
        find(
            &self.nodes,
            reference,
            |node| node.id.as_str(),
            only(self.nodes.values().filter(|node| node.description.hostname == reference)),
        )
    }

    /// Finds a service by id, name or beginning of the id.
    ///
    /// # Errors
    /// Fails if none or several match.
    pub fn find_service(&self, reference: &str) -> Result<&Arc<Service>, LookupError> {
        find(
            &self.services,
            reference,
            |service| service.id.as_str(),
            self.named(Kind::Service, &self.services, reference, |service| {
                &service.spec.annotations.name
            }),
        )
    }

    /// Finds a task by id, by its name `service.slot.id` or by the beginning of the id.
    ///
    /// # Errors
    /// Fails if none or several match.
    pub fn find_task(&self, reference: &str) -> Result<&Arc<Task>, LookupError> {
        find(&self.tasks, reference, |task| task.id.as_str(), self.task_named(reference))
    }

    /// Finds a network by id, name or beginning of the id; built-in ones too.
    ///
    /// # Errors
    /// Fails if none or several match.
    pub fn find_network(&self, reference: &str) -> Result<&Arc<Network>, LookupError> {
        find(
            &self.networks,
            reference,
            |network| network.id.as_str(),
            self.named(Kind::Network, &self.networks, reference, |network| {
                &network.spec.annotations.name
            }),
        )
    }

    /// Finds a secret by id, name or beginning of the id.
    ///
    /// # Errors
    /// Fails if none or several match.
    pub fn find_secret(&self, reference: &str) -> Result<&Arc<Secret>, LookupError> {
        find(
            &self.secrets,
            reference,
            |secret| secret.id.as_str(),
            self.named(Kind::Secret, &self.secrets, reference, |secret| {
                &secret.spec.annotations.name
            }),
        )
    }

    /// Finds a config by id, name or beginning of the id.
    ///
    /// # Errors
    /// Fails if none or several match.
    pub fn find_config(&self, reference: &str) -> Result<&Arc<Config>, LookupError> {
        find(
            &self.configs,
            reference,
            |config| config.id.as_str(),
            self.named(Kind::Config, &self.configs, reference, |config| {
                &config.spec.annotations.name
            }),
        )
    }

    fn named<'a, K: Ord + FromStr, T>(
        &self,
        kind: Kind,
        objects: &'a OrdMap<K, Arc<T>>,
        name: &str,
        name_of: impl Fn(&T) -> &str,
    ) -> Result<&'a Arc<T>, LookupError> {
        let found = self.id_of_name(kind, name).and_then(|id: K| objects.get(&id));
        found.filter(|object| name_of(object) == name).ok_or(LookupError::NotFound)
    }

    /// The name of a task ends in its id.
    fn task_named(&self, name: &str) -> Result<&Arc<Task>, LookupError> {
        let id = name.rsplit_once('.').and_then(|(_, id)| id.parse().ok());
        let found = id.and_then(|id: TaskId| self.tasks.get(&id));
        found.filter(|task| task.name() == name).ok_or(LookupError::NotFound)
    }

    /// Returns the ingress network, if there is one.
    pub fn ingress_network(&self) -> Option<&Arc<Network>> {
        self.networks.values().find(|network| network.spec.ingress)
    }
}

/// Counts a service's tasks that run, that should run and that have completed (contract objects.md section 4). For
/// jobs only the current run counts.
pub fn service_status(state: &State, service: &Service) -> (u64, u64, u64) {
    let iteration = service.job.map(|job| job.iteration);
    let (mut running, mut wanted, mut unfinished, mut completed) = (0, 0, 0, 0);
    for task in state.service_tasks(&service.id) {
        if iteration.is_some() && task.job_iteration != iteration {
            continue;
        }
        let observed = task.status.state;
        running += u64::from(observed == TaskState::Running);
        wanted += u64::from(task.desired == TaskState::Running);
        completed += u64::from(observed == TaskState::Complete);
        unfinished +=
            u64::from(task.desired == TaskState::Complete && observed != TaskState::Complete);
    }
    match service.spec.mode {
        ServiceMode::Replicated { replicas } => (running, replicas, 0),
        ServiceMode::Global => (running, wanted, 0),
        ServiceMode::ReplicatedJob { max_concurrent, .. } => (running, max_concurrent, completed),
        ServiceMode::GlobalJob => (running, unfinished, completed),
    }
}
