//! Ping, info, version, events, and engine routes that change in passing.

use super::{ask, manager};
use crate::fake::{Fake, node_id};

#[tokio::test]
async fn ping_tells_the_standing() {
    let answer = ask(&manager(), "GET", "/_ping", "").await;
    answer.is(200, "OK");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("swarm"), "active/manager");
    assert_eq!(answer.header("builder-version"), "2");
    assert_eq!(answer.header("cache-control"), "no-cache, no-store, must-revalidate");
    assert_eq!(answer.header("pragma"), "no-cache");
    let head = ask(&Fake::outside(), "HEAD", "/_ping", "").await;
    head.is(200, "");
    assert_eq!((head.header("content-length"), head.header("swarm")), ("0", "inactive"));
}

#[tokio::test]
async fn info_has_the_clusters_part() {
    let fake = Fake::outside();
    fake.engine("/info", 200, r#"{"ID":"x","Swarm":{"LocalNodeState":"engine"},"Warnings":null}"#);
    ask(&fake, "GET", "/info", "").await.is(
        200,
        "{\"ID\":\"x\",\"Swarm\":{\"NodeID\":\"\",\"NodeAddr\":\"\",\"LocalNodeState\":\"inactive\",\"ControlAvailable\":false,\"Error\":\"\",\"RemoteManagers\":null},\"Warnings\":null}\n",
    );
    let fake = manager();
    fake.engine("/info", 200, "{}");
    let info = ask(&fake, "GET", "/info", "").await.json();
    let swarm = info.get("Swarm").expect("the cluster's part");
    let id = node_id().to_string();
    for (field, value) in [
        ("NodeID", serde_json::json!(id)),
        ("NodeAddr", serde_json::json!("10.1.0.1")),
        ("LocalNodeState", serde_json::json!("active")),
        ("ControlAvailable", serde_json::json!(true)),
        ("RemoteManagers", serde_json::json!([{"NodeID": id, "Addr": "10.1.0.1:2377"}])),
        ("Nodes", serde_json::json!(1)),
        ("Managers", serde_json::json!(1)),
    ] {
        assert_eq!(swarm.get(field), Some(&value), "{field}");
    }
    let cluster = swarm.get("Cluster").and_then(serde_json::Value::as_object).expect("shown");
    assert!(cluster.contains_key("Spec") && !cluster.contains_key("JoinTokens"));
}

#[tokio::test]
async fn version_is_clamped() {
    let fake = manager();
    fake.inner().api = ((1, 44), (1, 52));
    fake.engine(
        "/version",
        200,
        r#"{"Components":[{"Name":"Engine","Details":{"ApiVersion":"1.52"}}],"ApiVersion":"1.52","MinAPIVersion":"1.44"}"#,
    );
    ask(&fake, "GET", "/version", "").await.is(
        200,
        "{\"Components\":[{\"Name\":\"Engine\",\"Details\":{\"ApiVersion\":\"1.51\",\"MinAPIVersion\":\"1.44\"}}],\"ApiVersion\":\"1.51\",\"MinAPIVersion\":\"1.44\"}\n",
    );
}

#[tokio::test]
async fn events_of_engine_and_cluster_come_together() {
    let fake = manager();
    ask(&fake, "POST", "/secrets/create", r#"{"Name":"s","Data":"YQ=="}"#).await;
    let path =
        "/events?since=1&until=2&filters=%7B%22type%22%3A%5B%22secret%22%2C%22image%22%5D%7D";
    fake.engine(path, 200, "{\"Type\":\"image\"}\n");
    let answer = ask(&fake, "GET", path, "").await;
    assert_eq!(answer.header("content-type"), "application/json");
    let mut lines: Vec<&str> = answer.text().lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "{\"Type\":\"image\"}",
            "{\"Type\":\"secret\",\"Action\":\"create\",\"Actor\":{\"ID\":\"0000000000000000000000001\",\"Attributes\":{\"name\":\"s\"}},\"scope\":\"swarm\",\"time\":1767323045,\"timeNano\":1767323045000000000}",
        ]
    );
}

#[tokio::test]
async fn task_containers_are_told_by_their_label() {
    let fake = manager();
    let asked = "/v1.51/containers/json?filters=%7B%22is-task%22%3A%5B%22true%22%5D%7D";
    let label = "/v1.51/containers/json?filters=%7B%22label%22%3A%7B%22com.docker.swarm.task%22%3Atrue%7D%7D";
    fake.engine(label, 200, "[1]");
    ask(&fake, "GET", asked, "").await.is(200, "[1]\n");
    let asked = "/v1.51/containers/json?filters=%7B%22is-task%22%3A%5B%22false%22%5D%7D";
    fake.engine(
        "/v1.51/containers/json?filters=%7B%7D",
        200,
        r#"[{"Id":"a","Labels":{"com.docker.swarm.task":""}},{"Id":"b","Labels":{}}]"#,
    );
    ask(&fake, "GET", asked, "").await.is(200, "[{\"Id\":\"b\",\"Labels\":{}}]\n");
}

#[tokio::test]
async fn cluster_volumes_are_refused_and_local_ones_pass() {
    let fake = manager();
    ask(&fake, "POST", "/volumes/create", r#"{"Name":"v","ClusterVolumeSpec":{}}"#)
        .await
        .is(501, "{\"message\":\"cluster volumes are not supported\"}\n");
    fake.engine("/volumes/create", 201, "{}");
    ask(&fake, "POST", "/volumes/create", r#"{"Name":"v"}"#).await.is(201, "{}");
    ask(&fake, "PUT", "/volumes/v?version=1", "{}").await.is(
        503,
        "{\"message\":\"volume update only valid for cluster volumes, but swarm is unavailable\"}\n",
    );
}
