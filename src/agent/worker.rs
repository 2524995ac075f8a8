//! Carries out the steps of one task. Decides none of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use skep_core::agent::network::MISSING_ATTACHMENT;
use skep_core::agent::step::{DESTROYED, Progress};
use skep_core::agent::{
    Container, Observed, Sight, Step, is_half_made, merge, step, step_dismissed,
};
use skep_core::assign::Assigned;
use skep_core::id::TaskId;
use skep_core::model::service::{PortConfig, PublishMode, Runtime};
use skep_core::model::task::{ContainerStatus, Task, TaskState, TaskStatus};
use skep_core::time::Timestamp;
use tokio::sync::watch;
use tracing::{debug, info};

use super::Shared;
use super::prepare::PrepareError;
use crate::clock;
use crate::engine::{ContainerView, EngineError};

/// Waits after an error that may pass, doubling from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long a task waits for its node's address on a network.
const ATTACHMENT_WAIT: Duration = Duration::from_secs(30);

/// Time between two looks at a container whose health is awaited; only finds what no event told of.
const HEALTH_LOOK: Duration = Duration::from_secs(3);

/// Time between two looks at a container that a user made.
const ATTACHED_LOOK: Duration = Duration::from_secs(5);

/// Looks at which such a container does not run until its addresses are given up.
const ATTACHED_ABSENCES_MAX: u32 = 3;

/// Grace period of containers whose service names none.
const GRACE_SECONDS: i64 = 10;

/// What a worker is told.
#[derive(Debug, Clone)]
pub(super) struct Input {
    /// The task as assigned; `None` when it is no longer.
    pub(super) task: Option<Arc<Task>>,
    /// Everything assigned, for secrets, configs and networks.
    pub(super) assigned: Arc<Assigned>,
    /// Counts reasons to look at the container again.
    pub(super) wakes: u64,
}

impl Input {
    fn is_stopping(&self) -> bool {
        self.task.as_ref().is_none_or(|task| task.desired >= TaskState::Shutdown)
    }
}

/// What the worker saw last, for the comparison with a list of all containers, and whether it is making or starting the
/// container and will know then in any case how it is.
#[derive(Debug, Default)]
pub(super) struct Seen {
    sight: Mutex<Sight>,
    acting: AtomicBool,
}

impl Seen {
    /// Returns what was seen last.
    pub(super) fn sight(&self) -> Sight {
        *self.sight.lock()
    }

    fn set(&self, state: &Container) {
        *self.sight.lock() = Sight::of(state);
        self.acting.store(false, Ordering::Relaxed);
    }

    /// Tells whether the worker will know by itself how its container is, after what it does now.
    pub(super) fn is_acting(&self) -> bool {
        self.acting.load(Ordering::Relaxed)
    }

    /// Tells whether the worker knows of a container, or is making it.
    pub(super) fn knows_container(&self) -> bool {
        match self.sight() {
            Sight::Nothing | Sight::Absent => self.is_acting(),
            Sight::Idle | Sight::Running => true,
        }
    }
}

/// The side of an act that tells what became of it: done, or to be tried again.
type Act = Result<(), String>;

