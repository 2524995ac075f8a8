//! Services from their creation to their end, on one node.

use serde_json::json;
use skep_core::agent::step::{Container, Health};

use crate::spec::{FIRST, web};
use crate::world::Site;

#[tokio::test]
async fn a_service_runs_and_is_scaled_both_ways() {
    let site = Site::new();
    let daemon = site.cluster().await;
    daemon.create(&web(2)).await;
    daemon.tasks_running("web", 2, FIRST).await;
    daemon.update(&web(5)).await;
    daemon.tasks_running("web", 5, FIRST).await;
    daemon.update(&web(1)).await;
    daemon.tasks_running("web", 1, FIRST).await;
    assert_eq!(site.engine.starts(), 5, "scaling restarts nothing");
    let shown = daemon.client.get("/tasks?filters={\"desired-state\":[\"running\"]}").await.ok();
    assert_eq!(shown.as_array().map(Vec::len), Some(1), "{shown}");
    assert_eq!(shown[0]["Status"]["State"], "running");
    assert_eq!(shown[0]["Status"]["ContainerStatus"]["ContainerID"], daemon.running()[0].as_str());
    daemon.stop().await;
}

#[tokio::test]
async fn a_removed_service_takes_its_containers_and_networks_along() {
    let site = Site::new();
    let daemon = site.cluster().await;
    let network = json!({ "Name": "back", "Driver": "overlay" });
    let network = daemon.client.post("/networks/create", &network).await.ok();
    let mut spec = web(3);
    spec["TaskTemplate"]["Networks"] = json!([{ "Target": network["Id"] }]);
    daemon.create(&spec).await;
    daemon.tasks_running("web", 3, FIRST).await;
    assert_eq!(site.engine.engine_networks().len(), 1);
    daemon.client.delete("/services/web").await.ok();
    daemon
        .until("nothing is left of web", |state, engine| {
            state.services().is_empty()
                && state.tasks().is_empty()
                && engine.containers().is_empty()
                && engine.engine_networks().is_empty()
        })
        .await;
    daemon.client.delete("/networks/back").await.ok();
    daemon.stop().await;
}

#[tokio::test]
async fn a_killed_container_is_replaced() {
    let site = Site::new();
    let daemon = site.cluster().await;
    daemon.create(&web(2)).await;
    daemon.tasks_running("web", 2, FIRST).await;
    let before = daemon.running();
    let killed = Container::Exited { code: 137, error: String::new(), health: Health::Unchecked };
    site.engine.set_state(&before[0], killed);
    daemon
        .until("the failure is told and replaced", |state, engine| {
            let failed = state.tasks().values().any(|task| {
                task.status.state.as_str() == "failed"
                    && task.status.error == "task: non-zero exit (137)"
            });
            failed && engine.starts() == 3
        })
        .await;
    daemon.tasks_running("web", 2, FIRST).await;
    assert!(daemon.running().contains(&before[1]), "the other task goes on");

    site.engine.set_state(&before[1], Container::Absent);
    daemon.until("the removed one is replaced", |_, engine| engine.starts() == 4).await;
    daemon.tasks_running("web", 2, FIRST).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_secret_in_use_stays_until_its_service_is_gone() {
    let site = Site::new();
    let daemon = site.cluster().await;
    let secret = json!({ "Name": "key", "Data": "aHVzaA==" });
    let secret = daemon.client.post("/secrets/create", &secret).await.ok();
    let mut spec = web(1);
    spec["TaskTemplate"]["ContainerSpec"]["Secrets"] = json!([{
        "SecretID": secret["ID"],
        "SecretName": "key",
        "File": { "Name": "key", "UID": "0", "GID": "0", "Mode": 0o444 },
    }]);
    daemon.create(&spec).await;
    daemon.tasks_running("web", 1, FIRST).await;
    let containers = site.engine.containers();
    let plan = format!("{:?}", containers.values().next().expect("it runs").plan);
    assert!(plan.contains("/run/secrets/key"), "{plan}");
    let refusal = daemon.client.delete("/secrets/key").await.error(400);
    assert!(refusal.contains("secret 'key' is in use by the following service: web"), "{refusal}");
    let shown = daemon.client.get("/secrets/key").await.ok().to_string();
    assert!(!shown.contains("aHVzaA") && !shown.contains("hush"), "{shown}");
    daemon.client.delete("/services/web").await.ok();
    daemon.client.delete("/secrets/key").await.ok();
    daemon.client.get("/secrets/key").await.error(404);
    daemon.stop().await;
}

#[tokio::test]
async fn an_engine_that_was_away_restarts_nothing() {
    let site = Site::new();
    let daemon = site.cluster().await;
    daemon.create(&web(2)).await;
    daemon.tasks_running("web", 2, FIRST).await;
    let before = daemon.running();
    site.engine.set_down(true);
    daemon.update(&web(3)).await;
    daemon
        .until("the third task is assigned", |state, _| {
            state.tasks().values().filter(|task| task.node.is_some()).count() == 3
        })
        .await;
    assert_eq!(daemon.running(), before);
    site.engine.set_down(false);
    daemon.tasks_running("web", 3, FIRST).await;
    assert_eq!(site.engine.starts(), 3);
    assert_eq!(daemon.state().tasks().len(), 3, "no task was replaced");
    daemon.stop().await;
}
