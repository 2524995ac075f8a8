//! Swarm, nodes, secrets and configs.

use super::{ask, manager};
use crate::fake::{Fake, node_id};

const OUT_OF_SEQUENCE: &str =
    "{\"message\":\"rpc error: code = Unknown desc = update out of sequence\"}\n";

#[tokio::test]
async fn a_secret_lives_and_never_shows_its_data() {
    let fake = manager();
    let made =
        ask(&fake, "POST", "/v1.51/secrets/create", r#"{"Name":"s","Data":"aGk=","Labels":null}"#)
            .await;
    made.is(201, "{\"ID\":\"0000000000000000000000001\"}\n");
    let shown = "{\"ID\":\"0000000000000000000000001\",\"Version\":{\"Index\":2},\"CreatedAt\":\"2026-01-02T03:04:05Z\",\"UpdatedAt\":\"2026-01-02T03:04:05Z\",\"Spec\":{\"Name\":\"s\",\"Labels\":{}}}";
    ask(&fake, "GET", "/secrets/s", "").await.is(200, &format!("{shown}\n"));
    ask(&fake, "GET", "/secrets/00000", "").await.is(200, &format!("{shown}\n"));
    let named = "/secrets?filters=%7B%22name%22%3A%5B%22s%22%5D%7D";
    ask(&fake, "GET", named, "").await.is(200, &format!("[{shown}]\n"));
    let other = "/secrets?filters=%7B%22names%22%3A%5B%22x%22%5D%7D";
    ask(&fake, "GET", other, "").await.is(200, "[]\n");
    ask(&fake, "POST", "/secrets/create", r#"{"name":"s","data":"aGk="}"#).await.is(
        409,
        "{\"message\":\"rpc error: code = AlreadyExists desc = secret s already exists\"}\n",
    );
    let labels = r#"{"Name":"s","Labels":{"a":"b"}}"#;
    ask(&fake, "POST", "/secrets/s/update?version=1", labels).await.is(500, OUT_OF_SEQUENCE);
    ask(&fake, "POST", "/secrets/s/update?version=2", labels).await.is(200, "");
    ask(&fake, "POST", "/secrets/s/update?version=x", labels)
        .await
        .is(400, "{\"message\":\"invalid secret version\"}\n");
    ask(&fake, "DELETE", "/secrets/s", "").await.is(204, "");
    ask(&fake, "DELETE", "/secrets/s", "").await.is(404, "{\"message\":\"secret s not found\"}\n");
}

#[tokio::test]
async fn a_config_shows_its_data() {
    let fake = manager();
    ask(
        &fake,
        "POST",
        "/configs/create",
        r#"{"Name":"c","Data":"YQ==","Templating":{"Name":"golang"}}"#,
    )
    .await
    .is(201, "{\"ID\":\"0000000000000000000000001\"}\n");
    let shown = ask(&fake, "GET", "/configs/c", "").await.json();
    assert_eq!(
        shown.get("Spec"),
        Some(
            &serde_json::json!({"Name": "c", "Labels": {}, "Data": "YQ==", "Templating": {"Name": "golang"}})
        )
    );
    ask(&fake, "POST", "/configs/c/update?version=2", r#"{"Name":"c","Data":"Yg=="}"#).await.is(
        400,
        "{\"message\":\"rpc error: code = InvalidArgument desc = only updates to Labels are allowed\"}\n",
    );
    ask(&fake, "POST", "/configs/c/update?version=2", r#"{"Name":"c","Data":"YQ=="}"#)
        .await
        .is(200, "");
    ask(&fake, "GET", "/configs/nope", "")
        .await
        .is(404, "{\"message\":\"config nope not found\"}\n");
}

#[tokio::test]
async fn bad_payloads_are_refused() {
    let fake = manager();
    let invalid = "rpc error: code = InvalidArgument desc = ";
    for (path, body, text) in [
        ("/secrets/create", "{}", format!("{invalid}name must be provided")),
        (
            "/secrets/create",
            r#"{"Name":"a/b","Data":"YQ=="}"#,
            format!("{invalid}invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]"),
        ),
        (
            "/secrets/create",
            r#"{"Name":"a"}"#,
            format!("{invalid}secret data must be larger than 0 and less than 512000 bytes"),
        ),
        (
            "/configs/create",
            r#"{"Name":"a"}"#,
            format!("{invalid}config data must be larger than 0 and less than 1024000 bytes"),
        ),
        (
            "/secrets/create",
            r#"{"Name":"a","Driver":{}}"#,
            format!("{invalid}secret driver must have a name"),
        ),
        (
            "/v1.36/secrets/create",
            r#"{"Name":"a","Data":"YQ==","Templating":{"Name":"golang"}}"#,
            "secret templating is not supported on the specified API version: 1.36".to_owned(),
        ),
        (
            "/secrets/create",
            r#"{"Name":"a","Data":"!"}"#,
            "invalid JSON: json: cannot unmarshal string into Go struct field SecretSpec.Data of type []uint8: illegal base64 data at input byte 0".to_owned(),
        ),
    ] {
        let answer = ask(&fake, "POST", path, body).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json(), serde_json::json!({ "message": text }));
    }
}

#[tokio::test]
async fn nodes_are_shown_and_changed() {
    let fake = manager();
    let id = node_id();
    let shown = format!(
        "{{\"ID\":\"{id}\",\"Version\":{{\"Index\":1}},\"CreatedAt\":\"2026-01-02T03:04:05Z\",\"UpdatedAt\":\"2026-01-02T03:04:05Z\",\"Spec\":{{\"Labels\":{{}},\"Role\":\"manager\",\"Availability\":\"active\"}},\"Description\":{{\"Hostname\":\"one\",\"Platform\":{{}},\"Resources\":{{}},\"Engine\":{{}},\"TLSInfo\":{{}}}},\"Status\":{{\"State\":\"ready\",\"Addr\":\"10.1.0.1\"}},\"ManagerStatus\":{{\"Leader\":true,\"Reachability\":\"reachable\",\"Addr\":\"10.1.0.1:2377\"}}}}"
    );
    ask(&fake, "GET", "/nodes/one", "").await.is(200, &format!("{shown}\n"));
    ask(&fake, "GET", "/nodes", "").await.is(200, &format!("[{shown}]\n"));
    let role = |word: &str| format!("/nodes?filters=%7B%22role%22%3A%5B%22{word}%22%5D%7D");
    ask(&fake, "GET", &role("worker"), "").await.is(200, "[]\n");
    ask(&fake, "GET", &role("king"), "")
        .await
        .is(500, "{\"message\":\"Invalid role filter: 'king'\"}\n");
    ask(&fake, "GET", "/nodes/nobody", "")
        .await
        .is(404, "{\"message\":\"node nobody not found\"}\n");
    let update = format!("/nodes/{id}/update?version=1");
    let spec = |role: &str| format!("{{\"Role\":\"{role}\",\"Availability\":\"drain\"}}");
    ask(&fake, "POST", &update, &spec("king"))
        .await
        .is(400, "{\"message\":\"invalid Role: \\\"king\\\"\"}\n");
    ask(&fake, "POST", &update, &spec("worker")).await.is(
        400,
        "{\"message\":\"rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm\"}\n",
    );
    ask(&fake, "POST", &update, &spec("manager")).await.is(200, "");
    ask(&fake, "POST", &update, &spec("manager")).await.is(500, OUT_OF_SEQUENCE);
    ask(&fake, "DELETE", &format!("/nodes/{id}?force=1"), "").await.is(
        400,
        &format!("{{\"message\":\"rpc error: code = FailedPrecondition desc = node {id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal\"}}\n"),
    );
}

#[tokio::test]
async fn the_cluster_is_shown() {
    let fake = manager();
    let shown = ask(&fake, "GET", "/swarm", "").await;
    let start = "\"Version\":{\"Index\":1},\"CreatedAt\":\"2026-01-02T03:04:05Z\",\"UpdatedAt\":\"2026-01-02T03:04:05Z\",\"Spec\":{\"Name\":\"default\",\"Labels\":{},\"Orchestration\":{\"TaskHistoryRetentionLimit\":5},\"Raft\":{\"SnapshotInterval\":10000,\"KeepOldSnapshots\":0,\"LogEntriesForSlowFollowers\":500,\"ElectionTick\":10,\"HeartbeatTick\":1},\"Dispatcher\":{\"HeartbeatPeriod\":5000000000},\"CAConfig\":{\"NodeCertExpiry\":7776000000000000},\"TaskDefaults\":{},\"EncryptionConfig\":{\"AutoLockManagers\":false}},\"TLSInfo\":{},\"RootRotationInProgress\":false,\"DefaultAddrPool\":[\"10.0.0.0/8\"],\"SubnetSize\":24,\"DataPathPort\":4789,\"JoinTokens\":{\"Worker\":\"\",\"Manager\":\"\"}}";
    assert!(shown.text().contains(start), "{}", shown.text());
    ask(&fake, "GET", "/swarm/unlockkey", "").await.is(200, "{\"UnlockKey\":\"\"}\n");
}

#[tokio::test]
async fn init_merges_and_update_replaces() {
    let fake = Fake::outside();
    let body = r#"{"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"10.1.0.1","AutoLockManagers":true,"DefaultAddrPool":[],"Spec":{"Raft":{"SnapshotInterval":77}}}"#;
    let made = ask(&fake, "POST", "/swarm/init", body).await;
    made.is(200, &format!("\"{}\"\n", node_id()));
    let request = fake.inner().initialised.take().expect("init was called");
    assert_eq!((request.spec.snapshot_interval, request.spec.election_tick), (77, 10));
    assert!(request.spec.auto_lock_managers && request.address_pools.is_empty());

    let fake = manager();
    let update = "/swarm/update?version=1&rotateWorkerToken=true";
    ask(&fake, "POST", update, r#"{"Name":"default","Raft":{"SnapshotInterval":77}}"#)
        .await
        .is(200, "");
    let (version, spec, rotate) = fake.inner().updated.take().expect("update was called");
    assert_eq!((version, spec.snapshot_interval, spec.election_tick), (1, 77, 0));
    assert!(rotate.worker_token && !rotate.manager_token && !rotate.unlock_key);
}

#[tokio::test]
async fn bad_requests_about_the_cluster_are_refused() {
    let inactive = Fake::outside();
    let listening = |rest: &str| format!("{{\"ListenAddr\":\"0.0.0.0:2377\"{rest}}}");
    for (path, body, status, text) in [
        (
            "/swarm/init",
            "{\"ListenAddr\":5}".to_owned(),
            400,
            "invalid JSON: json: cannot unmarshal number into Go struct field InitRequest.ListenAddr of type string",
        ),
        (
            "/swarm/init",
            listening(",\"DefaultAddrPool\":[\"x\"]"),
            500,
            "invalid base pool x: invalid CIDR address: x",
        ),
        (
            "/swarm/init",
            listening(",\"DefaultAddrPool\":[\"10.5.0.0/16\"],\"SubnetSize\":8"),
            500,
            "invalid CIDR: \"10.5.0.0/16\". Subnet size is too small for pool: 8",
        ),
        ("/swarm/init", listening(",\"SubnetSize\":30"), 500, "subnet size is out of range: 30"),
        (
            "/swarm/init",
            listening(",\"DataPathPort\":80"),
            500,
            "Datapath port number is not in valid range (1024-49151) : 80",
        ),
        (
            "/swarm/init",
            listening(",\"Spec\":{\"Name\":\"x\"}"),
            400,
            "swarm spec must be named \"default\"",
        ),
        (
            "/swarm/init",
            listening(",\"Spec\":{\"CAConfig\":{\"NodeCertExpiry\":1}}"),
            500,
            "error updating cluster settings: rpc error: code = InvalidArgument desc = minimum certificate expiry time is: 1h0m0s",
        ),
        ("/swarm/join", "{}".to_owned(), 400, "at least 1 RemoteAddr is required to join"),
        (
            "/swarm/join",
            "{\"RemoteAddrs\":[\"\"]}".to_owned(),
            400,
            "invalid remoteAddr \"\": invalid empty address",
        ),
        ("/swarm/leave", String::new(), 503, "This node is not part of a swarm"),
    ] {
        let answer = ask(&inactive, "POST", path, &body).await;
        assert_eq!(
            (answer.status, answer.json()),
            (status, serde_json::json!({ "message": text }))
        );
    }
    let active = manager();
    for (path, status, text) in [
        (
            "/swarm/update",
            400,
            "invalid swarm version '': strconv.ParseUint: parsing \"\": invalid syntax",
        ),
        (
            "/swarm/update?version=x",
            400,
            "invalid swarm version 'x': strconv.ParseUint: parsing \"x\": invalid syntax",
        ),
        (
            "/swarm/init",
            503,
            "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.",
        ),
        (
            "/swarm/join",
            503,
            "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.",
        ),
        ("/swarm/unlock", 409, "swarm is not locked"),
    ] {
        let answer = ask(&active, "POST", path, "{}").await;
        assert_eq!(
            (answer.status, answer.json()),
            (status, serde_json::json!({ "message": text }))
        );
    }
    let body = r#"{"Dispatcher":{"HeartbeatPeriod":-1}}"#;
    ask(&active, "POST", "/swarm/update?version=1", body).await.is(
        400,
        "{\"message\":\"rpc error: code = InvalidArgument desc = heartbeat time period cannot be a negative duration\"}\n",
    );
}
