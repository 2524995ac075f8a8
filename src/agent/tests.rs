//! The agent against a simulated engine.

use std::time::Duration;

use async_trait::async_trait;
use skep_core::agent::ContainerPlan;
use skep_core::agent::step::{Container, Health};
use skep_core::id::ServiceId;
use skep_core::model::Annotations;
use skep_core::model::container::ContainerSpec;
use skep_core::model::service::{Runtime, Slot, TaskSpec};
use skep_core::model::task::{TaskState, TaskStatus};

use super::files::NoFiles;
use super::status::ReportError;
use super::*;
use crate::dataplane::{Endpoints, Leading, Settings};
use crate::engine::sim::SimEngine;

/// Longest wait for anything; only failing tests take it.
const DEADLINE: Duration = Duration::from_secs(20);

/// Puts reports into the assignment, as the cluster's state would.
struct Loopback {
    assigned: watch::Sender<Option<Arc<Assigned>>>,
    refusals: Mutex<u32>,
}

#[async_trait]
impl ReportSink for Loopback {
    async fn report(&self, statuses: Vec<(TaskId, TaskStatus)>) -> Result<(), ReportError> {
        {
            let mut refusals = self.refusals.lock();
            if *refusals > 0 {
                *refusals -= 1;
                return Err(ReportError("no leader".to_owned()));
            }
        }
        self.assigned.send_modify(|held| {
            let mut next = Assigned::clone(held.as_deref().unwrap_or(&Assigned::default()));
            for (id, status) in statuses {
                if let Some(task) = next.tasks.get_mut(&id) {
                    assert!(status.state > task.status.state, "{status:?} after {:?}", task.status);
                    Arc::make_mut(task).status = status;
                }
            }
            *held = Some(Arc::new(next));
        });
        Ok(())
    }
}

struct World {
    engine: SimEngine,
    sink: Arc<Loopback>,
    shutdown: CancellationToken,
    agent: Option<tokio::task::JoinHandle<()>>,
}

/// Packets are led by nobody else.
struct Alone;

#[async_trait]
impl Leading for Alone {
    async fn await_in_force(&self, _task: &TaskId, _index: u64) -> Result<(), tonic::Status> {
        Ok(())
    }
}

impl World {
    fn new() -> Self {
        let engine = SimEngine::new();
        engine.add_image("here");
        let (assigned, _) = watch::channel(Some(Arc::default()));
        let sink = Arc::new(Loopback { assigned, refusals: Mutex::new(0) });
        let mut world = Self { engine, sink, shutdown: CancellationToken::new(), agent: None };
        world.start_agent();
        world
    }

    fn start_agent(&mut self) {
        self.shutdown = CancellationToken::new();
        let deps = AgentDeps {
            engine: Arc::new(self.engine.clone()),
            node: NodeId::from_entropy(1),
            assigned: self.sink.assigned.subscribe(),
            reports: self.sink.clone(),
            files: Arc::new(NoFiles),
            drains: Drains::new(
                tokio::sync::watch::channel(Arc::default()).1,
                Arc::new(Alone),
                &Settings { kernel: false, ..Settings::default() },
            ),
            endpoints: Endpoints::new(&Settings { kernel: false, ..Settings::default() }),
            shutdown: self.shutdown.clone(),
        };
        self.agent = Some(tokio::spawn(Box::pin(Agent::run(deps))));
    }

    async fn stop_agent(&mut self) {
        self.shutdown.cancel();
        let agent = self.agent.take().expect("it runs");
        tokio::time::timeout(DEADLINE, agent).await.expect("it ends").expect("it does not panic");
    }

    fn change(&self, act: impl FnOnce(&mut Assigned)) {
        self.sink.assigned.send_modify(|held| {
            let mut next = Assigned::clone(held.as_deref().unwrap_or(&Assigned::default()));
            act(&mut next);
            *held = Some(Arc::new(next));
        });
    }

