//! The one place where a call is allowed: by the role in the caller's certificate, the cluster it names, and whether
//! the node was removed.

use std::sync::Arc;

use skep_core::grace::may_renew;
use skep_core::id::{ClusterId, NodeId};
use skep_core::model::node::Role;
use skep_core::state::State;
use skep_core::time::Timestamp;
use tokio::sync::watch;
use tonic::Status;
use tracing::debug;

use crate::clock;

/// Whom a caller's certificate names. That the cluster's root signed it was verified by TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// What it is certified to be.
    pub role: Role,
    /// Why its certificate did not hold when the connection came, if it did not.
    pub lapse: Option<Lapse>,
}

/// Why a certificate does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lapse {
    /// Since then it does not.
    RanOut(Timestamp),
    /// It will: the clock of whoever signed it was wrong, or this one is.
    Early,
}

impl Lapse {
    /// Judges a certificate by when it begins to hold and when it ends to, in seconds since 1970.
    pub fn of((start, end): (i64, i64), now: Timestamp) -> Option<Self> {
        let (start, end) = (Timestamp::from_secs(start), Timestamp::from_secs(end));
        if end < now {
            return Some(Self::RanOut(end));
        }
        (now < start).then_some(Self::Early)
    }
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Anyone, for joining nodes have no certificate.
    Public,
    /// Any node of the cluster.
    Member,
    /// Managers alone, as their certificates and the state say.
    Manager,
    /// Whoever is certified as a manager: consensus itself knows its members, and tells those that are none any more.
    Consensus,
}

/// Calls by path. A path that begins with an entry is meant by it; the first that fits counts.
const CALLS: &[(&str, Access)] = &[
    ("/docker.swarmkit.v1.CA/GetRootCACertificate", Access::Public),
    ("/docker.swarmkit.v1.CA/GetUnlockKey", Access::Manager),
    ("/docker.swarmkit.v1.NodeCA/", Access::Public),
    ("/docker.swarmkit.v1.Dispatcher/", Access::Member),
    ("/docker.swarmkit.v1.LogBroker/", Access::Member),
    ("/docker.swarmkit.v1.ResourceAllocator/", Access::Member),
    ("/skep.v1.Agent/", Access::Member),
    ("/skep.v1.Logs/", Access::Manager),
    ("/skep.v1.Relay/Listen", Access::Member),
    ("/skep.v1.Relay/Serve", Access::Member),
    ("/skep.v1.Relay/", Access::Manager),
    ("/skep.v1.Raft/Join", Access::Manager),
    ("/skep.v1.Raft/", Access::Consensus),
];

/// Decides over calls by the state of now.
pub struct Gate {
    cluster: ClusterId,
    states: watch::Receiver<Arc<State>>,
}

impl Gate {
    /// Makes the gate of a cluster.
    pub fn new(cluster: ClusterId, states: watch::Receiver<Arc<State>>) -> Self {
        Self { cluster, states }
    }

    /// Allows or refuses a call.
    ///
    /// # Errors
    /// The status to answer with.
    pub fn check(&self, path: &str, peer: Option<&PeerIdentity>) -> Result<(), Status> {
        let called = CALLS.iter().find(|(prefix, _)| path.starts_with(prefix));
        let Some((_, access)) = called else {
            return Err(Status::unimplemented("unknown service"));
        };
        if let Some(peer) = peer {
            self.check_member(peer)?;
            self.check_age(path, peer)?;
        }
        let allowed = match (access, peer) {
            (Access::Public, _) | (Access::Member, Some(_)) => true,
            (Access::Member | Access::Manager | Access::Consensus, None) => false,
            (Access::Manager, Some(peer)) => peer.role == Role::Manager && !self.is_demoted(peer),
            (Access::Consensus, Some(peer)) => peer.role == Role::Manager,
        };
        if allowed { Ok(()) } else { Err(denied("the caller's certificate does not allow this")) }
    }

    /// With a certificate that does not hold, a node may ask for another one at best.
    fn check_age(&self, path: &str, peer: &PeerIdentity) -> Result<(), Status> {
        let Some(lapse) = peer.lapse else { return Ok(()) };
        if !path.starts_with("/docker.swarmkit.v1.NodeCA/") {
            return Err(denied(match lapse {
                Lapse::RanOut(_) => "the caller's certificate ran out",
                Lapse::Early => "the caller's certificate does not hold yet",
            }));
        }
        let state = self.states.borrow();
        let now = clock::now();
        let ran_out = match lapse {
            Lapse::RanOut(at) => at,
            // Nobody has to allow that.
            Lapse::Early => now,
        };
        let allowed = may_renew(&state, &peer.node, peer.role, ran_out, now);
        allowed.map_err(|refusal| {
            debug!(node.id = %peer.node, reason = %refusal, "a certificate that does not hold");
            denied(&refusal.to_string())
        })
    }

