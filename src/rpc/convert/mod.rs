//! Between core and wire. Core to wire never leaves out a part, for a part that is missing ends the whole engine that
//! reads it; every message to a node is built here and nowhere else. Wire to core is bounded and typed.

mod attachment;
mod container;
mod description;
mod logs;
mod network;
mod payload;
mod privileges;
mod session;
mod status;
mod task;

#[cfg(test)]
mod tests;

use std::time::Duration;

use skep_core::model::{self, Meta};
use skep_core::time::Timestamp;
use thiserror::Error;

use super::proto;

pub use attachment::{attachment_wanted, wire_attachment};
pub use description::{availability_of, description, role_of, wire_description};
pub use logs::{log_line, log_options, subscription, unsubscription, wire_line};
pub use payload::assignments;
pub use session::session_message;
pub use status::{statuses, wire_statuses};

/// Why a message from a node is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// A part that must be there is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A part is longer than any honest one.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// A part has no meaning.
    #[error("{0} is invalid")]
    Invalid(&'static str),
}

impl From<WireError> for tonic::Status {
    fn from(error: WireError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

pub(super) fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = (at.0.div_euclid(1_000_000_000), at.0.rem_euclid(1_000_000_000));
    prost_types::Timestamp { seconds, nanos: i32::try_from(nanos).unwrap_or(0) }
}

pub(super) fn duration(value: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(value.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: i32::try_from(value.subsec_nanos()).unwrap_or(0) }
}

/// Reads a time; one that cannot be is taken for never.
pub(super) fn time_of(at: Option<&prost_types::Timestamp>) -> Timestamp {
    let read = |at: &prost_types::Timestamp| {
        at.seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(at.nanos))
    };
    Timestamp(at.and_then(read).unwrap_or(0))
}

fn annotations(from: &model::Annotations) -> proto::Annotations {
    proto::Annotations { name: from.name.clone(), labels: from.labels.clone() }
}

fn driver(from: &model::Driver) -> proto::Driver {
    proto::Driver { name: from.name.clone(), options: from.options.clone() }
}

fn meta(from: Meta) -> proto::Meta {
    proto::Meta {
        version: Some(proto::Version { index: from.version }),
        created_at: Some(timestamp(from.created_at)),
        updated_at: Some(timestamp(from.updated_at)),
    }
}
