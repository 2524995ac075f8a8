//! What API clients are told of changes (contract api.md section 9, events).

use std::collections::BTreeMap;

use crate::model::Kind;
use crate::time::Timestamp;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It came to be.
    Create,
    /// It changed.
    Update,
    /// It is gone.
    Remove,
}

impl Action {
    /// Returns the word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Remove => "remove",
        }
    }
}

/// One change of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When: the object's creation or update time, or the time of removal.
    pub at: Timestamp,
    /// What kind of object.
    pub kind: Kind,
    /// What happened.
    pub action: Action,
    /// Its id.
    pub id: String,
    /// `name`, and pairs such as `replicas.old` and `replicas.new` for what changed.
    pub attributes: BTreeMap<String, String>,
}
