//! A cluster that is lost and comes back from its backup, elsewhere.

use serde_json::{Value, json};
use skep::manager::SwarmAddresses;
use skep::node::{DataDir, RestoreError, restore};
use skep_core::model::task::TaskState;
use skep_raft::{Backup, BackupKey};

use crate::spec::{FIRST, web};
use crate::world::{Daemon, Site};

async fn backup(daemon: &Daemon) -> Backup {
    let key = BackupKey::generate();
    let bytes =
        daemon.client.bytes("/skep/backup", &json!({ "Key": key.to_text().as_str() })).await;
    Backup::open(&bytes, &key).expect("it opens with the key it was asked with")
}

/// Restores to another machine.
fn restore_to(site: &Site, backup: &Backup) -> Result<(), RestoreError> {
    let at = site.listen().parse::<std::net::SocketAddr>().expect("an address");
    let addresses = SwarmAddresses { listen: at, advertise: at, data_path: at.ip() };
    let data = DataDir::open(&site.data_dir())?;
    restore(&data, backup, &addresses).map(drop)
}

#[tokio::test]
async fn a_lost_cluster_goes_on_elsewhere() {
    let lost = Site::new();
    let daemon = lost.cluster().await;
    let secret = json!({ "Name": "s", "Data": "cGFzc3dvcmQ=" });
    daemon.client.post("/secrets/create", &secret).await.ok();
    daemon.create(&web(2)).await;
    daemon.tasks_running("web", 2, FIRST).await;
    let taken = backup(&daemon).await;
    let shown = daemon.client.get("/services/web").await.ok();
    daemon.client.delete("/services/web").await.ok();
    let node = daemon.node_id();
    daemon.cut_off().await;

    let site = Site::new();
    restore_to(&site, &taken).expect("it can be restored");
    let refused = restore_to(&site, &taken).expect_err("the folder is in use");
    assert!(matches!(refused, RestoreError::Member(_)), "{refused}");
    for replicas in [2, 3] {
        let daemon = site.start().await;
        assert_eq!(daemon.node_id(), node);
        if replicas == 2 {
            // Its containers are not here: they are made anew.
            daemon.tasks_running("web", 2, FIRST).await;
            assert_eq!(daemon.client.get("/services/web").await.ok()["ID"], shown["ID"]);
            daemon.update(&web(3)).await;
        }
        daemon.tasks_running("web", 3, FIRST).await;
        let nodes = daemon.client.get("/nodes").await.ok();
        assert_eq!(nodes[0]["ManagerStatus"]["Addr"], site.listen());
        assert_eq!(nodes[0]["ManagerStatus"]["Leader"], true);
        assert_eq!(daemon.client.get("/secrets/s").await.ok()["Spec"]["Name"], "s");
        daemon
            .until("nothing else runs", |state, _| {
                let runs = |task: &std::sync::Arc<skep_core::model::task::Task>| {
                    task.status.state == TaskState::Running
                };
                state.tasks().values().filter(|task| runs(task)).count() == 3
            })
            .await;
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_locked_cluster_is_restored_locked() {
    let lost = Site::new();
    let daemon = lost.cluster().await;
    let cluster = daemon.client.get("/swarm").await.ok();
    let mut spec = cluster["Spec"].clone();
    spec["EncryptionConfig"] = json!({ "AutoLockManagers": true });
    let path = format!("/swarm/update?version={}", cluster["Version"]["Index"]);
    daemon.client.post(&path, &spec).await.ok();
    let key = daemon.client.get("/swarm/unlockkey").await.ok()["UnlockKey"].clone();
    let taken = backup(&daemon).await;
    daemon.stop().await;

    let site = Site::new();
    restore_to(&site, &taken).expect("it can be restored");
    let daemon = site.start().await;
    let state = daemon.client.get("/info").await.ok()["Swarm"]["LocalNodeState"].clone();
    assert_eq!(state, "locked");
    daemon.client.post("/swarm/unlock", &json!({ "UnlockKey": key })).await.ok();
    assert_eq!(daemon.client.get("/swarm").await.ok()["ID"], cluster["ID"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_backup_is_refused_without_a_key_or_a_cluster() {
    let site = Site::new();
    let daemon = site.start().await;
    let key = BackupKey::generate();
    let asked = json!({ "Key": key.to_text().as_str() });
    let text = daemon.client.post("/skep/backup", &asked).await.error(503);
    assert!(text.starts_with("This node is not a swarm manager"), "{text}");
    daemon.client.post("/swarm/init", &site.init()).await.ok();
    for wrong in [json!({}), json!({ "Key": "SWMKEY-1-abc" }), Value::Null] {
        let text = daemon.client.post("/skep/backup", &wrong).await.error(400);
        assert!(text.contains("not a key for backups"), "{text}");
    }
    daemon.stop().await;
}
