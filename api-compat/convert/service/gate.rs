//! What versions of the API older than the oldest supported engine's did not have yet; it is dropped. Fields newer than
//! that stay whatever version a client speaks: nodes whose engine cannot honour them are told apart at scheduling.

use crate::route::ApiVersion;
use crate::wire::container::ContainerSpec;
use crate::wire::service as wire;

/// Removes what the API of this version did not have yet.
pub(super) fn apply(spec: &mut wire::ServiceSpec, version: ApiVersion) {
    let task = &mut spec.task_template;
    if let Some(container) = &mut task.container_spec {
        gate_container(container, version);
    }
    if version < ApiVersion(1, 41) {
        if let Some(limits) = task.resources.as_mut().and_then(|held| held.limits.as_mut()) {
            limits.pids = 0;
        }
        spec.mode.replicated_job = None;
        spec.mode.global_job = None;
    }
    if version < ApiVersion(1, 40)
        && let Some(placement) = &mut task.placement
    {
        placement.max_replicas = 0;
    }
}

fn gate_container(spec: &mut ContainerSpec, version: ApiVersion) {
    if version < ApiVersion(1, 41) {
        spec.capability_add.clear();
        spec.capability_drop.clear();
        spec.ulimits.clear();
    }
    if version < ApiVersion(1, 40) {
        spec.sysctls.clear();
        if let Some(credentials) =
            spec.privileges.as_mut().and_then(|held| held.credential_spec.as_mut())
        {
            credentials.config.clear();
        }
        for config in &mut spec.configs {
            config.runtime = None;
        }
    }
}
