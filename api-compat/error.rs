//! The one map from what went wrong to a status and the text that stock clients print. The texts are contract.

pub mod deliberate;

use http::StatusCode;
use skep_core::model::Kind;
use skep_core::state::Rejected;
use skep_core::state::query::LookupError;

use crate::backend::{BackendError, Membership};

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The status.
    pub status: StatusCode,
    /// The text clients print.
    pub message: String,
}

/// Classes of error that the reference implementation names in its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// 409.
    AlreadyExists,
    /// 500.
    DeadlineExceeded,
    /// 400.
    FailedPrecondition,
    /// 400.
    InvalidArgument,
    /// 404.
    NotFound,
    /// 403.
    PermissionDenied,
    /// 501.
    Unimplemented,
    /// 503.
    Unavailable,
    /// 500.
    Unknown,
}

impl Code {
    const fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyExists => "AlreadyExists",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::FailedPrecondition => "FailedPrecondition",
            Self::InvalidArgument => "InvalidArgument",
            Self::NotFound => "NotFound",
            Self::PermissionDenied => "PermissionDenied",
            Self::Unimplemented => "Unimplemented",
            Self::Unavailable => "Unavailable",
            Self::Unknown => "Unknown",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::AlreadyExists => StatusCode::CONFLICT,
            Self::FailedPrecondition | Self::InvalidArgument => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::DeadlineExceeded | Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl ApiError {
    /// Makes an error of a status and a text.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// Makes an error whose text names its class, as errors of the cluster's control API do.
    pub fn rpc(code: Code, message: impl AsRef<str>) -> Self {
        let text = format!("rpc error: code = {} desc = {}", code.as_str(), message.as_ref());
        Self::new(code.status(), text)
    }

    /// Makes a 400 with class `InvalidArgument`.
    pub fn invalid_argument(message: impl AsRef<str>) -> Self {
        Self::rpc(Code::InvalidArgument, message)
    }

    /// Makes a 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Makes a 403.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// Makes a 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// Makes a 409.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// Makes a 500.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// Makes a 501.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    /// Makes a 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// Says that no object of a kind answers to a reference.
    pub fn no_such(kind: Kind, reference: &str) -> Self {
        Self::not_found(format!("{kind} {reference} not found"))
    }

    /// Says that several objects of a kind answer to a reference.
    pub fn ambiguous(kind: Kind, reference: &str, matches: usize) -> Self {
        Self::bad_request(format!("{kind} {reference} is ambiguous ({matches} matches found)"))
    }

    /// Says why a reference names no object.
    pub fn lookup(kind: Kind, reference: &str, error: LookupError) -> Self {
        match error {
            LookupError::NotFound => Self::no_such(kind, reference),
            LookupError::Ambiguous(matches) => Self::ambiguous(kind, reference, matches),
        }
    }

    /// Answers for a backend that could not; `membership` tells why a node is no manager.
    pub fn from_backend(error: BackendError, membership: &Membership) -> Self {
        match error {
            BackendError::NotManager => not_manager(membership),
            BackendError::NoLeader => Self::rpc(Code::Unknown, NO_LEADER),
            BackendError::Timeout => Self::internal(
                "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
            ),
            BackendError::Rejected(rejected) => Self::from(rejected),
            BackendError::Refused { code, text } => Self::rpc(code, text),
            BackendError::AlreadyMember => Self::unavailable(ALREADY_MEMBER),
            BackendError::NotMember => Self::unavailable("This node is not part of a swarm"),
            BackendError::LeaveRefused(text) | BackendError::Unavailable(text) => {
                Self::unavailable(text)
            }
            BackendError::NotLocked => Self::conflict("swarm is not locked"),
            BackendError::InvalidKey => Self::bad_request("invalid key string"),
            BackendError::WrongKey => Self::new(
                StatusCode::UNAUTHORIZED,
                "swarm could not be unlocked: invalid key provided",
            ),
            BackendError::Invalid(text) => Self::bad_request(text),
            BackendError::Unsupported(text) => Self::unsupported(text),
            BackendError::Engine(text) => {
                Self::unavailable(format!("cannot connect to the local Docker Engine: {text}"))
            }
            BackendError::Internal(text) => Self::internal(text),
        }
    }
}

const ALREADY_MEMBER: &str = "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.";

/// Text of a cluster without a leader, also shown by `docker info`.
pub const NO_LEADER: &str = "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.";

/// Text for a node in no cluster, also the answer to overlay networks there.
pub const NOT_IN_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";

/// Says why a node serves no manager.
pub fn not_manager(membership: &Membership) -> ApiError {
    ApiError::unavailable(match membership {
        Membership::Inactive => NOT_IN_SWARM,
        Membership::Worker { .. } => {
            "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager."
        }
        Membership::Locked => {
            "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to unlock it."
        }
        Membership::Failed { expired: true, .. } => {
            "Swarm certificates have expired. To replace them, leave the swarm and join again."
        }
        Membership::Pending { .. }
        | Membership::Manager { .. }
        | Membership::Failed { expired: false, .. } => {
            "This node is not a swarm manager. Manager is being prepared or has trouble connecting to the cluster."
        }
    })
}

impl From<Rejected> for ApiError {
    fn from(rejected: Rejected) -> Self {
        use Code::{
            AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied,
            Unimplemented,
        };
        match rejected {
            Rejected::NotFound { kind, reference } => {
                Self::rpc(NotFound, format!("{kind} {reference} not found"))
            }
            Rejected::NameTaken { kind, name } => name_taken(kind, &name),
            Rejected::OutOfSequence => Self::rpc(Code::Unknown, "update out of sequence"),
            Rejected::InUse { kind, name, users } => in_use(kind, &name, &users),
            Rejected::InUseByTask { network, task } => {
                Self::rpc(FailedPrecondition, format!("network {network} is in use by task {task}"))
            }
            Rejected::NotAttachable { .. } => Self::rpc(PermissionDenied, rejected.to_string()),
            Rejected::ReferencesMissing { kind, names } => {
                let many = if names.len() == 1 { "" } else { "s" };
                Self::rpc(InvalidArgument, format!("{kind}{many} not found: {}", names.join(", ")))
            }
            Rejected::PortTaken { port, name, id, host_mode } => {
                let how = if host_mode { "a host-published port" } else { "an ingress port" };
                let text =
                    format!("port '{port}' is already in use by service '{name}' ({id}) as {how}");
                Self::rpc(InvalidArgument, text)
            }
            Rejected::OnlyLabels => {
                Self::rpc(InvalidArgument, "only updates to Labels are allowed")
            }
            Rejected::ModeChange => Self::rpc(Unimplemented, "service mode change is not allowed"),
            Rejected::Rename => Self::rpc(Unimplemented, "renaming services is not supported"),
            Rejected::NoPreviousSpec { id } => {
                Self::rpc(FailedPrecondition, format!("service {id} does not have a previous spec"))
            }
            Rejected::NoIngress => Self::rpc(
                FailedPrecondition,
                "service needs ingress network, but no ingress network is present",
            ),
            Rejected::IngressPresent { id } => {
                Self::rpc(AlreadyExists, format!("ingress network ({id}) is already present"))
            }
            Rejected::IngressNeeded { service } => Self::rpc(
                FailedPrecondition,
                format!(
                    "ingress network cannot be removed because service {service} depends on it"
                ),
            ),
            Rejected::LastManager => {
                Self::rpc(FailedPrecondition, "attempting to demote the last manager of the swarm")
            }
            Rejected::EngineStaysWorker { .. } | Rejected::QuorumLost => {
                Self::rpc(FailedPrecondition, rejected.to_string())
            }
            Rejected::NodeIsManager { id } => Self::rpc(
                FailedPrecondition,
                format!(
                    "node {id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal"
                ),
            ),
            Rejected::NodeNotDown { id } => {
                Self::rpc(FailedPrecondition, format!("node {id} is not down and can't be removed"))
            }
            Rejected::WrongPhase | Rejected::StalePlan | Rejected::Malformed(_) => {
                Self::rpc(Code::Unknown, rejected.to_string())
            }
        }
    }
}

fn name_taken(kind: Kind, name: &str) -> ApiError {
    match kind {
        Kind::Secret | Kind::Config => {
            ApiError::rpc(Code::AlreadyExists, format!("{kind} {name} already exists"))
        }
        // The same name is found before; this one differs in case.
        Kind::Network => ApiError::rpc(Code::Unknown, "name conflicts with an existing object"),
        Kind::Service | Kind::Node | Kind::Task | Kind::Cluster => ApiError::rpc(
            Code::AlreadyExists,
            format!("name conflicts with an existing object: {kind} {name} already exists"),
        ),
    }
}

fn in_use(kind: Kind, name: &str, users: &[String]) -> ApiError {
    match kind {
        Kind::Network => {
            let user = users.first().map_or("", String::as_str);
            let text = format!("network {name} is in use by service {user}");
            ApiError::rpc(Code::FailedPrecondition, text)
        }
        Kind::Secret | Kind::Config | Kind::Service | Kind::Node | Kind::Task | Kind::Cluster => {
            let many = if users.len() == 1 { "" } else { "s" };
            let text = format!(
                "{kind} '{name}' is in use by the following service{many}: {}",
                users.join(", ")
            );
            ApiError::rpc(Code::InvalidArgument, text)
        }
    }
}

#[cfg(test)]
mod tests;
