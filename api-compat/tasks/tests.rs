//! Routes of tasks and of output: filters, framing and layout.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use skep_core::command::{Change, Command, NewTask};
use skep_core::id::{ServiceId, TaskId};
use skep_core::model::service::Slot;
use skep_core::model::task::TaskState;
use skep_core::time::Timestamp;

use crate::backend::{LogItem, LogLine, LogOptions, LogSelector};
use crate::fake::{Fake, node_id};

/// Makes a service with one task; returns their ids.
async fn running(fake: &Arc<Fake>, tty: bool) -> (ServiceId, TaskId) {
    let spec = json!({"Name": "t", "Labels": {"a": "b"},
                      "TaskTemplate": {"ContainerSpec": {"Image": "busybox", "TTY": tty}}});
    assert_eq!(fake.post("/services/create", spec).await.status, 201);
    let state = fake.state();
    let service = state.services().keys().next().expect("one service").clone();
    let id = TaskId::from_entropy(99);
    fake.apply(Command::Plan {
        based_on: state.index(),
        changes: vec![Change::CreateTask(NewTask {
            id: id.clone(),
            service: service.clone(),
            slot: Slot::Number(1),
            desired: TaskState::Running,
            hold: None,
        })],
    })
    .expect("the plan fits");
    (service, id)
}

async fn ids(fake: &Arc<Fake>, filters: Value) -> Vec<String> {
    let answer = fake.list("/tasks?", &filters.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let list = answer.json();
    let id = |task: &Value| task["ID"].as_str().map(str::to_owned);
    list.as_array().expect("a list").iter().filter_map(id).collect()
}

#[tokio::test]
async fn tasks_are_listed_and_found() {
    let fake = Fake::cluster();
    assert_eq!(fake.get("/tasks").await.json(), json!([]));
    let (service, task) = running(&fake, false).await;
    let name = format!("t.1.{task}");
    for reference in [task.as_str(), &name] {
        assert_eq!(fake.get(&format!("/tasks/{reference}")).await.json()["ID"], task.as_str());
    }
    assert_eq!(fake.get("/tasks/nope").await.error(), (404, "task nope not found".to_owned()));
    for filters in [
        json!({}),
        json!({"service": ["t"]}),
        json!({"service": [service.as_str()]}),
        json!({"service": ["t"], "_up-to-date": ["true"]}),
        json!({"name": ["t.1"]}),
        json!({"label": ["a"]}),
        json!({"desired-state": ["RUNNING"]}),
        json!({"desired-state": [""]}),
        json!({"runtime": ["container"]}),
        json!({"id": [&task.as_str()[..24]]}),
    ] {
        assert_eq!(ids(&fake, filters.clone()).await, [task.as_str()], "{filters}");
    }
    for filters in [
        json!({"name": ["t.2"]}),
        json!({"label": ["b"]}),
        json!({"desired-state": ["shutdown"]}),
        json!({"runtime": ["attachment"]}),
        json!({"node": ["one"]}),
    ] {
        assert_eq!(ids(&fake, filters.clone()).await, [""; 0], "{filters}");
    }
    for (filters, status, text) in [
        (json!({"service": ["nope"]}), 404, "service nope not found"),
        (json!({"node": ["nope"]}), 404, "node nope not found"),
        (json!({"desired-state": ["bogus"]}), 500, "Invalid desired-state filter: 'bogus'"),
        (json!({"zzz": ["t"]}), 400, "invalid filter 'zzz'"),
    ] {
        let answer = fake.list("/tasks?", &filters.to_string()).await;
        assert_eq!(answer.error(), (status, text.to_owned()));
    }
}

#[tokio::test]
async fn a_task_of_an_older_spec_is_not_up_to_date() {
    let fake = Fake::cluster();
    let (service, task) = running(&fake, false).await;
    let version = fake.state().services()[&service].meta.version;
    let spec = json!({"Name": "t", "TaskTemplate": {"ContainerSpec": {"Image": "busybox:2"}}});
    let answer = fake.post(&format!("/services/t/update?version={version}"), spec).await;
    assert_eq!(answer.status, 200);
    assert_eq!(ids(&fake, json!({"service": ["t"]})).await, [task.as_str()]);
    assert_eq!(ids(&fake, json!({"service": ["t"], "_up-to-date": ["true"]})).await, [""; 0]);
}

fn line(task: &TaskId, service: &ServiceId, stderr: bool, text: &'static str) -> LogItem {
    LogItem::Line(LogLine {
        stderr,
        at: Timestamp(1_767_323_045_120_000_000),
        attributes: vec![("zone".into(), "a b&c".into())],
        task: task.clone(),
        service: Some(service.clone()),
        node: node_id(),
        data: Bytes::from_static(text.as_bytes()),
    })
}

fn frame(stream: u8, text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).expect("short");
    [&[stream, 0, 0, 0], len.to_be_bytes().as_slice(), text.as_bytes()].concat()
}

