//! Calls for containers on other nodes: from every manager, with their streams, and what is refused.

use serde_json::{Value, json};
use skep_core::model::task::TaskState;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::managers::{join, leader, managers, token};
use crate::spec::web;
use crate::workers::{id_of, leave_only, running_on};
use crate::world::{Daemon, Site, within};

/// More than all buffers on the way together hold.
const LARGE: usize = 9 << 20;

/// A cluster of three managers and a worker that runs the one task of `web`; returns the task's name too.
async fn cluster() -> (Vec<Site>, Vec<Daemon>, Site, Daemon, String) {
    let (sites, managers) = managers(3).await;
    let site = Site::new();
    let worker = join(&site, &sites[0], &token(&managers[0], "Worker").await).await;
    let node = id_of(&worker).await;
    leave_only(&managers[0], &node).await;
    managers[0].create(&web(1)).await;
    let mut name = String::new();
    for manager in &managers {
        manager.until("a task runs", |state, _| running_on(state, &node) == 1).await;
        let state = manager.state();
        let runs = state.tasks().values().find(|task| task.status.state == TaskState::Running);
        name = runs.expect("one runs").name();
    }
    (sites, managers, site, worker, name)
}

async fn stop(managers: Vec<Daemon>, worker: Daemon) {
    worker.stop().await;
    for daemon in managers {
        daemon.stop().await;
    }
}

/// Runs the program that gives back what it is given; returns its exit code.
async fn exec(daemon: &Daemon, container: &str) -> Value {
    let path = format!("/v1.48/containers/{container}/exec");
    let made = daemon.client.post(&path, &json!({ "AttachStdin": true })).await.ok();
    let exec = made["Id"].as_str().expect("an exec has an id");
    let mut stream = daemon.client.hijack(&format!("/v1.48/exec/{exec}/start")).await;
    within("an exec", async {
        stream.write_all(b"some input").await.expect("the exec reads");
        let mut begin = [0; 10];
        stream.read_exact(&mut begin).await.expect("the exec answers");
        assert_eq!(&begin, b"some input");
        stream.write_all(&[b'x'; 100_000]).await.expect("the exec reads");
        stream.shutdown().await.expect("only this half ends");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("the exec answers");
        assert_eq!(rest.len(), 100_007);
        assert!(rest.ends_with(b"the end"));
    })
    .await;
    daemon.client.get(&format!("/exec/{exec}/json")).await.ok()["ExitCode"].clone()
}

#[tokio::test]
async fn every_manager_reaches_every_container() {
    let (_sites, managers, _site, worker, name) = cluster().await;
    let id = worker.running()[0].clone();
    let task = name.rsplit('.').next().expect("a name ends in an id").to_owned();
    for manager in &managers {
        for reference in [&name, &id, "web.1"] {
            let shown = manager.client.get(&format!("/containers/{reference}/json")).await.ok();
            assert_eq!(shown["Id"], *id, "{reference}");
        }
        assert_eq!(exec(manager, &task).await, 7);
        assert_eq!(exec(manager, &name).await, 7);
        let path = format!("/containers/{name}/archive?path=/");
        assert_eq!(manager.client.fetch(&path).await.len(), LARGE);
        assert_eq!(manager.client.put(&path, vec![1; LARGE]).await.ok()["length"], LARGE);
    }
    // On its own node a task goes by all its names as well.
    assert_eq!(exec(&worker, &task).await, 7);
    // A new leader finds the nodes again; an exec that another manager made is found too.
    let path = format!("/containers/{name}/exec");
    let made = managers[1].client.post(&path, &Value::Null).await.ok();
    let path = format!("/exec/{}/json", made["Id"].as_str().expect("an exec has an id"));
    assert_eq!(managers[2].client.get(&path).await.ok()["ExitCode"], 7);
    stop(managers, worker).await;
}

#[tokio::test]
async fn a_client_that_goes_is_noticed_at_the_node() {
    let (_sites, managers, site, worker, name) = cluster().await;
    let mut readers = site.readers.clone();
    for manager in &managers {
        let path = format!("/containers/{name}/logs?follow=1&stdout=1");
        let mut logs = manager.client.stream(&path).await;
        assert_eq!(logs.line().await, "line\n");
        assert_eq!(*readers.borrow_and_update(), 1);
        drop(logs);
        let gone = readers.wait_for(|count| *count == 0);
        within("nobody reads", gone).await.expect("the engine lives");
    }
    stop(managers, worker).await;
}

#[tokio::test]
async fn a_new_leader_reaches_nodes_and_a_lost_node_is_named() {
    let (_sites, mut managers, _site, worker, name) = cluster().await;
    let dying = leader(&managers);
    managers.remove(dying).stop().await;
    for manager in &managers {
        assert_eq!(exec(manager, &name).await, 7);
    }
    let node = id_of(&worker).await;
    worker.cut_off().await;
    let path = format!("/containers/{name}/json");
    managers[0]
        .until("the worker is missed", |state, _| {
            state.nodes()[&node].status.state != skep_core::model::node::NodeState::Ready
        })
        .await;
    let text = managers[0].client.get(&path).await.error(503);
    assert!(text.contains(&format!("node {node} is not available")), "{text}");
    for daemon in managers {
        daemon.stop().await;
    }
}
