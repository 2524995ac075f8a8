//! Whether a node whose certificate ran out while it was off may ask for another one. Only users allow it, node by node.

use std::time::Duration;

use crate::id::NodeId;
use crate::model::Labels;
use crate::model::node::Role;
use crate::state::State;
use crate::time::Timestamp;

/// The label of a node that says for how long after its certificate ran out it may ask for another one.
pub const LABEL: &str = "skep.certificate-grace";

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
        "the certificate ran out; on a manager, `docker node update --label-add {LABEL}=720h NODE` lets the node ask for \
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
    let grace = grace(&held.spec.annotations.labels).unwrap_or_default();
    if now.since(ran_out) <= grace { Ok(()) } else { Err(Refusal::Late) }
}

/// Reads the label: a number and `s`, `m`, `h` or `d`.
fn grace(labels: &Labels) -> Option<Duration> {
    let text = labels.get(LABEL)?.trim();
    let seconds = match text.chars().next_back()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let count: u32 = text.get(..text.len() - 1)?.parse().ok()?;
    Some(Duration::from_secs(u64::from(count) * seconds))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Annotations;
    use crate::model::node::{Node, NodeSpec};

    #[test]
    fn labels_are_read() {
        let read = |text: &str| grace(&[(LABEL.to_owned(), text.to_owned())].into());
        for (text, seconds) in [("90s", 90), ("2m", 120), (" 720h ", 2_592_000), ("1d", 86_400)] {
            assert_eq!(read(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "7", "-1h", "1.5h", "99999999999h", "1h30m", "é"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_node_that_is_there_with_its_role_has_a_grace() {
        let id = NodeId::from_seed(1, 1);
        let judge = |label: &str, spec: Role, role: Role, hours: i64| {
            let labels = [(LABEL.to_owned(), label.to_owned())].into();
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
