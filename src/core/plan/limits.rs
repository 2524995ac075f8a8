//! How much one plan does. What is left over is the next plan's, for a plan that left something over changed the state.

use crate::command::Change;
use crate::model::network::Network;
use crate::model::service::Endpoint;

/// Bytes of a change without what may be large in it, about.
const CHANGE_BYTES: usize = 256;
/// Bytes of a port, an address or a place in an update, about.
const ITEM_BYTES: usize = 64;

/// Bounds on the work of a plan, and so on the size of the log entry that it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tasks that one plan makes.
    pub tasks_per_plan: usize,
    /// Changes after which a plan begins nothing more. What is begun is finished, so that it may make a few more.
    pub changes_per_plan: usize,
    /// Bytes of changes, about, after which it is the same.
    pub bytes_per_plan: usize,
    /// Tasks of one service that may be wanted and not run yet, before its planner makes more of them.
    pub tasks_ahead: u64,
    /// So many more for each node.
    pub tasks_ahead_per_node: u64,
}

impl Default for Limits {
    /// No node starts a hundred containers at once, so that nothing waits for the planner.
    fn default() -> Self {
        Self {
            tasks_per_plan: 1_000,
            changes_per_plan: 10_000,
            bytes_per_plan: 4 << 20,
            tasks_ahead: 1_000,
            tasks_ahead_per_node: 100,
        }
    }
}

/// Estimates the bytes of a change. A task takes its service's ports and its networks' labels along, of which users may
/// give as many as a request holds.
pub(super) fn weight(change: &Change) -> usize {
    let large = match change {
        Change::PatchTask(patch) => {
            let networks = patch.networks.iter().flatten().map(|joined| network(&joined.network));
            patch.endpoint.as_ref().map_or(0, endpoint) + networks.sum::<usize>()
        }
        Change::PatchService(patch) => {
            let slots = patch.progress.iter().flatten().map(|progress| progress.slots.len());
            patch.endpoint.as_ref().map_or(0, endpoint) + slots.sum::<usize>() * ITEM_BYTES
        }
        Change::CreateTask(_)
        | Change::RemoveTask(_)
        | Change::PatchNetwork(_)
        | Change::ForgetNode(_)
        | Change::SetRole { .. } => 0,
    };
    CHANGE_BYTES + large
}

fn endpoint(endpoint: &Endpoint) -> usize {
    let items = endpoint.spec.ports.len() + endpoint.ports.len() + endpoint.virtual_ips.len();
    items * ITEM_BYTES
}

fn network(network: &Network) -> usize {
    let spec = &network.spec;
    let options = spec.driver.iter().flat_map(|driver| &driver.options);
    let texts = spec.annotations.labels.iter().chain(options);
    let texts: usize = texts.map(|(name, value)| name.len() + value.len()).sum();
    texts + (network.gateways.len() + 1) * ITEM_BYTES
}
