//! Engines without skep as workers: join, a stack with secrets, configs, templates, limits and host ports, logs, an update,
//! a drain, what happens when they stop, die and leave.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_integration::{Cluster, Docker, Generation, wait_for};

const SOON: Duration = Duration::from_secs(90);

const WORKER: &str = "skep-2";

const COMPOSE: &str = r#"
version: "3.9"
services:
  web:
    image: busybox:latest
    hostname: "web-{{.Task.Slot}}-{{.Node.Hostname}}"
    command:
      - sh
      - -c
      - |
        mkdir -p /www && echo "page $$PAGE from $$(hostname)" >/www/index.html
        echo "ready $$PAGE"
        exec httpd -f -p 80 -h /www
    environment: { PAGE: one }
    stop_signal: SIGKILL
    networks: [built-in]
    ports: [{ target: 80, published: 18080, mode: host }]
    secrets:
      - { source: token, target: token, mode: 0400 }
    configs:
      - { source: settings, target: /etc/settings }
      - { source: template, target: /etc/template }
    healthcheck:
      test: ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1/"]
      interval: 1s
      timeout: 2s
      retries: 10
    deploy:
      replicas: 1
      placement: { constraints: [node.role == worker] }
      resources: { limits: { cpus: "0.5", memory: 32M, pids: 50 } }
      update_config: { order: stop-first }
  roam:
    image: busybox:latest
    command: ["sh", "-c", "echo roaming; exec sleep 100000"]
    stop_signal: SIGKILL
    networks: [built-in]
    deploy: { replicas: 4 }
networks:
  built-in: { external: true, name: bridge }
secrets:
  token: { file: ./token }
configs:
  settings: { file: ./settings }
  template: { file: ./template, template_driver: golang }
"#;

on_both_engines!(
    a_stack_runs_on_a_stock_engine,
    tasks_of_an_engine_that_stops_or_dies_are_replaced,
    the_root_is_replaced_under_a_stock_engine,
    join_says_what_is_wrong
);

/// Runs a test with one worker of that generation. The manager's engine is the other one, so that both meet.
fn with_worker(
    generation: Generation,
    test: impl FnOnce(&mut Cluster) -> Result<()>,
) -> Result<()> {
    let mut cluster = Cluster::joined(other(generation), &[generation])?;
    let outcome = node_state(cluster.docker(), "ready", SOON).and_then(|()| test(&mut cluster));
    cluster.explain(outcome)
}

fn other(generation: Generation) -> Generation {
    match generation {
        Generation::Debian20 => Generation::Engine28,
        Generation::Engine28 => Generation::Debian20,
    }
}

fn node_state(docker: &Docker, wanted: &str, deadline: Duration) -> Result<()> {
    wait_for(&format!("a worker that is {wanted}"), deadline, || {
        let state = docker.ok(&["node", "inspect", "--format", "{{.Status.State}}", WORKER])?;
        ensure!(state == wanted, "it is {state}");
        Ok(())
    })
}