    /// A certificate outlives the role that it was given for.
    fn is_demoted(&self, peer: &PeerIdentity) -> bool {
        let state = self.states.borrow();
        state.nodes().get(&peer.node).is_some_and(|node| node.role == Role::Worker)
    }

    fn check_member(&self, peer: &PeerIdentity) -> Result<(), Status> {
        if peer.cluster != self.cluster {
            return Err(denied("the caller's certificate is of another cluster"));
        }
        if self.states.borrow().is_removed(&peer.node) {
            return Err(denied("the node was removed from the cluster"));
        }
        Ok(())
    }
}

fn denied(reason: &str) -> Status {
    Status::permission_denied(format!("permission denied: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::command::{Command, Proposal};
    use skep_core::model::Annotations;
    use skep_core::model::node::{Node, NodeSpec};
    use tonic::Code;

    fn peer(cluster: u128, role: Role) -> PeerIdentity {
        let (cluster, node) = (ClusterId::from_entropy(cluster), NodeId::from_entropy(7));
        PeerIdentity { cluster, node, role, lapse: None }
    }

    #[test]
    fn with_a_certificate_that_does_not_hold_a_node_asks_for_another_one_at_best() {
        let worker = peer(1, Role::Worker);
        let hour = std::time::Duration::from_secs(3600);
        let ago = |hours| Timestamp(clock::now().0 - Timestamp::default().after(hour * hours).0);
        let labels = [(skep_core::labels::CERTIFICATE_GRACE.to_owned(), "2h".to_owned())].into();
        let annotations = Annotations { labels, ..Annotations::default() };
        let spec = NodeSpec { annotations, ..NodeSpec::default() };
        let node = Node { id: worker.node.clone(), spec, ..Node::default() };
        let mut state = State::default();
        let create = |node: &Node| Command::CreateCluster {
            cluster: Box::default(),
            node: Box::new(node.clone()),
            networks: Vec::new(),
        };
        let proposal = Proposal { at: clock::now(), command: create(&node) };
        state.apply(1, &proposal).expect("an empty state takes a cluster");
        let (_sender, states) = watch::channel(Arc::new(state));
        let gate = Gate::new(ClusterId::from_entropy(1), states);
        let may = |path: &str, hours: u32, node: u128| {
            let node = NodeId::from_entropy(node);
            let lapse = Some(Lapse::RanOut(ago(hours)));
            gate.check(path, Some(&PeerIdentity { node, lapse, ..worker.clone() })).is_ok()
        };
        let renewal = "/docker.swarmkit.v1.NodeCA/IssueNodeCertificate";
        assert!(may(renewal, 1, 7) && !may(renewal, 3, 7) && !may(renewal, 1, 8));
        for (path, _) in CALLS.iter().filter(|(path, _)| !renewal.starts_with(path)) {
            assert!(!may(path, 1, 7), "{path}");
            let early = PeerIdentity { lapse: Some(Lapse::Early), ..worker.clone() };
            assert!(gate.check(path, Some(&early)).is_err(), "{path}");
            assert!(gate.check(renewal, Some(&early)).is_ok());
        }
    }

    #[test]
    fn the_role_in_the_certificate_decides() {
        let (_sender, states) = watch::channel(Arc::new(State::default()));
        let gate = Gate::new(ClusterId::from_entropy(1), states);
        let (worker, manager) = (peer(1, Role::Worker), peer(1, Role::Manager));
        let foreign = peer(2, Role::Manager);
        let (ok, denied) = (Code::Ok, Code::PermissionDenied);
        let cases = [
            ("/docker.swarmkit.v1.CA/GetRootCACertificate", [ok, ok, ok, denied]),
            ("/docker.swarmkit.v1.NodeCA/IssueNodeCertificate", [ok, ok, ok, denied]),
            ("/docker.swarmkit.v1.Dispatcher/Session", [denied, ok, ok, denied]),
            ("/docker.swarmkit.v1.CA/GetUnlockKey", [denied, denied, ok, denied]),
            ("/skep.v1.Agent/Follow", [denied, ok, ok, denied]),
            ("/skep.v1.Logs/Read", [denied, denied, ok, denied]),
            ("/skep.v1.Relay/Listen", [denied, ok, ok, denied]),
            ("/skep.v1.Relay/Serve", [denied, ok, ok, denied]),
            ("/skep.v1.Relay/Open", [denied, denied, ok, denied]),
            ("/skep.v1.Raft/Append", [denied, denied, ok, denied]),
            ("/docker.swarmkit.v1.Control/ListNodes", [Code::Unimplemented; 4]),
        ];
        for (path, expect) in cases {
            let callers = [None, Some(&worker), Some(&manager), Some(&foreign)];
            for (caller, expect) in callers.into_iter().zip(expect) {
                let found = gate.check(path, caller).err().map_or(Code::Ok, |status| status.code());
                assert_eq!(found, expect, "{path} by {caller:?}");
            }
        }
    }
}
