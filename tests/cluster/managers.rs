//! Several managers: joining, losing the leader, leaving, with clients writing throughout.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::spec::web;
use crate::world::{Daemon, Site, within};

/// Returns the join token of a role.
pub async fn token(daemon: &Daemon, role: &str) -> String {
    let token = daemon.client.get("/swarm").await.ok()["JoinTokens"][role].clone();
    token.as_str().expect("it is text").to_owned()
}

/// Starts a daemon and has it join.
pub async fn join(site: &Site, to: &Site, token: &str) -> Daemon {
    let daemon = site.start().await;
    let request = json!({
        "ListenAddr": site.listen(),
        "AdvertiseAddr": site.listen(),
        "RemoteAddrs": [to.listen()],
        "JoinToken": token,
    });
    daemon.client.post("/swarm/join", &request).await.ok();
    daemon
}

/// Makes a cluster of so many managers.
pub async fn managers(count: usize) -> (Vec<Site>, Vec<Daemon>) {
    let sites: Vec<Site> = (0..count).map(|_| Site::new()).collect();
    let mut daemons = vec![sites[0].cluster().await];
    let token = token(&daemons[0], "Manager").await;
    for site in &sites[1..] {
        daemons.push(join(site, &sites[0], &token).await);
    }
    settled(&daemons).await;
    (sites, daemons)
}

/// Waits until every daemon knows all of them as managers that answer, one of them the leader.
pub async fn settled(daemons: &[Daemon]) {
    for daemon in daemons {
        daemon
            .until("all managers answer", |state, _| {
                let managers: Vec<_> =
                    state.nodes().values().filter_map(|node| node.manager.as_ref()).collect();
                managers.iter().filter(|it| it.reachable).count() == daemons.len()
                    && managers.iter().filter(|it| it.leader).count() == 1
            })
            .await;
    }
}

/// Finds who leads, as the state says.
pub fn leader(daemons: &[Daemon]) -> usize {
    let state = daemons[0].state();
    let leads = |daemon: &Daemon| {
        let node = state.nodes().get(&daemon.node_id());
        node.and_then(|node| node.manager.as_ref()).is_some_and(|it| it.leader)
    };
    daemons.iter().position(leads).expect("one leads")
}

/// Writes configs through one daemon until it is gone or the writer is told to stop; returns the names that were acknowledged.
fn writer(
    client: &Client,
    name: &str,
    stop: &Arc<AtomicBool>,
) -> tokio::task::JoinHandle<Vec<String>> {
    let (client, name, stop) = (client.clone(), name.to_owned(), stop.clone());
    tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let config = json!({ "Name": format!("{name}-{number}"), "Data": "eA==" });
            match client.call(Method::POST, "/configs/create", &config).await {
                Ok(answer) if answer.status.is_success() => {
                    acknowledged.push(format!("{name}-{number}"));
                }
                // Whether it was written is not known.
                Ok(_) => {}
                Err(_) => break,
            }
        }
        acknowledged
    })
}

