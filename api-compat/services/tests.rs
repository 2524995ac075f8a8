//! Routes of services against the real state machine: what clients send and what they must get.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::fake::Fake;

fn spec(name: &str) -> Value {
    json!({"Name": name, "Labels": {"a": "b"},
           "TaskTemplate": {"ContainerSpec": {"Image": "busybox:latest", "Command": ["sleep", "1000"]}},
           "Mode": {"Replicated": {"Replicas": 1}}})
}

async fn made(fake: &Arc<Fake>, spec: Value) -> String {
    let answer = fake.post("/services/create", spec).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let json = answer.json();
    assert_eq!(json["Warnings"], Value::Null);
    json["ID"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_service_lives_as_clients_know_it() {
    let fake = Fake::cluster();
    assert_eq!(fake.get("/v1.51/services").await.json(), json!([]));
    let id = made(&fake, spec("api")).await;
    let text = "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service api already exists";
    assert_eq!(fake.post("/services/create", spec("api")).await.error(), (409, text.to_owned()));

    let shown = fake.get("/services/api").await;
    assert_eq!((shown.status, shown.header("content-type")), (200, "application/json"));
    let shown = shown.json();
    let expect = json!({
        "ID": id, "Version": shown["Version"], "CreatedAt": "2026-01-02T03:04:05Z",
        "UpdatedAt": "2026-01-02T03:04:05Z",
        "Spec": {"Name": "api", "Labels": {"a": "b"},
                 "TaskTemplate": {"ContainerSpec": {"Image": "busybox:latest", "Command": ["sleep", "1000"],
                                                    "Isolation": "default"},
                                  "ForceUpdate": 0, "Runtime": "container"},
                 "Mode": {"Replicated": {"Replicas": 1}}},
        "Endpoint": {"Spec": {}}
    });
    assert_eq!(shown, expect);
    assert!(shown["Version"]["Index"].as_u64() > Some(0));
    for reference in [id.as_str(), &id[..22]] {
        assert_eq!(fake.get(&format!("/services/{reference}")).await.json(), expect);
    }
    let error = (404, "service nope not found".to_owned());
    assert_eq!(fake.get("/services/nope").await.error(), error);
    assert_eq!(fake.send("DELETE", "/services/nope", None).await.error(), error);

    let removed = fake.send("DELETE", &format!("/services/{id}"), None).await;
    assert_eq!((removed.status, removed.header("content-type"), removed.body.len()), (200, "", 0));
    assert_eq!(fake.get("/services/api").await.status, 404);
}

#[tokio::test]
async fn bad_requests_get_their_words() {
    let fake = Fake::cluster();
    let create = async |body: Value| fake.post("/services/create", body).await.error();
    let invalid = |text: &str| (400, format!("rpc error: code = InvalidArgument desc = {text}"));
    let text = "ContainerSpec: image reference must be provided";
    let bare = json!({"Name": "x", "TaskTemplate": {"ContainerSpec": {}}});
    assert_eq!(create(bare).await, invalid(text));
    let text = "mismatched Runtime and *Spec fields";
    assert_eq!(create(json!({"Name": "x"})).await, (400, text.to_owned()));
    let nothing = fake.send("POST", "/services/create", None).await.error();
    assert_eq!(nothing, (400, text.to_owned()));
    assert_eq!(
        create(spec("two modes")).await,
        invalid("name must be valid as a DNS name component")
    );
    let mut attached = spec("x");
    attached["TaskTemplate"]["Networks"] = json!([{"Target": "ingress"}]);
    let text = "Service cannot be explicitly attached to the ingress network \"ingress\"";
    assert_eq!(create(attached.clone()).await, invalid(text));
    for (target, status, text) in [
        ("nope", 500, "network nope not found"),
        (
            "none",
            404,
            "could not find the corresponding predefined swarm network: network none not found",
        ),
        (
            "mine",
            403,
            "The network mine cannot be used with services. Only networks scoped to the swarm can \
                       be used, such as those created with the overlay driver.",
        ),
    ] {
        attached["TaskTemplate"]["Networks"] = json!([{"Target": target}]);
        assert_eq!(create(attached.clone()).await, (status, text.to_owned()));
    }
    let mut secret = spec("x");
    secret["TaskTemplate"]["ContainerSpec"]["Secrets"] =
        json!([{"SecretID": "zzz", "SecretName": "s", "File": {"Name": "s"}}]);
    assert_eq!(create(secret).await, invalid("secret not found: s"));
    for (filters, text) in
        [(r#"{"bad":["api"]}"#, "invalid filter 'bad'"), ("garbage", "invalid filter")]
    {
        let answer = fake.list("/services?status=1", filters).await;
        assert_eq!(answer.error(), (400, text.to_owned()));
    }
}

#[tokio::test]
async fn updates_check_the_version_and_keep_credentials() {
    let fake = Fake::cluster();
    let id = made(&fake, spec("api")).await;
    let stored = |fake: &Fake| {
        let state = fake.state();
        let service = state.services().values().next().expect("one service");
        (service.meta.version, service.spec.task.registry_auth.0.clone())
    };
    let update = async |query: String, body: Value| {
        fake.post(&format!("/services/{id}/update?{query}"), body).await
    };
    let text = "invalid service version '': strconv.ParseUint: parsing \"\": invalid syntax";
    assert_eq!(update(String::new(), json!({"Name": "api"})).await.error(), (400, text.to_owned()));
    let nope = fake.post("/services/nope/update?version=1", spec("api")).await;
    assert_eq!(nope.error(), (404, "service nope not found".to_owned()));
    let unknown = |text: &str| (500, format!("rpc error: code = Unknown desc = {text}"));
    let stale = update("version=1".into(), spec("api")).await;
    assert_eq!(stale.error(), unknown("update out of sequence"));
    let (version, _) = stored(&fake);
    for (query, text) in [
        ("registryAuthFrom=x", "unsupported registryAuthFrom value"),
        ("registryAuthFrom=previous-spec", "service does not have a previous spec"),
        ("rollback=sideways", "unrecognized rollback option sideways"),
    ] {
        let answer = update(format!("version={version}&{query}"), spec("api")).await;
        assert_eq!(answer.error(), (500, text.to_owned()));
    }
    let back = update(format!("version={version}&rollback=previous"), spec("api")).await;
    let text = format!(
        "rpc error: code = FailedPrecondition desc = service {id} does not have a previous spec"
    );
    assert_eq!(back.error(), (400, text));
    let text = "rpc error: code = Unimplemented desc = renaming services is not supported";
    let renamed = update(format!("version={version}"), spec("other")).await;
    assert_eq!(renamed.error(), (501, text.to_owned()));

    let mut changed = spec("api");
    changed["TaskTemplate"]["ForceUpdate"] = json!(1);
    let answer = update(format!("version={version}&auth"), changed.clone()).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"Warnings": null})));
    let (version, auth) = stored(&fake);
    assert_eq!(auth, b"e30=");
    changed["TaskTemplate"]["ForceUpdate"] = json!(2);
    assert_eq!(update(format!("version={version}"), changed).await.status, 200);
    let (version, auth) = stored(&fake);
    assert_eq!(auth, b"e30=");
    assert!(!fake.get("/services").await.body.windows(4).any(|part| part == b"e30="));

    let back = update(format!("version={version}&rollback=previous"), spec("api")).await;
    assert_eq!(back.status, 200);
    let shown = fake.get("/services/api").await.json();
    assert_eq!(shown["UpdateStatus"]["State"], "rollback_started");
    assert_eq!(shown["Spec"]["TaskTemplate"]["ForceUpdate"], 1);
    assert_eq!(shown["PreviousSpec"]["TaskTemplate"]["ForceUpdate"], 2);
}

