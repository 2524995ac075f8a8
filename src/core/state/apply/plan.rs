//! Carries out plans: as a whole, and only while what they were made from is unchanged.

use super::Write;
use crate::command::{Change, NetworkPatch, ServicePatch, TaskPatch};
use crate::id::NetworkId;
use crate::model::Meta;
use crate::model::service::Slot;
use crate::state::{Rejected, State};
use crate::time::Timestamp;

/// Tells which objects a plan may rely on: those it was made from, and those it made itself.
#[derive(Clone, Copy)]
struct Freshness {
    based_on: u64,
    index: u64,
}

impl Freshness {
    fn of(self, meta: Option<Meta>) -> bool {
        meta.is_some_and(|meta| meta.version <= self.based_on || meta.version == self.index)
    }
}

impl State {
    pub(super) fn carry_out_plan(
        &mut self,
        write: &mut Write,
        based_on: u64,
        changes: &[Change],
    ) -> Result<(), Rejected> {
        if based_on >= write.index {
            return Err(Rejected::Malformed("a plan is made before it is carried out"));
        }
        // A leader that was deposed while it planned, and led again, knows nothing of what was planned between: of a new task
        // the version of its service alone does not tell that another one has its place.
        if based_on < self.planned {
            return Err(Rejected::StalePlan);
        }
        let fresh = Freshness { based_on, index: write.index };
        for change in changes {
            if !self.is_fresh(fresh, change) {
                return Err(Rejected::StalePlan);
            }
            self.carry_out_change(write, change)?;
        }
        self.planned = write.index;
        Ok(())
    }

    /// Carries out one change as the log entry `index` proposed at `at` would; for planners, on a copy of the state.
    /// Leaves `State::index` alone, so that it goes on telling what the plan is based on.
    ///
    /// # Errors
    /// Says why the change was not carried out; the state is as it was.
    pub fn apply_change(
        &mut self,
        at: Timestamp,
        index: u64,
        change: &Change,
    ) -> Result<(), Rejected> {
        self.carry_out_change(&mut Write::new(index, at), change)
    }

    fn carry_out_change(&mut self, write: &mut Write, change: &Change) -> Result<(), Rejected> {
        match change {
            Change::CreateTask(new) => self.create_task(write, new),
            Change::PatchTask(patch) => self.patch_task(write, patch),
            Change::RemoveTask(id) => self.remove_task(id),
            Change::PatchService(patch) => self.patch_service(write, patch),
            Change::PatchNetwork(patch) => self.patch_network(write, patch),
            Change::SetRole { id, role } => self.set_role(write, id, *role),
            Change::ForgetNode(id) => self.forget_node(write, id),
        }
    }

    fn is_fresh(&self, fresh: Freshness, change: &Change) -> bool {
        match change {
            Change::CreateTask(new) => {
                let node = match &new.slot {
                    Slot::Number(_) => true,
                    Slot::Node(node) => fresh.of(self.nodes.get(node).map(|node| node.meta)),
                };
                node && fresh.of(self.services.get(&new.service).map(|service| service.meta))
            }
            Change::PatchTask(patch) => self.is_task_fresh(fresh, patch),
            Change::RemoveTask(id) => fresh.of(self.tasks.get(id).map(|task| task.meta)),
            Change::PatchService(patch) => self.is_service_fresh(fresh, patch),
            Change::PatchNetwork(patch) => self.is_network_fresh(fresh, patch),
            Change::SetRole { id, .. } | Change::ForgetNode(id) => {
                fresh.of(self.nodes.get(id).map(|node| node.meta))
            }
        }
    }

    fn is_task_fresh(&self, fresh: Freshness, patch: &TaskPatch) -> bool {
        let node = patch.node.as_ref();
        let networks = patch.networks.iter().flatten().map(|attached| &attached.network.id);
        fresh.of(self.tasks.get(&patch.id).map(|task| task.meta))
            && node.is_none_or(|id| fresh.of(self.nodes.get(id).map(|node| node.meta)))
            && self.are_networks_fresh(fresh, networks)
    }

    fn is_service_fresh(&self, fresh: Freshness, patch: &ServicePatch) -> bool {
        let vips = patch.endpoint.iter().flat_map(|endpoint| &endpoint.virtual_ips);
        fresh.of(self.services.get(&patch.id).map(|service| service.meta))
            && self.are_networks_fresh(fresh, vips.map(|vip| &vip.network))
    }

    fn is_network_fresh(&self, fresh: Freshness, patch: &NetworkPatch) -> bool {
        self.are_networks_fresh(fresh, std::iter::once(&patch.id))
            && patch.gateways.iter().all(|(node, _)| self.nodes.contains_key(node))
    }

    fn are_networks_fresh<'a>(
        &self,
        fresh: Freshness,
        mut ids: impl Iterator<Item = &'a NetworkId>,
    ) -> bool {
        ids.all(|id| fresh.of(self.networks.get(id).map(|network| network.meta)))
    }
}
