//! Making a cluster and leaving it, also when that fails or is cut off in the middle.

use std::net::TcpListener;

use serde_json::json;

use crate::spec::{FIRST, web};
use crate::world::{Daemon, Site};

const NOT_A_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\"";

/// Tells whether nothing of a membership is in the data directory.
fn is_blank(site: &Site) -> bool {
    let entries = std::fs::read_dir(site.data_dir()).expect("the daemon made it");
    entries.count() == 0
}

async fn assert_inactive(daemon: &Daemon) {
    let text = daemon.client.get("/services").await.error(503);
    assert!(text.starts_with(NOT_A_MANAGER), "{text}");
}

#[tokio::test]
async fn init_makes_a_cluster_once() {
    let site = Site::new();
    let daemon = site.start().await;
    assert_inactive(&daemon).await;
    let request = site.init();
    let both = tokio::join!(
        daemon.client.post("/swarm/init", &request),
        daemon.client.post("/swarm/init", &request)
    );
    let mut statuses = [both.0.status.as_u16(), both.1.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    let text = daemon.client.post("/swarm/init", &request).await.error(503);
    assert!(text.starts_with("This node is already part of a swarm."), "{text}");
    let nodes = daemon.client.get("/nodes").await.ok();
    assert_eq!(nodes[0]["ManagerStatus"]["Leader"], true);
    assert_eq!(nodes[0]["ManagerStatus"]["Addr"], site.listen().as_str());
    assert_eq!(nodes[0]["Status"]["State"], "ready");
    daemon.stop().await;
}

#[tokio::test]
async fn a_failed_init_leaves_nothing_behind() {
    let site = Site::new();
    let daemon = site.start().await;
    let holder = TcpListener::bind(site.listen()).expect("the address is this test's own");
    let text = daemon.client.post("/swarm/init", &site.init()).await.error(500);
    assert!(text.contains(&format!("listen tcp {}: bind", site.listen())), "{text}");
    assert!(is_blank(&site));
    assert_inactive(&daemon).await;
    drop(holder);
    site.engine.set_down(true);
    daemon.client.post("/swarm/init", &site.init()).await.error(503);
    assert!(is_blank(&site));
    site.engine.set_down(false);
    daemon.client.post("/swarm/init", &site.init()).await.ok();
    daemon.create(&web(1)).await;
    daemon.tasks_running("web", 1, FIRST).await;
    daemon.stop().await;
}

/// Makes a cluster with a service on a network, so that there is something to clear away.
async fn busy_cluster(site: &Site) -> Daemon {
    let daemon = site.cluster().await;
    let network = json!({ "Name": "back", "Driver": "overlay" });
    let network = daemon.client.post("/networks/create", &network).await.ok();
    let mut spec = web(2);
    spec["TaskTemplate"]["Networks"] = json!([{ "Target": network["Id"] }]);
    daemon.create(&spec).await;
    daemon.tasks_running("web", 2, FIRST).await;
    daemon
}

fn assert_cleared(site: &Site) {
    assert_eq!(site.engine.containers().len(), 0);
    assert_eq!(site.engine.engine_networks().len(), 0);
    assert!(is_blank(site));
}

#[tokio::test]
async fn leaving_erases_everything() {
    let site = Site::new();
    let daemon = busy_cluster(&site).await;
    let text = daemon.client.post("/swarm/leave", &json!(null)).await.error(503);
    assert!(text.contains("Removing the last manager erases all current state"), "{text}");
    daemon.client.post("/swarm/leave?force=1", &json!(null)).await.ok();
    assert_cleared(&site);
    assert_inactive(&daemon).await;
    daemon.client.post("/swarm/leave?force=1", &json!(null)).await.error(503);
    daemon.client.post("/swarm/init", &site.init()).await.ok();
    assert_eq!(daemon.client.get("/services").await.ok(), json!([]));
    daemon.stop().await;
}

#[tokio::test]
async fn a_leave_cut_off_midway_is_finished_at_the_next_start() {
    let site = Site::new();
    let daemon = busy_cluster(&site).await;
    daemon.cut_off().await;
    // What is on disk when the daemon ends right after it has noted that it leaves.
    let data = site.data_dir();
    std::fs::rename(data.join("node.json"), data.join("leaving.json")).expect("it was a member");
    let daemon = site.start().await;
    assert_cleared(&site);
    assert_inactive(&daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_new_cluster_survives_what_an_old_one_left() {
    let site = Site::new();
    let daemon = busy_cluster(&site).await;
    site.engine.set_down(true);
    daemon.client.post("/swarm/leave?force=1", &json!(null)).await.ok();
    assert_inactive(&daemon).await;
    assert_eq!(site.engine.containers().len(), 2, "the engine was away");
    site.engine.set_down(false);
    daemon.client.post("/swarm/init", &site.init()).await.ok();
    assert_eq!(site.engine.containers().len(), 0, "what the old cluster left is gone");
    daemon.create(&web(1)).await;
    daemon.tasks_running("web", 1, FIRST).await;
    let before = daemon.running();
    daemon.stop().await;
    let daemon = site.start().await;
    daemon.tasks_running("web", 1, FIRST).await;
    assert_eq!(daemon.running(), before);
    daemon.stop().await;
}

#[tokio::test]
async fn a_member_that_could_not_start_can_leave() {
    let site = Site::new();
    let daemon = busy_cluster(&site).await;
    daemon.stop().await;
    let holder = TcpListener::bind(site.listen()).expect("the daemon gave it back");
    let daemon = site.start().await;
    daemon.client.get("/services").await.error(503);
    daemon.client.post("/swarm/leave?force=1", &json!(null)).await.ok();
    drop(holder);
    assert_cleared(&site);
    daemon.client.post("/swarm/init", &site.init()).await.ok();
    daemon.stop().await;
}
