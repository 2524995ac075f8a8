//! The simulated worker of one task: carries out the real steps on the simulated engine. Decides nothing.

use std::sync::Arc;
use std::time::Duration;

use super::engine::Refusal;
use super::node::{Deeds, Host, Stopped, Surroundings};
use crate::agent::{
    Container, Health, Observed, Sight, Step, is_half_made, merge, step, step_dismissed,
};
use crate::model::task::{ContainerStatus, Task, TaskState};
use crate::time::Timestamp;

/// Wait after an error that may pass.
const RETRY: Duration = Duration::from_millis(100);

/// Time between two looks at a container whose health is awaited.
const HEALTH_LOOK: Duration = Duration::from_secs(3);

/// What becomes of a worker.
#[derive(PartialEq, Eq)]
pub(super) enum Outcome {
    /// It waits for something.
    Rests,
    /// It did something and goes on.
    Acted,
    /// Its task is gone, and all that was made for it.
    Ended,
    /// The daemon crashed.
    Crashed,
}

/// The worker of one task; a crash forgets it.
pub(super) struct Worker {
    /// The task with its newest status, reported or not.
    task: Task,
    /// The task as assigned; absent when it no longer is.
    told: Option<Arc<Task>>,
    container: Option<String>,
    view: Container,
    pub(super) sight: Sight,
    failure: Option<String>,
    /// Whether to look at the container.
    pub(super) look: bool,
    /// Whether it has done nothing yet.
    first: bool,
    /// An act under way, and when it is done.
    under_way: Option<(Timestamp, Step)>,
    /// Until when it does not try again, or when it looks by itself.
    paused_until: Option<Timestamp>,
}

impl Worker {
    pub(super) fn new(task: &Arc<Task>, container: Option<String>) -> Self {
        Self {
            task: Task::clone(task),
            told: Some(task.clone()),
            container,
            view: Container::Absent,
            sight: Sight::Nothing,
            failure: None,
            look: true,
            first: true,
            under_way: None,
            paused_until: None,
        }
    }

    /// Takes in what is assigned now.
    pub(super) fn tell(&mut self, assigned: Option<&Arc<Task>>) {
        let same = match (&self.told, assigned) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if same {
            return;
        }
        if let Some(task) = assigned {
            self.task = merge(task, std::mem::take(&mut self.task.status));
        }
        self.told = assigned.cloned();
        self.paused_until = None;
    }

    /// Makes it look at its container.
    pub(super) fn wake(&mut self) {
        self.look = true;
        self.paused_until = None;
    }

    pub(super) fn is_dismissed(&self) -> bool {
        self.told.is_none()
    }

    /// Returns when it goes on by itself.
    pub(super) fn next_event(&self) -> Option<Timestamp> {
        let act = self.under_way.as_ref().map(|(until, _)| *until);
        act.into_iter().chain(self.paused_until).min()
    }

    /// Goes on by one look and one step.
    pub(super) fn tick(
        &mut self,
        host: &mut Host,
        around: &mut Surroundings,
        deeds: &mut Deeds,
    ) -> Outcome {
        if let Some((until, act)) = self.under_way.take() {
            let stops = self.told.as_ref().is_none_or(|it| it.desired > TaskState::Complete);
            if act == Step::Prepare && stops {
                // Told to stop meanwhile; what was begun is left half made.
                self.look = true;
            } else if until > around.now {
                self.under_way = Some((until, act));
                return Outcome::Rests;
            } else {
                return self.finish(&act, host, around, deeds);
            }
        }
        if let Some(until) = self.paused_until {
            if until > around.now {
                return Outcome::Rests;
            }
            self.paused_until = None;
            self.look = true;
        }
        if self.look {
            self.observe(host, around);
        }
        self.advance(host, around, deeds)
    }

    fn observe(&mut self, host: &Host, around: &Surroundings) {
        self.look = false;
        self.container = self.container.take().or_else(|| host.engine.find(&self.task.id));
        let id = self.container.as_deref();
        self.view = id.map_or(Container::Absent, |id| host.engine.inspect(id, around.now));
        if self.view == Container::Absent {
            self.container = None;
        }
        self.sight = Sight::of(&self.view);
    }

