//! The root of a cluster is replaced under several nodes: nobody is locked out, and a node that is off is waited for.

use serde_json::{Value, json};
use skep_core::id::NodeId;
use skep_core::state::State;

use crate::managers::{join, managers, settled, token};
use crate::workers::id_of;
use crate::world::{Daemon, Site};

/// Asks for a new root, as `docker swarm ca --rotate` does.
pub async fn rotate(daemon: &Daemon, desired: Option<&skep_pki::RootCa>) {
    loop {
        let cluster = daemon.client.get("/swarm").await.ok();
        let mut spec = cluster["Spec"].clone();
        let counter = spec["CAConfig"]["ForceRotate"].as_u64().unwrap_or(0);
        match desired {
            Some(root) => {
                spec["CAConfig"]["SigningCACert"] = json!(root.certificate_pem);
                spec["CAConfig"]["SigningCAKey"] = json!(*root.key_pem);
            }
            None => spec["CAConfig"]["ForceRotate"] = json!(counter + 1),
        }
        let path = format!("/swarm/update?version={}", cluster["Version"]["Index"]);
        let answer = daemon.client.post(&path, &spec).await;
        if !answer.body["message"].to_string().contains("update out of sequence") {
            answer.ok();
            return;
        }
    }
}

fn rotates(state: &State) -> bool {
    state.cluster().is_some_and(|cluster| cluster.root_ca.rotation.is_some())
}

/// Waits until no root is on its way, and all nodes hold what the cluster asks for.
pub async fn rotated(daemon: &Daemon) {
    // Its copy of the state is as new as what was acknowledged.
    daemon.client.get("/swarm").await.ok();
    daemon
        .until("the rotation ends", |state, _| {
            let root = state.cluster().map(|cluster| cluster.root_ca.clone()).unwrap_or_default();
            let matches = |told: &skep_core::model::node::NodeDescription| {
                told.trust_root_pem == root.certificate_pem
                    && root.issuer() == (&*told.issuer_subject, &*told.issuer_public_key)
            };
            root.rotation.is_none() && state.nodes().values().all(|node| matches(&node.description))
        })
        .await;
    let cluster = daemon.client.get("/swarm").await.ok();
    assert_eq!(cluster["RootRotationInProgress"], false);
    let nodes = daemon.client.get("/nodes").await.ok();
    for node in nodes.as_array().into_iter().flatten() {
        assert_eq!(node["Description"]["TLSInfo"], cluster["TLSInfo"]);
    }
}

/// Waits until all nodes but one have moved.
async fn waits_for(daemon: &Daemon, node: &NodeId) {
    daemon.client.get("/swarm").await.ok();
    daemon
        .until("one node is waited for", |state, _| {
            skep_core::rotation::waits_for(state).all(|waiting| waiting.id == *node)
                && rotates(state)
        })
        .await;
}

#[tokio::test]
async fn all_nodes_move_to_a_new_root() {
    let (sites, mut managers) = managers(3).await;
    let worker_site = Site::new();
    let old_token = token(&managers[0], "Worker").await;
    let worker = join(&worker_site, &sites[0], &old_token).await;
    let before = managers[0].client.get("/swarm").await.ok();
    rotate(&managers[1], None).await;
    rotated(&managers[2]).await;
    let after = managers[0].client.get("/swarm").await.ok();
    assert_ne!(before["TLSInfo"]["TrustRoot"], after["TLSInfo"]["TrustRoot"]);
    assert_ne!(before["JoinTokens"], after["JoinTokens"]);

    // The old token pins a root that is gone.
    let late = Site::new();
    let daemon = late.start().await;
    let request = json!({
        "ListenAddr": late.listen(), "RemoteAddrs": [sites[0].listen()], "JoinToken": old_token,
    });
    let text = daemon.client.post("/swarm/join", &request).await.error(500);
    assert!(text.contains("remote CA does not match fingerprint"), "{text}");
    daemon.stop().await;

    // All start anew with what they hold.
    worker.cut_off().await;
    for daemon in managers.drain(..) {
        daemon.cut_off().await;
    }
    for site in &sites {
        managers.push(site.start().await);
    }
    settled(&managers).await;
    let worker = worker_site.start().await;
    let wanted = skep_pki::RootCa::generate(now_unix()).expect("a root");
    rotate(&managers[2], Some(&wanted)).await;
    rotated(&managers[0]).await;
    let root = managers[1].client.get("/swarm").await.ok()["TLSInfo"]["TrustRoot"].clone();
    assert_eq!(root, json!(wanted.certificate_pem));
    worker.stop().await;
    for daemon in managers {
        daemon.stop().await;
    }
}

