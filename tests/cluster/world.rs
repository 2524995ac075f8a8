//! One machine and the daemon on it, which can be stopped, cut off and started anew. Waits for named conditions, never for time.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use skep::agent::files::NoFiles;
use skep::config::{Address, Config, LogFormat};
use skep::dataplane;
use skep::engine::sim::SimEngine;
use skep::node::{Machine, Node};
use skep_api::backend::Membership;
use skep_core::agent::step::Container;
use skep_core::id::NodeId;
use skep_core::model::service::{Runtime, UpdateState};
use skep_core::model::task::{Task, TaskState};
use skep_core::state::State;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::engine::Readers;
use crate::{engine, spec};

/// Longest wait for anything; only failing tests take it.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for a future; fails with its name when it takes too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, Box::pin(future)).await {
        Ok(value) => value,
        Err(_) => panic!("waited {DEADLINE:?} for: {what}"),
    }
}

/// What outlives the daemon: its folder, its address and its engine.
pub struct Site {
    folder: tempfile::TempDir,
    addr: Ipv4Addr,
    pub engine: SimEngine,
    /// How many follow the output of containers, as the engine sees it.
    pub readers: Readers,
}

impl Site {
    /// Makes a machine with two images. Its loopback address is its own, so that its ports are free.
    pub fn new() -> Self {
        static SITES: AtomicU8 = AtomicU8::new(1);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let addr = Ipv4Addr::new(127, high, low, SITES.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sim = SimEngine::new();
        sim.add_image(spec::FIRST);
        sim.add_image(spec::SECOND);
        let readers = engine::serve(&folder.path().join("engine.sock"), sim.clone());
        Self { folder, addr, engine: sim, readers }
    }

    /// The folder of the daemon's state.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where the cluster's port is.
    pub fn listen(&self) -> String {
        format!("{}:2377", self.addr)
    }

    fn config(&self) -> Config {
        Config {
            hosts: vec![Address::Unix(self.folder.path().join("api.sock"))],
            engine: Address::Unix(self.folder.path().join("engine.sock")),
            data_dir: self.data_dir(),
            run_dir: self.folder.path().join("run"),
            advertise_addr: None,
            managers: Vec::new(),
            log_level: "info".to_owned(),
            log_format: LogFormat::Auto,
        }
    }

    fn machine(&self) -> Machine {
        Machine {
            engine: Arc::new(self.engine.clone()),
            open_files: Arc::new(|_| Ok(Arc::new(NoFiles))),
            data_plane: dataplane::Settings {
                dns_port: 20_000 + u16::from(self.addr.octets()[3]),
                publish_on: Some(self.addr.into()),
                kernel: false,
                ..dataplane::Settings::default()
            },
        }
    }

    /// Starts the daemon, in a runtime of its own, and waits until it serves.
    pub async fn start(&self) -> Daemon {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let shutdown = CancellationToken::new();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let ready = move |node: &Arc<Node>| drop(sender.send(node.clone()));
        let run = skep::node::run(self.config(), self.machine(), shutdown.clone(), ready);
        let mut ended = runtime.spawn(Box::pin(run));
        let node = tokio::select! {
            node = within("the daemon to serve", receiver) => node.ok(),
            result = &mut ended => panic!("the daemon did not start: {result:?}"),
        };
        Daemon {
            client: Client::new(&self.folder.path().join("api.sock")),
            engine: self.engine.clone(),
            raft_file: self.data_dir().join("raft/raft.redb"),
            node,
            shutdown,
            ended: Some(ended),
            runtime: Some(runtime),
        }
    }

    /// Starts the daemon and makes a cluster.
    pub async fn cluster(&self) -> Daemon {
        let daemon = self.start().await;
        daemon.client.post("/swarm/init", &self.init()).await.ok();
        daemon
    }

    /// Makes the request for a cluster.
    pub fn init(&self) -> Value {
        json!({ "ListenAddr": self.listen() })
    }
}

/// A running daemon.
pub struct Daemon {
    pub client: Client,
    pub engine: SimEngine,
    raft_file: PathBuf,
    node: Option<Arc<Node>>,
    shutdown: CancellationToken,
    ended: Option<tokio::task::JoinHandle<anyhow::Result<()>>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Daemon {
    /// Stops the daemon as SIGTERM does.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let ended = self.ended.take().expect("it was started");
        within("the daemon to stop", ended).await.expect("it does not panic").expect("it succeeds");
        self.end().await;
    }

    /// Ends the daemon in the middle of whatever it does: no task of it gets another turn.
    pub async fn cut_off(mut self) {
        self.end().await;
    }

    async fn end(&mut self) {
        self.node = None;
        let runtime = self.runtime.take().expect("it was started");
        let file = self.raft_file.clone();
        let closed = tokio::task::spawn_blocking(move || {
            runtime.shutdown_timeout(DEADLINE);
            // The log's writer is a thread of its own; it has the file locked until it ends.
            std::fs::File::open(file).and_then(|file| file.lock())
        });
        // Without a cluster there is no file.
        let _ = within("the log to be closed", closed).await.expect("it does not panic");
    }

    /// Returns which node it is.
    pub fn node_id(&self) -> NodeId {
        self.member().identity.node.clone()
    }

    /// Returns the newest state this node has applied.
    pub fn state(&self) -> Arc<State> {
        self.member().raft.state()
    }

    fn member(&self) -> Arc<skep::node::Member> {
        self.node.as_ref().and_then(|node| node.member().ok()).expect("it is a manager")
    }