pub(super) struct Worker {
    shared: Arc<Shared>,
    input: watch::Receiver<Input>,
    seen: Arc<Seen>,
    /// The task with its newest status, reported or not.
    task: Task,
    /// Container by id, or by name until the id is known.
    container: Option<String>,
    view: ContainerView,
    /// Whether `view` may not tell how the container is.
    look: bool,
    failure: Option<String>,
    /// When the wait for an address began.
    waiting_since: Option<Timestamp>,
    retry: Duration,
    /// How often in a row a container that a user made was found not to run.
    absences: u32,
    /// The first process of the container, when its ends of networks were seen to last.
    settled: i64,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        input: watch::Receiver<Input>,
        seen: Arc<Seen>,
        task: Task,
    ) -> Self {
        Self {
            shared,
            input,
            seen,
            task,
            container: None,
            view: ContainerView::default(),
            look: true,
            failure: None,
            waiting_since: None,
            retry: RETRY.0,
            absences: 0,
            settled: 0,
        }
    }

    /// Takes over a container that was found.
    pub(super) fn with_container(self, container: Option<String>) -> Self {
        Self { container, ..self }
    }

    /// Takes it that there is no container yet.
    pub(super) fn without_container(mut self) -> Self {
        self.seen.set(&Container::Absent);
        self.look = false;
        self
    }

    /// Returns the container that a user made and that this task only holds addresses for.
    fn attached(&self) -> Option<&str> {
        match &self.task.spec.runtime {
            Runtime::Attachment { container_id } => Some(container_id),
            Runtime::Container(_) => None,
        }
    }

    /// Advances the task until it is no longer assigned or the agent stops. Containers outlive the agent.
    pub(super) async fn run(mut self) -> TaskId {
        let mut wakes = 0;
        let mut first = true;
        while !self.shared.shutdown.is_cancelled() {
            let input = self.input.borrow_and_update().clone();
            self.look |= input.wakes != wakes;
            wakes = input.wakes;
            if self.look {
                if let Err(error) = self.observe().await {
                    self.pause(&error).await;
                    continue;
                }
                self.look = false;
            }
            let Some(task) = &input.task else {
                match self.dismiss().await {
                    Ok(true) => break,
                    Ok(false) => self.look = true,
                    Err(error) => self.pause(&error).await,
                }
                continue;
            };
            self.task = merge(task, std::mem::take(&mut self.task.status));
            if std::mem::take(&mut first) && is_half_made(&self.task, &self.view.state) {
                self.look = true;
                first = self.drop_container().await.is_err();
                continue;
            }
            self.advance(&input).await;
        }
        self.task.id
    }

    /// Takes one step.
    async fn advance(&mut self, input: &Input) {
        let observed =
            Observed { container: self.view.state.clone(), failure: self.failure.clone() };
        let next = step(&self.task, &observed);
        debug!(task.id = %self.task.id, step = ?next, "step");
        let outcome = match next {
            Step::Report(progress) => {
                self.report(progress);
                return;
            }
            Step::Wait if self.attached().is_some() => {
                self.watch_attached().await;
                return;
            }
            Step::Wait | Step::Done => {
                self.rest().await;
                return;
            }
            Step::AwaitHealthy => {
                self.look |= self.rest_a_while().await;
                return;
            }
            Step::Prepare => self.prepare(input).await.map(|seen| self.look = !seen),
            Step::Start => self.start().await.map(|()| self.look = true),
            Step::Stop => self.stop().await.map(|()| self.look = true),
            Step::Remove => self.drop_container().await.map(|()| self.look = true),
        };
        match outcome {
            Ok(()) => self.retry = RETRY.0,
            Err(error) => {
                self.look = true;
                self.pause(&error).await;
            }
        }
    }

    /// Waits for something to change.
    async fn rest(&mut self) {
        tokio::select! {
            // The sender lives as long as the agent, which cancels before it goes.
            changed = self.input.changed() => if changed.is_err() {
                self.shared.shutdown.cancelled().await;
            },
            () = self.shared.shutdown.cancelled() => {}
        }
    }

    /// Waits for something to change, but not long: a comparison with the engine's list tells nothing of health. Tells
    /// whether the container is to be looked at.
    async fn rest_a_while(&mut self) -> bool {
        tokio::select! {
            () = clock::sleep(HEALTH_LOOK) => true,
            () = self.rest() => false,
        }
    }

    /// Waits for something to change, and for the end of the container that a user made. No event tells of it: its labels
    /// are the user's. The look now and then finds what ended before the wait began.
    async fn watch_attached(&mut self) {
        let Some(container) = self.attached().map(str::to_owned) else { return };
        let shared = self.shared.clone();
        let end = async {
            if container.is_empty() || shared.engine.wait(&container).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            () = end => true,
            () = clock::sleep(ATTACHED_LOOK) => false,
            () = self.rest() => return,
        };
        // One that the node took for itself is given back by who took it, or has been forgotten.
        let found = match container.as_str() {
            "" => Ok(None),
            container => self.shared.engine.inspect(container).await,
        };
        let (gone, ran) = match found {
            // A container there never is again, while the node itself may yet take the place.
            Ok(None) => (true, ended || !container.is_empty()),
            Ok(Some(view)) => match view.state {
                Container::Running { .. } => {
                    self.settle(view.pid).await;
                    (false, false)
                }
                Container::Absent | Container::Created => (true, false),
                Container::Exited { .. } => (true, ended),
            },
            Err(_) => return,
        };
        self.absences = if gone { self.absences + 1 } else { 0 };
        // Of one that was not seen to end, the start may only be under way.
        if ran || self.absences >= ATTACHED_ABSENCES_MAX {
            self.view.state = Container::Exited {
                code: 0,
                error: String::new(),
                health: skep_core::agent::step::Health::Unchecked,
            };
        }
    }

    /// Has other nodes reach the container that a user made, once each time that it has started.
    async fn settle(&mut self, pid: i64) {
        if self.settled == pid {
            return;
        }
        self.settled = pid;
        let held = self.task.networks.iter().flat_map(|held| &held.addresses);
        let addrs = held.map(|(addr, _)| *addr).collect();
        self.shared.endpoints.settle(pid, addrs).await;
    }

    /// Waits before another try, or until something changes.
    async fn pause(&mut self, error: &str) {
        debug!(task.id = %self.task.id, error, "trying again later");
        let wait = self.retry;
        self.retry = (wait * 2).min(RETRY.1);
        tokio::select! {
            () = clock::sleep(wait) => {}
            _ = self.input.changed() => {}
            () = self.shared.shutdown.cancelled() => {}
        }
    }

    async fn observe(&mut self) -> Act {
        if self.attached().is_some() {
            return Ok(());
        }
        let name = self.container.clone().unwrap_or_else(|| self.task.name());
        match self.shared.engine.inspect(&name).await {
            Ok(Some(view)) => {
                self.container = Some(view.id.clone());
                self.view = view;
            }
            Ok(None) => {
                // Keeps what is known of it, for the last report.
                self.view.state = Container::Absent;
                self.view.pid = 0;
                self.container = None;
            }
            Err(error) => return Err(error.to_string()),
        }
        self.seen.set(&self.view.state);
        Ok(())
    }

    fn report(&mut self, progress: Progress) {
        let id = &self.view.id;
        let container = (!id.is_empty()).then(|| ContainerStatus {
            id: id.clone(),
            pid: self.view.pid,
            exit_code: self.view.exit_code,
        });
        let status: TaskStatus = progress.status(clock::now(), container, self.host_ports());
        info!(
            task.id = %self.task.id,
            task.state = status.state.as_str(),
            task.error = %status.error,
            "task went on"
        );
        self.task.status = status.clone();
        self.shared.reports.put(self.task.id.clone(), status);
    }

    /// Returns host-mode ports with the numbers really bound.
    fn host_ports(&self) -> Vec<PortConfig> {
        let Some(endpoint) = &self.task.endpoint else { return Vec::new() };
        let ports = if endpoint.ports.is_empty() { &endpoint.spec.ports } else { &endpoint.ports };
        let mut bound = Vec::new();
        for port in ports.iter().filter(|port| port.mode == PublishMode::Host) {
            let published = self.view.ports.get(&(port.target, port.protocol));
            for published in published.into_iter().flatten() {
                bound.push(PortConfig { published: *published, ..port.clone() });
            }
        }
        bound
    }

    /// Makes everything up to the container, unless the task is told to stop meanwhile. Tells whether it is known how the
    /// container is.
    async fn prepare(&mut self, input: &Input) -> Result<bool, String> {
        let mut told = self.input.clone();
        let shared = self.shared.clone();
        self.seen.acting.store(true, Ordering::Relaxed);
        let made = tokio::select! {
            made = shared.prepare(&self.task, &input.assigned) => made,
            _ = told.wait_for(Input::is_stopping) => return Ok(false),
            () = shared.shutdown.cancelled() => return Ok(false),
        };
        match made {
            Ok(made) if self.attached().is_some() => {
                debug!(container.id = %made.id, "networks made for a container of a user");
                self.view.state = Container::Created;
                Ok(false)
            }
            Ok(made) => {
                self.container = Some(made.id.clone());
                self.waiting_since = None;
                if !made.existed {
                    let state = Container::Created;
                    self.view = ContainerView { id: made.id, state, ..ContainerView::default() };
                    self.seen.set(&self.view.state);
                }
                Ok(!made.existed)
            }
            Err(PrepareError::NoAddress) => {
                let since = *self.waiting_since.get_or_insert_with(clock::uptime);
                if clock::uptime().since(since) < ATTACHMENT_WAIT {
                    return Err(MISSING_ATTACHMENT.to_owned());
                }
                self.failure = Some(MISSING_ATTACHMENT.to_owned());
                Ok(false)
            }
            Err(PrepareError::Refused(text)) => {
                self.failure = Some(text);
                Ok(false)
            }
            Err(PrepareError::Temporary(text)) => Err(text),
        }
    }

    async fn start(&mut self) -> Act {
        let Some(container) = self.container.clone() else {
            self.failure = Some(DESTROYED.to_owned());
            return Ok(());
        };
        let Ok(_turn) = self.shared.turns.acquire().await else { return Ok(()) };
        self.seen.acting.store(true, Ordering::Relaxed);
        let started = tokio::select! {
            started = self.shared.engine.start(&container) => started,
            () = self.shared.shutdown.cancelled() => return Ok(()),
        };
        match started {
            Ok(()) => Ok(()),
            Err(EngineError::Temporary(text)) => Err(text),
            // The next look finds it gone.
            Err(error) if error.is_not_found() && self.is_gone(&container).await => Ok(()),
            Err(EngineError::Fatal { message, .. }) => {
                self.failure = Some(format!("starting container failed: {message}"));
                Ok(())
            }
        }
    }

    async fn is_gone(&self, container: &str) -> bool {
        matches!(self.shared.engine.inspect(container).await, Ok(None))
    }

    async fn stop(&mut self) -> Act {
        let Some(container) = self.container.clone() else { return Ok(()) };
        let grace = self.task.spec.container().and_then(|spec| spec.stop_grace_period);
        let grace =
            grace.map_or(GRACE_SECONDS, |grace| i64::try_from(grace.as_secs()).unwrap_or(i64::MAX));
        let stop = async {
            if self.is_told_to_stop() {
                self.shared.drains.wait(&self.task.id).await;
            }
            self.shared.engine.stop(&container, grace).await
        };
        let stopped = tokio::select! {
            stopped = stop => stopped,
            () = self.shared.shutdown.cancelled() => return Ok(()),
        };
        stopped.map_err(|error| error.to_string())
    }

    /// A container that is ill, or that nobody knows any more, is not led to.
    fn is_told_to_stop(&self) -> bool {
        self.task.desired >= TaskState::Shutdown
    }

    async fn drop_container(&mut self) -> Act {
        if let Some(container) = self.container.clone() {
            let removed = self.shared.engine.remove(&container).await;
            removed.map_err(|error| error.to_string())?;
        }
        self.shared.remove_files(&self.task.id);
        Ok(())
    }

    /// Clears away what is left of a task that is no longer assigned; `true` when nothing is.
    async fn dismiss(&mut self) -> Result<bool, String> {
        if self.attached().is_some() {
            return Ok(true);
        }
        match step_dismissed(&self.view.state) {
            Step::Stop => self.stop().await?,
            Step::Remove => self.drop_container().await?,
            Step::Prepare
            | Step::Start
            | Step::AwaitHealthy
            | Step::Report(_)
            | Step::Wait
            | Step::Done => {
                self.shared.remove_files(&self.task.id);
                return Ok(true);
            }
        }
        Ok(self.shared.shutdown.is_cancelled())
    }
}
