//! An engine in memory, for tests: containers are records, and the test decides what becomes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use parking_lot::Mutex;
use skep_api::backend::{EngineVersion, LogOptions};
use skep_core::agent::container::{NODE_ID_LABEL, TASK_ID_LABEL};
use skep_core::agent::network::{NETWORK_LABEL, NODE_LABEL};
use skep_core::agent::step::{Container, Health};
use skep_core::agent::{ContainerPlan, Found, NetworkPlan, Networking};
use skep_core::id::{NodeId, TaskId};
use skep_core::model::Sensitive;
use skep_core::model::node::NodeDescription;
use tokio::sync::broadcast;

use super::{ContainerView, Engine, EngineError, EngineLogLine, EngineNetwork, Made, Wake};

/// Wake-ups kept for a slow reader, who else is woken for everything.
const EVENTS_MAX: usize = 1024;

/// A simulated engine; clones share it.
#[derive(Clone)]
pub struct SimEngine {
    inner: Arc<Mutex<Inner>>,
    events: broadcast::Sender<Wake>,
}

struct Inner {
    containers: BTreeMap<String, SimContainer>,
    networks: BTreeMap<String, NetworkPlan>,
    images: BTreeSet<String>,
    made: u64,
    down: bool,
    history: Vec<String>,
    health: Health,
    description: NodeDescription,
    logs: BTreeMap<String, Vec<EngineLogLine>>,
}

/// A simulated container.
#[derive(Debug, Clone)]
pub struct SimContainer {
    /// What it was made from.
    pub plan: ContainerPlan,
    /// How it is.
    pub state: Container,
}

impl Default for SimEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl SimEngine {
    /// Makes an engine without images or containers.
    pub fn new() -> Self {
        let inner = Inner {
            containers: BTreeMap::new(),
            networks: BTreeMap::new(),
            images: BTreeSet::new(),
            made: 0,
            down: false,
            history: Vec::new(),
            health: Health::Unchecked,
            description: NodeDescription {
                hostname: "sim".to_owned(),
                architecture: "x86_64".to_owned(),
                os: "linux".to_owned(),
                nano_cpus: 4_000_000_000,
                memory_bytes: 8 << 30,
                engine_version: "28.0.0".to_owned(),
                plugins: vec![("Network".to_owned(), "overlay".to_owned())],
                ..NodeDescription::default()
            },
            logs: BTreeMap::new(),
        };
        let (events, _) = broadcast::channel(EVENTS_MAX);
        Self { inner: Arc::new(Mutex::new(inner)), events }
    }

    /// Puts an image on the host.
    pub fn add_image(&self, image: &str) {
        self.inner.lock().images.insert(image.to_owned());
    }

    /// Sets what the engine tells of itself and its host.
    pub fn set_description(&self, description: NodeDescription) {
        self.inner.lock().description = description;
    }

    /// Makes every call fail for the time being and ends what streams, or lets calls succeed again. Containers go on.
    pub fn set_down(&self, down: bool) {
        self.inner.lock().down = down;
        let _ = self.events.send(Wake::Changed(None));
    }

    /// Sets what health checks of containers started from now on say.
    pub fn set_health(&self, health: Health) {
        self.inner.lock().health = health;
    }

    /// Changes what became of a container; `Absent` removes it behind the agent's back.
    pub fn set_state(&self, id: &str, state: Container) {
        let mut inner = self.inner.lock();
        let Some(container) = inner.containers.get_mut(id) else { return };
        container.state = state.clone();
        let wake = wake(&container.plan);
        if state == Container::Absent {
            inner.containers.remove(id);
        }
        drop(inner);
        let _ = self.events.send(wake);
    }

    /// Adds a line to a container's output.
    pub fn add_log(&self, id: &str, line: EngineLogLine) {
        self.inner.lock().logs.entry(id.to_owned()).or_default().push(line);
        let _ = self.events.send(Wake::Changed(None));
    }

    /// Tells of every change to containers, also while the engine is down.
    pub fn watch(&self) -> broadcast::Receiver<Wake> {
        self.events.subscribe()
    }

    /// Returns all containers by id.
    pub fn containers(&self) -> BTreeMap<String, SimContainer> {
        self.inner.lock().containers.clone()
    }

    /// Returns all networks by engine id.
    pub fn engine_networks(&self) -> BTreeMap<String, NetworkPlan> {
        self.inner.lock().networks.clone()
    }

    /// Tells how often containers were started.
    pub fn starts(&self) -> usize {
        self.inner.lock().history.iter().filter(|act| act.starts_with("start ")).count()
    }

    /// Returns which images were started and stopped, in order: `start image`, `stop image`.
    pub fn history(&self) -> Vec<String> {
        self.inner.lock().history.clone()
    }