    /// Waits until state and engine are as asked for; fails with both otherwise.
    pub async fn until(&self, what: &str, holds: impl Fn(&State, &SimEngine) -> bool) {
        let mut changes = self.engine.watch();
        let mut states = self.member().raft.watch();
        let wait = async {
            loop {
                let state = states.borrow_and_update().clone();
                if holds(&state, &self.engine) {
                    return;
                }
                tokio::select! {
                    changed = states.changed() => changed.expect("the member goes on"),
                    // What was missed only makes it look again.
                    _ = changes.recv() => {}
                }
            }
        };
        if tokio::time::timeout(DEADLINE, Box::pin(wait)).await.is_err() {
            panic!("waited {DEADLINE:?} for: {what}\n{}", picture(&self.state(), &self.engine));
        }
    }

    /// Waits until a service has exactly so many running tasks, all of one image, and nothing else is going on.
    pub async fn tasks_running(&self, service: &str, count: usize, image: &str) {
        let what = format!("{count} tasks of {service} run {image}");
        self.until(&what, |state, engine| {
            let wanted: Vec<&Arc<Task>> = state
                .tasks()
                .values()
                .filter(|task| task.service_annotations.name == service)
                .filter(|task| task.desired == TaskState::Running)
                .collect();
            let live = engine.containers();
            let live = live.values().filter(|held| {
                held.plan.name.starts_with(&format!("{service}."))
                    && matches!(held.state, Container::Running { .. })
            });
            wanted.len() == count
                && wanted
                    .iter()
                    .all(|task| task.status.state == TaskState::Running && image_of(task) == image)
                && live.count() == count
        })
        .await;
    }

    /// Waits until a service has exactly so many wanted tasks, all of them running on whatever node.
    pub async fn tasks_settled(&self, service: &str, count: usize) {
        let what = format!("{count} tasks of {service} run, and no more");
        self.until(&what, |state, _| {
            let of_service = |task: &&Arc<Task>| task.service_annotations.name == service;
            let wanted = |task: &&Arc<Task>| task.desired == TaskState::Running;
            let wanted: Vec<_> = state.tasks().values().filter(of_service).filter(wanted).collect();
            wanted.len() == count
                && wanted.iter().all(|task| task.status.state == TaskState::Running)
        })
        .await;
    }

    /// Waits until the engine has no running container.
    pub async fn containers_end(&self) {
        let mut changes = self.engine.watch();
        within("all containers to end", async {
            while !self.running().is_empty() {
                // What was missed only makes it look again.
                let _ = changes.recv().await;
            }
        })
        .await;
    }

    /// Waits until the daemon serves as a manager.
    pub async fn is_manager(&self) {
        self.stands("a manager", |membership| matches!(membership, Membership::Manager { .. }))
            .await;
    }

    /// Waits until the daemon serves as a worker.
    pub async fn is_worker(&self) {
        self.stands("a worker", |membership| matches!(membership, Membership::Worker { .. })).await;
    }

    async fn stands(&self, what: &str, holds: impl Fn(&Membership) -> bool) {
        let node = self.node.as_ref().expect("it was started");
        let mut changes = node.changes();
        within(what, async {
            while !holds(&node.membership()) {
                changes.changed().await.expect("the daemon goes on");
            }
        })
        .await;
    }

    /// Waits until a service's update has come to a state.
    pub async fn update_is(&self, service: &str, wanted: UpdateState) {
        let what = format!("the update of {service} is {wanted:?}");
        self.until(&what, |state, _| {
            let held = state.find_service(service).ok();
            held.and_then(|held| held.update_status.as_ref())
                .is_some_and(|status| status.state == wanted)
        })
        .await;
    }

    /// Creates a service.
    pub async fn create(&self, spec: &Value) {
        self.client.post("/services/create", spec).await.ok();
    }

    /// Updates a service from its newest version, as often as the planner comes between.
    pub async fn update(&self, spec: &Value) {
        let name = spec["Name"].as_str().expect("a spec has a name");
        loop {
            let shown = self.client.get(&format!("/services/{name}")).await.ok();
            let path = format!("/services/{name}/update?version={}", shown["Version"]["Index"]);
            let answer = self.client.post(&path, spec).await;
            if !answer.body["message"].to_string().contains("update out of sequence") {
                answer.ok();
                return;
            }
        }
    }

    /// Returns the ids of running containers.
    pub fn running(&self) -> Vec<String> {
        let held = self.engine.containers().into_iter();
        held.filter(|(_, held)| matches!(held.state, Container::Running { .. }))
            .map(|(id, _)| id)
            .collect()
    }
}

/// Returns the image of a task.
pub fn image_of(task: &Task) -> &str {
    match &task.spec.runtime {
        Runtime::Container(spec) => &spec.image,
        Runtime::Attachment { .. } => "",
    }
}

fn picture(state: &State, engine: &SimEngine) -> String {
    let mut text = format!("state {}\n", state.index());
    for service in state.services().values() {
        let _ = writeln!(
            text,
            "service {}: {:?}",
            service.spec.annotations.name, service.update_status
        );
    }
    for task in state.tasks().values() {
        let status = &task.status;
        let _ = writeln!(
            text,
            "task {} {}: {:?} of {:?} {} {}",
            task.name(),
            image_of(task),
            status.state,
            task.desired,
            status.message,
            status.error
        );
    }
    for (id, held) in engine.containers() {
        let _ = writeln!(text, "container {} {id}: {:?}", held.plan.name, held.state);
    }
    text
}
