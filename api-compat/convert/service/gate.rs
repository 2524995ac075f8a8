//! What each version of the API did not have yet. Newer fields of older clients are dropped, not refused.

use crate::route::ApiVersion;
use crate::wire::container::ContainerSpec;
use crate::wire::service as wire;

/// Removes what the API of this version did not have yet.
pub(super) fn apply(spec: &mut wire::ServiceSpec, version: ApiVersion) {
    let task = &mut spec.task_template;
    if version < ApiVersion(1, 52)
        && let Some(resources) = &mut task.resources
    {
        resources.swap_bytes = None;
        resources.memory_swappiness = None;
    }
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
    if version < ApiVersion(1, 46) {
        for options in spec.mounts.iter_mut().filter_map(|mount| mount.tmpfs_options.as_mut()) {
            options.options.clear();
        }
        spec.oom_score_adj = 0;
    }
    if version < ApiVersion(1, 44) {
        if let Some(privileges) = &mut spec.privileges {
            privileges.seccomp = None;
            privileges.apparmor = None;
            privileges.no_new_privileges = false;
        }
        if let Some(check) = &mut spec.healthcheck {
            check.start_interval = 0;
        }
    }
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