#[tokio::test]
async fn each_line_is_a_frame() {
    let fake = Fake::cluster();
    let (service, task) = running(&fake, false).await;
    fake.say(vec![
        line(&task, &service, false, "one\n"),
        line(&task, &service, true, "two\n"),
        LogItem::Problem("node gone".into()),
    ]);
    let problem = frame(3, "Error grabbing logs: node gone\n");
    let plain = fake.get("/v1.42/services/t/logs?stdout=1&stderr=True&follow=1&tail=5").await;
    assert_eq!(plain.header("content-type"), "application/vnd.docker.multiplexed-stream");
    assert_eq!(plain.body, [frame(1, "one\n"), frame(2, "two\n"), problem.clone()].concat());
    let expect =
        LogOptions { follow: true, stdout: true, stderr: true, since: None, tail: Some(5) };
    assert_eq!(
        fake.inner().output_asked.clone(),
        [(LogSelector::Service(service.clone()), expect)]
    );

    let path =
        format!("/v1.41/tasks/{task}/logs?stderr=1&stdout=False&timestamps=1&details=1&since=12.5");
    let full = fake.get(&path).await;
    assert_eq!(full.header("content-type"), "application/vnd.docker.raw-stream");
    let text = format!(
        "2026-01-02T03:04:05.120000000Z com.docker.swarm.node.id=4mbqnode0000000000000000a,\
         com.docker.swarm.service.id={service},com.docker.swarm.task.id={task},zone=a+b%26c two\n"
    );
    assert_eq!(full.body, [frame(2, &text), problem].concat());
    let (selector, options) = fake.inner().output_asked.clone().pop().expect("asked");
    assert_eq!(selector, LogSelector::Task(task));
    assert_eq!((options.since, options.tail), (Some(Timestamp(12_500_000_000)), None));
}

#[tokio::test]
async fn terminals_are_raw() {
    let fake = Fake::cluster();
    let (service, task) = running(&fake, true).await;
    fake.say(vec![line(&task, &service, false, "pro"), line(&task, &service, false, "mpt> ")]);
    let answer = fake.get("/services/t/logs?stdout=1").await;
    assert_eq!(answer.header("content-type"), "application/vnd.docker.raw-stream");
    assert_eq!(answer.body.as_ref(), b"prompt> ");
}

#[tokio::test]
async fn bad_requests_for_output_get_their_words() {
    let fake = Fake::cluster();
    running(&fake, false).await;
    for (path, status, text) in [
        ("/services/nope/logs?stdout=1", 404, "service nope not found"),
        ("/tasks/nope/logs?stdout=1", 404, "task nope not found"),
        ("/services/t/logs", 500, "Bad parameters: you must choose at least one stream"),
        (
            "/services/t/logs?stdout=1&tail=x",
            500,
            "tail value must be a positive integer or \"all\"",
        ),
        ("/services/t/logs?stdout=1&tail=-1", 500, "negative tail values not supported"),
    ] {
        assert_eq!(fake.get(path).await.error(), (status, text.to_owned()), "{path}");
    }
}
