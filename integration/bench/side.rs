//! One of the two swarms that are compared, over its socket. Knows no difference between them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use skep_integration::http::{Client, Endpoint};

const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at one task; longer for more, up to so many times. A call costs the server and the reader, which the
/// raw engine is spared; both sides are asked as often.
const PAUSE: Duration = Duration::from_millis(2);
const PAUSES_MAX: usize = 10;

/// What every container of the benchmark runs: it starts at once and SIGKILL is its stop signal.
const COMMAND: [&str; 2] = ["sleep", "86400"];

pub struct Side {
    pub endpoint: Endpoint,
    pub client: Client,
    /// The engine below, where containers are.
    pub engine: Client,
}

/// The spec of a service of `replicas` tasks.
pub fn spec(name: &str, replicas: u64) -> Value {
    json!({
        "Name": name,
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "busybox:latest", "Command": COMMAND, "StopSignal": "SIGKILL",
            },
            "RestartPolicy": { "Condition": "any", "Delay": 0 },
        },
        "Mode": { "Replicated": { "Replicas": replicas } },
        "UpdateConfig": { "Parallelism": 0, "Monitor": 5_000_000, "Order": "stop-first" },
    })
}

impl Side {
    pub fn new(endpoint: Endpoint, engine: &Endpoint) -> Result<Self> {
        Ok(Self { client: endpoint.connect()?, engine: engine.connect()?, endpoint })
    }

    pub fn reconnect(&mut self) -> Result<()> {
        self.client = self.endpoint.connect()?;
        Ok(())
    }

    pub fn create(&mut self, spec: &Value) -> Result<String> {
        let made = self.client.json("POST", "/v1.44/services/create", Some(spec))?;
        Ok(made["ID"].as_str().context("no id")?.to_owned())
    }

    fn tasks(&mut self, service: &str) -> Result<Vec<Value>> {
        let path = format!("/v1.44/tasks?filters=%7B%22service%22%3A%5B%22{service}%22%5D%7D");
        let tasks = self.client.json("GET", &path, None)?;
        Ok(tasks.as_array().context("no list of tasks")?.clone())
    }

    /// Waits until so many tasks of a service run for which `counts` holds; returns their containers.
    pub fn await_running(
        &mut self,
        service: &str,
        wanted: usize,
        counts: impl Fn(&Value) -> bool,
    ) -> Result<Vec<String>> {
        let began = Instant::now();
        let pause = PAUSE * u32::try_from((wanted / 2).clamp(1, PAUSES_MAX))?;
        loop {
            let tasks = self.tasks(service)?;
            let running: Vec<String> = tasks
                .iter()
                .filter(|task| {
                    task["Status"]["State"] == "running"
                        && task["DesiredState"] == "running"
                        && counts(task)
                })
                .filter_map(|task| task["Status"]["ContainerStatus"]["ContainerID"].as_str())
                .map(str::to_owned)
                .collect();
            if running.len() >= wanted {
                return Ok(running);
            }
            ensure!(began.elapsed() < PATIENCE, "{service}: {} of {wanted} run", running.len());
            thread::sleep(pause);
        }
    }

