//! Workers that run skep: joining, running what the leader shows them, losing it and finding it again, becoming managers and
//! back.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use skep_core::id::NodeId;
use skep_core::model::node::{NodeState, Role};
use skep_core::model::task::TaskState;
use skep_core::state::State;

use crate::managers::{join, leader, managers, settled, token};
use crate::spec::{self, web};
use crate::world::{Daemon, Site};

/// Makes a cluster of so many managers and one worker.
async fn cluster(count: usize) -> (Vec<Site>, Vec<Daemon>, Site, Daemon) {
    let (sites, daemons) = managers(count).await;
    let site = Site::new();
    let worker = join(&site, &sites[0], &token(&daemons[0], "Worker").await).await;
    (sites, daemons, site, worker)
}

pub async fn id_of(daemon: &Daemon) -> NodeId {
    let info = daemon.client.get("/info").await.ok();
    info["Swarm"]["NodeID"].as_str().and_then(|id| id.parse().ok()).expect("it is in a cluster")
}

pub fn node_is(state: &State, node: &NodeId, wanted: NodeState) -> bool {
    state.nodes().get(node).is_some_and(|node| node.status.state == wanted)
}

/// Counts the running tasks of a node.
pub fn running_on(state: &State, node: &NodeId) -> usize {
    let tasks = state.node_tasks(node);
    tasks.filter(|task| task.status.state == TaskState::Running).count()
}

/// Keeps new tasks off all nodes but one.
pub async fn leave_only(manager: &Daemon, node: &NodeId) {
    let state = manager.state();
    for other in state.nodes().keys().filter(|id| *id != node) {
        set(manager, other, &json!({ "Availability": "drain" })).await;
    }
}

/// Changes parts of a node's spec.
pub async fn set(manager: &Daemon, node: &NodeId, change: &Value) {
    loop {
        let shown = manager.client.get(&format!("/nodes/{node}")).await.ok();
        let mut spec = shown["Spec"].clone();
        for (key, value) in change.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let path = format!("/nodes/{node}/update?version={}", shown["Version"]["Index"]);
        let answer = manager.client.post(&path, &spec).await;
        if !answer.body["message"].to_string().contains("update out of sequence") {
            answer.ok();
            return;
        }
    }
}

