//! Autolock: keys at rest are locked as soon as that was acknowledged, and only the right key opens them.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::managers::{managers, settled};
use crate::spec::{FIRST, web};
use crate::workers::set;
use crate::world::{Daemon, Site};

/// A key of the right form that unlocks nothing.
const WRONG: &str = "SWMKEY-1-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

async fn set_autolock(daemon: &Daemon, on: bool) {
    let cluster = daemon.client.get("/swarm").await.ok();
    let mut spec = cluster["Spec"].clone();
    spec["EncryptionConfig"]["AutoLockManagers"] = on.into();
    let path = format!("/swarm/update?version={}", cluster["Version"]["Index"]);
    daemon.client.post(&path, &spec).await.ok();
}

async fn unlock_key(daemon: &Daemon) -> String {
    let key = daemon.client.get("/swarm/unlockkey").await.ok()["UnlockKey"].clone();
    key.as_str().expect("it is text").to_owned()
}

fn unlock(key: &str) -> Value {
    json!({ "UnlockKey": key })
}

async fn assert_locked(daemon: &Daemon) {
    let text = daemon.client.get("/services").await.error(503);
    assert!(text.starts_with("Swarm is encrypted and needs to be unlocked"), "{text}");
}

#[tokio::test]
async fn a_locked_daemon_opens_with_its_key_only() {
    let site = Site::new();
    let daemon = site.cluster().await;
    daemon.create(&web(2)).await;
    daemon.tasks_running("web", 2, FIRST).await;
    assert_eq!(unlock_key(&daemon).await, "");
    set_autolock(&daemon, true).await;
    let key = unlock_key(&daemon).await;
    assert!(key.starts_with("SWMKEY-1-"));
    daemon.client.post("/swarm/unlock", &unlock(&key)).await.error(409);
    daemon.stop().await;

    let daemon = site.start().await;
    assert_locked(&daemon).await;
    let text = daemon.client.post("/swarm/leave", &json!(null)).await.error(503);
    assert!(text.starts_with("Swarm is encrypted and locked."), "{text}");
    let text = daemon.client.post("/swarm/unlock", &unlock(WRONG)).await.error(401);
    assert_eq!(text, "swarm could not be unlocked: invalid key provided");
    daemon.client.post("/swarm/unlock", &unlock("junk")).await.error(400);
    assert_locked(&daemon).await;
    daemon.client.post("/swarm/unlock", &unlock(&key)).await.ok();
    daemon.tasks_running("web", 2, FIRST).await;
    assert_eq!(site.engine.starts(), 2);
    set_autolock(&daemon, false).await;
    daemon.cut_off().await;

    let daemon = site.start().await;
    daemon.tasks_running("web", 2, FIRST).await;
    daemon.stop().await;
}

#[tokio::test]
async fn the_key_is_locked_once_that_was_acknowledged() {
    let site = Site::new();
    let daemon = site.start().await;
    let request = json!({ "ListenAddr": site.listen(), "AutoLockManagers": true });
    daemon.client.post("/swarm/init", &request).await.ok();
    let key = unlock_key(&daemon).await;
    daemon.cut_off().await;
    let daemon = site.start().await;
    assert_locked(&daemon).await;
    daemon.client.post("/swarm/unlock", &unlock(&key)).await.ok();

    let version = &daemon.client.get("/swarm").await.ok()["Version"]["Index"];
    let path = format!("/swarm/update?version={version}&rotateManagerUnlockKey=true");
    let spec = daemon.client.get("/swarm").await.ok()["Spec"].clone();
    daemon.client.post(&path, &spec).await.ok();
    let rotated = unlock_key(&daemon).await;
    assert_ne!(rotated, key);
    daemon.cut_off().await;
    let daemon = site.start().await;
    daemon.client.post("/swarm/unlock", &unlock(&key)).await.error(401);
    daemon.client.post("/swarm/unlock", &unlock(&rotated)).await.ok();
    daemon.stop().await;
}

