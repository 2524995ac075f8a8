//! What a daemon finds when it starts again: everything that was acknowledged, and its containers as they were.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use serde_json::json;
use skep_core::agent::step::{Container, Health};
use skep_core::model::node::NodeDescription;
use tokio::sync::Notify;

use crate::spec::{FIRST, web};
use crate::world::{Site, within};

#[tokio::test]
async fn a_daemon_that_starts_again_finds_everything_and_starts_nothing() {
    let site = Site::new();
    let mut daemon = site.cluster().await;
    daemon.create(&web(3)).await;
    daemon.tasks_running("web", 3, FIRST).await;
    let cluster = daemon.client.get("/swarm").await.ok()["ID"].clone();
    let tasks: Vec<_> = daemon.state().tasks().keys().cloned().collect();
    let containers = daemon.running();
    for cut_off in [false, true, false] {
        if cut_off {
            daemon.cut_off().await;
        } else {
            daemon.stop().await;
        }
        assert_eq!(site.engine.containers().len(), 3, "containers outlive the daemon");
        daemon = site.start().await;
        daemon.tasks_running("web", 3, FIRST).await;
        assert_eq!(daemon.running(), containers);
        assert_eq!(daemon.client.get("/swarm").await.ok()["ID"], cluster);
        assert!(daemon.state().tasks().keys().eq(&tasks), "no task was replaced");
    }
    daemon.update(&web(4)).await;
    daemon.tasks_running("web", 4, FIRST).await;
    assert_eq!(site.engine.starts(), 4);
    daemon.stop().await;
}

#[tokio::test]
async fn what_died_while_the_daemon_was_away_is_replaced() {
    let site = Site::new();
    let daemon = site.cluster().await;
    daemon.create(&web(3)).await;
    daemon.tasks_running("web", 3, FIRST).await;
    let before = daemon.running();
    daemon.cut_off().await;
    let killed = Container::Exited { code: 1, error: String::new(), health: Health::Unchecked };
    site.engine.set_state(&before[0], killed);
    site.engine.set_state(&before[1], Container::Absent);
    let daemon = site.start().await;
    daemon.until("both are replaced", |_, engine| engine.starts() == 5).await;
    daemon.tasks_running("web", 3, FIRST).await;
    assert!(daemon.running().contains(&before[2]), "the third goes on");
    daemon.stop().await;
}

#[tokio::test]
async fn no_acknowledged_write_is_lost() {
    const WRITERS: usize = 4;
    const ENOUGH: usize = 40;
    let site = Site::new();
    let daemon = site.cluster().await;
    let (count, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (client, count, enough) = (daemon.client.clone(), count.clone(), enough.clone());
        writers.spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                let name = format!("w{writer}-{number}");
                let config = json!({ "Name": name, "Data": "eA==" });
                let answer = client.call(Method::POST, "/configs/create", &config).await;
                if !answer.is_ok_and(|answer| answer.status.is_success()) {
                    break;
                }
                acknowledged.push(name);
                if count.fetch_add(1, Ordering::Relaxed) + 1 == ENOUGH {
                    enough.notify_one();
                }
            }
            acknowledged
        });
    }
    within("enough writes", enough.notified()).await;
    daemon.cut_off().await;
    let acknowledged = within("the writers to end", writers.join_all()).await.concat();
    assert!(acknowledged.len() >= ENOUGH);
    let daemon = site.start().await;
    let state = daemon.state();
    let lost: Vec<_> =
        acknowledged.iter().filter(|name| state.find_config(name).is_err()).collect();
    assert!(lost.is_empty(), "{} writes, lost: {lost:?}", acknowledged.len());
    assert!(state.configs().len() <= acknowledged.len() + WRITERS);
    daemon.stop().await;
}

#[tokio::test]
async fn a_changed_description_is_recorded() {
    let site = Site::new();
    let daemon = site.cluster().await;
    daemon.stop().await;
    let changed = NodeDescription {
        hostname: "renamed".to_owned(),
        engine_version: "29.0.0".to_owned(),
        ..NodeDescription::default()
    };
    site.engine.set_description(changed);
    let daemon = site.start().await;
    daemon
        .until("the new name is recorded", |state, _| {
            state.nodes().values().any(|node| node.description.hostname == "renamed")
        })
        .await;
    let nodes = daemon.client.get("/nodes").await.ok();
    assert_eq!(nodes[0]["Description"]["Engine"]["EngineVersion"], "29.0.0");
    assert!(nodes[0]["Description"]["TLSInfo"]["TrustRoot"].is_string(), "trust is kept");
    daemon.stop().await;
}
