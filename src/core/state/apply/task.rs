//! Reports and changes of tasks.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Write, not_found};
use crate::command::{NewTask, TaskPatch};
use crate::id::{NodeId, TaskId};
use crate::model::Kind;
use crate::model::service::{NetworkAttachment, Runtime, Slot, TaskSpec};
use crate::model::task::{Task, TaskState, TaskStatus};
use crate::state::store::task_addresses;
use crate::state::{Rejected, State};

/// What a new task shows (contract behaviour.md section 1).
const CREATED: &str = "created";

/// Tells whether tasks may be asked to go to a state.
pub(in crate::state) const fn is_desirable(state: TaskState) -> bool {
    use TaskState::{
        Accepted, Assigned, Complete, Failed, New, Orphaned, Pending, Preparing, Ready, Rejected,
        Remove, Running, Shutdown, Starting,
    };
    match state {
        Ready | Running | Complete | Shutdown | Remove => true,
        New | Pending | Assigned | Accepted | Preparing | Starting | Failed | Rejected
        | Orphaned => false,
    }
}

/// Tells whether a status may follow another. The first verdict stands: a task that has ended can only be lost.
fn may_follow(old: &TaskStatus, new: &TaskStatus) -> bool {
    if new.state == TaskState::Remove || new.state < old.state {
        return false;
    }
    let ended = old.state.is_terminal();
    !ended || new.state == old.state || new.state == TaskState::Orphaned
}

impl State {
    fn task(&self, id: &TaskId) -> Result<&Arc<Task>, Rejected> {
        self.tasks.get(id).ok_or_else(|| not_found(Kind::Task, id))
    }

    pub(super) fn report_tasks(
        &mut self,
        write: &Write,
        node: &NodeId,
        statuses: &[(TaskId, TaskStatus)],
    ) {
        for (id, status) in statuses {
            let Some(task) = self.tasks.get(id) else { continue };
            let theirs = task.node.as_ref() == Some(node);
            if !theirs || task.status == *status || !may_follow(&task.status, status) {
                continue;
            }
            // To be lost is a manager's verdict.
            if status.state == TaskState::Orphaned {
                continue;
            }
            let mut task = Task { status: status.clone(), ..Task::clone(task) };
            write.touch(&mut task.meta);
            self.put_task(Arc::new(task));
        }
    }

    pub(super) fn create_task(&mut self, write: &Write, new: &NewTask) -> Result<(), Rejected> {
        if self.tasks.contains_key(&new.id) {
            return Err(Rejected::Malformed("the id is taken"));
        }
        if !is_desirable(new.desired) || new.desired > TaskState::Complete {
            return Err(Rejected::Malformed("a new task is meant to run"));
        }
        let service = self.services.get(&new.service);
        let service = service.ok_or_else(|| not_found(Kind::Service, &new.service))?;
        let node = match &new.slot {
            Slot::Number(_) => None,
            Slot::Node(node) if self.nodes.contains_key(node) => Some(node.clone()),
            Slot::Node(node) => return Err(not_found(Kind::Node, node)),
        };
        let status = TaskStatus {
            at: write.at,
            state: TaskState::New,
            message: CREATED.to_owned(),
            ..TaskStatus::default()
        };
        let task = Task {
            id: new.id.clone(),
            meta: write.made(),
            service: Some(new.service.clone()),
            service_annotations: Arc::new(service.spec.annotations.clone()),
            spec: service.spec.task.clone(),
            spec_version: service.spec_version,
            slot: new.slot.clone(),
            node,
            desired: new.desired,
            status,
            endpoint: service.endpoint.clone().map(Arc::new),
            job_iteration: service.job.map(|job| job.iteration),
            hold: new.hold.clone(),
            ..Task::default()
        };
        self.put_task(Arc::new(task));
        Ok(())
    }

    pub(super) fn attach(
        &mut self,
        write: &Write,
        id: &TaskId,
        node: &NodeId,
        container: &str,
        network: &NetworkAttachment,
    ) -> Result<(), Rejected> {
        if self.tasks.contains_key(id) {
            return Err(Rejected::Malformed("the id is taken"));
        }
        if !self.nodes.contains_key(node) {
            return Err(not_found(Kind::Node, node));
        }
        let wanted = self.networks.get(&network.target);
        let wanted = wanted.ok_or_else(|| not_found(Kind::Network, &network.target))?;
        if !wanted.spec.attachable {
            let network = wanted.spec.annotations.name.clone();
            return Err(Rejected::NotAttachable { network });
        }
        let spec = TaskSpec {
            runtime: Runtime::Attachment { container_id: container.to_owned() },
            networks: vec![network.clone()],
            ..TaskSpec::default()
        };
        let status = TaskStatus {
            at: write.at,
            state: TaskState::New,
            message: CREATED.to_owned(),
            ..TaskStatus::default()
        };
        self.put_task(Arc::new(Task {
            id: id.clone(),
            meta: write.made(),
            spec: Arc::new(spec),
            node: Some(node.clone()),
            desired: TaskState::Running,
            status,
            ..Task::default()
        }));
        Ok(())
    }

    pub(super) fn detach(&mut self, id: &TaskId) -> Result<(), Rejected> {
        match self.task(id)?.spec.runtime {
            Runtime::Attachment { .. } => self.remove_task(id),
            Runtime::Container(_) => Err(Rejected::Malformed("the task is a service's")),
        }
    }

    pub(super) fn patch_task(&mut self, write: &Write, patch: &TaskPatch) -> Result<(), Rejected> {
        let old = self.task(&patch.id)?;
        let mut task = Task::clone(old);
        if let Some(desired) = patch.desired {
            if !is_desirable(desired) {
                return Err(Rejected::Malformed("no task is meant to go there"));
            }
            task.desired = task.desired.max(desired);
        }
        if let Some(node) = &patch.node {
            if !self.nodes.contains_key(node) {
                return Err(not_found(Kind::Node, node));
            }
            if task.node.as_ref().is_some_and(|bound| bound != node) {
                return Err(Rejected::Malformed("a task never changes its node"));
            }
            task.node = Some(node.clone());
        }
        if let Some(status) = &patch.status
            && may_follow(&task.status, status)
        {
            task.status = status.clone();
        }
        if let Some(networks) = &patch.networks {
            task.networks.clone_from(networks);
        }
        if let Some(endpoint) = &patch.endpoint {
            task.endpoint = Some(Arc::new(endpoint.clone()));
        }
        if let Some(resources) = &patch.generic_resources {
            task.generic_resources.clone_from(resources);
        }
        if let Some(hold) = &patch.hold {
            task.hold.clone_from(hold);
        }
        let held: BTreeSet<_> = task_addresses(old).collect();
        self.check_addresses(&held, task_addresses(&task))?;
        let running = task.status.state >= TaskState::Assigned && !task.status.state.is_terminal();
        if running && task.node.is_none() {
            return Err(Rejected::Malformed("a task is assigned to no node"));
        }
        if task != **old {
            write.touch(&mut task.meta);
            self.put_task(Arc::new(task));
        }
        Ok(())
    }

    pub(super) fn remove_task(&mut self, id: &TaskId) -> Result<(), Rejected> {
        self.task(id)?;
        self.drop_task(id);
        Ok(())
    }
}
