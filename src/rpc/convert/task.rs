//! Tasks for a node. Every part that an engine follows without looking is there.

use skep_core::model::node::{GenericResource, Resources};
use skep_core::model::service::{
    Endpoint, ResourceRequirements, RestartCondition, RestartPolicy, Runtime, Slot, TaskSpec,
};
use skep_core::model::task::{Task, TaskState, TaskStatus};

use super::super::proto::{self, generic_resource::Resource, task_spec};
use super::container::container;
use super::network::{attachment, attachment_config, endpoint};
use super::{annotations, driver, duration, meta, timestamp};

pub(super) fn task(from: &Task) -> proto::Task {
    let none = Endpoint::default();
    proto::Task {
        id: from.id.to_string(),
        meta: Some(meta(from.meta)),
        spec: Some(spec(&from.spec)),
        spec_version: Some(proto::Version { index: from.spec_version }),
        service_id: from.service.as_ref().map(ToString::to_string).unwrap_or_default(),
        slot: match &from.slot {
            Slot::Number(number) => *number,
            Slot::Node(_) => 0,
        },
        node_id: from.node.as_ref().map(ToString::to_string).unwrap_or_default(),
        // Without a name of its own the engine names the container as we do.
        annotations: Some(proto::Annotations::default()),
        service_annotations: Some(annotations(&from.service_annotations)),
        status: Some(status(&from.status)),
        desired_state: state(from.desired).into(),
        networks: from.networks.iter().map(attachment).collect(),
        endpoint: Some(endpoint(from.endpoint.as_deref().unwrap_or(&none))),
        log_driver: from.spec.log_driver.as_ref().map(driver),
        assigned_generic_resources: generic(&from.generic_resources),
        job_iteration: from.job_iteration.map(|index| proto::Version { index }),
    }
}

fn spec(from: &TaskSpec) -> proto::TaskSpec {
    let limits = from.resources.as_ref().and_then(|wanted| wanted.limits.as_ref());
    let runtime = match &from.runtime {
        Runtime::Container(spec) => {
            let pids = limits.map_or(0, |limits| limits.pids);
            let spec = container(spec, &from.registry_auth, pids);
            task_spec::Runtime::Container(Box::new(spec))
        }
        Runtime::Attachment { container_id } => {
            let container_id = container_id.clone();
            task_spec::Runtime::Attachment(proto::NetworkAttachmentSpec { container_id })
        }
    };
    proto::TaskSpec {
        runtime: Some(runtime),
        resources: Some(from.resources.as_ref().map(requirements).unwrap_or_default()),
        restart: from.restart.as_ref().map(restart),
        placement: from.placement.as_ref().map(|placement| proto::Placement {
            constraints: placement.constraints.clone(),
            platforms: placement
                .platforms
                .iter()
                .map(|it| proto::Platform {
                    architecture: it.architecture.clone(),
                    os: it.os.clone(),
                })
                .collect(),
            max_replicas: placement.max_replicas,
        }),
        log_driver: from.log_driver.as_ref().map(driver),
        networks: from.networks.iter().map(attachment_config).collect(),
        force_update: from.force_update,
    }
}

fn requirements(from: &ResourceRequirements) -> proto::ResourceRequirements {
    proto::ResourceRequirements {
        limits: from.limits.as_ref().map(resources),
        reservations: from.reservations.as_ref().map(resources),
        swap_bytes: from.swap_bytes,
        memory_swappiness: from.memory_swappiness,
    }
}

fn resources(from: &Resources) -> proto::Resources {
    proto::Resources {
        nano_cpus: from.nano_cpus,
        memory_bytes: from.memory_bytes,
        generic: generic(&from.generic),
    }
}

fn generic(from: &[GenericResource]) -> Vec<proto::GenericResource> {
    let one = |from: &GenericResource| match from.clone() {
        GenericResource::Discrete { kind, value } => {
            Resource::Discrete(proto::DiscreteGenericResource { kind, value })
        }
        GenericResource::Named { kind, value } => {
            Resource::Named(proto::NamedGenericResource { kind, value })
        }
    };
    from.iter().map(|from| proto::GenericResource { resource: Some(one(from)) }).collect()
}

fn restart(from: &RestartPolicy) -> proto::RestartPolicy {
    let condition = match from.condition {
        RestartCondition::None => proto::RestartCondition::None,
        RestartCondition::OnFailure => proto::RestartCondition::OnFailure,
        RestartCondition::Any => proto::RestartCondition::Any,
    };
    proto::RestartPolicy {
        condition: condition.into(),
        delay: from.delay.map(duration),
        max_attempts: from.max_attempts,
        window: from.window.map(duration),
    }
}

pub(super) fn status(from: &TaskStatus) -> proto::TaskStatus {
    let container = from.container.as_ref().map(|container| proto::ContainerStatus {
        container_id: container.id.clone(),
        pid: i32::try_from(container.pid).unwrap_or(0),
        exit_code: i32::try_from(container.exit_code).unwrap_or(i32::MAX),
    });
    proto::TaskStatus {
        timestamp: Some(timestamp(from.at)),
        state: state(from.state).into(),
        message: from.message.clone(),
        err: from.error.clone(),
        runtime_status: container.map(proto::task_status::RuntimeStatus::Container),
        port_status: None,
        applied_by: String::new(),
        applied_at: None,
    }
}

const fn state(from: TaskState) -> proto::TaskState {
    match from {
        TaskState::New => proto::TaskState::New,
        TaskState::Pending => proto::TaskState::Pending,
        TaskState::Assigned => proto::TaskState::Assigned,
        TaskState::Accepted => proto::TaskState::Accepted,
        TaskState::Preparing => proto::TaskState::Preparing,
        TaskState::Ready => proto::TaskState::Ready,
        TaskState::Starting => proto::TaskState::Starting,
        TaskState::Running => proto::TaskState::Running,
        TaskState::Complete => proto::TaskState::Complete,
        TaskState::Shutdown => proto::TaskState::Shutdown,
        TaskState::Failed => proto::TaskState::Failed,
        TaskState::Rejected => proto::TaskState::Rejected,
        TaskState::Remove => proto::TaskState::Remove,
        TaskState::Orphaned => proto::TaskState::Orphaned,
    }
}
