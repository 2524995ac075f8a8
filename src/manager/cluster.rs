//! Makes the objects of a new cluster and the keys of an updated one. Proposes nothing.

use skep_api::backend::{InitCluster, Rotate};
use skep_core::command::Command;
use skep_core::id::{ClusterId, NetworkId, NodeId};
use skep_core::model::Sensitive;
use skep_core::model::cluster::{Cluster, ClusterSpec, JoinTokens, RootCa, RootRotation};
use skep_core::model::network::{Network, NetworkSpec};
use skep_core::model::node::{
    ManagerStatus, Node, NodeAgent, NodeDescription, NodeSpec, NodeState, NodeStatus, Role,
};
use skep_core::model::{Annotations, Driver};
use skep_pki::{JoinToken, UnlockKey};

use super::SwarmAddresses;
use crate::clock;

/// Consensus id of the node that makes a cluster.
pub const FIRST_MEMBER: u64 = 1;

const DEFAULT_SUBNET_SIZE: u32 = 24;
const DEFAULT_DATA_PATH_PORT: u32 = 4789;

/// Makes a new root and the part of it that the cluster object holds.
///
/// # Errors
/// Fails only if the keys cannot be made.
pub fn new_root() -> Result<(skep_pki::RootCa, RootCa), skep_pki::Error> {
    let root = skep_pki::RootCa::generate(now_unix())?;
    let held = held_root(&root, 0)?;
    Ok((root, held))
}

/// Returns the part of a root of its own that the cluster object holds.
///
/// # Errors
/// Fails if the certificate cannot be read back.
pub fn held_root(root: &skep_pki::RootCa, force_rotate: u64) -> Result<RootCa, skep_pki::Error> {
    Ok(RootCa {
        certificate_pem: root.certificate_pem.clone(),
        key_pem: Sensitive(root.key_pem.as_bytes().to_vec()),
        subject: root.subject_der()?,
        public_key: root.public_key_der()?,
        last_force_rotate: force_rotate,
        rotation: None,
    })
}

/// Returns what the cluster object holds of a root that is to follow the present one, which is yet to vouch for it. The key is
/// empty where somebody else keeps it.
///
/// # Errors
/// Fails if the certificate does not parse.
pub fn rotation_to(
    certificate_pem: &str,
    key_pem: Sensitive,
) -> Result<RootRotation, skep_pki::Error> {
    let (subject, public_key) = skep_pki::issuer_of(certificate_pem)?;
    Ok(RootRotation {
        certificate_pem: certificate_pem.to_owned(),
        key_pem,
        subject,
        public_key,
        cross_signed_pem: String::new(),
    })
}

/// Returns the time in seconds, as certificates count it.
pub fn now_unix() -> i64 {
    clock::now().0 / 1_000_000_000
}

/// Makes a join token that pins the root.
pub fn new_token(root_pem: &str) -> Sensitive {
    Sensitive(JoinToken::generate(root_pem, clock::random_bytes()).expose().as_bytes().to_vec())
}

/// Makes an unlock key.
pub fn new_unlock_key() -> Sensitive {
    Sensitive(UnlockKey::generate(clock::random_bytes()).expose().as_bytes().to_vec())
}

/// What a first manager starts with.
pub struct Founding {
    /// The command that makes the cluster.
    pub command: Command,
    /// Its root.
    pub root: skep_pki::RootCa,
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
}