#[tokio::test]
async fn lists_filter_and_count() {
    let fake = Fake::cluster();
    made(&fake, spec("api")).await;
    let mut global = spec("web");
    global["Mode"] = json!({"Global": {}});
    global["Labels"] = json!({});
    made(&fake, global).await;
    let names = async |filters: &str| {
        let answer = fake.list("/services?status=1", filters).await.json();
        let mut names: Vec<String> = Vec::new();
        for service in answer.as_array().expect("a list") {
            assert!(service["ServiceStatus"]["RunningTasks"].is_u64(), "{service}");
            names.push(service["Spec"]["Name"].as_str().expect("a name").to_owned());
        }
        names.sort();
        names.join(" ")
    };
    for (filters, expect) in [
        ("{}", "api web"),
        (r#"{"name":["a"]}"#, "api"),
        (r#"{"name":{"a":true,"we":true}}"#, "api web"),
        (r#"{"name":["pi"]}"#, ""),
        (r#"{"label":["a=b"]}"#, "api"),
        (r#"{"label":["a"]}"#, "api"),
        (r#"{"label":["a=c"]}"#, ""),
        (r#"{"mode":["global"]}"#, "web"),
        (r#"{"mode":["sideways"]}"#, ""),
        (r#"{"runtime":["plugin"]}"#, ""),
        (r#"{"runtime":["container"]}"#, "api web"),
    ] {
        assert_eq!(names(filters).await, expect, "{filters}");
    }
    let plain = fake.get("/v1.40/services?status=1").await.json();
    assert_eq!(plain[0].get("ServiceStatus"), None);
    assert_eq!(fake.get("/services?status=maybe").await.status, 400);
}

#[tokio::test]
async fn services_without_a_name_get_one_and_networks_become_ids() {
    let fake = Fake::cluster();
    let mut nameless = spec("");
    nameless["Networks"] = json!([{"Target": "front", "Aliases": ["al"]}]);
    let id = made(&fake, nameless).await;
    let shown = fake.get(&format!("/services/{id}")).await.json();
    assert!(shown["Spec"]["Name"].as_str().is_some_and(|name| name.contains('_')));
    let state = fake.state();
    let front = state.find_network("front").expect("the network is there");
    let expect = json!([{"Target": front.id.as_str(), "Aliases": ["al"]}]);
    assert_eq!(shown["Spec"]["TaskTemplate"]["Networks"], expect);
}

#[tokio::test]
async fn bodies_are_read_as_leniently_as_ever_and_refused_in_known_words() {
    let fake = Fake::cluster();
    for (body, text) in [
        (
            json!({"Mode": {"Replicated": {"Replicas": -1}}}),
            "number -1 into Go struct field ServiceSpec.Mode.Replicated.Replicas of type uint64",
        ),
        (
            json!({"Name": "type", "TaskTemplate": []}),
            "array into Go struct field ServiceSpec.TaskTemplate of type swarm.TaskSpec",
        ),
    ] {
        let text = format!("invalid JSON: json: cannot unmarshal {text}");
        assert_eq!(fake.post("/services/create", body).await.error(), (400, text));
    }
    let odd = json!({
        "name": "y", "LABELS": null, "future": {"x": 1},
        "tasktemplate": {"containerspec": {"image": "i", "env": null, "secrets": null, "tty": true,
                                           "DnsConfig": {"nameservers": null}},
                         "networks": null, "placement": {"constraints": null}}
    });
    made(&fake, odd).await;
    let expect = json!({"Image": "i", "TTY": true, "DNSConfig": {}, "Isolation": "default"});
    let shown = fake.get("/services/y").await.json();
    assert_eq!(shown["Spec"]["TaskTemplate"]["ContainerSpec"], expect);
}