    fn assign(&self, number: u64, image: &str) -> TaskId {
        let spec = ContainerSpec { image: image.to_owned(), ..ContainerSpec::default() };
        let id = TaskId::from_seed(1, number);
        let annotations = Annotations { name: "web".to_owned(), ..Annotations::default() };
        let task = Task {
            id: id.clone(),
            service: Some(ServiceId::from_entropy(3)),
            service_annotations: Arc::new(annotations),
            spec: Arc::new(TaskSpec {
                runtime: Runtime::Container(Box::new(spec)),
                ..TaskSpec::default()
            }),
            slot: Slot::Number(number),
            desired: TaskState::Running,
            status: TaskStatus { state: TaskState::Assigned, ..TaskStatus::default() },
            ..Task::default()
        };
        self.change(|set| {
            set.tasks.insert(task.id.clone(), Arc::new(task));
        });
        id
    }

    /// Assigns a task that holds addresses for a container that a user made.
    fn attach(&self, number: u64, container: &str) -> TaskId {
        let runtime = Runtime::Attachment { container_id: container.to_owned() };
        let task = Task {
            id: TaskId::from_seed(1, number),
            spec: Arc::new(TaskSpec { runtime, ..TaskSpec::default() }),
            desired: TaskState::Running,
            status: TaskStatus { state: TaskState::Assigned, ..TaskStatus::default() },
            ..Task::default()
        };
        let id = task.id.clone();
        self.change(|set| {
            set.tasks.insert(task.id.clone(), Arc::new(task));
        });
        id
    }

    fn desire(&self, id: &TaskId, desired: TaskState) {
        self.change(|set| {
            if let Some(task) = set.tasks.get_mut(id) {
                Arc::make_mut(task).desired = desired;
            }
        });
    }

    /// Waits until a task's status is as wanted.
    async fn status(&self, id: &TaskId, wanted: TaskState) -> TaskStatus {
        let mut assigned = self.sink.assigned.subscribe();
        let found = assigned.wait_for(|set| {
            let task = set.as_ref().and_then(|set| set.tasks.get(id));
            task.is_some_and(|task| task.status.state == wanted)
        });
        match tokio::time::timeout(DEADLINE, found).await {
            Ok(found) => {
                let found = found.expect("the sender lives");
                found.as_ref().map(|set| set.tasks[id].status.clone()).unwrap_or_default()
            }
            Err(_) => panic!("{wanted:?}: {:?}", self.sink.assigned.borrow()),
        }
    }

    /// Waits until the engine's containers are as wanted.
    async fn containers(&self, wanted: impl Fn(&SimEngine) -> bool) {
        let node = NodeId::from_entropy(1);
        let mut events = self.engine.events(&node).await.expect("it is up");
        let wait = async {
            while !wanted(&self.engine) {
                events.next().await;
            }
        };
        let done = tokio::time::timeout(DEADLINE, wait).await;
        assert!(done.is_ok(), "{:?}", self.engine.containers());
    }

    fn only_container(&self) -> String {
        self.engine.containers().keys().next().cloned().expect("there is one")
    }
}

#[tokio::test]
async fn a_task_runs_stops_and_goes() {
    let world = World::new();
    let id = world.assign(1, "here");
    let status = world.status(&id, TaskState::Running).await;
    assert_eq!(status.message, "started");
    assert_eq!(status.container.expect("it is told").id, world.only_container());
    world.desire(&id, TaskState::Shutdown);
    assert_eq!(world.status(&id, TaskState::Shutdown).await.message, "shutdown");
    assert_eq!(world.engine.containers().len(), 1, "kept for its output");
    world.change(|set| {
        set.tasks.remove(&id);
    });
    world.containers(|engine| engine.containers().is_empty()).await;
}

#[tokio::test]
async fn removal_takes_the_container_along() {
    let world = World::new();
    let id = world.assign(1, "here");
    world.status(&id, TaskState::Running).await;
    world.desire(&id, TaskState::Remove);
    world.status(&id, TaskState::Shutdown).await;
    world.containers(|engine| engine.containers().is_empty()).await;
}

#[tokio::test]
async fn a_missing_image_rejects() {
    let world = World::new();
    let id = world.assign(1, "nowhere");
    let status = world.status(&id, TaskState::Rejected).await;
    assert_eq!(
        (status.message.as_str(), status.error.as_str()),
        ("preparing", "No such image: nowhere")
    );
}

