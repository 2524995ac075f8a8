//! The types openraft is instantiated with. They never reach disk or wire in openraft's own form:
//! that is the codec's work.

use std::fmt;
use std::sync::Arc;

use openraft::alias::{LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skep_core::{Applied, Proposal, Rejected};

openraft::declare_raft_types!(
    /// Names every type that consensus handles.
    pub(super) TypeConfig:
        D = LogProposal,
        R = Outcome,
        NodeId = u64,
        Node = openraft::BasicNode,
);

pub(super) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(super) type LogId = LogIdOf<TypeConfig>;
pub(super) type Vote = VoteOf<TypeConfig>;
pub(super) type Membership = StoredMembershipOf<TypeConfig>;
pub(super) type SnapshotMeta = SnapshotMetaOf<TypeConfig>;
pub(super) type Snapshot = openraft::alias::SnapshotOf<TypeConfig, Arc<skep_core::State>>;

/// A proposal as a log entry carries it; shared, so that an entry is cheap to copy.
#[derive(Clone, PartialEq)]
pub struct LogProposal(pub Arc<Proposal>);

impl fmt::Debug for LogProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("proposal")
    }
}

impl fmt::Display for LogProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("proposal")
    }
}

/// What applying an entry came to; `None` for entries that consensus makes for itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome(pub Option<Result<Applied, Rejected>>);

/// openraft asks for serde on these types. Refusing makes sure that nothing is ever stored in that
/// form.
macro_rules! never_serialised {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(S::Error::custom("stored and sent only through the codec"))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                Err(D::Error::custom("stored and sent only through the codec"))
            }
        }
    )*};
}

never_serialised!(LogProposal, Outcome);
