//! What a node does for each of its tasks. Talks to no engine.

pub mod attempt;
pub mod compare;
pub mod container;
pub mod expansion;
pub mod manager_list;
pub mod mounts;
pub mod network;
pub mod payload;
pub mod recover;
pub mod reports;
pub mod step;
pub mod template;

pub use attempt::{is_half_made, merge, step_dismissed};
pub use compare::{Comparison, Sight, compare, needed_networks, stale_files};
pub use container::{ContainerPlan, FileMount, NodeContext, container_plan};
pub use manager_list::{Attempt, ManagerList};
pub use network::{NetworkPlan, Networking, network_plan};
pub use payload::{FILES_DIR, PayloadFile, payload_files};
pub use recover::{Found, Recovery, recover};
pub use reports::ReportQueue;
pub use step::{Container, Health, Observed, Progress, Step, step};

use thiserror::Error;

/// Says why a task cannot become a container; the text is what users see.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InvalidTask(pub String);
