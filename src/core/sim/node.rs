//! A simulated agent: carries out the real steps on the simulated engine, and forgets everything when it crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::engine::{Refusal, SimEngine};
use super::random::Random;
use crate::agent::{Container, Health, Observed, Step, recover, step};
use crate::assign::{Assigned, assigned};
use crate::id::{NodeId, TaskId};
use crate::model::task::{ContainerStatus, Task, TaskState, TaskStatus};
use crate::state::State;
use crate::time::Timestamp;

/// A node: its engine, and its agent while that lives.
pub(super) struct SimNode {
    pub(super) number: u64,
    pub(super) id: NodeId,
    pub(super) engine: SimEngine,
    /// Until when the agent is away.
    pub(super) away_until: Timestamp,
    memory: Option<Memory>,
}

/// What an agent knows until it crashes.
#[derive(Default)]
struct Memory {
    containers: BTreeMap<TaskId, String>,
    /// The newest status of each task, reported or not.
    statuses: BTreeMap<TaskId, TaskStatus>,
    failures: BTreeMap<TaskId, String>,
    /// When an act under way is done.
    busy_until: BTreeMap<TaskId, Timestamp>,
    /// Containers to be stopped and removed.
    discarded: BTreeSet<String>,
    /// What was last seen of each container; events that are lost leave it outdated.
    seen: BTreeMap<TaskId, Container>,
}

/// What an agent needs to act.
pub(super) struct Surroundings<'a> {
    pub(super) state: &'a State,
    pub(super) now: Timestamp,
    pub(super) random: &'a mut Random,
    /// Whether things go wrong.
    pub(super) faults: bool,
    /// Whether an agent that comes back adopts nothing, by mistake.
    pub(super) no_adoption: bool,
}

/// What an agent did.
#[derive(Default)]
pub(super) struct Deeds {
    pub(super) acted: bool,
    /// Statuses to report.
    pub(super) statuses: Vec<(TaskId, TaskStatus)>,
    /// Containers that were stopped.
    pub(super) stopped: Vec<(TaskId, Health)>,
    pub(super) adopted: u64,
    pub(super) started: u64,
}

impl SimNode {
    pub(super) fn new(number: u64, id: NodeId) -> Self {
        let (engine, away_until) = (SimEngine::default(), Timestamp::default());
        Self { number, id, engine, away_until, memory: None }
    }

    /// Forgets all that the agent knew and had under way.
    pub(super) fn crash(&mut self, back_at: Timestamp) {
        self.memory = None;
        self.away_until = back_at;
    }

    pub(super) fn is_away(&self, now: Timestamp) -> bool {
        self.away_until > now
    }

    /// Returns when the node does something although nobody asks.
    pub(super) fn next_event(&self, now: Timestamp) -> Option<Timestamp> {
        let busy = self.memory.iter().flat_map(|memory| memory.busy_until.values().copied());
        let times = busy.chain([self.away_until]).chain(self.engine.next_event(now));
        times.filter(|at| *at > now).min()
    }

    /// Looks at everything once and acts on it.
    pub(super) fn tick(&mut self, around: &mut Surroundings) -> Deeds {
        let mut deeds = Deeds::default();
        if self.is_away(around.now) || self.engine.is_down(around.now) {
            return deeds;
        }
        let assigned = assigned(around.state, &self.id);
        let mut memory = match self.memory.take() {
            Some(memory) => memory,
            None => self.come_back(&assigned, around, &mut deeds),
        };
        for task in assigned.tasks.values() {
            self.attend(&mut memory, task, around, &mut deeds);
        }
        self.dismiss(&mut memory, &assigned, &mut deeds);
        self.memory = Some(memory);
        deeds
    }

    fn come_back(
        &mut self,
        assigned: &Assigned,
        around: &Surroundings,
        deeds: &mut Deeds,
    ) -> Memory {
        deeds.acted = true;
        let found = self.engine.list();
        if around.no_adoption {
            // Whatever is found goes, and each task begins anew.
            for container in &found {
                self.engine.stop(&container.container);
                self.engine.remove(&container.container);
                deeds.stopped.extend(container.task.clone().map(|task| (task, Health::Unchecked)));
            }
            return Memory::default();
        }
        let recovery = recover(assigned, &found);
        deeds.adopted += recovery.adopt.len() as u64;
        Memory {
            containers: recovery.adopt,
            discarded: recovery.discard.into_iter().map(|found| found.container).collect(),
            ..Memory::default()
        }
    }

    fn attend(
        &mut self,
        memory: &mut Memory,
        task: &Arc<Task>,
        around: &mut Surroundings,
        deeds: &mut Deeds,
    ) {
        let known = memory.statuses.get(&task.id).unwrap_or(&task.status);
        let newest = if known.state > task.status.state { known } else { &task.status };
        let task = Task { status: newest.clone(), ..Task::clone(task) };
        let reported = around.state.tasks().get(&task.id).map(|it| it.status.state);
        if reported.is_some_and(|state| state < task.status.state) {
            deeds.statuses.push((task.id.clone(), task.status.clone()));
        }
        if memory.busy_until.get(&task.id).is_some_and(|until| *until > around.now) {
            return;
        }
        let container = self.look(memory, &task, around);
        let failure = memory.failures.get(&task.id).cloned();
        match step(&task, &Observed { container: container.clone(), failure }) {
            Step::Report(progress) => {
                let status = progress.status(around.now, self.container_of(memory, &task), vec![]);
                deeds.statuses.retain(|(id, _)| *id != task.id);
                deeds.statuses.push((task.id.clone(), status.clone()));
                memory.statuses.insert(task.id, status);
            }
            Step::Wait | Step::AwaitHealthy | Step::Done => return,
            act @ (Step::Prepare | Step::Start | Step::Stop | Step::Remove) => {
                if self.takes_time(memory, &task.id, &act, around) {
                    return;
                }
                self.carry_out(memory, &task, &act, &container, around, deeds);
                // The engine's answer tells what became of it.
                memory.seen.remove(&task.id);
            }
        }
        deeds.acted = true;
    }

