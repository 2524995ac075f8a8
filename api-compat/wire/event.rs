//! Cluster events on the wire.

use std::collections::BTreeMap;

use serde::Serialize;
use skep_core::state::Event as CoreEvent;

/// One change of one object.
#[derive(Debug, Serialize)]
pub struct Event {
    /// Kind of object.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    /// What happened.
    #[serde(rename = "Action")]
    pub action: &'static str,
    /// To which object.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Always `swarm`.
    pub scope: &'static str,
    /// Unix seconds.
    pub time: i64,
    /// Unix nanoseconds.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// The object of an event.
#[derive(Debug, Serialize)]
pub struct Actor {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name, and what changed.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

impl From<CoreEvent> for Event {
    fn from(event: CoreEvent) -> Self {
        Self {
            kind: event.kind.as_str(),
            action: event.action.as_str(),
            actor: Actor { id: event.id, attributes: event.attributes },
            scope: "swarm",
            time: event.at.0.div_euclid(1_000_000_000),
            time_nano: event.at.0,
        }
    }
}
