//! Why a command was not carried out. Holds facts; the API's texts are made elsewhere.

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::model::Kind;

/// Why a command was not carried out; the state is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Rejected {
    /// There is no such object.
    #[error("{kind} {reference} not found")]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// As it was named.
        reference: String,
    },
    /// Another object of the kind has the name.
    #[error("{kind} {name} already exists")]
    NameTaken {
        /// The kind.
        kind: Kind,
        /// The name wanted.
        name: String,
    },
    /// The version named is not the current one.
    #[error("update out of sequence")]
    OutOfSequence,
    /// Services use the object.
    #[error("{kind} '{name}' is in use by {users:?}")]
    InUse {
        /// The kind.
        kind: Kind,
        /// Its name (networks: its id).
        name: String,
        /// Names of services; for networks, ids.
        users: Vec<String>,
    },
    /// A task still uses the network.
    #[error("network {network} is in use by task {task}")]
    InUseByTask {
        /// Id of the network.
        network: String,
        /// Id of the task.
        task: String,
    },
    /// Only services may join the network.
    #[error("network {network} not manually attachable")]
    NotAttachable {
        /// Name of the network.
        network: String,
    },
    /// Secrets or configs that a service names are not there.
    #[error("{kind} not found: {names:?}")]
    ReferencesMissing {
        /// Secret or config.
        kind: Kind,
        /// Names in the order of the spec.
        names: Vec<String>,
    },
    /// Another service publishes the port.
    #[error("port {port} is already in use by service {name} ({id})")]
    PortTaken {
        /// The published port.
        port: u16,
        /// Name of the service that has it.
        name: String,
        /// Its id.
        id: String,
        /// Whether that service publishes it in host mode.
        host_mode: bool,
    },
    /// Only labels of secrets and configs can change.
    #[error("only updates to labels are allowed")]
    OnlyLabels,
    /// A service's mode cannot change.
    #[error("service mode change is not allowed")]
    ModeChange,
    /// A service's name cannot change.
    #[error("renaming services is not supported")]
    Rename,
    /// There is nothing to roll back to.
    #[error("service {id} does not have a previous spec")]
    NoPreviousSpec {
        /// The service.
        id: String,
    },
    /// A published port needs the ingress network.
    #[error("service needs ingress network, but no ingress network is present")]
    NoIngress,
    /// There is an ingress network already.
    #[error("ingress network ({id}) is already present")]
    IngressPresent {
        /// Its id.
        id: String,
    },
    /// The ingress network is needed.
    #[error("ingress network cannot be removed because service {service} depends on it")]
    IngressNeeded {
        /// The service that publishes a port.
        service: String,
    },
    /// The last manager cannot be demoted.
    #[error("attempting to demote the last manager of the swarm")]
    LastManager,
    /// The other managers would be too few.
    #[error("can't remove member from the raft: this would result in a loss of quorum")]
    QuorumLost,
    /// Managers run skep.
    #[error("node {id} runs a Docker Engine without skep and can be a worker only")]
    EngineStaysWorker {
        /// The node.
        id: String,
    },
    /// A manager must be demoted before it is removed.
    #[error("node {id} is a cluster manager and is a member of the raft cluster")]
    NodeIsManager {
        /// The node.
        id: String,
    },
    /// A node that works is not removed without force.
    #[error("node {id} is not down and can't be removed")]
    NodeNotDown {
        /// The node.
        id: String,
    },
    /// There is a cluster already, or none yet.
    #[error("the state does not hold exactly one cluster")]
    WrongPhase,
    /// The plan was made on a state that has moved on; plan again.
    #[error("the plan is stale")]
    StalePlan,
    /// A plan or report contradicts itself or the state; a bug in its maker.
    #[error("malformed command: {0}")]
    Malformed(#[serde(deserialize_with = "unspoken")] Reason),
}

/// Words of a bug report; by this name, serde does not try to borrow them from its input.
type Reason = &'static str;

/// Reads the reason of another manager's rejection, which is not kept: it is in that manager's log.
fn unspoken<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'static str, D::Error> {
    String::deserialize(deserializer).map(|_| "see the leader's log")
}