fn now_unix() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(0))
}

#[tokio::test]
async fn nodes_that_are_off_are_waited_for_and_others_join() {
    let (sites, mut managers) = managers(3).await;
    let token = token(&managers[0], "Worker").await;
    let worker_site = Site::new();
    let worker = join(&worker_site, &sites[0], &token).await;
    let (off, worker_id) = (managers[2].node_id(), id_of(&worker).await);
    worker.cut_off().await;
    managers.remove(2).cut_off().await;

    rotate(&managers[0], None).await;
    managers[0]
        .until("two nodes are waited for", |state, _| {
            let mut waiting: Vec<_> =
                skep_core::rotation::waits_for(state).map(|node| node.id.clone()).collect();
            let mut expected = vec![off.clone(), worker_id.clone()];
            waiting.sort();
            expected.sort();
            rotates(state) && waiting == expected
        })
        .await;
    // One that joins meanwhile pins the present root, is certified by the next, and trusts both.
    let joined_site = Site::new();
    let joined = join(&joined_site, &sites[1], &token).await;
    let joined_id = id_of(&joined).await;
    managers[0]
        .until("the new node has moved", |state, _| {
            let node = state.nodes().get(&joined_id);
            node.is_some_and(|node| {
                state.cluster().is_some_and(|cluster| {
                    skep_core::rotation::has_moved(&cluster.root_ca, &node.description)
                })
            })
        })
        .await;
    assert!(rotates(&managers[0].state()));
    // A second rotation begins anew while the first one waits.
    rotate(&managers[1], None).await;
    managers.push(sites[2].start().await);
    waits_for(&managers[0], &worker_id).await;
    settled(&managers).await;
    let worker = worker_site.start().await;
    rotated(&managers[2]).await;

    // One that is removed is waited for no longer.
    worker.cut_off().await;
    rotate(&managers[0], None).await;
    waits_for(&managers[1], &worker_id).await;
    managers[1].client.delete(&format!("/nodes/{worker_id}?force=true")).await.ok();
    rotated(&managers[0]).await;
    joined.stop().await;
    for daemon in managers {
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_rotation_is_ended_by_asking_for_the_present_root() {
    let (sites, managers) = managers(1).await;
    let site = Site::new();
    let worker = join(&site, &sites[0], &token(&managers[0], "Worker").await).await;
    let id = id_of(&worker).await;
    let own = skep_pki::RootCa::generate(now_unix()).expect("a root");
    rotate(&managers[0], Some(&own)).await;
    rotated(&managers[0]).await;
    worker.cut_off().await;
    rotate(&managers[0], None).await;
    waits_for(&managers[0], &id).await;
    rotate(&managers[0], Some(&own)).await;
    rotated(&managers[0]).await;
    let worker = site.start().await;
    rotated(&managers[0]).await;
    let text = {
        let cluster = managers[0].client.get("/swarm").await.ok();
        let mut spec = cluster["Spec"].clone();
        spec["CAConfig"]["SigningCAKey"] = json!(*own.key_pem);
        let path = format!("/swarm/update?version={}", cluster["Version"]["Index"]);
        managers[0].client.post(&path, &spec).await.error(400)
    };
    assert!(text.contains("the signing CA cert must also be provided"), "{text}");
    worker.client.post("/swarm/leave", &Value::Null).await.ok();
    worker.stop().await;
    for daemon in managers {
        daemon.stop().await;
    }
}
