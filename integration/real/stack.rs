//! A compose stack from deploy to removal: names, secrets, configs, health, ports, logs, scale,
//! rolling update. What survives crashes is tested elsewhere.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_integration::{Docker, Generation, Lab, wait_for};

use crate::app::deploy;
use crate::in_swarm;

const SOON: Duration = Duration::from_secs(90);

on_both_engines!(deploys_and_removes, names_resolve_between_services, updates_without_a_gap);

/// The one running container of the client service, as the engine knows it.
fn client(docker: &Docker) -> Result<String> {
    docker.service_containers("app_client")?.pop().context("the client runs")
}

fn deploys_and_removes(generation: Generation) -> Result<()> {
    in_swarm(generation, |lab| {
        let docker = lab.docker();
        deploy(docker, lab.engine.folder())?;
        containers_are_as_asked(docker)?;
        logs_of_all_tasks(docker)?;

        docker.ok(&["service", "scale", "--detach", "app_web=5"])?;
        docker.converged(SOON)?;
        ensure!(docker.service_containers("app_web")?.len() == 5, "five tasks after scale");

        docker.ok(&["stack", "rm", "app"])?;
        nothing_is_left(lab)
    })
}

fn containers_are_as_asked(docker: &Docker) -> Result<()> {
    let ids = docker.service_containers("app_web")?;
    ensure!(ids.len() == 3, "three tasks, not {ids:?}");
    for id in &ids {
        let secret = docker.ok(&["exec", id, "cat", "/run/secrets/token"])?;
        ensure!(secret == "open sesame", "secret reads {secret:?}");
        let mode = docker.ok(&["exec", id, "stat", "-c", "%a", "/run/secrets/token"])?;
        ensure!(mode == "400", "secret has mode {mode}");
        let config = docker.ok(&["exec", id, "cat", "/etc/settings"])?;
        ensure!(config == "colour=blue", "config reads {config:?}");
        let limits = docker.ok(&[
            "inspect",
            "--format",
            "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.State.Health.Status}}",
            id,
        ])?;
        ensure!(limits == "33554432 500000000 healthy", "container has {limits}");
    }
    let label =
        docker.ok(&["service", "inspect", "--format", "{{.Spec.Labels.tier}}", "app_web"])?;
    ensure!(label == "front", "service label is {label:?}");
    Ok(())
}

fn logs_of_all_tasks(docker: &Docker) -> Result<()> {
    wait_for("a log line of each task", SOON, || {
        let logs = docker.ok(&["service", "logs", "--raw", "app_web"])?;
        ensure!(logs.matches("ready one").count() == 3, "{logs}");
        Ok(())
    })
}

fn nothing_is_left(lab: &Lab) -> Result<()> {
    let docker = lab.docker();
    wait_for("no trace of the stack", SOON, || {
        let services = docker.ok(&["service", "ls", "-q"])?;
        let secrets = docker.ok(&["secret", "ls", "-q"])?;
        let configs = docker.ok(&["config", "ls", "-q"])?;
        let networks = docker.ok(&["network", "ls", "--filter", "name=app_", "-q"])?;
        let containers = lab.engine.docker().ok(&["ps", "-aq"])?;
        for left in [&services, &secrets, &configs, &networks, &containers] {
            let all = [&services, &secrets, &configs, &networks, &containers];
            ensure!(left.is_empty(), "services, secrets, configs, networks, containers: {all:?}");
        }
        Ok(())
    })
}

fn names_resolve_between_services(generation: Generation) -> Result<()> {
    in_swarm(generation, |lab| {
        let docker = lab.docker();
        deploy(docker, lab.engine.folder())?;
        let client = client(docker)?;
        for name in ["web", "tasks.web", "app_web"] {
            wait_for(&format!("a page from {name}"), SOON, || {
                let url = format!("http://{name}/");
                let page =
                    docker.ok(&["exec", &client, "timeout", "3", "wget", "-q", "-O", "-", &url])?;
                ensure!(page.starts_with("page one from web-"), "{page}");
                Ok(())
            })?;
        }
        let found = docker.ok(&["exec", &client, "nslookup", "tasks.web"])?;
        let addresses = found
            .lines()
            .filter(|line| line.starts_with("Address:") && !line.contains("127.0.0.11"))
            .count();
        ensure!(addresses == 3, "tasks.web has an address for each task: {found}");
        let unknown =
            docker.run(&["exec", &client, "timeout", "4", "nslookup", "no-such-service"])?;
        ensure!(unknown.code != 0, "an unknown name must not resolve: {unknown:?}");
        Ok(())
    })
}

fn page(lab: &Lab) -> Result<String> {
    lab.engine.space().get("http://127.0.0.1:18080/")?.ok("published port")
}

fn updates_without_a_gap(generation: Generation) -> Result<()> {
    in_swarm(generation, |lab| {
        let docker = lab.docker();
        deploy(docker, lab.engine.folder())?;
        let mut servers = BTreeSet::new();
        wait_for("pages from all tasks", SOON, || {
            servers.insert(page(lab)?.trim().to_owned());
            ensure!(servers.len() == 3, "{servers:?}");
            Ok(())
        })?;
        docker.ok(&["service", "update", "--detach", "--env-add", "PAGE=two", "app_web"])?;
        wait_for("only new pages", SOON, || {
            // start-first: some task answers at any moment of the update.
            let seen = page(lab).context("the service answers while it is updated")?;
            let state = docker.update_state("app_web")?;
            ensure!(state == "completed" && seen.starts_with("page two"), "{state}: {seen}");
            Ok(())
        })?;
        docker.converged(SOON)?;
        for id in docker.service_containers("app_web")? {
            let env = docker.ok(&["inspect", "--format", "{{.Config.Env}}", &id])?;
            ensure!(env.contains("PAGE=two"), "an old task still runs: {env}");
        }
        Ok(())
    })
}