#[tokio::test]
async fn a_worker_runs_what_it_is_shown() {
    let (_sites, managers, _site, worker) = cluster(1).await;
    let node = id_of(&worker).await;
    let info = worker.client.get("/info").await.ok();
    assert_eq!(info["Swarm"]["LocalNodeState"], "active");
    assert_eq!(info["Swarm"]["ControlAvailable"], false);
    let known = info["Swarm"]["RemoteManagers"].as_array().map(Vec::len);
    assert_eq!(known, Some(1), "{info}");
    let text = worker.client.get("/nodes").await.error(503);
    assert!(text.contains("Worker nodes can't be used to view or modify cluster state"), "{text}");

    leave_only(&managers[0], &node).await;
    let secret = json!({ "Name": "s", "Data": "aHVzaA==" });
    let secret = managers[0].client.post("/secrets/create", &secret).await.ok();
    let mut spec = web(2);
    spec["TaskTemplate"]["ContainerSpec"]["Secrets"] = json!([{
        "SecretID": secret["ID"],
        "SecretName": "s",
        "File": { "Name": "s", "UID": "0", "GID": "0", "Mode": 0o444 },
    }]);
    managers[0].create(&spec).await;
    managers[0]
        .until("two tasks run on the worker", |state, _| running_on(state, &node) == 2)
        .await;
    assert_eq!(worker.running().len(), 2);

    managers[0].client.delete("/services/web").await.ok();
    managers[0].until("no task is left", |state, _| state.node_tasks(&node).count() == 0).await;
    assert_eq!(worker.running().len(), 0);
    worker.stop().await;
    for daemon in managers {
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_worker_that_starts_anew_keeps_its_containers() {
    let (_sites, managers, site, worker) = cluster(1).await;
    let node = id_of(&worker).await;
    leave_only(&managers[0], &node).await;
    managers[0].create(&web(3)).await;
    managers[0].until("three tasks run", |state, _| running_on(state, &node) == 3).await;
    let before = worker.running();
    worker.cut_off().await;
    let unreachable = |state: &State| {
        node_is(state, &node, NodeState::Disconnected) || node_is(state, &node, NodeState::Down)
    };
    managers[0].until("the worker is missed", |state, _| unreachable(state)).await;
    let worker = site.start().await;
    managers[0].until("it is back", |state, _| node_is(state, &node, NodeState::Ready)).await;
    managers[0].tasks_settled("web", 3).await;
    assert_eq!(worker.running(), before);
    worker.stop().await;
    for daemon in managers {
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_worker_follows_the_leader_and_runs_on_without() {
    let (sites, mut managers, _site, worker) = cluster(3).await;
    let node = id_of(&worker).await;
    leave_only(&managers[0], &node).await;
    managers[0].create(&web(2)).await;
    managers[0].until("two tasks run", |state, _| running_on(state, &node) == 2).await;
    let before = worker.running();
    for _ in 0..2 {
        let dying = leader(&managers);
        managers.remove(dying).cut_off().await;
        managers[0]
            .until("the next leader has the worker's session", |state, _| {
                let leads = |it: &&std::sync::Arc<skep_core::model::node::Node>| {
                    it.manager.as_ref().is_some_and(|manager| manager.leader)
                };
                state.nodes().values().filter(leads).count() == 1
                    && node_is(state, &node, NodeState::Ready)
            })
            .await;
        managers.insert(dying, sites[dying].start().await);
        settled(&managers).await;
    }
    for daemon in managers {
        daemon.cut_off().await;
    }
    assert_eq!(worker.running(), before);
    let mut managers = Vec::new();
    for site in &sites {
        managers.push(site.start().await);
    }
    settled(&managers).await;
    managers[1]
        .until("the worker is back", |state, _| node_is(state, &node, NodeState::Ready))
        .await;
    managers[1].tasks_settled("web", 2).await;
    assert_eq!(worker.running(), before);
    worker.stop().await;
    for daemon in managers {
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_worker_leaves_and_is_removed() {
    let (sites, managers, site, worker) = cluster(1).await;
    let node = id_of(&worker).await;
    worker.client.post("/swarm/leave", &Value::Null).await.ok();
    assert_eq!(worker.client.get("/info").await.ok()["Swarm"]["LocalNodeState"], "inactive");
    managers[0].until("it is down", |state, _| node_is(state, &node, NodeState::Down)).await;
    managers[0].client.delete(&format!("/nodes/{node}")).await.ok();
    worker.stop().await;

    // Another one is put out while it runs something.
    let worker = join(&site, &sites[0], &token(&managers[0], "Worker").await).await;
    let node = id_of(&worker).await;
    leave_only(&managers[0], &node).await;
    managers[0].create(&web(1)).await;
    managers[0].until("a task runs", |state, _| running_on(state, &node) == 1).await;
    let text = managers[0].client.delete(&format!("/nodes/{node}")).await.error(400);
    assert!(text.contains("is not down and can't be removed"), "{text}");
    managers[0].client.delete(&format!("/nodes/{node}?force=true")).await.ok();
    worker.containers_end().await;
    worker.client.post("/swarm/leave", &Value::Null).await.ok();
    worker.stop().await;
    for daemon in managers {
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_worker_becomes_a_manager_and_a_worker_again() {
    let (_sites, managers, site, worker) = cluster(1).await;
    let node = id_of(&worker).await;
    leave_only(&managers[0], &node).await;
    managers[0].create(&web(2)).await;
    managers[0].until("two tasks run", |state, _| running_on(state, &node) == 2).await;
    let before = worker.running();

    set(&managers[0], &node, &json!({ "Role": "manager" })).await;
    managers[0]
        .until("it is a manager that answers", |state, _| {
            let node = state.nodes().get(&node);
            node.is_some_and(|node| {
                node.role == Role::Manager
                    && node.status.state == NodeState::Ready
                    && node.manager.as_ref().is_some_and(|it| it.reachable)
            })
        })
        .await;
    worker.is_manager().await;
    worker.client.post("/configs/create", &json!({ "Name": "c", "Data": "eA==" })).await.ok();
    assert_eq!(worker.running(), before);

    set(&worker, &node, &json!({ "Role": "worker" })).await;
    managers[0]
        .until("it is a worker again", |state, _| {
            let node = state.nodes().get(&node);
            node.is_some_and(|node| {
                node.role == Role::Worker
                    && node.manager.is_none()
                    && node.status.state == NodeState::Ready
            })
        })
        .await;
    worker.is_worker().await;
    managers[0].tasks_settled("web", 2).await;
    assert_eq!(worker.running(), before);
    assert!(!site.data_dir().join("raft").exists());
    managers[0]
        .update(&{
            let mut spec = web(2);
            spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!(spec::SECOND);
            spec
        })
        .await;
    let ids: BTreeMap<String, ()> = before.iter().map(|id| (id.clone(), ())).collect();
    managers[0]
        .until("the update came to the worker", |state, _| {
            running_on(state, &node) == 2
                && state.node_tasks(&node).all(|task| {
                    let held = task.status.container.as_ref();
                    task.status.state != TaskState::Running
                        || held.is_some_and(|held| !ids.contains_key(&held.id))
                })
        })
        .await;
    worker.stop().await;
    for daemon in managers {
        daemon.stop().await;
    }
}
