//! What a node is told of itself and of the managers.

use skep_core::id::NodeId;
use skep_core::model::Meta;
use skep_core::model::node::{Availability, Node, Role};
use skep_core::state::State;

use super::super::proto;
use super::{annotations, meta};

/// Builds the message that tells a node how it stands; `None` if there is no such node.
pub fn session_message(
    state: &State,
    node: &NodeId,
    session: &str,
) -> Option<proto::SessionMessage> {
    let held = state.nodes().get(node)?;
    let cluster = state.cluster()?;
    Some(proto::SessionMessage {
        session_id: session.to_owned(),
        node: Some(wire_node(held, cluster.data_path_port)),
        managers: managers(state),
        // Engines need them for overlay networks alone.
        network_bootstrap_keys: Vec::new(),
        root_ca: cluster.root_ca.trusted_pem().into_bytes(),
    })
}

fn managers(state: &State) -> Vec<proto::WeightedPeer> {
    let known = state.nodes().values().filter_map(|node| Some((node, node.manager.as_ref()?)));
    let peer = |node: &Node, addr: &str| proto::WeightedPeer {
        peer: Some(proto::Peer { node_id: node.id.to_string(), addr: addr.to_owned() }),
        weight: 0,
    };
    known
        .filter(|(_, manager)| !manager.addr.is_empty())
        .map(|(node, manager)| peer(node, &manager.addr))
        .collect()
}

fn wire_node(from: &Node, vxlan_udp_port: u32) -> proto::Node {
    let role = match from.spec.role {
        Role::Worker => proto::NodeRole::Worker,
        Role::Manager => proto::NodeRole::Manager,
    };
    let availability = match from.spec.availability {
        Availability::Active => proto::NodeAvailability::Active,
        Availability::Pause => proto::NodeAvailability::Pause,
        Availability::Drain => proto::NodeAvailability::Drain,
    };
    let state = if from.certificate.renew {
        proto::IssuanceState::Rotate
    } else {
        proto::IssuanceState::Issued
    };
    proto::Node {
        id: from.id.to_string(),
        // Not the version of now: what does not concern the node must not make a new message.
        meta: Some(meta(Meta { version: from.meta.created_version, ..Meta::default() })),
        spec: Some(proto::NodeSpec {
            annotations: Some(annotations(&from.spec.annotations)),
            desired_role: role.into(),
            membership: proto::NodeMembership::Accepted.into(),
            availability: availability.into(),
        }),
        description: Some(proto::NodeDescription {
            hostname: from.description.hostname.clone(),
            ..proto::NodeDescription::default()
        }),
        status: Some(proto::NodeStatus {
            state: proto::NodeState::Ready.into(),
            message: String::new(),
            addr: from.status.addr.clone(),
        }),
        certificate: Some(proto::Certificate {
            role: role.into(),
            csr: from.certificate.request.clone(),
            status: Some(proto::IssuanceStatus { state: state.into(), err: String::new() }),
            certificate: Vec::new(),
            cn: from.id.to_string(),
        }),
        role: role.into(),
        attachments: Vec::new(),
        vxlan_udp_port,
    }
}
