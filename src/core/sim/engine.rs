//! A simulated engine: containers that do what their image says, and what faults do to them. Decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::random::Random;
use crate::agent::{Container, Found, Health};
use crate::id::TaskId;
use crate::model::task::Task;
use crate::time::Timestamp;

/// Images that behave in one way each.
pub(super) const STEADY: &str = "steady";
pub(super) const ONE_SHOT: &str = "one-shot";
pub(super) const CRASHING: &str = "crashing";
pub(super) const SICK: &str = "sick";
pub(super) const MISSING: &str = "missing";

/// Why the engine did not do what it was asked.
pub(super) enum Refusal {
    /// It may later.
    Temporary,
    /// It never will.
    Fatal(String),
}

/// A container.
#[derive(Debug, Clone)]
pub(super) struct SimContainer {
    pub(super) id: String,
    pub(super) task: TaskId,
    image: String,
    checked: bool,
    phase: Phase,
}

#[derive(Debug, Clone)]
enum Phase {
    Created,
    Running { healthy_at: Timestamp, exit: Option<(Timestamp, i64)> },
    Exited { code: i64, health: Health },
}

/// The engine of a node.
#[derive(Default)]
pub(super) struct SimEngine {
    containers: BTreeMap<String, SimContainer>,
    /// Until when it does not answer.
    pub(super) down_until: Timestamp,
    /// Containers made so far, by all engines alike numbered from 1.
    made: u64,
    /// Containers that each task has started, in order.
    pub(super) started: BTreeMap<TaskId, Vec<String>>,
}

impl SimEngine {
    /// Lets time pass for the containers.
    pub(super) fn advance(&mut self, now: Timestamp) {
        for container in self.containers.values_mut() {
            if let Phase::Running { exit: Some((at, code)), healthy_at } = container.phase
                && at <= now
            {
                let health = health(container, healthy_at, at);
                container.phase = Phase::Exited { code, health };
            }
        }
    }

    /// Returns when something happens by itself.
    pub(super) fn next_event(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.containers.values().flat_map(|container| match container.phase {
            Phase::Running { healthy_at, exit } => {
                [Some(healthy_at), exit.map(|(at, _)| at)].into_iter().flatten().collect()
            }
            Phase::Created | Phase::Exited { .. } => Vec::new(),
        });
        times.chain([self.down_until]).filter(|at| *at > now).min()
    }

    pub(super) fn create(&mut self, node: u64, task: &Task) -> Result<String, Refusal> {
        let spec = task.spec.container().cloned().unwrap_or_default();
        if let Some(container) = self.containers.values().find(|it| it.task == task.id) {
            return Ok(container.id.clone());
        }
        if spec.image == MISSING {
            return Err(Refusal::Fatal(format!("No such image: {MISSING}")));
        }
        self.made += 1;
        let id = format!("n{node}c{}", self.made);
        let container = SimContainer {
            id: id.clone(),
            task: task.id.clone(),
            image: spec.image,
            checked: spec.healthcheck.is_some(),
            phase: Phase::Created,
        };
        self.containers.insert(id.clone(), container);
        Ok(id)
    }

    pub(super) fn start(&mut self, id: &str, now: Timestamp, random: &mut Random) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let exit = match container.image.as_str() {
            ONE_SHOT => Some((now.after(random.millis(1500)), 0)),
            CRASHING => {
                let code = i64::try_from(random.below(3)).unwrap_or(1);
                Some((now.after(random.millis(6000)), code))
            }
            _ => None,
        };
        let healthy_at =
            if container.checked { now.after(Duration::from_millis(300)) } else { now };
        container.phase = Phase::Running { healthy_at, exit };
        self.started.entry(container.task.clone()).or_default().push(id.to_owned());
    }

    pub(super) fn stop(&mut self, id: &str) {
        self.end(id, 143);
    }

    /// Ends a container, if it runs.
    pub(super) fn end(&mut self, id: &str, code: i64) {
        if let Some(container) = self.containers.get_mut(id)
            && let Phase::Running { healthy_at, .. } = container.phase
        {
            let health = health(container, healthy_at, healthy_at);
            container.phase = Phase::Exited { code, health };
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.containers.remove(id);
    }

    /// Loses a container. An agent that crashed before it told that the container ran may make another one.
    pub(super) fn vanish(&mut self, id: &str) {
        if let Some(container) = self.containers.remove(id)
            && let Some(started) = self.started.get_mut(&container.task)
        {
            started.retain(|known| known != id);
        }
    }

    /// Restarts, after which its containers have either lived on or been killed.
    pub(super) fn restart(&mut self, back_at: Timestamp, kill: bool) {
        self.down_until = back_at;
        if kill {
            let ids: Vec<String> = self.containers.keys().cloned().collect();
            ids.iter().for_each(|id| self.end(id, 137));
        }
    }

    pub(super) fn is_down(&self, now: Timestamp) -> bool {
        self.down_until > now
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &SimContainer> {
        self.containers.values().filter(|it| matches!(it.phase, Phase::Running { .. }))
    }

    pub(super) fn is_running(&self, id: &str) -> bool {
        self.running().any(|container| container.id == id)
    }

    /// Looks at a container.
    pub(super) fn inspect(&self, id: &str, now: Timestamp) -> Container {
        let Some(container) = self.containers.get(id) else { return Container::Absent };
        match container.phase {
            Phase::Created => Container::Created,
            Phase::Running { healthy_at, .. } => {
                Container::Running { health: health(container, healthy_at, now) }
            }
            Phase::Exited { code, health } => {
                Container::Exited { code, error: String::new(), health }
            }
        }
    }

    /// Lists all containers of tasks.
    pub(super) fn list(&self) -> Vec<Found> {
        let found = |container: &SimContainer| Found {
            container: container.id.clone(),
            task: Some(container.task.clone()),
            running: matches!(container.phase, Phase::Running { .. }),
        };
        self.containers.values().map(found).collect()
    }
}

fn health(container: &SimContainer, healthy_at: Timestamp, now: Timestamp) -> Health {
    if !container.checked {
        Health::Unchecked
    } else if now < healthy_at {
        Health::Starting
    } else if container.image == SICK {
        Health::Unhealthy
    } else {
        Health::Healthy
    }
}