#[tokio::test]
async fn what_dies_or_vanishes_has_failed() {
    let world = World::new();
    let killed = Container::Exited { code: 137, error: String::new(), health: Health::Unchecked };
    let cases = [
        (killed, "task: non-zero exit (137)"),
        (Container::Absent, "dockerexec: container destroyed"),
    ];
    for (number, (state, expect)) in (1..).zip(cases) {
        let id = world.assign(number, "here");
        let status = world.status(&id, TaskState::Running).await;
        world.engine.set_state(&status.container.expect("it is told").id, state);
        assert_eq!(world.status(&id, TaskState::Failed).await.error, expect);
    }
}

#[tokio::test]
async fn an_unhealthy_container_is_stopped_and_failed() {
    let world = World::new();
    world.engine.set_health(Health::Starting);
    let id = world.assign(1, "here");
    world.status(&id, TaskState::Starting).await;
    let running = |engine: &SimEngine| {
        engine.containers().values().any(|held| matches!(held.state, Container::Running { .. }))
    };
    world.containers(running).await;
    let container = world.only_container();
    world.engine.set_state(&container, Container::Running { health: Health::Healthy });
    world.status(&id, TaskState::Running).await;
    world.engine.set_state(&container, Container::Running { health: Health::Unhealthy });
    let status = world.status(&id, TaskState::Failed).await;
    assert_eq!(status.error, "task: non-zero exit (137): dockerexec: unhealthy container");
}

#[tokio::test]
async fn a_restarted_agent_restarts_nothing() {
    let mut world = World::new();
    let kept = world.assign(1, "here");
    let gone = world.assign(2, "here");
    world.status(&kept, TaskState::Running).await;
    world.status(&gone, TaskState::Running).await;
    world.stop_agent().await;
    assert_eq!(world.engine.containers().len(), 2);
    world.change(|set| {
        set.tasks.remove(&gone);
    });
    world.start_agent();
    world.containers(|engine| engine.containers().len() == 1).await;
    let next = world.assign(3, "here");
    world.status(&next, TaskState::Running).await;
    assert_eq!(world.status(&kept, TaskState::Running).await.error, "");
    assert_eq!(world.engine.starts(), 3);
}

#[tokio::test]
async fn an_engine_that_is_away_changes_no_status() {
    let world = World::new();
    let old = world.assign(1, "here");
    world.status(&old, TaskState::Running).await;
    world.engine.set_down(true);
    let new = world.assign(2, "here");
    world.engine.set_down(false);
    world.status(&new, TaskState::Running).await;
    world.status(&old, TaskState::Running).await;
    assert_eq!(world.engine.starts(), 2);
}

#[tokio::test]
async fn reports_are_repeated_until_accepted() {
    let world = World::new();
    *world.sink.refusals.lock() = 2;
    let id = world.assign(1, "here");
    world.status(&id, TaskState::Running).await;
}

/// Looking now and then would take three looks, five seconds apart; the wait takes none.
#[tokio::test]
async fn the_end_of_a_users_container_gives_its_addresses_back_at_once() {
    let world = World::new();
    let plan = ContainerPlan {
        name: "mine".to_owned(),
        image: "here".to_owned(),
        ..ContainerPlan::default()
    };
    let container = world.engine.create(&plan).await.expect("the image is here").id;
    world.engine.start(&container).await.expect("it starts");
    let id = world.attach(1, &container);
    world.status(&id, TaskState::Running).await;
    let began = std::time::Instant::now();
    let exited = Container::Exited { code: 3, error: String::new(), health: Health::Unchecked };
    world.engine.set_state(&container, exited);
    world.status(&id, TaskState::Shutdown).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_users_container_that_went_while_nobody_looked_holds_nothing() {
    let mut world = World::new();
    let plan = ContainerPlan {
        name: "mine".to_owned(),
        image: "here".to_owned(),
        ..ContainerPlan::default()
    };
    let container = world.engine.create(&plan).await.expect("the image is here").id;
    world.engine.start(&container).await.expect("it starts");
    let id = world.attach(1, &container);
    world.status(&id, TaskState::Running).await;
    world.stop_agent().await;
    world.engine.set_state(&container, Container::Absent);
    world.start_agent();
    world.status(&id, TaskState::Shutdown).await;
}