    fn container_of(&self, memory: &Memory, task: &Task) -> Option<ContainerStatus> {
        let id = memory.containers.get(&task.id)?.clone();
        Some(ContainerStatus { id, ..ContainerStatus::default() })
    }

    /// Returns what the agent takes the container's state to be: an event may have been lost.
    fn look(&self, memory: &mut Memory, task: &Task, around: &mut Surroundings) -> Container {
        let actual = memory
            .containers
            .get(&task.id)
            .map_or(Container::Absent, |id| self.engine.inspect(id, around.now));
        let lost = around.faults && around.random.percent(20);
        match memory.seen.get(&task.id) {
            Some(seen) if lost => seen.clone(),
            Some(_) | None => {
                memory.seen.insert(task.id.clone(), actual.clone());
                actual
            }
        }
    }

    /// Begins a slow act, or tells that the one begun is done.
    fn takes_time(
        &self,
        memory: &mut Memory,
        task: &TaskId,
        act: &Step,
        around: &mut Surroundings,
    ) -> bool {
        if memory.busy_until.remove(task).is_some() {
            return false;
        }
        let bound = match act {
            Step::Prepare if around.faults => 3000,
            Step::Prepare => 100,
            Step::Stop => 1000,
            Step::Start
            | Step::Remove
            | Step::AwaitHealthy
            | Step::Report(_)
            | Step::Wait
            | Step::Done => return false,
        };
        let time = around.random.millis(bound) + Duration::from_millis(1);
        memory.busy_until.insert(task.clone(), around.now.after(time));
        true
    }

    fn carry_out(
        &mut self,
        memory: &mut Memory,
        task: &Task,
        act: &Step,
        container: &Container,
        around: &mut Surroundings,
        deeds: &mut Deeds,
    ) {
        let result = if around.faults && around.random.percent(10) {
            match (act, around.random.percent(30)) {
                (Step::Prepare | Step::Start, true) => {
                    Err(Refusal::Fatal("the engine does not like it".to_owned()))
                }
                _ => Err(Refusal::Temporary),
            }
        } else {
            self.do_act(memory, task, act, container, around, deeds)
        };
        match result {
            Ok(()) => {}
            Err(Refusal::Temporary) => {
                let retry_at = around.now.after(Duration::from_millis(100));
                memory.busy_until.insert(task.id.clone(), retry_at);
            }
            Err(Refusal::Fatal(text)) => {
                memory.failures.insert(task.id.clone(), text);
            }
        }
    }

    fn do_act(
        &mut self,
        memory: &mut Memory,
        task: &Task,
        act: &Step,
        container: &Container,
        around: &mut Surroundings,
        deeds: &mut Deeds,
    ) -> Result<(), Refusal> {
        if *act == Step::Prepare {
            let id = self.engine.create(self.number, task)?;
            memory.containers.insert(task.id.clone(), id);
            return Ok(());
        }
        let Some(id) = memory.containers.get(&task.id).cloned() else { return Ok(()) };
        match act {
            Step::Start => {
                // Starting what runs does nothing.
                if self.engine.inspect(&id, around.now) == Container::Created {
                    self.engine.start(&id, around.now, around.random);
                    deeds.started += 1;
                }
            }
            Step::Stop => {
                let health = match container {
                    Container::Running { health } | Container::Exited { health, .. } => *health,
                    Container::Absent | Container::Created => Health::Unchecked,
                };
                if self.engine.is_running(&id) {
                    deeds.stopped.push((task.id.clone(), health));
                }
                self.engine.stop(&id);
            }
            Step::Remove => {
                self.engine.remove(&id);
                memory.containers.remove(&task.id);
            }
            Step::Prepare | Step::AwaitHealthy | Step::Report(_) | Step::Wait | Step::Done => {}
        }
        Ok(())
    }

    /// Stops and removes what belongs to no assigned task.
    fn dismiss(&mut self, memory: &mut Memory, assigned: &Assigned, deeds: &mut Deeds) {
        let gone = |task: &TaskId| !assigned.tasks.contains_key(task);
        let left: Vec<TaskId> = memory.containers.keys().filter(|it| gone(it)).cloned().collect();
        for task in left {
            memory.discarded.extend(memory.containers.remove(&task));
        }
        memory.statuses.retain(|task, _| !gone(task));
        memory.failures.retain(|task, _| !gone(task));
        memory.busy_until.retain(|task, _| !gone(task));
        memory.seen.retain(|task, _| !gone(task));
        for id in std::mem::take(&mut memory.discarded) {
            deeds.acted = true;
            let running = self.engine.running().find(|container| container.id == id);
            deeds.stopped.extend(running.map(|it| (it.task.clone(), Health::Unchecked)));
            self.engine.stop(&id);
            self.engine.remove(&id);
        }
    }
}

/// Tells whether the state gives a reason to stop a task's container.
pub(super) fn may_stop(state: &State, task: &TaskId, health: Health) -> bool {
    health == Health::Unhealthy
        || state.tasks().get(task).is_none_or(|task| {
            task.desired > TaskState::Complete || task.status.state.is_terminal()
        })
}