#[tokio::test]
async fn every_manager_answers_every_call() {
    let (_sites, daemons) = managers(3).await;
    for (number, daemon) in daemons.iter().enumerate() {
        let nodes = daemon.client.get("/nodes").await.ok();
        assert_eq!(nodes.as_array().map(Vec::len), Some(3));
        let info = daemon.client.get("/swarm").await.ok();
        assert!(info["ID"].is_string());
        let config = json!({ "Name": format!("from-{number}"), "Data": "eA==" });
        daemon.client.post("/configs/create", &config).await.ok();
        // What one acknowledged, all show at once.
        for other in &daemons {
            other.client.get(&format!("/configs/from-{number}")).await.ok();
        }
    }
    daemons[2].create(&web(3)).await;
    let ready = |daemon: &Daemon| daemon.running().len();
    daemons[0]
        .until("three tasks run", |state, _| {
            let running = state
                .tasks()
                .values()
                .filter(|task| task.status.state == skep_core::model::task::TaskState::Running);
            running.count() == 3
        })
        .await;
    assert_eq!(daemons.iter().map(ready).sum::<usize>(), 3);
    for daemon in daemons {
        daemon.stop().await;
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_leader_dies() {
    let (sites, mut daemons) = managers(3).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = daemons
        .iter()
        .enumerate()
        .map(|(number, daemon)| writer(&daemon.client, &format!("w{number}"), &stop))
        .collect();
    for _ in 0..2 {
        let dying = leader(&daemons);
        daemons.remove(dying).cut_off().await;
        let before = daemons[0].state().configs().len();
        let more = |state: &skep_core::State| state.configs().len() > before + 20;
        daemons[0].until("writes go on", |state, _| more(state)).await;
        daemons.insert(dying, sites[dying].start().await);
        settled(&daemons).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(within("a writer to end", writer).await.expect("it does not panic"));
    }
    for daemon in &daemons {
        let known = daemon.client.get("/configs").await.ok();
        let names: std::collections::BTreeSet<&str> = known
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|config| config["Spec"]["Name"].as_str())
            .collect();
        let lost: Vec<_> =
            acknowledged.iter().filter(|name| !names.contains(name.as_str())).collect();
        assert!(lost.is_empty(), "{} writes, lost: {lost:?}", acknowledged.len());
    }
    for daemon in daemons {
        daemon.stop().await;
    }
}

#[tokio::test]
async fn all_managers_come_back_after_all_were_cut_off() {
    let (sites, daemons) = managers(3).await;
    daemons[1].create(&web(2)).await;
    for daemon in daemons {
        daemon.cut_off().await;
    }
    let mut daemons = Vec::new();
    for site in &sites {
        daemons.push(site.start().await);
    }
    for daemon in &daemons {
        let services = daemon.client.get("/services").await.ok();
        assert_eq!(services.as_array().map(Vec::len), Some(1));
    }
    settled(&daemons).await;
    daemons[2].client.post("/configs/create", &json!({ "Name": "c", "Data": "eA==" })).await.ok();
    for daemon in daemons {
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_survivor_makes_a_new_cluster_of_what_it_knows() {
    let (sites, mut daemons) = managers(3).await;
    daemons[1].client.post("/configs/create", &json!({ "Name": "c", "Data": "eA==" })).await.ok();
    let cluster = daemons[0].client.get("/swarm").await.ok()["ID"].clone();
    let survivor = daemons.pop().expect("three");
    for daemon in daemons {
        daemon.cut_off().await;
    }
    let request = |advertise: &str| {
        json!({
            "ListenAddr": sites[2].listen(),
            "AdvertiseAddr": advertise,
            "ForceNewCluster": true,
        })
    };
    // What cannot be is refused before anything is touched.
    survivor.client.post("/swarm/init", &request("1.2.3")).await.error(400);
    survivor.client.post("/swarm/init", &request(&sites[2].listen())).await.ok();
    let nodes = survivor.client.get("/nodes").await.ok();
    let nodes = nodes.as_array().cloned().unwrap_or_default();
    let managers: Vec<_> = nodes.iter().filter(|it| it["ManagerStatus"].is_object()).collect();
    assert_eq!((nodes.len(), managers.len()), (3, 1));
    assert_eq!(managers[0]["ManagerStatus"]["Leader"], true);
    let lost = nodes.iter().find(|it| it["ManagerStatus"].is_null()).expect("two were lost");
    let lost = lost["ID"].as_str().expect("it is text");
    survivor.client.delete(&format!("/nodes/{lost}")).await.ok();
    let shown = survivor.client.get("/swarm").await.ok();
    assert_eq!(shown["ID"], cluster);
    survivor.client.get("/configs/c").await.ok();
    survivor.client.post("/configs/create", &json!({ "Name": "d", "Data": "eA==" })).await.ok();
    // Others join it again.
    let token = token(&survivor, "Manager").await;
    let fresh = Site::new();
    let joined = join(&fresh, &sites[2], &token).await;
    joined.client.get("/configs/d").await.ok();
    joined.stop().await;
    survivor.stop().await;
}

#[tokio::test]
async fn a_manager_leaves_only_as_far_as_the_others_go_on() {
    let (_sites, daemons) = managers(2).await;
    let info = daemons[0].client.get("/info").await.ok();
    let warnings = info["Warnings"].to_string();
    assert!(warnings.contains("two-manager configuration"), "{warnings}");
    let text = daemons[1].client.post("/swarm/leave", &Value::Null).await.error(503);
    assert!(text.contains("Removing this node leaves 1 managers out of 2."), "{text}");
    for daemon in daemons {
        daemon.stop().await;
    }
}