fn deploy(cluster: &Cluster) -> Result<()> {
    let folder = cluster.engine.folder();
    std::fs::write(folder.join("compose.yml"), COMPOSE)?;
    std::fs::write(folder.join("token"), "open sesame")?;
    std::fs::write(folder.join("settings"), "colour=blue")?;
    std::fs::write(folder.join("template"), r#"{{.Service.Name}} {{secret "token"}}"#)?;
    let compose = folder.join("compose.yml").to_string_lossy().into_owned();
    cluster.docker().ok(&["stack", "deploy", "-c", &compose, "app"])?;
    cluster.docker().converged(SOON)
}

fn container(engine: &Docker) -> Result<String> {
    engine.service_containers("app_web")?.pop().context("the worker has a task of app_web")
}

fn a_stack_runs_on_a_stock_engine(generation: Generation) -> Result<()> {
    with_worker(generation, |cluster| {
        deploy(cluster)?;
        container_is_as_asked(cluster)?;
        logs_come(cluster.docker())?;
        update(cluster)?;
        drain(cluster)?;
        cluster.docker().ok(&["stack", "rm", "app"])?;
        let engine = cluster.worker(0)?.docker();
        wait_for("an engine without containers", SOON, || {
            let left = engine.lines(&["ps", "-aq"])?;
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
    })
}

fn container_is_as_asked(cluster: &Cluster) -> Result<()> {
    let engine = cluster.worker(0)?.docker();
    let id = container(engine)?;
    let read = |path: &str| engine.ok(&["exec", &id, "cat", path]);
    ensure!(read("/run/secrets/token")? == "open sesame", "the secret");
    ensure!(read("/etc/settings")? == "colour=blue", "the config");
    ensure!(
        read("/etc/template")? == "app_web open sesame",
        "the template: {}",
        read("/etc/template")?
    );
    let mode = engine.ok(&["exec", &id, "stat", "-c", "%a", "/run/secrets/token"])?;
    ensure!(mode == "400", "the secret has mode {mode}");
    let format = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.State.Health.Status}}";
    let limits = engine.ok(&["inspect", "--format", format, &id])?;
    ensure!(limits == "33554432 500000000 50 healthy", "the container has {limits}");
    let page = cluster.engine.space().get("http://10.77.0.2:18080/")?;
    ensure!(page.stdout.trim() == format!("page one from web-1-{WORKER}"), "{page:?}");
    let ps =
        cluster.docker().ok(&["service", "ps", "--format", "{{.Node}} {{.Ports}}", "app_web"])?;
    ensure!(ps.contains(WORKER) && ps.contains("*:18080->80/tcp"), "service ps: {ps}");
    Ok(())
}

fn logs_come(docker: &Docker) -> Result<()> {
    wait_for("the task's output", SOON, || {
        let logs = docker.ok(&["service", "logs", "--raw", "app_web"])?;
        ensure!(logs.trim() == "ready one", "{logs:?}");
        Ok(())
    })?;
    let last = docker.ok(&["service", "logs", "--raw", "--tail", "1", "app_web"])?;
    ensure!(last.trim() == "ready one", "the last line: {last:?}");
    let none = docker.ok(&["service", "logs", "--raw", "--tail", "0", "app_web"])?;
    ensure!(none.trim().is_empty(), "no line was asked for: {none:?}");
    let all = docker.lines(&["service", "logs", "--raw", "app_roam"])?;
    ensure!(all.len() == 4, "one line of each task on either node: {all:?}");
    Ok(())
}

fn update(cluster: &Cluster) -> Result<()> {
    let docker = cluster.docker();
    let follow = docker.follow(&["service", "logs", "--raw", "--follow", "app_web"])?;
    docker.ok(&["service", "update", "--quiet", "--env-add", "PAGE=two", "app_web"])?;
    follow.shows("ready two", SOON)?;
    docker.converged(SOON)?;
    let page = cluster.engine.space().get("http://10.77.0.2:18080/")?;
    ensure!(page.stdout.starts_with("page two"), "{page:?}");
    Ok(())
}

fn drain(cluster: &Cluster) -> Result<()> {
    let docker = cluster.docker();
    let engine = cluster.worker(0)?.docker();
    ensure!(!engine.service_containers("app_roam")?.is_empty(), "tasks are spread over both nodes");
    docker.ok(&["node", "update", "--availability", "drain", WORKER])?;
    wait_for("a drained worker", SOON, || {
        let running = engine.lines(&["ps", "-q"])?;
        ensure!(running.is_empty(), "{running:?}");
        let moved = cluster.engine.docker().service_containers("app_roam")?;
        ensure!(moved.len() == 4, "{} of 4 on the manager", moved.len());
        Ok(())
    })?;
    docker.ok(&["node", "update", "--availability", "active", WORKER])?;
    wait_for("the web task back on the worker", SOON, || container(engine).map(drop))
}

fn tasks_of_an_engine_that_stops_or_dies_are_replaced(generation: Generation) -> Result<()> {
    with_worker(generation, |cluster| {
        let docker = cluster.docker().clone();
        let sleep = ["busybox:latest", "sleep", "100000"];
        let create = ["service", "create", "--quiet", "--name", "roam", "--replicas", "4"];
        docker.ok(&[&create[..], &sleep].concat())?;
        let worker = cluster.workers.first_mut().context("one worker")?;
        worker.kill9()?;
        node_state(&docker, "down", SOON)?;
        docker.converged(SOON)?;
        let worker = cluster.workers.first_mut().context("one worker")?;
        worker.launch()?;
        node_state(&docker, "ready", SOON)?;
        // Half of the tasks go there again, and stay while skep restarts.
        docker.ok(&["service", "update", "--quiet", "--force", "roam"])?;
        let before = cluster.worker(0)?.docker().lines(&["ps", "-q"])?;
        ensure!(!before.is_empty(), "tasks are spread over both nodes");
        cluster.skep.kill9()?;
        cluster.skep.restart()?;
        node_state(&docker, "ready", SOON)?;
        let after = cluster.worker(0)?.docker().lines(&["ps", "-q"])?;
        ensure!(before == after, "containers before and after: {before:?} {after:?}");
        // A clean stop of the engine removes its containers; they are replaced, here or there.
        cluster.workers.first_mut().context("one worker")?.restart()?;
        node_state(&docker, "ready", SOON)?;
        docker.converged(SOON)
    })
}

fn the_root_is_replaced_under_a_stock_engine(generation: Generation) -> Result<()> {
    with_worker(generation, |cluster| {
        let docker = cluster.docker().clone();
        let sleep = ["busybox:latest", "sleep", "100000"];
        let create = ["service", "create", "--quiet", "--name", "roam", "--replicas", "4"];
        docker.ok(&[&create[..], &["--network", "bridge"], &sleep].concat())?;
        let before = cluster.worker(0)?.docker().lines(&["ps", "-q"])?;
        ensure!(!before.is_empty(), "tasks are spread over both nodes");
        let old = docker.ok(&["swarm", "ca"])?;
        for _ in 0..2 {
            docker.ok(&["swarm", "ca", "--rotate", "--quiet"])?;
            let status = docker.lines(&["node", "ls", "--format", "{{.TLSStatus}}"])?;
            ensure!(status == ["Ready", "Ready"], "certificates: {status:?}");
        }
        ensure!(docker.ok(&["swarm", "ca"])? != old, "another root");
        let after = cluster.worker(0)?.docker().lines(&["ps", "-q"])?;
        ensure!(before == after, "containers before and after: {before:?} {after:?}");
        // What it has on disk now is good for a start.
        cluster.workers.first_mut().context("one worker")?.restart()?;
        node_state(&docker, "ready", SOON)
    })
}

fn join_says_what_is_wrong(generation: Generation) -> Result<()> {
    let cluster = Cluster::start(other(generation), &[generation])?;
    let docker = cluster.docker();
    let engine = cluster.worker(0)?.docker();
    let join = |token: &str| engine.run(&["swarm", "join", "--token", token, &cluster.remote()]);
    let outcome = (|| {
        let manager = docker.ok(&["swarm", "join-token", "-q", "manager"])?;
        let refused = join(&manager)?;
        ensure!(refused.code != 0 && refused.stderr.contains("as a worker only"), "{refused:?}");
        let worker = docker.ok(&["swarm", "join-token", "-q", "worker"])?;
        docker.ok(&["swarm", "join-token", "--rotate", "-q", "worker"])?;
        let refused = join(&worker)?;
        ensure!(refused.stderr.contains("A valid join token is necessary"), "{refused:?}");
        let nodes = docker.lines(&["node", "ls", "-q"])?;
        ensure!(nodes.len() == 1, "nobody was admitted: {nodes:?}");
        cluster.join(0)?;
        node_state(docker, "ready", SOON)?;
        let promoted = docker.run(&["node", "promote", WORKER])?;
        ensure!(promoted.stderr.contains("can be a worker only"), "{promoted:?}");
        engine.ok(&["swarm", "leave"])?;
        node_state(docker, "down", SOON)?;
        docker.ok(&["node", "rm", WORKER])?;
        cluster.join(0)?;
        node_state(docker, "ready", SOON)
    })();
    cluster.explain(outcome)
}