#[tokio::test]
async fn an_unlock_that_failed_can_be_tried_again() {
    let site = Site::new();
    let daemon = site.cluster().await;
    set_autolock(&daemon, true).await;
    let key = unlock_key(&daemon).await;
    daemon.stop().await;
    let daemon = site.start().await;
    let holder = TcpListener::bind(site.listen()).expect("a locked node does not listen");
    let text = daemon.client.post("/swarm/unlock", &unlock(&key)).await.error(500);
    assert!(text.contains("bind"), "{text}");
    drop(holder);
    daemon.client.post("/swarm/unlock", &unlock(&key)).await.ok();
    daemon.client.get("/services").await.ok();
    daemon.stop().await;
}

#[tokio::test]
async fn a_locked_daemon_can_leave() {
    let site = Site::new();
    let daemon = site.cluster().await;
    daemon.create(&web(1)).await;
    daemon.tasks_running("web", 1, FIRST).await;
    set_autolock(&daemon, true).await;
    daemon.stop().await;
    let daemon = site.start().await;
    assert_locked(&daemon).await;
    daemon.client.post("/swarm/leave?force=1", &json!(null)).await.ok();
    assert_eq!(site.engine.containers().len(), 0);
    daemon.client.post("/swarm/init", &site.init()).await.ok();
    daemon.stop().await;
}

/// Tells whether the key of the node's own certificate can be read by whoever has the disk.
fn own_key_is_readable(site: &Site) -> bool {
    let path = site.data_dir().join("certificates/swarm-node.key");
    std::fs::read_to_string(path).expect("a member has a key").contains("PRIVATE KEY")
}

/// Starts a manager that is locked, and opens it.
async fn start_locked(site: &Site, key: &str) -> Daemon {
    let daemon = site.start().await;
    assert_locked(&daemon).await;
    daemon.client.post("/swarm/unlock", &unlock(key)).await.ok();
    daemon
}

#[tokio::test]
async fn the_own_keys_of_all_managers_are_sealed() {
    let (sites, mut daemons) = managers(3).await;
    assert!(!sites.iter().any(own_key_is_readable));
    set_autolock(&daemons[1], true).await;
    let key = unlock_key(&daemons[0]).await;
    // A call through it is answered once it holds the state, and with that its keys are kept.
    set_autolock(&daemons[2], true).await;
    daemons.remove(2).stop().await;
    daemons.push(start_locked(&sites[2], &key).await);
    settled(&daemons).await;

    // While one is off, the key is replaced: that one still needs the old key, the others the new one.
    daemons.remove(2).stop().await;
    let shown = daemons[0].client.get("/swarm").await.ok();
    let version = &shown["Version"]["Index"];
    let path = format!("/swarm/update?version={version}&rotateManagerUnlockKey=true");
    daemons[0].client.post(&path, &shown["Spec"]).await.ok();
    let rotated = unlock_key(&daemons[1]).await;
    daemons.push(start_locked(&sites[2], &key).await);
    settled(&daemons).await;
    set_autolock(&daemons[2], true).await;
    daemons.remove(2).stop().await;
    let daemon = site_refuses(&sites[2], &key).await;
    daemon.client.post("/swarm/unlock", &unlock(&rotated)).await.ok();
    daemons.push(daemon);
    settled(&daemons).await;

    // A worker has no lock, and can read its key; as a manager it has both again.
    let node = daemons[2].node_id();
    set(&daemons[0], &node, &json!({ "Role": "worker" })).await;
    daemons[2].is_worker().await;
    assert!(own_key_is_readable(&sites[2]));
    daemons.remove(2).stop().await;
    let daemon = sites[2].start().await;
    daemon.is_worker().await;
    set(&daemons[0], &node, &json!({ "Role": "manager" })).await;
    daemon.is_manager().await;
    daemons.push(daemon);
    settled(&daemons).await;
    assert!(!sites.iter().any(own_key_is_readable));
    daemons.remove(2).stop().await;
    daemons.push(start_locked(&sites[2], &rotated).await);
    settled(&daemons).await;
    for daemon in daemons {
        daemon.stop().await;
    }
}

async fn site_refuses(site: &Site, key: &str) -> Daemon {
    let daemon = site.start().await;
    daemon.client.post("/swarm/unlock", &unlock(key)).await.error(401);
    daemon
}