    fn advance(
        &mut self,
        host: &mut Host,
        around: &mut Surroundings,
        deeds: &mut Deeds,
    ) -> Outcome {
        let next = if self.is_dismissed() {
            step_dismissed(&self.view)
        } else if self.first && is_half_made(&self.task, &self.view) {
            Step::Remove
        } else {
            self.first = false;
            let observed = Observed { container: self.view.clone(), failure: self.failure.clone() };
            step(&self.task, &observed)
        };
        match next {
            Step::Report(progress) => {
                let container = self.container.clone();
                let container =
                    container.map(|id| ContainerStatus { id, ..ContainerStatus::default() });
                let status = progress.status(around.wall, container, vec![]);
                self.task.status = status.clone();
                host.reports.put(self.task.id.clone(), status);
                Outcome::Acted
            }
            Step::Done if self.is_dismissed() => {
                host.engine.files.remove(&self.task.id);
                Outcome::Ended
            }
            Step::Wait | Step::Done => Outcome::Rests,
            Step::AwaitHealthy => {
                self.paused_until = Some(around.now.after(HEALTH_LOOK));
                Outcome::Rests
            }
            act @ (Step::Prepare | Step::Start | Step::Stop | Step::Remove) => {
                self.begin(act, host, around, deeds)
            }
        }
    }

    /// Begins an act, which is done at once or takes time.
    fn begin(
        &mut self,
        act: Step,
        host: &mut Host,
        around: &mut Surroundings,
        deeds: &mut Deeds,
    ) -> Outcome {
        let image = self.task.spec.container().map_or("", |spec| spec.image.as_str());
        let pulls = act == Step::Prepare && !host.engine.has_image(image);
        let bound_ms = match act {
            Step::Prepare if around.faults.slow_pulls && pulls => 20_000,
            Step::Prepare if pulls => 300,
            Step::Stop => 1000,
            Step::Prepare
            | Step::Start
            | Step::Remove
            | Step::AwaitHealthy
            | Step::Report(_)
            | Step::Wait
            | Step::Done => return self.finish(&act, host, around, deeds),
        };
        let time = around.random.millis(bound_ms) + Duration::from_millis(1);
        self.under_way = Some((around.now.after(time), act));
        Outcome::Acted
    }

    /// Does what an act does, or part of it, or nothing, and takes in what the engine says of it.
    fn finish(
        &mut self,
        act: &Step,
        host: &mut Host,
        around: &mut Surroundings,
        deeds: &mut Deeds,
    ) -> Outcome {
        self.look = true;
        if around.hits(around.faults.crashes, 1) {
            return Outcome::Crashed;
        }
        let refused = around.hits(around.faults.refusals, 8);
        let result = if refused {
            let fatal = matches!(act, Step::Prepare | Step::Start) && around.random.percent(30);
            if fatal {
                Err(Refusal::Fatal("the engine does not like it".to_owned()))
            } else {
                Err(Refusal::Temporary)
            }
        } else {
            self.carry_out(act, host, around, deeds)
        };
        if around.hits(around.faults.crashes, 1) {
            return Outcome::Crashed;
        }
        // A call that timed out may have taken effect all the same.
        let lost_answer = result.is_ok() && around.hits(around.faults.timeouts, 5);
        match result {
            Ok(()) if lost_answer => self.paused_until = Some(around.now.after(RETRY)),
            Ok(()) => {}
            Err(Refusal::Temporary) => self.paused_until = Some(around.now.after(RETRY)),
            Err(Refusal::Fatal(text)) => self.failure = Some(text),
        }
        Outcome::Acted
    }

    fn carry_out(
        &mut self,
        act: &Step,
        host: &mut Host,
        around: &mut Surroundings,
        deeds: &mut Deeds,
    ) -> Result<(), Refusal> {
        if *act == Step::Prepare {
            return self.prepare(host, around);
        }
        let Some(id) = self.container.clone() else { return Ok(()) };
        match act {
            Step::Start => {
                deeds.started += u64::from(host.engine.start(&id, around.now, around.random))
            }
            Step::Stop => {
                if host.engine.is_running(&id) {
                    let ended = self.task.status.state.is_terminal();
                    let (task, health) = (self.task.id.clone(), self.health());
                    deeds.stopped.push(Stopped { task, health, ended });
                }
                let code = if around.random.percent(30) { 0 } else { 143 };
                host.engine.end(&id, code, around.now);
            }
            Step::Remove => {
                host.engine.remove(&id);
                host.engine.files.remove(&self.task.id);
            }
            Step::Prepare | Step::AwaitHealthy | Step::Report(_) | Step::Wait | Step::Done => {}
        }
        Ok(())
    }

    fn prepare(&mut self, host: &mut Host, around: &mut Surroundings) -> Result<(), Refusal> {
        host.engine.files.insert(self.task.id.clone());
        let joined = self.task.networks.iter().map(|held| held.network.id.clone());
        host.engine.make_networks(joined);
        let image = self.task.spec.container().map_or("", |spec| spec.image.as_str());
        let works = !around.hits(around.faults.pull_failures, 10);
        host.engine.pull(image, works);
        let id = host.engine.create(host.number, &self.task)?;
        self.container = Some(id);
        Ok(())
    }

    fn health(&self) -> Health {
        match &self.view {
            Container::Running { health } | Container::Exited { health, .. } => *health,
            Container::Absent | Container::Created => Health::Unchecked,
        }
    }
}
