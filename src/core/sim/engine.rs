//! A simulated engine: containers that do what their image says, and what faults and users do to them. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::random::Random;
use crate::agent::{Container, Found, Health};
use crate::id::{NetworkId, TaskId};
use crate::model::task::Task;
use crate::time::Timestamp;

/// Images that behave in one way each.
pub(super) const STEADY: &str = "steady";
pub(super) const ONE_SHOT: &str = "one-shot";
pub(super) const CRASHING: &str = "crashing";
pub(super) const SICK: &str = "sick";
pub(super) const MISSING: &str = "missing";

/// How long a health check says nothing after the start.
const HEALTH_KNOWN_AFTER: Duration = Duration::from_millis(300);

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
    networks: Vec<NetworkId>,
    phase: Phase,
    /// Until when its check fails for a passing reason.
    sick_until: Timestamp,
    /// What its health was when the last event told of it.
    told: Health,
}

#[derive(Debug, Clone)]
enum Phase {
    Created,
    Running { healthy_at: Timestamp, exit: Option<(Timestamp, i64)> },
    Exited { code: i64, health: Health },
}

impl SimContainer {
    fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    fn health(&self, now: Timestamp) -> Health {
        let Phase::Running { healthy_at, .. } = self.phase else { return self.told };
        if !self.checked {
            Health::Unchecked
        } else if now < healthy_at {
            Health::Starting
        } else if self.image == SICK || now < self.sick_until {
            Health::Unhealthy
        } else {
            Health::Healthy
        }
    }
}

/// The engine of a node, with what the agent keeps on its host.
#[derive(Default)]
pub(super) struct SimEngine {
    containers: BTreeMap<String, SimContainer>,
    /// Networks made for tasks.
    pub(super) networks: BTreeSet<NetworkId>,
    /// Tasks that have files on the host.
    pub(super) files: BTreeSet<TaskId>,
    images: BTreeSet<String>,
    /// Until when it does not answer.
    pub(super) down_until: Timestamp,
    /// Counts its restarts: each ends what streams.
    pub(super) lives: u64,
    /// What happened to which tasks' containers since events were last read.
    events: Vec<TaskId>,
    /// Whether something happened since containers and networks were last listed.
    pub(super) stirred: bool,
    made: u64,
    /// Containers that each task has started, in order, by its agent.
    pub(super) started: BTreeMap<TaskId, Vec<String>>,
}

