//! Networks of the cluster and of the engine in one view.

use std::sync::Arc;

use skep_core::command::Command;
use skep_core::id::TaskId;
use skep_core::model::service::NetworkAttachment;

use super::{ask, manager};
use crate::backend::Membership;
use crate::fake::{Fake, node_id};

const LOCAL: &str = r#"[{"Name":"bridge","Id":"b1","Scope":"local","Labels":{}},{"Name":"skep-x","Id":"t1","Scope":"local","Labels":{"skep.network.id":"0000000000000000000000001"}}]"#;

async fn with_network() -> Arc<Fake> {
    let fake = manager();
    for path in ["/networks", "/v1.51/networks"] {
        fake.engine(path, 200, LOCAL);
    }
    ask(
        &fake,
        "POST",
        "/networks/create",
        r#"{"Name":"front","Driver":"overlay","Attachable":true}"#,
    )
    .await
    .is(201, "{\"Id\":\"0000000000000000000000001\",\"Warning\":\"\"}\n");
    fake
}

const FRONT: &str = "{\"Name\":\"front\",\"Id\":\"0000000000000000000000001\",\"Created\":\"2026-01-02T03:04:05Z\",\"Scope\":\"swarm\",\"Driver\":\"\",\"EnableIPv4\":true,\"EnableIPv6\":false,\"IPAM\":{\"Driver\":\"\",\"Options\":null,\"Config\":null},\"Internal\":false,\"Attachable\":true,\"Ingress\":false,\"ConfigFrom\":{\"Network\":\"\"},\"ConfigOnly\":false,\"Containers\":null,\"Options\":null,\"Labels\":null}";

#[tokio::test]
async fn lists_are_merged_and_twins_hidden() {
    let fake = with_network().await;
    let bridge = r#"{"Name":"bridge","Id":"b1","Scope":"local","Labels":{}}"#;
    ask(&fake, "GET", "/networks", "").await.is(200, &format!("[{FRONT},{bridge}]\n"));
    let path = "/networks?filters=%7B%22driver%22%3A%5B%22macvlan%22%5D%7D";
    fake.engine(path, 200, "[]");
    ask(&fake, "GET", path, "").await.is(200, "[]\n");
    // It waits for its addresses, and is shown without a driver till then.
    let path = "/networks?filters=%7B%22driver%22%3A%5B%22overlay%22%5D%7D";
    fake.engine(path, 200, "[]");
    ask(&fake, "GET", path, "").await.is(200, "[]\n");
    let path = "/networks?filters=%7B%22zzz%22%3A%5B%22x%22%5D%7D";
    fake.engine(path, 400, "{\"message\":\"invalid filter 'zzz'\"}\n");
    ask(&fake, "GET", path, "").await.is(400, "{\"message\":\"invalid filter 'zzz'\"}\n");
}

#[tokio::test]
async fn networks_are_found_wherever_they_are() {
    let fake = with_network().await;
    ask(&fake, "GET", "/networks/front?scope=swarm", "").await.is(200, &format!("{FRONT}\n"));
    ask(&fake, "GET", "/networks/0000000?scope=swarm", "").await.is(200, &format!("{FRONT}\n"));
    ask(&fake, "GET", "/networks/front?scope=local", "")
        .await
        .is(404, "{\"message\":\"network front not found\"}\n");
    ask(&fake, "GET", "/networks/skep-x", "")
        .await
        .is(404, "{\"message\":\"network skep-x not found\"}\n");
    fake.engine("/v1.51/networks/b1", 200, "{\"Id\":\"b1\"}");
    ask(&fake, "GET", "/networks/bridge", "").await.is(200, "{\"Id\":\"b1\"}");
}

