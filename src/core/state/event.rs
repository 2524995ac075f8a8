//! What API clients are told of changes (contract api.md section 9, events).

use std::collections::BTreeMap;

use crate::model::Kind;
use crate::model::node::{Availability, Node, NodeState, Role};
use crate::model::service::{Service, ServiceMode, UpdateState};
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

impl Event {
    /// Makes an event that tells the name only.
    pub(super) fn plain(at: Timestamp, kind: Kind, action: Action, id: String, name: &str) -> Self {
        let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        Self { at, kind, action, id, attributes }
    }

    /// Returns the name of a node in events: that of its spec, which is normally empty, or its host's.
    pub(super) fn node_name(node: &Node) -> &str {
        let name = node.spec.annotations.name.as_str();
        if name.is_empty() { &node.description.hostname } else { name }
    }

    /// Tells what changed of a node.
    pub(super) fn node_update(at: Timestamp, old: &Node, new: &Node) -> Self {
        let id = new.id.to_string();
        let mut event = Self::plain(at, Kind::Node, Action::Update, id, Self::node_name(new));
        event.pair(
            "availability",
            availability(old.spec.availability),
            availability(new.spec.availability),
        );
        event.pair("role", role(old.role), role(new.role));
        event.pair("state", node_state(old.status.state), node_state(new.status.state));
        if let (Some(old), Some(new)) = (&old.manager, &new.manager) {
            event.pair("leader", &old.leader.to_string(), &new.leader.to_string());
            event.pair("reachability", reachability(old.reachable), reachability(new.reachable));
        }
        event
    }

    /// Tells what changed of a service.
    pub(super) fn service_update(at: Timestamp, old: &Service, new: &Service) -> Self {
        let name = &new.spec.annotations.name;
        let mut event = Self::plain(at, Kind::Service, Action::Update, new.id.to_string(), name);
        if let (Some(old), Some(new)) = (old.spec.task.container(), new.spec.task.container()) {
            event.pair("image", &old.image, &new.image);
        }
        if let (
            ServiceMode::Replicated { replicas: before },
            ServiceMode::Replicated { replicas: after },
        ) = (old.spec.mode, new.spec.mode)
        {
            event.pair("replicas", &before.to_string(), &after.to_string());
        }
        if let Some(after) = &new.update_status {
            let after = update_state(after.state);
            match &old.update_status {
                Some(before) => event.pair("updatestate", update_state(before.state), after),
                None => {
                    event.attributes.insert("updatestate.new".to_owned(), after.to_owned());
                }
            }
        }
        event
    }

    fn pair(&mut self, key: &str, old: &str, new: &str) {
        if old != new {
            self.attributes.insert(format!("{key}.old"), old.to_owned());
            self.attributes.insert(format!("{key}.new"), new.to_owned());
        }
    }
}

const fn availability(value: Availability) -> &'static str {
    match value {
        Availability::Active => "active",
        Availability::Pause => "pause",
        Availability::Drain => "drain",
    }
}

const fn role(value: Role) -> &'static str {
    match value {
        Role::Worker => "worker",
        Role::Manager => "manager",
    }
}

const fn node_state(value: NodeState) -> &'static str {
    match value {
        NodeState::Unknown => "unknown",
        NodeState::Down => "down",
        NodeState::Ready => "ready",
        NodeState::Disconnected => "disconnected",
    }
}

const fn reachability(reachable: bool) -> &'static str {
    if reachable { "reachable" } else { "unreachable" }
}

const fn update_state(value: UpdateState) -> &'static str {
    match value {
        UpdateState::Updating => "updating",
        UpdateState::Paused => "paused",
        UpdateState::Completed => "completed",
        UpdateState::RollbackStarted => "rollback_started",
        UpdateState::RollbackPaused => "rollback_paused",
        UpdateState::RollbackCompleted => "rollback_completed",
    }
}
