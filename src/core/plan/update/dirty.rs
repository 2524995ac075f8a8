//! Tells whether a task is outdated: made from a spec that differs where it matters. Plans nothing.

use std::sync::Arc;

use crate::model::container::{ContainerSpec, Mount};
use crate::model::node::Node;
use crate::model::service::{
    EndpointSpec, NetworkAttachment, PortConfig, ResourceRequirements, Runtime, Service, TaskSpec,
};
use crate::model::task::Task;

use super::super::scheduler::constraint::Constraints;

/// Tells whether a task has to be replaced to match its service's spec (contract behaviour.md section 5).
///
/// `node` is the task's node: a task whose placement alone has changed stays as long as its node fits.
pub fn is_dirty(service: &Service, task: &Task, node: Option<&Node>) -> bool {
    if task.spec_version == service.spec_version {
        return false;
    }
    let (wanted, actual) = (&service.spec.task, &task.spec);
    if !same_endpoint(service, task) {
        return true;
    }
    if Arc::ptr_eq(wanted, actual) {
        return false;
    }
    if !same_work(wanted, actual) {
        return true;
    }
    let moved = wanted.placement.clone().unwrap_or_default()
        != actual.placement.clone().unwrap_or_default();
    moved && !node.is_some_and(|node| Constraints::of(wanted).match_node(node))
}

fn same_endpoint(service: &Service, task: &Task) -> bool {
    let default = EndpointSpec::default();
    let wanted = service.spec.endpoint.as_ref().unwrap_or(&default);
    let Some(endpoint) = &task.endpoint else { return true };
    endpoint.spec == *wanted || normal_endpoint(&endpoint.spec) == normal_endpoint(wanted)
}

fn normal_endpoint(spec: &EndpointSpec) -> EndpointSpec {
    let mut spec = spec.clone();
    spec.ports.sort_by(|one, other| {
        let key = |port: &PortConfig| (port.target, port.published, port.protocol, port.mode);
        key(one).cmp(&key(other)).then_with(|| one.name.cmp(&other.name))
    });
    spec
}

/// Compares all but placement, taking what was left out and what was given empty as the same. Credentials do not count.
fn same_work(left: &TaskSpec, right: &TaskSpec) -> bool {
    same_runtime(&left.runtime, &right.runtime)
        && normal_resources(&left.resources) == normal_resources(&right.resources)
        && left.restart.clone().unwrap_or_default() == right.restart.clone().unwrap_or_default()
        && normal_networks(&left.networks) == normal_networks(&right.networks)
        && left.log_driver.clone().unwrap_or_default()
            == right.log_driver.clone().unwrap_or_default()
        && left.force_update == right.force_update
}

fn normal_resources(resources: &Option<ResourceRequirements>) -> ResourceRequirements {
    let mut resources = resources.clone().unwrap_or_default();
    resources.limits.get_or_insert_default();
    resources.reservations.get_or_insert_default().generic.sort();
    resources
}

fn same_runtime(left: &Runtime, right: &Runtime) -> bool {
    match (left, right) {
        (Runtime::Container(left), Runtime::Container(right)) => {
            left == right || normal(left) == normal(right)
        }
        (Runtime::Attachment { .. }, _) | (_, Runtime::Attachment { .. }) => left == right,
    }
}

fn normal(spec: &ContainerSpec) -> ContainerSpec {
    let mut spec = spec.clone();
    spec.dns.get_or_insert_default();
    spec.healthcheck.get_or_insert_default();
    let privileges = spec.privileges.get_or_insert_default();
    privileges.selinux.get_or_insert_default();
    // The order of these means nothing, and the CLI sorts some of them whenever it updates a service.
    spec.mounts
        .sort_by(|one, other| (&one.target, &one.source).cmp(&(&other.target, &other.source)));
    spec.mounts.iter_mut().for_each(normalise_mount);
    spec.secrets.sort_by(|one, other| (&one.file, &one.id).cmp(&(&other.file, &other.id)));
    spec.configs.sort_by(|one, other| (&one.file, &one.id).cmp(&(&other.file, &other.id)));
    spec.ulimits.sort_by(|one, other| one.name.cmp(&other.name));
    for list in [&mut spec.capability_add, &mut spec.capability_drop, &mut spec.groups] {
        list.sort();
    }
    spec
}

fn normalise_mount(mount: &mut Mount) {
    let bind = mount.bind.get_or_insert_default();
    if bind.propagation.is_empty() {
        // What the engine does where nothing is said.
        bind.propagation = "rprivate".to_owned();
    }
    mount.volume.get_or_insert_default().driver.get_or_insert_default();
    mount.tmpfs.get_or_insert_default();
    mount.image.get_or_insert_default();
}

fn normal_networks(networks: &[NetworkAttachment]) -> Vec<NetworkAttachment> {
    let mut networks = networks.to_vec();
    networks.sort_by(|left, right| left.target.cmp(&right.target));
    networks.iter_mut().for_each(|network| network.aliases.sort());
    networks
}

#[cfg(test)]
mod tests;
