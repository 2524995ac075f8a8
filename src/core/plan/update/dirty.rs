//! Tells whether a task is outdated: made from a spec that differs where it matters. Plans nothing.

use std::sync::Arc;

use crate::model::container::ContainerSpec;
use crate::model::node::Node;
use crate::model::service::{EndpointSpec, NetworkAttachment, Runtime, Service, TaskSpec};
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
    task.endpoint.as_ref().is_none_or(|endpoint| endpoint.spec == *wanted)
}

/// Compares all but placement, taking what was left out and what was given empty as the same. Credentials do not count.
fn same_work(left: &TaskSpec, right: &TaskSpec) -> bool {
    same_runtime(&left.runtime, &right.runtime)
        && same_option(&left.resources, &right.resources)
        && same_option(&left.restart, &right.restart)
        && same_networks(&left.networks, &right.networks)
        && left.log_driver == right.log_driver
        && left.force_update == right.force_update
}

fn same_option<T: Default + PartialEq>(left: &Option<T>, right: &Option<T>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(value), None) | (None, Some(value)) => *value == T::default(),
        (Some(left), Some(right)) => left == right,
    }
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
    spec.dns = Some(spec.dns.unwrap_or_default());
    spec.privileges = Some(spec.privileges.unwrap_or_default());
    spec.healthcheck = Some(spec.healthcheck.unwrap_or_default());
    // The order of these means nothing, and the CLI sorts some of them whenever it updates a service.
    spec.mounts
        .sort_by(|one, other| (&one.target, &one.source).cmp(&(&other.target, &other.source)));
    spec.secrets.sort_by(|one, other| (&one.file, &one.id).cmp(&(&other.file, &other.id)));
    spec.configs.sort_by(|one, other| (&one.file, &one.id).cmp(&(&other.file, &other.id)));
    spec.ulimits.sort_by(|one, other| one.name.cmp(&other.name));
    for list in [&mut spec.capability_add, &mut spec.capability_drop, &mut spec.groups] {
        list.sort();
    }
    spec
}

fn same_networks(left: &[NetworkAttachment], right: &[NetworkAttachment]) -> bool {
    let sorted = |networks: &[NetworkAttachment]| {
        let mut networks = networks.to_vec();
        networks.sort_by(|left, right| left.target.cmp(&right.target));
        networks
    };
    left == right || sorted(left) == sorted(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::container::Mount;

    #[test]
    fn the_order_of_mounts_and_capabilities_is_no_change() {
        let mount = |target: &str| Mount { target: target.to_owned(), ..Mount::default() };
        let work = |targets: [&str; 2], caps: [&str; 2]| TaskSpec {
            runtime: Runtime::Container(Box::new(ContainerSpec {
                mounts: targets.map(mount).into(),
                capability_add: caps.map(str::to_owned).into(),
                ..ContainerSpec::default()
            })),
            ..TaskSpec::default()
        };
        let first = work(["/b", "/a"], ["Y", "X"]);
        assert!(same_work(&first, &work(["/a", "/b"], ["X", "Y"])));
        assert!(!same_work(&first, &work(["/a", "/c"], ["X", "Y"])));
    }
}