#[tokio::test]
async fn a_twin_lends_its_containers() {
    let fake = with_network().await;
    let by_label = "/v1.51/networks?filters=%7B%22label%22%3A%7B%22skep.network.id%3D0000000000000000000000001%22%3Atrue%7D%7D";
    fake.engine(by_label, 200, r#"[{"Name":"skep-x","Id":"t1"}]"#);
    fake.engine("/v1.51/networks/t1", 200, r#"{"Id":"t1","Containers":{"c1":{"Name":"web.1"}}}"#);
    let shown = ask(&fake, "GET", "/networks/front", "").await.json();
    let containers = shown["Containers"].as_object().expect("there is a twin");
    assert_eq!(containers["c1"], serde_json::json!({"Name": "web.1"}));
    assert_eq!(containers["lb-front"]["Name"], "front-endpoint");
    assert_eq!(containers["lb-front"]["EndpointID"].as_str().map(str::len), Some(64));
    assert_eq!(shown.get("Labels"), Some(&serde_json::json!({})));
}

#[tokio::test]
async fn bad_networks_are_refused() {
    let fake = with_network().await;
    fake.engine("/v1.51/networks/taken", 200, r#"{"Name":"taken"}"#);
    for (body, status, text) in [
        (r#"{"Name":"taken","Driver":"overlay"}"#, 409, "network with name taken already exists"),
        (r#"{"Name":"front","Driver":"overlay"}"#, 409, "network with name front already exists"),
        (r#"{"Name":"front"}"#, 409, "network with name front already exists"),
        (
            r#"{"Name":"host","Driver":"overlay"}"#,
            403,
            "operation is not permitted on predefined host network ",
        ),
        (
            r#"{"Name":"none","Driver":"overlay"}"#,
            403,
            "operation is not permitted on predefined none network ",
        ),
        (r#"{"Name":"","Driver":"overlay"}"#, 400, "invalid name: name is empty"),
        (
            r#"{"Name":"bad name","Driver":"overlay"}"#,
            400,
            "rpc error: code = InvalidArgument desc = name must be valid as a DNS name component",
        ),
        (
            r#"{"Name":"x","Driver":"overlay","IPAM":{"Config":[{"Subnet":"nonsense"}]}}"#,
            400,
            "invalid network config:\ninvalid subnet nonsense: invalid CIDR block notation",
        ),
        (
            r#"{"Name":"FRONT","Driver":"overlay"}"#,
            500,
            "rpc error: code = Unknown desc = name conflicts with an existing object",
        ),
        (
            r#"{"Name":"x","Driver":"overlay","Scope":"local"}"#,
            403,
            "cannot downgrade network scope for overlay networks",
        ),
        (
            r#"{"Name":"x","Driver":"overlay","IPAM":{"Driver":"nope"}}"#,
            400,
            "rpc error: code = InvalidArgument desc = error during lookup of plugin nope",
        ),
        (
            r#"{"Name":"x","Driver":"overlay","EnableIPv4":false}"#,
            400,
            "IPv4 cannot be disabled in a Swarm scoped network",
        ),
        (
            r#"{"Name":"docker_gwbridge","Driver":"overlay"}"#,
            409,
            "network with name docker_gwbridge already exists",
        ),
        (
            r#"{"Name":"x","Driver":"overlay","ConfigFrom":{"Network":"nope"}}"#,
            404,
            "configuration network \"nope\" does not exist",
        ),
        (
            r#"{"Name":"x","Driver":"overlay","ConfigFrom":{"Network":"taken"}}"#,
            404,
            "configuration network \"taken\" does not exist",
        ),
        (
            r#"{"Name":"x","Driver":"overlay","ConfigFrom":{"Network":"nope"},"EnableIPv6":true}"#,
            403,
            "user specified configurations are not supported if the network depends on a configuration network",
        ),
        (
            r#"{"Name":"x","Driver":"overlay","ConfigFrom":{"Network":"nope"},"Options":{"a":"b"}}"#,
            403,
            "network driver options are not supported if the network depends on a configuration network",
        ),
    ] {
        let answer = ask(&fake, "POST", "/networks/create", body).await;
        assert_eq!(
            (answer.status, answer.json()),
            (status, serde_json::json!({ "message": text }))
        );
    }
    let inactive = Fake::outside();
    ask(&inactive, "POST", "/networks/create", r#"{"Name":"x","Driver":"overlay"}"#).await.is(
        403,
        "{\"message\":\"This node is not a swarm manager. Use \\\"docker swarm init\\\" or \\\"docker swarm join\\\" to connect this node to swarm and try again.\"}\n",
    );
}

#[tokio::test]
async fn local_networks_are_the_engines_to_make() {
    let fake = manager();
    fake.engine("/networks/create", 201, "{\"Id\":\"l1\"}");
    ask(&fake, "POST", "/networks/create", r#"{"Name":"x","Driver":"bridge"}"#)
        .await
        .is(201, "{\"Id\":\"l1\"}");
    ask(&fake, "POST", "/networks/create", r#"{"Name":"x","Driver":"overlay","ConfigOnly":true}"#)
        .await
        .is(201, "{\"Id\":\"l1\"}");
}

#[tokio::test]
async fn a_container_is_looked_for_before_its_network() {
    let fake = with_network().await;
    fake.engine("/v1.51/containers/nope/json", 404, "{\"message\":\"No such container: nope\"}\n");
    for verb in ["connect", "disconnect"] {
        for network in ["front", "missing"] {
            let path = format!("/networks/{network}/{verb}");
            ask(&fake, "POST", &path, "{}")
                .await
                .is(400, "{\"message\":\"invalid name or ID supplied: \\\"\\\"\"}\n");
            ask(&fake, "POST", &path, r#"{"Container":"nope"}"#)
                .await
                .is(404, "{\"message\":\"No such container: nope\"}\n");
        }
    }
}

#[tokio::test]
async fn older_engines_say_it_their_own_way() {
    let fake = manager();
    fake.inner().api = ((1, 12), (1, 41));
    fake.engine("/v1.41/networks/x", 404, "{}");
    for (body, status, text) in [
        (r#"{"Name":"","Driver":"overlay"}"#, 500, "invalid name: "),
        (
            r#"{"Name":"","Driver":"overlay","CheckDuplicate":true}"#,
            409,
            "network with name  already exists",
        ),
        (r#"{"Name":" ","Driver":"overlay","CheckDuplicate":true}"#, 500, "invalid name:  "),
        (
            r#"{"Name":"x","Driver":"overlay","IPAM":{"Config":[{"Subnet":"nonsense"}]}}"#,
            500,
            "Invalid subnet nonsense : invalid CIDR address: nonsense",
        ),
        (
            r#"{"Name":"x","Driver":"overlay","IPAM":{"Config":[{"Subnet":"10.8.0.0/24","IPRange":"10.9.0.0/25"}]}}"#,
            400,
            "rpc error: code = InvalidArgument desc = ipam configuration: subnet 10.8.0.0/24 does not contain range 10.9.0.0/25",
        ),
    ] {
        let answer = ask(&fake, "POST", "/networks/create", body).await;
        let expected = serde_json::json!({ "message": text });
        assert_eq!((answer.status, answer.json()), (status, expected));
    }
    let unknown =
        r#"{"Name":"x","Driver":"overlay","EnableIPv4":false,"ConfigFrom":{"Network":"nope"}}"#;
    assert_eq!(ask(&fake, "POST", "/networks/create", unknown).await.status, 201);
    let ping = ask(&fake, "GET", "/_ping", "").await;
    assert_eq!(ping.header("swarm"), "");
    ask(&fake, "GET", "/v1.12/nodes?filters=x", "")
        .await
        .is(500, "{\"message\":\"invalid character 'x' looking for beginning of value\"}\n");
}

#[tokio::test]
async fn removal_and_pruning_spare_twins() {
    let fake = with_network().await;
    let prune =
        "/v1.51/networks/prune?filters=%7B%22label%21%22%3A%7B%22skep.network.id%22%3Atrue%7D%7D";
    fake.engine(prune, 200, "{\"NetworksDeleted\":[\"mine\"]}");
    ask(&fake, "POST", "/networks/prune", "")
        .await
        .is(200, "{\"NetworksDeleted\":[\"front\",\"mine\"]}\n");
    ask(&fake, "DELETE", "/networks/front", "")
        .await
        .is(404, "{\"message\":\"network front not found\"}\n");
    let fake = with_network().await;
    ask(&fake, "DELETE", "/networks/front", "").await.is(204, "");
}

#[tokio::test]
async fn a_container_does_not_start_on_a_network_it_may_not_join() {
    let fake = with_network().await;
    ask(&fake, "POST", "/networks/create", r#"{"Name":"closed","Driver":"overlay"}"#).await;
    let on =
        |network: &str| format!(r#"{{"NetworkSettings":{{"Networks":{{"{network}":{{}}}}}}}}"#);
    fake.engine("/containers/c1/start", 204, "");
    for (network, status) in [("closed", 500), ("bridge", 204)] {
        fake.engine("/v1.51/containers/c1/json", 200, &on(network));
        let answer = ask(&fake, "POST", "/containers/c1/start", "").await;
        assert_eq!(answer.status, status, "{network}");
        if status == 500 {
            let text = "failed to set up container networking: Could not attach to network closed: \
                        rpc error: code = PermissionDenied desc = network closed not manually attachable";
            assert_eq!(answer.json(), serde_json::json!({ "message": text }));
        }
    }
}

#[tokio::test]
async fn a_container_that_goes_when_it_ends_goes_when_it_may_not_start() {
    let fake = with_network().await;
    ask(&fake, "POST", "/networks/create", r#"{"Name":"closed","Driver":"overlay"}"#).await;
    let seen = r#"{"HostConfig":{"AutoRemove":true},"NetworkSettings":{"Networks":{"closed":{}}}}"#;
    fake.engine("/v1.51/containers/c1/json", 200, seen);
    assert_eq!(ask(&fake, "POST", "/containers/c1/start", "").await.status, 500);
    let last = fake.inner().asked.last().cloned();
    assert_eq!(last.as_deref(), Some("/v1.51/containers/c1?force=1"));
}

#[tokio::test]
async fn networks_of_old_engines_have_no_ipv4_switch() {
    let fake = with_network().await;
    fake.inner().api = ((1, 12), (1, 41));
    let shown = ask(&fake, "GET", "/networks/front?scope=swarm", "").await.json();
    assert_eq!(shown.get("EnableIPv4"), None);
}

#[tokio::test]
async fn containers_join_only_attachable_networks() {
    let fake = with_network().await;
    let c1 = r#"{"Id":"c1","Name":"/one","State":{"Running":false},"Config":{"Labels":{}},"NetworkSettings":{"Networks":{"back":{}}}}"#;
    fake.engine("/v1.51/containers/c1/json", 200, c1);
    fake.engine("/v1.51/containers/c2/json", 200, r#"{"Id":"c2","Name":"/two"}"#);
    fake.engine("/v1.51/networks/back", 404, "{}");
    let made =
        ask(&fake, "POST", "/networks/create", r#"{"Name":"back","Driver":"overlay"}"#).await;
    assert_eq!(made.status, 201);
    let text = "Could not attach to network back: rpc error: code = PermissionDenied desc = network back not manually attachable";
    ask(&fake, "POST", "/networks/back/connect", r#"{"Container":"c2"}"#)
        .await
        .is(500, &format!("{{\"message\":\"{text}\"}}\n"));
    ask(&fake, "POST", "/containers/c1/start", "")
        .await
        .is(500, &format!("{{\"message\":\"failed to set up container networking: {text}\"}}\n"));
    ask(&fake, "POST", "/v1.51/containers/c1/restart", "")
        .await
        .is(500, &format!("{{\"message\":\"Cannot restart container c1: failed to set up container networking: {text}\"}}\n"));
    fake.engine("/v1.51/containers/nosuch/json", 404, "{\"message\":\"No such container\"}");
    fake.engine("/v1.51/containers/nosuch/start", 404, "{\"message\":\"No such container\"}");
    ask(&fake, "POST", "/v1.51/containers/nosuch/start", "")
        .await
        .is(404, "{\"message\":\"No such container\"}");
}

#[tokio::test]
async fn a_container_that_does_not_run_takes_no_address() {
    let fake = with_network().await;
    let c1 =
        r#"{"Id":"c1","Name":"/one","State":{"Running":false},"NetworkSettings":{"Networks":{}}}"#;
    fake.engine("/v1.51/containers/c1/json", 200, c1);
    fake.engine("/v1.51/networks/front/connect", 200, "");
    let body = r#"{"Container":"c1","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10.9.0.9"}}}"#;
    let id = "0000000000000000000000001";
    for network in ["front", id] {
        ask(&fake, "POST", &format!("/networks/{network}/connect"), body).await.is(200, "");
    }
    // The engine has noted networks that are none, too.
    fake.engine("/networks/nosuch/disconnect", 200, "");
    ask(&fake, "POST", "/networks/nosuch/disconnect", r#"{"Container":"c1"}"#).await.is(200, "");
    assert!(fake.inner().state.tasks().is_empty());
}

#[tokio::test]
async fn an_end_that_is_cut_off_by_force_is_the_engines_to_find() {
    let fake = with_network().await;
    fake.engine("/v1.51/containers/nope/json", 404, "{\"message\":\"No such container: nope\"}\n");
    let text = "{\"message\":\"endpoint nope not found\"}\n";
    fake.engine("/v1.51/networks/front/disconnect", 404, text);
    let body = r#"{"Container":"nope","Force":true}"#;
    ask(&fake, "POST", "/networks/front/disconnect", body).await.is(404, text);
}

#[tokio::test]
async fn an_attachment_that_never_comes_is_given_up() {
    let fake = with_network().await;
    let c1 = r#"{"Id":"c1","Name":"/one","NetworkSettings":{"Networks":{}}}"#;
    fake.engine("/v1.51/containers/c1/json", 200, c1);
    let answer = ask(&fake, "POST", "/networks/front/connect", r#"{"Container":"c1"}"#).await;
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("attaching to network failed"), "{}", answer.text());
    assert!(fake.inner().state.tasks().is_empty());
}

#[tokio::test]
async fn a_worker_shows_the_networks_that_it_uses() {
    let fake = Fake::cluster();
    for path in ["/networks", "/v1.51/networks"] {
        fake.engine(path, 200, LOCAL);
    }
    let front = fake.state().find_network("front").expect("it is there").id.clone();
    fake.inner().membership = worker();
    let names = |shown: serde_json::Value| -> Vec<String> {
        let all = shown.as_array().expect("a list").iter();
        all.map(|network| network["Name"].as_str().expect("a name").to_owned()).collect()
    };
    let bridge = ["bridge".to_owned()];
    assert_eq!(names(ask(&fake, "GET", "/networks", "").await.json()), bridge);
    let missing = "{\"message\":\"network front not found\"}\n";
    ask(&fake, "GET", "/networks/front", "").await.is(404, missing);
    ask(&fake, "DELETE", "/networks/front", "").await.is(404, missing);
    fake.engine("/v1.51/containers/c1/json", 200, r#"{"Id":"c1"}"#);
    fake.engine("/networks/front/disconnect", 404, missing);
    let body = r#"{"Container":"c1"}"#;
    ask(&fake, "POST", "/networks/front/disconnect", body).await.is(404, missing);

    let attach = Command::Attach {
        id: TaskId::from_entropy(1 << 70),
        node: node_id(),
        container: "c1".to_owned(),
        network: NetworkAttachment { target: front, ..NetworkAttachment::default() },
    };
    fake.apply(attach).expect("containers may join it");
    fake.settle();
    assert_eq!(names(ask(&fake, "GET", "/networks", "").await.json()), ["front", "bridge"]);
    assert_eq!(ask(&fake, "GET", "/networks/front", "").await.status, 200);
    let refused = ask(&fake, "DELETE", "/networks/front", "").await;
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("Worker nodes can't be used to view or modify"));
}

fn worker() -> Membership {
    Membership::Worker { node: node_id(), addr: String::new(), managers: Vec::new() }
}

#[tokio::test]
async fn what_no_node_knows_the_managers_are_asked_for() {
    let fake = with_network().await;
    let manager = fake.inner().membership.clone();
    for membership in [manager, worker()] {
        fake.inner().membership = membership;
        for (network, status) in [("nosuch", 500), ("mine", 204), ("none", 204)] {
            fake.engine("/v1.51/networks/mine", 200, r#"{"Name":"mine"}"#);
            let seen = format!(
                r#"{{"Id":"c1","Name":"/one","NetworkSettings":{{"Networks":{{"{network}":{{}}}}}}}}"#
            );
            // By name, and by what a task's container could be called too.
            for reference in ["c1", "13c07c41206c"] {
                fake.engine(&format!("/v1.51/containers/{reference}/json"), 200, &seen);
                fake.engine(&format!("/containers/{reference}/start"), 204, "");
                let path = format!("/containers/{reference}/start");
                let answer = ask(&fake, "POST", &path, "").await;
                assert_eq!(answer.status, status, "{network} {reference}");
            }
        }
        let text = "Could not attach to network nosuch: rpc error: code = NotFound desc = network nosuch not found";
        fake.engine("/v1.51/containers/c1/json", 200, r#"{"Id":"c1"}"#);
        ask(&fake, "POST", "/networks/nosuch/connect", r#"{"Container":"c1"}"#)
            .await
            .is(500, &format!("{{\"message\":\"{text}\"}}\n"));
    }
}