impl SimEngine {
    /// Lets time pass for the containers.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let mut told = Vec::new();
        for container in self.containers.values_mut().filter(|it| it.is_running()) {
            let health = container.health(now);
            let mut tells = health != container.told;
            container.told = health;
            if let Phase::Running { exit: Some((at, code)), .. } = container.phase
                && at <= now
            {
                container.phase = Phase::Exited { code, health };
                tells = true;
            }
            if tells {
                told.push(container.task.clone());
            }
        }
        told.into_iter().for_each(|task| self.tell(task));
    }

    fn tell(&mut self, task: TaskId) {
        self.stirred = true;
        self.events.push(task);
    }

    /// Hands over what happened since the last call.
    pub(super) fn take_events(&mut self) -> Vec<TaskId> {
        std::mem::take(&mut self.events)
    }

    /// Returns when something happens by itself.
    pub(super) fn next_event(&self, now: Timestamp) -> Option<Timestamp> {
        let mut times = vec![self.down_until];
        for container in self.containers.values() {
            if let Phase::Running { healthy_at, exit } = container.phase {
                times.extend([healthy_at, container.sick_until]);
                times.extend(exit.map(|(at, _)| at));
            }
        }
        times.into_iter().filter(|at| *at > now).min()
    }

    /// Gets an image onto the host; what comes of it shows when a container is made from it.
    pub(super) fn pull(&mut self, image: &str, works: bool) {
        if works && image != MISSING {
            self.images.insert(image.to_owned());
        }
    }

    pub(super) fn has_image(&self, image: &str) -> bool {
        self.images.contains(image)
    }

    /// Removes all images that no container uses.
    pub(super) fn prune_images(&mut self) {
        let used: BTreeSet<&String> = self.containers.values().map(|it| &it.image).collect();
        self.images.retain(|image| used.contains(image));
    }

    /// Makes the container of a task, or finds it made: its name tells.
    pub(super) fn create(&mut self, node: u64, task: &Task) -> Result<String, Refusal> {
        if let Some(id) = self.find(&task.id) {
            return Ok(id);
        }
        let spec = task.spec.container().cloned().unwrap_or_default();
        if !self.has_image(&spec.image) {
            return Err(Refusal::Fatal(format!("No such image: {}", spec.image)));
        }
        self.made += 1;
        let id = format!("n{node}c{}", self.made);
        let container = SimContainer {
            id: id.clone(),
            task: task.id.clone(),
            image: spec.image,
            checked: spec.healthcheck.is_some(),
            networks: task.networks.iter().map(|held| held.network.id.clone()).collect(),
            phase: Phase::Created,
            sick_until: Timestamp::default(),
            told: Health::Unchecked,
        };
        self.containers.insert(id.clone(), container);
        self.tell(task.id.clone());
        Ok(id)
    }

    /// Finds the container of a task by its name.
    pub(super) fn find(&self, task: &TaskId) -> Option<String> {
        self.containers.values().find(|it| it.task == *task).map(|it| it.id.clone())
    }

    /// Starts a container for its agent; starting what runs does nothing. Tells whether it did something.
    pub(super) fn start(&mut self, id: &str, now: Timestamp, random: &mut Random) -> bool {
        if self.is_running(id) {
            return false;
        }
        self.revive(id, now, random);
        if let Some(container) = self.containers.get(id) {
            self.started.entry(container.task.clone()).or_default().push(id.to_owned());
        }
        true
    }

    /// Starts a container, for whomever.
    pub(super) fn revive(&mut self, id: &str, now: Timestamp, random: &mut Random) {
        let Some(container) = self.containers.get_mut(id).filter(|it| !it.is_running()) else {
            return;
        };
        let exit = match container.image.as_str() {
            ONE_SHOT => Some((now.after(random.millis(1500)), 0)),
            CRASHING => {
                let code = i64::try_from(random.below(3)).unwrap_or(1);
                Some((now.after(random.millis(6000)), code))
            }
            _ => None,
        };
        let healthy_at = if container.checked { now.after(HEALTH_KNOWN_AFTER) } else { now };
        container.phase = Phase::Running { healthy_at, exit };
        container.told = container.health(now);
        let task = container.task.clone();
        self.tell(task);
    }

    /// Ends a container, if it runs.
    pub(super) fn end(&mut self, id: &str, code: i64, now: Timestamp) {
        let Some(container) = self.containers.get_mut(id).filter(|it| it.is_running()) else {
            return;
        };
        container.phase = Phase::Exited { code, health: container.health(now) };
        let task = container.task.clone();
        self.tell(task);
    }

    pub(super) fn remove(&mut self, id: &str) {
        if let Some(container) = self.containers.remove(id) {
            self.tell(container.task);
        }
    }

    /// Loses a container. An agent that crashed before it told that the container ran may make another one.
    pub(super) fn vanish(&mut self, id: &str) {
        if let Some(container) = self.containers.get(id)
            && let Some(started) = self.started.get_mut(&container.task)
        {
            started.retain(|known| known != id);
        }
        self.remove(id);
    }

    /// Lets the health check of a container fail until `until`.
    pub(super) fn sicken(&mut self, id: &str, until: Timestamp) {
        if let Some(container) = self.containers.get_mut(id) {
            container.sick_until = until;
        }
    }

    /// Restarts, after which its containers have either lived on or been killed.
    pub(super) fn restart(&mut self, now: Timestamp, back_at: Timestamp, kill: bool) {
        self.down_until = back_at;
        self.lives += 1;
        if kill {
            let ids: Vec<String> = self.containers.keys().cloned().collect();
            ids.iter().for_each(|id| self.end(id, 137, now));
        }
        self.events.clear();
        self.stirred = true;
    }

    pub(super) fn is_down(&self, now: Timestamp) -> bool {
        self.down_until > now
    }

    pub(super) fn containers(&self) -> impl Iterator<Item = &SimContainer> {
        self.containers.values()
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &SimContainer> {
        self.containers.values().filter(|it| it.is_running())
    }

    pub(super) fn is_running(&self, id: &str) -> bool {
        self.containers.get(id).is_some_and(SimContainer::is_running)
    }

    /// Looks at a container.
    pub(super) fn inspect(&self, id: &str, now: Timestamp) -> Container {
        let Some(container) = self.containers.get(id) else { return Container::Absent };
        match container.phase {
            Phase::Created => Container::Created,
            Phase::Running { .. } => Container::Running { health: container.health(now) },
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
            running: container.is_running(),
        };
        self.containers.values().map(found).collect()
    }

    /// Makes networks that are not there yet.
    pub(super) fn make_networks(&mut self, ids: impl Iterator<Item = NetworkId>) {
        for id in ids {
            // Whoever makes one late may be the last to touch it: only a comparison finds it then.
            self.stirred |= self.networks.insert(id);
        }
    }

    /// Removes a network unless a running container uses it.
    pub(super) fn remove_network(&mut self, id: &NetworkId) {
        if !self.running().any(|container| container.networks.contains(id)) {
            self.networks.remove(id);
        }
    }
}
