//! Whether a node whose certificate ran out while it was off may ask for another one. Only users allow it, node by node.

use crate::id::NodeId;
use crate::labels::{CERTIFICATE_GRACE, duration_of};
use crate::model::node::Role;
use crate::state::State;
use crate::time::Timestamp;

/// Why a node whose certificate ran out may not ask for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was removed, or never was there.
    #[error("the node is not known")]
    Unknown,
    /// The certificate gives more, or less, than the node is to have.
    #[error("the certificate is of another role")]
    Role,
    /// No user allowed it, or not for so long.
    #[error(
        "the certificate ran out; on a manager, `docker node update --label-add {CERTIFICATE_GRACE}=720h NODE` lets the node ask for \
         another one up to 720 hours after that"
    )]
    Late,
}

/// Tells whether a node may ask for a certificate with one that named it and its role, and ran out at `ran_out`.
///
/// # Errors
/// Says why not.
pub fn may_renew(
    state: &State,
    node: &NodeId,
    role: Role,
    ran_out: Timestamp,
    now: Timestamp,
) -> Result<(), Refusal> {
    let held = state.nodes().get(node).filter(|_| !state.is_removed(node));
    let held = held.ok_or(Refusal::Unknown)?;
    if held.role != role || held.spec.role != role {
        return Err(Refusal::Role);
    }
    let labels = &held.spec.annotations.labels;
    let grace = duration_of(labels, CERTIFICATE_GRACE).unwrap_or_default();
    if now.since(ran_out) <= grace { Ok(()) } else { Err(Refusal::Late) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Annotations;
    use crate::model::node::{Node, NodeSpec};

    #[test]
    fn only_a_node_that_is_there_with_its_role_has_a_grace() {
        let id = NodeId::from_seed(1, 1);
        let judge = |label: &str, spec: Role, role: Role, hours: i64| {
            let labels = [(CERTIFICATE_GRACE.to_owned(), label.to_owned())].into();
            let annotations = Annotations { labels, ..Annotations::default() };
            let spec = NodeSpec { annotations, role: spec, ..NodeSpec::default() };
            let mut state = State::default();
            state.put_node(Arc::new(Node { id: id.clone(), spec, role, ..Node::default() }));
            let (ran_out, now) = (Timestamp::from_secs(9), Timestamp::from_secs(9 + hours * 3600));
            may_renew(&state, &id, Role::Worker, ran_out, now)
        };
        let worker = Role::Worker;
        assert_eq!(judge("24h", worker, worker, 24), Ok(()));
        assert_eq!(judge("24h", worker, worker, 25), Err(Refusal::Late));
        assert_eq!(judge("", worker, worker, 1), Err(Refusal::Late));
        assert_eq!(judge("24h", Role::Manager, worker, 1), Err(Refusal::Role));
        assert_eq!(judge("24h", worker, Role::Manager, 1), Err(Refusal::Role));
        let (nobody, now) = (State::default(), Timestamp::from_secs(9));
        assert_eq!(may_renew(&nobody, &id, worker, now, now), Err(Refusal::Unknown));
    }
}