    /// Removes a service and waits until its containers are gone.
    pub fn remove(&mut self, service: &str) -> Result<()> {
        self.client.json("DELETE", &format!("/v1.44/services/{service}"), None)?;
        let began = Instant::now();
        let path = format!(
            "/v1.44/containers/json?all=1&filters=%7B%22label%22%3A%5B%22com.docker.swarm.service.id%3D{service}%22%5D%7D"
        );
        while self.engine.json("GET", &path, None)?.as_array().is_none_or(|all| !all.is_empty()) {
            ensure!(began.elapsed() < PATIENCE, "containers of {service} stay");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Time from the create call until all replicas run; the service is removed afterwards.
    pub fn until_running(&mut self, name: &str, replicas: u64) -> Result<Duration> {
        let began = Instant::now();
        let service = self.create(&spec(name, replicas))?;
        self.await_running(&service, usize::try_from(replicas)?, |_| true)?;
        let took = began.elapsed();
        self.remove(&service)?;
        Ok(took)
    }

    /// Time from an update of all replicas at once until none of the old ones is left and all new ones run.
    pub fn update(&mut self, service: &str, round: u64, replicas: usize) -> Result<Duration> {
        let path = format!("/v1.44/services/{service}");
        let held = self.client.json("GET", &path, None)?;
        let version = held["Version"]["Index"].as_u64().context("no version")?;
        let mut spec = held["Spec"].clone();
        spec["TaskTemplate"]["ForceUpdate"] = json!(round);
        let began = Instant::now();
        self.client.json("POST", &format!("{path}/update?version={version}"), Some(&spec))?;
        self.await_running(service, replicas, |task| {
            task["Spec"]["ForceUpdate"].as_u64().unwrap_or(0) == round
        })?;
        Ok(began.elapsed())
    }

    /// Time from the death of a service's one container until another runs.
    pub fn replace(&mut self, service: &str) -> Result<Duration> {
        let old = self.await_running(service, 1, |_| true)?;
        let old = old.first().context("it runs")?;
        let began = Instant::now();
        self.engine.json("POST", &format!("/v1.44/containers/{old}/kill"), None)?;
        self.await_running(service, 1, |task| {
            task["Status"]["ContainerStatus"]["ContainerID"].as_str() != Some(old)
        })?;
        Ok(began.elapsed())
    }

    /// Makes `count` services without tasks from so many clients at once.
    pub fn create_many(&self, prefix: &str, clients: usize, count: usize) -> Result<Duration> {
        let began = Instant::now();
        thread::scope(|scope| {
            let workers: Vec<_> = (0..clients)
                .map(|worker| {
                    scope.spawn(move || -> Result<()> {
                        let mut client = self.endpoint.connect()?;
                        for number in (worker..count).step_by(clients) {
                            let spec = spec(&format!("{prefix}-{number}"), 0);
                            client.json("POST", "/v1.44/services/create", Some(&spec))?;
                        }
                        Ok(())
                    })
                })
                .collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().ok().context("a client panicked")?)
        })?;
        Ok(began.elapsed())
    }

    /// Removes every service.
    pub fn clear(&mut self) -> Result<()> {
        let all = self.client.json("GET", "/v1.44/services", None)?;
        for service in all.as_array().context("services")? {
            let id = service["ID"].as_str().context("no id")?;
            self.client.json("DELETE", &format!("/v1.44/services/{id}"), None)?;
        }
        Ok(())
    }
}

/// Makes, starts and removes containers on an engine with no swarm involved, `parallel` at a time.
pub fn raw(endpoint: &Endpoint, prefix: &str, parallel: usize, count: usize) -> Result<Duration> {
    let body = json!({ "Image": "busybox:latest", "Cmd": COMMAND, "StopSignal": "SIGKILL" });
    let began = Instant::now();
    let made = thread::scope(|scope| {
        let body = &body;
        let workers: Vec<_> = (0..parallel)
            .map(|worker| {
                scope.spawn(move || -> Result<Vec<String>> {
                    let mut client = endpoint.connect()?;
                    let mut made = Vec::new();
                    for number in (worker..count).step_by(parallel) {
                        let path = format!("/v1.44/containers/create?name={prefix}-{number}");
                        let answer = client.json("POST", &path, Some(body))?;
                        let id = answer["Id"].as_str().context("no id")?.to_owned();
                        client.json("POST", &format!("/v1.44/containers/{id}/start"), None)?;
                        made.push(id);
                    }
                    Ok(made)
                })
            })
            .collect();
        let mut made = Vec::new();
        for worker in workers {
            made.extend(worker.join().ok().context("a client panicked")??);
        }
        anyhow::Ok(made)
    })?;
    let took = began.elapsed();
    let mut client = endpoint.connect()?;
    for id in made {
        client.json("DELETE", &format!("/v1.44/containers/{id}?force=1"), None)?;
    }
    Ok(took)
}

/// Time from the death of so many containers, with no swarm involved, until others run in their place, all at once: what
/// an update costs the engine.
pub fn raw_update(endpoint: &Endpoint, prefix: &str, count: usize) -> Result<Duration> {
    let body = json!({ "Image": "busybox:latest", "Cmd": COMMAND, "StopSignal": "SIGKILL" });
    let call = |client: &mut Client, method: &str, path: String, body: Option<&Value>| {
        client.json(method, &format!("/v1.44/containers/{path}"), body)
    };
    let mut client = endpoint.connect()?;
    for number in 0..count {
        let name = format!("{prefix}-old-{number}");
        call(&mut client, "POST", format!("create?name={name}"), Some(&body))?;
        call(&mut client, "POST", format!("{name}/start"), None)?;
    }
    let began = Instant::now();
    thread::scope(|scope| {
        let body = &body;
        let workers: Vec<_> = (0..count)
            .map(|number| {
                scope.spawn(move || -> Result<()> {
                    let mut client = endpoint.connect()?;
                    let (old, new) =
                        (format!("{prefix}-old-{number}"), format!("{prefix}-new-{number}"));
                    call(&mut client, "POST", format!("create?name={new}"), Some(body))?;
                    call(&mut client, "POST", format!("{old}/kill"), None)?;
                    call(&mut client, "POST", format!("{old}/wait"), None)?;
                    call(&mut client, "POST", format!("{new}/start"), None)?;
                    Ok(())
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().ok().context("a client panicked")?)
    })?;
    let took = began.elapsed();
    for name in (0..count).flat_map(|number| ["old", "new"].map(|age| (age, number))) {
        let (age, number) = name;
        call(&mut client, "DELETE", format!("{prefix}-{age}-{number}?force=1"), None)?;
    }
    Ok(took)
}

/// Time from killing a container, with no swarm involved, until another runs: what any replacement costs the engine.
pub fn raw_replace(endpoint: &Endpoint, prefix: &str) -> Result<Duration> {
    let body = json!({ "Image": "busybox:latest", "Cmd": COMMAND, "StopSignal": "SIGKILL" });
    let mut client = endpoint.connect()?;
    let run = |client: &mut Client, name: &str| -> Result<()> {
        let path = format!("/v1.44/containers/create?name={name}");
        client.json("POST", &path, Some(&body))?;
        client.json("POST", &format!("/v1.44/containers/{name}/start"), None)?;
        Ok(())
    };
    let (old, new) = (format!("{prefix}-old"), format!("{prefix}-new"));
    run(&mut client, &old)?;
    let began = Instant::now();
    client.json("POST", &format!("/v1.44/containers/{old}/kill"), None)?;
    client.json("POST", &format!("/v1.44/containers/{old}/wait"), None)?;
    run(&mut client, &new)?;
    let took = began.elapsed();
    for name in [old, new] {
        client.json("DELETE", &format!("/v1.44/containers/{name}?force=1"), None)?;
    }
    Ok(took)
}