    fn with<T>(
        &self,
        act: impl FnOnce(&mut Inner) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let mut inner = self.inner.lock();
        if inner.down {
            return Err(EngineError::Temporary("cannot connect to the engine".to_owned()));
        }
        act(&mut inner)
    }

    fn change(
        &self,
        id: &str,
        act: impl FnOnce(&mut Inner, SimContainer) -> Option<SimContainer>,
    ) -> Result<(), EngineError> {
        self.change_as(id, wake, act)
    }

    fn change_as(
        &self,
        id: &str,
        wake: impl FnOnce(&ContainerPlan) -> Wake,
        act: impl FnOnce(&mut Inner, SimContainer) -> Option<SimContainer>,
    ) -> Result<(), EngineError> {
        let event = self.with(|inner| {
            let Some(container) = inner.containers.remove(id) else {
                return Err(fatal(404, format!("No such container: {id}")));
            };
            let event = wake(&container.plan);
            if let Some(changed) = act(inner, container) {
                inner.containers.insert(id.to_owned(), changed);
            }
            Ok(event)
        })?;
        let _ = self.events.send(event);
        Ok(())
    }
}

fn fatal(status: u16, message: String) -> EngineError {
    EngineError::Fatal { status, message }
}

fn task_of(plan: &ContainerPlan) -> Option<TaskId> {
    plan.labels.get(TASK_ID_LABEL).and_then(|id| id.parse().ok())
}

fn wake(plan: &ContainerPlan) -> Wake {
    Wake::Changed(task_of(plan))
}

/// Reads the output of one container.
struct LogReader {
    engine: SimEngine,
    id: String,
    next: usize,
    receiver: broadcast::Receiver<Wake>,
}

impl LogReader {
    /// Returns the next line; when following, waits for it as long as the container runs.
    async fn read(&mut self, follow: bool) -> Option<EngineLogLine> {
        loop {
            let over = {
                let inner = self.engine.inner.lock();
                if let Some(line) = inner.logs.get(&self.id).and_then(|held| held.get(self.next)) {
                    self.next += 1;
                    return Some(line.clone());
                }
                let held = inner.containers.get(&self.id);
                inner.down
                    || !held.is_some_and(|held| matches!(held.state, Container::Running { .. }))
            };
            if over || !follow {
                return None;
            }
            if let Err(broadcast::error::RecvError::Closed) = self.receiver.recv().await {
                return None;
            }
        }
    }
}

#[async_trait]
impl Engine for SimEngine {
    async fn describe(&self) -> Result<NodeDescription, EngineError> {
        self.with(|inner| Ok(inner.description.clone()))
    }

    async fn version(&self) -> Result<EngineVersion, EngineError> {
        self.with(|_| {
            Ok(EngineVersion {
                engine: "28.0.0".to_owned(),
                api_max: (1, 48),
                api_min: (1, 24),
                experimental: false,
            })
        })
    }

    async fn list(&self, node: &NodeId) -> Result<Vec<Found>, EngineError> {
        self.with(|inner| {
            let own = inner.containers.iter().filter(|(_, container)| {
                container.plan.labels.get(NODE_ID_LABEL).is_some_and(|held| held == node.as_str())
            });
            Ok(own
                .map(|(id, container)| Found {
                    container: id.clone(),
                    task: task_of(&container.plan),
                    running: matches!(container.state, Container::Running { .. }),
                })
                .collect())
        })
    }

    async fn inspect(&self, container: &str) -> Result<Option<ContainerView>, EngineError> {
        self.with(|inner| {
            let found = inner
                .containers
                .iter()
                .find(|(id, held)| *id == container || held.plan.name == container);
            Ok(found.map(|(id, held)| ContainerView {
                id: id.clone(),
                state: held.state.clone(),
                pid: i64::from(matches!(held.state, Container::Running { .. })),
                exit_code: match held.state {
                    Container::Exited { code, .. } => code,
                    Container::Absent | Container::Created | Container::Running { .. } => 0,
                },
                ports: held
                    .plan
                    .ports
                    .iter()
                    .map(|port| ((port.target, port.protocol), vec![port.published]))
                    .collect(),
            }))
        })
    }

    async fn has_image(&self, image: &str) -> Result<bool, EngineError> {
        self.with(|inner| Ok(inner.images.contains(image)))
    }

    async fn pull(
        &self,
        image: &str,
        _auth: &Sensitive,
        _progress: &(dyn Fn() + Send + Sync),
    ) -> Result<(), EngineError> {
        self.with(|_| Err(fatal(500, format!("no registry has {image}"))))
    }

