//! Nodes between wire and model.

use skep_core::labels::{self, Bearer};
use skep_core::model::Annotations;
use skep_core::model::node::{Availability, GenericResource, Node, NodeSpec, NodeState, Role};

use crate::error::ApiError;
use crate::wire;
use crate::wire::node::Plugin;
use crate::wire::service::{DiscreteResource, NamedResource, Platform, Resources};
use crate::wire::swarm::TlsInfo;

/// Shows a node.
pub fn to_wire(node: &Node) -> wire::node::Node {
    let told = &node.description;
    wire::node::Node {
        id: node.id.to_string(),
        meta: node.meta.into(),
        spec: wire::node::NodeSpec {
            name: node.spec.annotations.name.clone(),
            labels: node.spec.annotations.labels.clone(),
            role: role_word(node.spec.role).to_owned(),
            availability: availability_word(node.spec.availability).to_owned(),
        },
        description: wire::node::NodeDescription {
            hostname: told.hostname.clone(),
            platform: Platform { architecture: told.architecture.clone(), os: told.os.clone() },
            resources: Resources {
                nano_cpus: told.nano_cpus,
                memory_bytes: told.memory_bytes,
                generic_resources: told.generic_resources.iter().map(resource_to_wire).collect(),
            },
            engine: wire::node::Engine {
                engine_version: told.engine_version.clone(),
                labels: told.engine_labels.clone(),
                plugins: told
                    .plugins
                    .iter()
                    .map(|(kind, name)| Plugin { kind: kind.clone(), name: name.clone() })
                    .collect(),
            },
            tls_info: TlsInfo {
                trust_root: told.trust_root_pem.clone(),
                cert_issuer_subject: told.issuer_subject.clone(),
                cert_issuer_public_key: told.issuer_public_key.clone(),
            },
        },
        status: wire::node::NodeStatus {
            state: state_word(node.status.state),
            message: node.status.message.clone(),
            addr: node.status.addr.clone(),
        },
        manager_status: node.manager.as_ref().map(|manager| wire::node::ManagerStatus {
            leader: manager.leader,
            reachability: if manager.reachable { "reachable" } else { "unreachable" },
            addr: manager.addr.clone(),
        }),
    }
}

/// Shows a generic resource.
pub fn resource_to_wire(resource: &GenericResource) -> wire::service::GenericResource {
    match resource {
        GenericResource::Discrete { kind, value } => wire::service::GenericResource {
            named_resource_spec: None,
            discrete_resource_spec: Some(DiscreteResource { kind: kind.clone(), value: *value }),
        },
        GenericResource::Named { kind, value } => wire::service::GenericResource {
            named_resource_spec: Some(NamedResource { kind: kind.clone(), value: value.clone() }),
            discrete_resource_spec: None,
        },
    }
}

/// Reads a node's spec; role and availability must be there.
///
/// # Errors
/// Names the word that is none.
pub fn spec_from_wire(spec: wire::node::NodeSpec) -> Result<NodeSpec, ApiError> {
    labels::check(Bearer::Node, &spec.labels).map_err(|e| ApiError::bad_request(e.to_string()))?;
    Ok(NodeSpec {
        role: role(&spec.role)?,
        availability: availability(&spec.availability)?,
        annotations: Annotations { name: spec.name, labels: spec.labels },
        without_membership: true,
    })
}

fn role(word: &str) -> Result<Role, ApiError> {
    match word.to_ascii_lowercase().as_str() {
        "worker" => Ok(Role::Worker),
        "manager" => Ok(Role::Manager),
        _ => Err(ApiError::bad_request(format!("invalid Role: {word:?}"))),
    }
}

/// Reads an availability.
///
/// # Errors
/// Names the word that is none.
pub fn availability(word: &str) -> Result<Availability, ApiError> {
    match word.to_ascii_lowercase().as_str() {
        "active" => Ok(Availability::Active),
        "pause" => Ok(Availability::Pause),
        "drain" => Ok(Availability::Drain),
        _ => Err(ApiError::bad_request(format!("invalid Availability: {word:?}"))),
    }
}

/// Returns the API's word for a role.
pub const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Worker => "worker",
        Role::Manager => "manager",
    }
}

const fn availability_word(availability: Availability) -> &'static str {
    match availability {
        Availability::Active => "active",
        Availability::Pause => "pause",
        Availability::Drain => "drain",
    }
}

const fn state_word(state: NodeState) -> &'static str {
    match state {
        NodeState::Unknown => "unknown",
        NodeState::Down => "down",
        NodeState::Ready => "ready",
        NodeState::Disconnected => "disconnected",
    }
}
