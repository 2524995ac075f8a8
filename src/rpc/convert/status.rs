//! What a node's tasks came to, bounded. What makes no sense is left out: a node repeats what it is not answered for.

use skep_core::id::TaskId;
use skep_core::model::service::PortConfig;
use skep_core::model::task::{ContainerStatus, TaskState, TaskStatus};
use skep_core::time::Timestamp;

use super::super::proto::{self, task_status::RuntimeStatus};
use super::network::{port, port_of};
use super::{task, time_of};

const TEXT_BYTES_MAX: usize = 4096;
const CONTAINER_ID_BYTES_MAX: usize = 128;
const PORTS_MAX: usize = 1024;

/// Reads a report. Times that lie after `now` come of a clock that goes wrong.
pub fn statuses(from: Vec<proto::TaskStatusUpdate>, now: Timestamp) -> Vec<(TaskId, TaskStatus)> {
    let read = |update: proto::TaskStatusUpdate| {
        let id = update.task_id.parse().ok()?;
        Some((id, status(update.status?, now)?))
    };
    from.into_iter().filter_map(read).collect()
}

/// Builds a report.
pub fn wire_statuses(from: &[(TaskId, TaskStatus)]) -> Vec<proto::TaskStatusUpdate> {
    let update = |(id, status): &(TaskId, TaskStatus)| proto::TaskStatusUpdate {
        task_id: id.to_string(),
        status: Some(proto::TaskStatus {
            port_status: Some(proto::PortStatus { ports: status.ports.iter().map(port).collect() }),
            ..task::status(status)
        }),
    };
    from.iter().map(update).collect()
}

fn status(from: proto::TaskStatus, now: Timestamp) -> Option<TaskStatus> {
    let state = state_of(from.state)?;
    let at = time_of(from.timestamp.as_ref());
    Some(TaskStatus {
        at: if at.is_zero() { now } else { at.min(now) },
        state,
        message: cut(from.message, TEXT_BYTES_MAX),
        error: cut(from.err, TEXT_BYTES_MAX),
        container: from
            .runtime_status
            .and_then(|RuntimeStatus::Container(it)| container(it, state)),
        ports: from.port_status.map(ports).unwrap_or_default(),
    })
}

fn container(from: proto::ContainerStatus, state: TaskState) -> Option<ContainerStatus> {
    if from.container_id.is_empty() {
        return None;
    }
    // An engine that is stopping a container says that it runs, with an exit code of -1.
    let exit_code = if state.is_terminal() { from.exit_code.into() } else { 0 };
    Some(ContainerStatus {
        id: cut(from.container_id, CONTAINER_ID_BYTES_MAX),
        pid: from.pid.into(),
        exit_code,
    })
}

/// New engines tell a port once for each family of addresses.
fn ports(from: proto::PortStatus) -> Vec<PortConfig> {
    let mut found: Vec<PortConfig> = Vec::new();
    for port in from.ports.iter().take(PORTS_MAX).filter_map(port_of) {
        if !found.contains(&port) {
            found.push(port);
        }
    }
    found
}

fn cut(mut text: String, bytes_max: usize) -> String {
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    text
}

fn state_of(from: i32) -> Option<TaskState> {
    Some(match proto::TaskState::try_from(from).ok()? {
        proto::TaskState::New => TaskState::New,
        proto::TaskState::Pending => TaskState::Pending,
        proto::TaskState::Assigned => TaskState::Assigned,
        proto::TaskState::Accepted => TaskState::Accepted,
        proto::TaskState::Preparing => TaskState::Preparing,
        proto::TaskState::Ready => TaskState::Ready,
        proto::TaskState::Starting => TaskState::Starting,
        proto::TaskState::Running => TaskState::Running,
        proto::TaskState::Complete => TaskState::Complete,
        proto::TaskState::Shutdown => TaskState::Shutdown,
        proto::TaskState::Failed => TaskState::Failed,
        proto::TaskState::Rejected => TaskState::Rejected,
        proto::TaskState::Remove => TaskState::Remove,
        proto::TaskState::Orphaned => TaskState::Orphaned,
    })
}

#[cfg(test)]
mod tests {
    use skep_core::model::service::PublishMode;

    use super::*;

    #[test]
    fn reports_arrive_as_they_were_sent() {
        let port = PortConfig { target: 80, published: 32768, ..PortConfig::default() };
        let port = PortConfig { mode: PublishMode::Host, ..port };
        for (state, exit_code) in [(TaskState::Running, 0), (TaskState::Failed, 137)] {
            let container = ContainerStatus { id: "c0ffee".to_owned(), pid: 12, exit_code };
            let status = TaskStatus {
                at: Timestamp(9),
                state,
                message: "started".to_owned(),
                error: "why".to_owned(),
                container: Some(container),
                ports: vec![port.clone()],
            };
            let told = vec![(TaskId::from_entropy(1), status)];
            assert_eq!(statuses(wire_statuses(&told), Timestamp(10)), told);
        }
    }
}