    async fn create(&self, plan: &ContainerPlan) -> Result<Made, EngineError> {
        let made = self.with(|inner| {
            let held = inner.containers.iter().find(|(_, held)| held.plan.name == plan.name);
            if let Some((id, _)) = held {
                return Ok(Made { id: id.clone(), existed: true });
            }
            if !inner.images.contains(&plan.image) {
                return Err(fatal(404, format!("No such image: {}", plan.image)));
            }
            if let Networking::Joined(joins) = &plan.networking {
                for join in joins.iter().filter(|join| join.id.is_some()) {
                    if !inner.networks.values().any(|held| held.name == join.network) {
                        return Err(fatal(404, format!("network {} not found", join.network)));
                    }
                }
            }
            inner.made += 1;
            let id = format!("{:064x}", inner.made);
            let container = SimContainer { plan: plan.clone(), state: Container::Created };
            inner.containers.insert(id.clone(), container);
            Ok(Made { id, existed: false })
        })?;
        let _ = self.events.send(Wake::Made(task_of(plan)));
        Ok(made)
    }

    async fn start(&self, container: &str) -> Result<(), EngineError> {
        self.change_as(
            container,
            |plan| Wake::Started(task_of(plan)),
            |inner, mut held| {
                inner.history.push(format!("start {}", held.plan.image));
                held.state = Container::Running { health: inner.health };
                Some(held)
            },
        )
    }

    async fn wait(&self, container: &str) -> Result<(), EngineError> {
        let mut events = self.events.subscribe();
        loop {
            let ended = self.inspect(container).await?.is_none_or(|view| match view.state {
                Container::Absent | Container::Exited { .. } => true,
                Container::Created | Container::Running { .. } => false,
            });
            if ended {
                return Ok(());
            }
            // What was missed is seen by the next look.
            let _ = events.recv().await;
        }
    }

    async fn stop(&self, container: &str, _grace_seconds: i64) -> Result<(), EngineError> {
        self.change(container, |inner, mut held| {
            if let Container::Running { health } = held.state {
                inner.history.push(format!("stop {}", held.plan.image));
                held.state = Container::Exited { code: 137, error: String::new(), health };
            }
            Some(held)
        })
    }

    async fn remove(&self, container: &str) -> Result<(), EngineError> {
        match self.change(container, |_, _| None) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    async fn ensure_network(&self, plan: &NetworkPlan) -> Result<String, EngineError> {
        self.with(|inner| {
            let held = inner.networks.iter().find(|(_, held)| held.id == plan.id);
            if let Some((id, _)) = held {
                return Ok(id.clone());
            }
            inner.made += 1;
            let id = format!("{:064x}", inner.made);
            inner.networks.insert(id.clone(), plan.clone());
            Ok(id)
        })
    }

    async fn networks(&self, node: &NodeId) -> Result<Vec<EngineNetwork>, EngineError> {
        self.with(|inner| {
            let own = inner.networks.iter().filter(|(_, plan)| {
                plan.labels.get(NODE_LABEL).is_some_and(|held| held == node.as_str())
            });
            Ok(own
                .map(|(id, plan)| EngineNetwork {
                    engine_id: id.clone(),
                    network: plan.labels.get(NETWORK_LABEL).and_then(|id| id.parse().ok()),
                })
                .collect())
        })
    }

    async fn remove_network(&self, engine_id: &str) -> Result<(), EngineError> {
        self.with(|inner| {
            inner.networks.remove(engine_id);
            Ok(())
        })
    }

    async fn logs(
        &self,
        container: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<EngineLogLine, EngineError>>, EngineError> {
        let receiver = self.watch();
        let (id, lines) = self.with(|inner| {
            let found = inner
                .containers
                .iter()
                .find(|(id, held)| *id == container || held.plan.name == container);
            let Some((id, _)) = found else {
                return Err(fatal(404, format!("No such container: {container}")));
            };
            Ok((id.clone(), inner.logs.get(id).map_or(0, Vec::len)))
        })?;
        let tail = options.tail.and_then(|tail| usize::try_from(tail).ok()).unwrap_or(lines);
        let reader =
            LogReader { engine: self.clone(), id, next: lines.saturating_sub(tail), receiver };
        let follow = options.follow;
        let lines = stream::unfold(reader, move |mut reader| async move {
            let line = reader.read(follow).await?;
            Some((Ok(line), reader))
        });
        Ok(lines.boxed())
    }

    async fn events(&self, _node: &NodeId) -> Result<BoxStream<'static, Wake>, EngineError> {
        let receiver = self.with(|_| Ok(self.events.subscribe()))?;
        let wakes = stream::unfold((receiver, self.clone()), |(mut receiver, engine)| async move {
            let wake = match receiver.recv().await {
                Ok(wake) => wake,
                Err(broadcast::error::RecvError::Lagged(_)) => Wake::Changed(None),
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            let down = engine.inner.lock().down;
            (!down).then_some((wake, (receiver, engine)))
        });
        Ok(wakes.boxed())
    }
}
