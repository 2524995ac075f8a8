//! Streams of the API: events, and output of tasks that come later.

use bytes::Bytes;
use serde_json::json;
use skep::engine::EngineLogLine;
use skep_core::time::Timestamp;

use crate::spec::{FIRST, web};
use crate::world::Site;

#[tokio::test]
async fn events_come_in_order() {
    let site = Site::new();
    let daemon = site.cluster().await;
    // The ingress network gets its subnet about now.
    let path = "/events?filters={\"scope\":[\"swarm\"],\"type\":[\"config\",\"service\"]}";
    let mut events = daemon.client.stream(path).await;
    let config = json!({ "Name": "a", "Data": "eA==" });
    daemon.client.post("/configs/create", &config).await.ok();
    daemon.create(&web(1)).await;
    daemon.tasks_running("web", 1, FIRST).await;
    daemon.update(&web(2)).await;
    daemon.tasks_running("web", 2, FIRST).await;
    daemon.client.delete("/services/web").await.ok();
    daemon.client.delete("/configs/a").await.ok();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "config remove a") {
        let event = events.object().await.expect("the stream goes on");
        let actor = &event["Actor"];
        let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let line = [&event["Type"], &event["Action"], &actor["Attributes"]["name"]].map(word);
        assert_eq!(event["scope"], "swarm");
        seen.push(line.join(" "));
    }
    let expected = [
        "config create a",
        "service create web",
        "service update web",
        "service remove web",
        "config remove a",
    ];
    assert_eq!(seen, expected);
    daemon.stop().await;
}

#[tokio::test]
async fn past_events_are_told_again() {
    let site = Site::new();
    let daemon = site.cluster().await;
    let config = json!({ "Name": "a", "Data": "eA==" });
    daemon.client.post("/configs/create", &config).await.ok();
    let path = "/events?since=1&filters={\"type\":[\"config\"]}";
    let event = daemon.client.stream(path).await.object().await.expect("it is remembered");
    assert_eq!((&event["Type"], &event["Action"]), (&json!("config"), &json!("create")));
    daemon.stop().await;
}

#[tokio::test]
async fn followed_logs_pick_up_new_tasks() {
    let site = Site::new();
    let daemon = site.cluster().await;
    let say = |container: &str, text: &'static str| {
        let data = Bytes::from_static(text.as_bytes());
        let line = EngineLogLine { stderr: false, at: Timestamp(1), attributes: Vec::new(), data };
        site.engine.add_log(container, line);
    };
    daemon.create(&web(1)).await;
    daemon.tasks_running("web", 1, FIRST).await;
    let first = daemon.running()[0].clone();
    say(&first, "one\n");
    let mut logs = daemon.client.stream("/services/web/logs?follow=1&stdout=1").await;
    assert_eq!(logs.frame().await.as_deref(), Some("one\n"));
    say(&first, "two\n");
    assert_eq!(logs.frame().await.as_deref(), Some("two\n"));

    daemon.update(&web(2)).await;
    daemon.tasks_running("web", 2, FIRST).await;
    let second = daemon.running().into_iter().find(|id| *id != first).expect("there are two");
    say(&second, "three\n");
    assert_eq!(logs.frame().await.as_deref(), Some("three\n"));

    daemon.client.delete("/services/web").await.ok();
    assert_eq!(logs.frame().await, None, "the output of a removed service ends");
    daemon.stop().await;
}