/// Makes the objects of a new cluster.
///
/// # Errors
/// Fails only if keys cannot be made.
pub fn found(
    request: &InitCluster,
    addresses: &SwarmAddresses,
    description: NodeDescription,
) -> Result<Founding, skep_pki::Error> {
    let (root, held) = new_root()?;
    let id = ClusterId::from_entropy(clock::entropy());
    let node = first_node(request, addresses, description, &held);
    let or = |value: u32, default| if value == 0 { default } else { value };
    let cluster = Cluster {
        id: id.clone(),
        unlock_key: if request.spec.auto_lock_managers {
            new_unlock_key()
        } else {
            Sensitive::default()
        },
        tokens: JoinTokens {
            worker: new_token(&held.certificate_pem),
            manager: new_token(&held.certificate_pem),
        },
        root_ca: RootCa { last_force_rotate: request.spec.force_rotate, ..held },
        spec: request.spec.clone(),
        address_pools: request.address_pools.clone(),
        subnet_size: or(request.subnet_size, DEFAULT_SUBNET_SIZE),
        data_path_port: or(request.data_path_port, DEFAULT_DATA_PATH_PORT),
        ..Cluster::default()
    };
    let node_id = node.id.clone();
    let command = Command::CreateCluster {
        cluster: Box::new(cluster),
        node: Box::new(node),
        networks: first_networks(),
    };
    Ok(Founding { command, root, cluster: id, node: node_id })
}

fn first_node(
    request: &InitCluster,
    addresses: &SwarmAddresses,
    description: NodeDescription,
    root: &RootCa,
) -> Node {
    Node {
        id: NodeId::from_entropy(clock::entropy()),
        spec: NodeSpec {
            annotations: Annotations::default(),
            role: Role::Manager,
            availability: request.availability,
            ..NodeSpec::default()
        },
        role: Role::Manager,
        description: with_trust(description, root),
        status: NodeStatus {
            state: NodeState::Ready,
            message: String::new(),
            addr: addresses.advertise.ip().to_string(),
        },
        manager: Some(ManagerStatus {
            leader: true,
            reachable: true,
            addr: addresses.advertise.to_string(),
            raft_id: FIRST_MEMBER,
        }),
        agent: Some(NodeAgent::Skep { version: env!("CARGO_PKG_VERSION").to_owned() }),
        ..Node::default()
    }
}

/// Adds what a node tells of its certificate.
pub fn with_trust(description: NodeDescription, root: &RootCa) -> NodeDescription {
    NodeDescription {
        trust_root_pem: root.certificate_pem.clone(),
        issuer_subject: root.subject.clone(),
        issuer_public_key: root.public_key.clone(),
        ..description
    }
}

/// The ingress network and the engine's own networks that services may name.
fn first_networks() -> Vec<Network> {
    let network = |name: &str, driver: &str, ingress: bool| Network {
        id: NetworkId::from_entropy(clock::entropy()),
        spec: NetworkSpec {
            annotations: Annotations { name: name.to_owned(), ..Annotations::default() },
            driver: (!ingress).then(|| Driver { name: driver.to_owned(), ..Driver::default() }),
            ingress,
            ipam: ingress.then(Default::default),
            predefined: !ingress,
            ..NetworkSpec::default()
        },
        ..Network::default()
    };
    let mut host_and_bridge: Vec<Network> =
        ["host", "bridge"].map(|name| network(name, name, false)).into();
    for built_in in &mut host_and_bridge {
        let label = ("com.docker.swarm.predefined".to_owned(), "true".to_owned());
        built_in.spec.annotations.labels.extend([label]);
    }
    host_and_bridge.insert(0, network("ingress", "overlay", true));
    host_and_bridge
}

/// Makes the command for a new cluster spec with the keys it asks for; `root` replaces what is held of roots.
pub fn update(
    cluster: &Cluster,
    version: u64,
    spec: ClusterSpec,
    rotate: Rotate,
    root: Option<RootCa>,
) -> Command {
    // Those who join during a rotation are given the present root; the tokens pin that.
    let pem = &cluster.root_ca.certificate_pem;
    let token = |wanted: bool| wanted.then(|| new_token(pem));
    let locked = !cluster.unlock_key.0.is_empty();
    let unlock_key = match (spec.auto_lock_managers, locked) {
        (true, false) => Some(new_unlock_key()),
        (true, true) => rotate.unlock_key.then(new_unlock_key),
        (false, true) => Some(Sensitive::default()),
        (false, false) => None,
    };
    Command::UpdateCluster {
        version,
        spec: Box::new(spec),
        worker_token: token(rotate.worker_token),
        manager_token: token(rotate.manager_token),
        unlock_key,
        root_ca: root.map(Box::new),
    }
}
