//! Gives new tasks their addresses; then they are pending. A task that cannot have all it needs stays new.

use std::sync::Arc;

use super::services::{is_up_to_date, joined};
use super::{addresses, is_overlay};
use crate::command::TaskPatch;
use crate::id::NetworkId;
use crate::model::network::Network;
use crate::model::service::{Endpoint, Service};
use crate::model::task::{Task, TaskNetwork, TaskState};
use crate::plan::Reason;
use crate::plan::draft::Draft;
use crate::plan::slots::is_wanted;

const PENDING: &str = "pending task scheduling";

pub(super) fn plan(draft: &mut Draft) {
    let mut new = draft.tasks_where(|task| task.status.state == TaskState::New && is_wanted(task));
    new.sort_by_key(|task| (task.service.clone(), task.slot.clone(), task.id.clone()));
    for task in new {
        if draft.is_full() {
            return;
        }
        if let Err(why) = allocate(draft, &task) {
            leave_new(draft, &task, why);
        }
    }
}

/// Notes what a task waits for where users look for it.
fn leave_new(draft: &mut Draft, task: &Arc<Task>, why: String) {
    if task.status.error != why {
        let message = task.status.message.clone();
        let status = draft.status(task, TaskState::New, &message, &why);
        draft.set_status(task, status);
    }
    draft.explain(task.service.as_ref(), Some(&task.id), why);
}

fn allocate(draft: &mut Draft, task: &Task) -> Result<(), String> {
    let service = task.service.as_ref().and_then(|id| draft.state.services().get(id)).cloned();
    let endpoint = match &service {
        Some(service) => Some(endpoint_of(draft, service)?),
        None => None,
    };
    let mut networks = Vec::new();
    for network in networks_of(draft, service.as_deref(), task)? {
        networks.push(attach(draft, task, network)?);
    }
    let status = draft.status(task, TaskState::Pending, PENDING, "");
    let taken: Vec<(NetworkId, _)> = networks
        .iter()
        .flat_map(|joined| {
            joined.addresses.iter().map(|(addr, _)| (joined.network.id.clone(), *addr))
        })
        .collect();
    draft.patch_task(TaskPatch {
        id: task.id.clone(),
        status: Some(status),
        networks: Some(networks),
        endpoint,
        ..TaskPatch::default()
    });
    for (network, addr) in taken {
        addresses::took(draft, &network, addr);
    }
    Ok(())
}

fn endpoint_of(draft: &Draft, service: &Service) -> Result<Endpoint, String> {
    let endpoint = service.endpoint.clone().filter(|_| is_up_to_date(&draft.state, service));
    endpoint.ok_or_else(|| {
        let own = |reason: &&Reason| {
            reason.service.as_ref() == Some(&service.id) && reason.task.is_none()
        };
        let why = draft.reasons().iter().find(own).map(|reason| reason.text.clone());
        why.unwrap_or_else(|| "the service has no addresses or ports yet".to_owned())
    })
}

/// Returns the networks that a task joins, each once, the routing mesh first.
fn networks_of(
    draft: &Draft,
    service: Option<&Service>,
    task: &Task,
) -> Result<Vec<Arc<Network>>, String> {
    let mut networks: Vec<Arc<Network>> = match service {
        Some(service) => joined(&draft.state, service)?,
        None => {
            let find = |target| draft.state.networks().get(target).cloned();
            let found = task.spec.networks.iter().map(|attachment| find(&attachment.target));
            found.collect::<Option<_>>().ok_or("a network is gone")?
        }
    };
    let mut seen = std::collections::BTreeSet::new();
    networks.retain(|network| seen.insert(network.id.clone()));
    Ok(networks)
}

fn attach(draft: &Draft, task: &Task, network: Arc<Network>) -> Result<TaskNetwork, String> {
    let attachment = task.spec.networks.iter().find(|it| it.target == network.id);
    let asked = attachment.and_then(|attachment| attachment.addresses.first());
    let mut addresses = Vec::new();
    if is_overlay(&network) {
        let name = &network.spec.annotations.name;
        addresses.push(match asked {
            Some(asked) => addresses::this_one(draft, &network.id, *asked)
                .ok_or_else(|| format!("{asked} is not free on network {name}"))?,
            None => addresses::next_free(draft, &network.id)
                .ok_or_else(|| addresses::shortage(draft, &network.id))?,
        });
    }
    let aliases = attachment.map(|attachment| attachment.aliases.clone()).unwrap_or_default();
    Ok(TaskNetwork { network, addresses, aliases })
}
