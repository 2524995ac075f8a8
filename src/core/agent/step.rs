//! The next act for one task, from how far it should go, how far it went and what became of its container. Does nothing.

use crate::model::service::{PortConfig, Runtime};
use crate::model::task::{ContainerStatus, Task, TaskState, TaskStatus};
use crate::time::Timestamp;

/// Error of a task whose container is gone.
pub const DESTROYED: &str = "dockerexec: container destroyed";

/// Error of a task whose health check failed.
pub const UNHEALTHY: &str = "dockerexec: unhealthy container";

/// What is known of a task's container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// The container.
    pub container: Container,
    /// Why preparing or starting it failed for good; the full text for users.
    pub failure: Option<String>,
}

/// State of a task's container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Container {
    /// There is none.
    #[default]
    Absent,
    /// It never ran.
    Created,
    /// It runs.
    Running {
        /// What its health check says.
        health: Health,
    },
    /// It ran.
    Exited {
        /// Exit code.
        code: i64,
        /// Text of the engine on why it ended, if any.
        error: String,
        /// What its health check said last.
        health: Health,
    },
}

/// What a health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// There is no check.
    #[default]
    Unchecked,
    /// Not known yet.
    Starting,
    /// Good.
    Healthy,
    /// Bad.
    Unhealthy,
}

/// What to do next for a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make networks, files, image and container.
    Prepare,
    /// Start the container.
    Start,
    /// Nothing until its health check says something.
    AwaitHealthy,
    /// Ask the container to stop, and kill it after its grace period.
    Stop,
    /// Remove the container and its anonymous volumes.
    Remove,
    /// Note how far the task went, then ask again.
    Report(Progress),
    /// Nothing until the task or its container changes.
    Wait,
    /// Nothing any more, unless the user wants the task forgotten.
    Done,
}

/// How far a task went, without the time and the container's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The state, always after the one before.
    pub state: TaskState,
    /// Progress text.
    pub message: String,
    /// What went wrong; empty if nothing did.
    pub error: String,
}

impl Progress {
    /// Makes the status to report.
    pub fn status(
        self,
        at: Timestamp,
        container: Option<ContainerStatus>,
        ports: Vec<PortConfig>,
    ) -> TaskStatus {
        let Self { state, message, error } = self;
        let container = container.filter(|_| state >= TaskState::Starting);
        TaskStatus { at, state, message, error, container, ports }
    }
}

/// Decides the next act. `task.status` must be the newest status known, reported or not.
pub fn step(task: &Task, observed: &Observed) -> Step {
    if matches!(task.spec.runtime, Runtime::Attachment { .. }) {
        return step_attachment(task, observed);
    }
    if task.desired >= TaskState::Shutdown {
        return step_down(task, &observed.container);
    }
    if task.status.state.is_terminal() {
        return match observed.container {
            Container::Running { .. } => Step::Stop,
            Container::Absent | Container::Created | Container::Exited { .. } => Step::Done,
        };
    }
    if let Some(text) = &observed.failure {
        return fail(task, text.clone());
    }
    step_up(task, &observed.container)
}

/// A container that a user made runs by itself; the task only holds its addresses. It is ready to be joined by the
/// container once the node has its network, which counts as created here, and ends with the container.
fn step_attachment(task: &Task, observed: &Observed) -> Step {
    let state = task.status.state;
    if state.is_terminal() {
        return Step::Done;
    }
    if task.desired >= TaskState::Shutdown {
        return report(TaskState::Shutdown, "shutdown");
    }
    if let Some(text) = &observed.failure {
        return fail(task, text.clone());
    }
    if state < TaskState::Preparing {
        return report(TaskState::Preparing, "preparing");
    }
    match &observed.container {
        Container::Absent if state < TaskState::Running => Step::Prepare,
        Container::Exited { .. } => report(TaskState::Shutdown, "shutdown"),
        _ if state < TaskState::Running => report(TaskState::Running, "started"),
        Container::Absent | Container::Created | Container::Running { .. } => Step::Wait,
    }
}

fn step_down(task: &Task, container: &Container) -> Step {
    match container {
        Container::Running { .. } => return Step::Stop,
        Container::Absent | Container::Created | Container::Exited { .. } => {}
    }
    if !task.status.state.is_terminal() {
        return report(TaskState::Shutdown, "shutdown");
    }
    if task.desired >= TaskState::Remove && *container != Container::Absent {
        return Step::Remove;
    }
    Step::Done
}

fn step_up(task: &Task, container: &Container) -> Step {
    match task.status.state {
        TaskState::New | TaskState::Pending | TaskState::Assigned => {
            report(TaskState::Accepted, "accepted")
        }
        TaskState::Accepted => report(TaskState::Preparing, "preparing"),
        TaskState::Preparing => match container {
            Container::Absent => Step::Prepare,
            Container::Created | Container::Running { .. } | Container::Exited { .. } => {
                report(TaskState::Ready, "prepared")
            }
        },
        // It never ran, so a container that vanished may be made again without restarting anything.
        TaskState::Ready if *container == Container::Absent => Step::Prepare,
        TaskState::Ready if task.desired <= TaskState::Ready => Step::Wait,
        TaskState::Ready => report(TaskState::Starting, "starting"),
        TaskState::Starting => step_starting(task, container),
        TaskState::Running => step_running(task, container),
        TaskState::Complete
        | TaskState::Shutdown
        | TaskState::Failed
        | TaskState::Rejected
        | TaskState::Remove
        | TaskState::Orphaned => Step::Done,
    }
}

fn step_starting(task: &Task, container: &Container) -> Step {
    match container {
        Container::Absent => fail(task, DESTROYED.to_owned()),
        Container::Created => Step::Start,
        Container::Running { health: Health::Unchecked | Health::Healthy } => {
            report(TaskState::Running, "started")
        }
        Container::Running { health: Health::Starting } => Step::AwaitHealthy,
        Container::Running { health: Health::Unhealthy } => Step::Stop,
        // Without a check it had started when it ran; the next step tells how it ended.
        Container::Exited { health: Health::Unchecked, .. } => {
            report(TaskState::Running, "started")
        }
        Container::Exited { .. } => end(task, container),
    }
}

fn step_running(task: &Task, container: &Container) -> Step {
    match container {
        // A container the engine knows as never started has lost what ran in it.
        Container::Absent | Container::Created => fail(task, DESTROYED.to_owned()),
        Container::Running { health: Health::Unhealthy } => Step::Stop,
        Container::Running { .. } => Step::Wait,
        Container::Exited { .. } => end(task, container),
    }
}

/// Tells how a container ended.
fn end(task: &Task, container: &Container) -> Step {
    let Container::Exited { code, error, health } = container else { return Step::Wait };
    let cause = if *health == Health::Unhealthy { UNHEALTHY } else { error.as_str() };
    match (code, *health == Health::Unhealthy) {
        (0, true) => fail(task, UNHEALTHY.to_owned()),
        (0, false) => report(TaskState::Complete, "finished"),
        _ if cause.is_empty() => fail(task, format!("task: non-zero exit ({code})")),
        _ => fail(task, format!("task: non-zero exit ({code}): {cause}")),
    }
}

fn report(state: TaskState, message: &str) -> Step {
    Step::Report(Progress { state, message: message.to_owned(), error: String::new() })
}

/// What fails before starting is rejected, after it failed; the message tells how far it came.
fn fail(task: &Task, error: String) -> Step {
    let state = if task.status.state < TaskState::Starting {
        TaskState::Rejected
    } else {
        TaskState::Failed
    };
    Step::Report(Progress { state, message: task.status.message.clone(), error })
}

#[cfg(test)]
mod tests;
