//! Whose container a call names, and where the call goes.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use skep_core::command::{Change, Command, NewTask, TaskPatch};
use skep_core::id::{NodeId, TaskId};
use skep_core::model::node::{Availability, NodeAgent, NodeDescription, Role};
use skep_core::model::service::Slot;
use skep_core::model::task::{ContainerStatus, TaskState, TaskStatus};

use super::*;
use crate::fake::{Fake, NOW, node_id};

const OWN: &str = "aaaaaa0000000000000000000000000000000000000000000000000000000001";
const FAR: &str = "bbbbbb0000000000000000000000000000000000000000000000000000000002";

/// A cluster whose task 1 runs here and whose task 2 runs on another node with that agent.
async fn cluster(agent: NodeAgent) -> (Arc<Fake>, TaskId, TaskId) {
    let fake = Fake::cluster();
    let other = NodeId::from_entropy(5);
    fake.apply(Command::AdmitNode {
        id: other.clone(),
        role: Role::Worker,
        availability: Availability::Active,
        request: b"request".to_vec(),
    })
    .expect("it may come");
    fake.apply(Command::RegisterNode {
        id: other.clone(),
        description: Box::new(NodeDescription::default()),
        addr: "10.1.0.2".to_owned(),
        agent,
        restarted: false,
    })
    .expect("it was admitted");
    let spec = json!({"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}}});
    assert_eq!(fake.post("/services/create", spec).await.status, 201);
    let service = fake.state().services().keys().next().expect("one service").clone();
    let mut tasks = Vec::new();
    for (number, (node, container)) in (1..).zip([(node_id(), OWN), (other, FAR)]) {
        let id = TaskId::from_entropy(u128::MAX / 3 * u128::from(number));
        let slot = Slot::Number(number);
        let made = NewTask {
            id: id.clone(),
            service: service.clone(),
            slot,
            desired: TaskState::Running,
            hold: None,
        };
        let pending = TaskStatus { state: TaskState::Pending, ..TaskStatus::default() };
        let assigned = TaskStatus { state: TaskState::Assigned, ..TaskStatus::default() };
        let patch = |status, node| {
            let patch =
                TaskPatch { id: id.clone(), status: Some(status), node, ..TaskPatch::default() };
            Change::PatchTask(Box::new(patch))
        };
        for change in
            [Change::CreateTask(made), patch(pending, None), patch(assigned, Some(node.clone()))]
        {
            let based_on = fake.state().index();
            fake.apply(Command::Plan { based_on, changes: vec![change] }).expect("it fits");
        }
        let container = ContainerStatus { id: container.to_owned(), pid: 9, exit_code: 0 };
        let status = TaskStatus {
            at: NOW,
            state: TaskState::Running,
            container: Some(container),
            ..TaskStatus::default()
        };
        let statuses = vec![(id.clone(), status)];
        fake.apply(Command::ReportTasks { node, statuses }).expect("it runs");
        tasks.push(id);
    }
    let far = tasks.pop().expect("there are two");
    (fake, tasks.pop().expect("there are two"), far)
}

fn skep() -> NodeAgent {
    NodeAgent::Skep { version: "1".to_owned() }
}

fn take(fake: &Fake) -> (Vec<String>, Vec<String>) {
    let inner = &mut *fake.inner();
    (std::mem::take(&mut inner.asked), std::mem::take(&mut inner.relayed))
}

#[test]
fn what_a_call_is_about() {
    let container = |reference: &str, rest: &str| {
        Some(Target::Container { reference: reference.to_owned(), rest: rest.to_owned() })
    };
    let exec = Some(Target::Exec { id: "e".to_owned(), rest: "start".to_owned() });
    let cases = [
        (Method::GET, "/containers/x/json", container("x", "json")),
        (Method::GET, "/containers/x/attach/ws", container("x", "attach/ws")),
        (Method::PUT, "/containers/a%2Fb/archive", container("a/b", "archive")),
        (Method::POST, "/containers/x/exec", container("x", "exec")),
        (Method::POST, "/exec/e/start", exec),
        (Method::GET, "/containers/json", None),
        (Method::POST, "/containers/create", None),
        (Method::DELETE, "/containers/x", None),
        (Method::POST, "/containers/x/update", None),
        (Method::POST, "/containers/x/rename", None),
        (Method::GET, "/containers//json", None),
        (Method::GET, "/containers/x/../../images/y/json", None),
        (Method::GET, "//containers/x/json", None),
        (Method::GET, "/images/x/json", None),
    ];
    for (method, path, expect) in cases {
        assert_eq!(target(&method, path), expect, "{method} {path}");
    }
}

proptest! {
    #[test]
    fn an_address_reads_as_what_it_was_made_of(reference in ".{1,20}", query in "[a-z=&]{0,9}") {
        let made = Target::Container { reference, rest: "logs".to_owned() };
        let uri: Uri = format!("/x?{query}").parse().expect("it is one");
        let uri = readdress(&uri, Some(ApiVersion(1, 41)), &made).expect("all is encoded");
        let (version, path) = split_version(uri.path());
        prop_assert_eq!(version, Some(ApiVersion(1, 41)));
        prop_assert_eq!(target(&Method::GET, path), Some(made));
        prop_assert_eq!(uri.query(), Some(query.as_str()));
    }
}

#[tokio::test]
async fn containers_of_tasks_elsewhere_are_reached_by_many_names() {
    let (fake, _, far) = cluster(skep()).await;
    let names = [
        FAR.to_owned(),
        FAR[..12].to_owned(),
        FAR[..6].to_owned(),
        far.to_string(),
        far.short().to_owned(),
        format!("web.2.{far}"),
        "web.2".to_owned(),
    ];
    for name in names {
        let path = format!("/v1.51/containers/{name}/top?ps_args=aux");
        fake.get(&path).await;
        let local = format!("/v1.51/containers/{name}/json");
        assert_eq!(take(&fake), (vec![local], vec![format!("{far} {path}")]));
    }
    // Too short, unknown, and no business of other nodes.
    for name in ["bbbbb", "cccccc", "web.3", "web", "nothing"] {
        fake.get(&format!("/containers/{name}/json")).await;
        assert_eq!(take(&fake).1, Vec::<String>::new(), "{name}");
    }
    fake.ask("DELETE", &format!("/containers/{FAR}"), "").await;
    assert_eq!(take(&fake).1, Vec::<String>::new());
}

#[tokio::test]
async fn what_the_local_engine_has_comes_first() {
    let (fake, own, _) = cluster(skep()).await;
    fake.engine("/v1.51/containers/web.2/json", 200, "{}");
    fake.get("/v1.51/containers/web.2/top").await;
    let asked = ["/v1.51/containers/web.2/json", "/v1.51/containers/web.2/top"].map(str::to_owned);
    assert_eq!(take(&fake), (asked.to_vec(), Vec::new()));
    // This node's own tasks go by their ids and slots too.
    for name in [own.to_string(), "web.1".to_owned()] {
        fake.get(&format!("/v1.51/containers/{name}/logs?stdout=1")).await;
        let asked = [
            format!("/v1.51/containers/{name}/json"),
            format!("/v1.51/containers/web.1.{own}/logs?stdout=1"),
        ];
        assert_eq!(take(&fake), (asked.to_vec(), Vec::new()));
    }
    // What its engine knows by that name goes as it is.
    fake.get(&format!("/v1.51/containers/{OWN}/stats")).await;
    assert_eq!(take(&fake), (vec![format!("/v1.51/containers/{OWN}/stats")], Vec::new()));
}

#[tokio::test]
async fn an_exec_finds_its_node_again() {
    let (fake, own, far) = cluster(skep()).await;
    let path = "/v1.51/containers/web.2/exec";
    fake.engine(path, 201, "{\"Id\":\"0f\"}");
    let made = fake.ask("POST", path, "{}").await;
    made.is(201, &format!("{{\"Id\":\"0f.{far}\"}}\n"));
    take(&fake);
    fake.ask("POST", &format!("/v1.51/exec/0f.{far}/start"), "{}").await;
    assert_eq!(take(&fake), (Vec::new(), vec![format!("{far} /v1.51/exec/0f/start")]));
    fake.get(&format!("/exec/0f.{own}/json")).await;
    assert_eq!(take(&fake), (vec!["/exec/0f/json".to_owned()], Vec::new()));
    let gone = TaskId::from_entropy(1);
    let (status, text) = fake.get(&format!("/exec/0f.{gone}/json")).await.error();
    assert_eq!((status, text), (404, format!("No such exec instance: 0f.{gone}")));
}

#[tokio::test]
async fn engines_without_skep_give_output_alone() {
    let (fake, _, far) = cluster(NodeAgent::Engine).await;
    let (status, text) = fake.ask("POST", "/containers/web.2/exec", "{}").await.error();
    assert_eq!(status, 501);
    assert!(text.contains("joined without skep"), "{text}");
    let known = fake.get("/containers/web.2/json").await.json();
    assert_eq!(known["Id"], FAR);
    assert_eq!(known["Name"], format!("/web.2.{far}"));
    assert_eq!(known["Config"]["Tty"], false);
    assert_eq!(known["State"]["Running"], true);
    assert_eq!(fake.get("/containers/web.2/logs?stdout=1").await.status, 200);
    assert_eq!(fake.inner().output_asked.len(), 1);
}

#[tokio::test]
async fn workers_say_who_knows() {
    let (fake, _, _) = cluster(skep()).await;
    fake.inner().membership =
        Membership::Worker { node: node_id(), addr: String::new(), managers: Vec::new() };
    let unknown = TaskId::from_entropy(1);
    let path = format!("/v1.51/containers/web.9.{unknown}/json");
    fake.engine(&path, 404, "{\"message\":\"No such container: x\"}");
    let (status, text) = fake.get(&path).await.error();
    assert_eq!(status, 404);
    assert!(text.ends_with("ask a manager for those of tasks on other nodes"), "{text}");
    // A file that is missing is another matter, and so is a container of the user's.
    let path = format!("/v1.51/containers/{}/archive?path=/x", &FAR[..12].replace('b', "c"));
    fake.engine(&path, 404, "{\"message\":\"Could not find the file /x\"}");
    assert_eq!(fake.get(&path).await.error().1, "Could not find the file /x");
    fake.engine("/v1.51/containers/mine/json", 404, "{\"message\":\"No such container: mine\"}");
    let (_, text) = fake.get("/v1.51/containers/mine/json").await.error();
    assert_eq!(text, "No such container: mine");
}

/// What the engine has of a container with those labels on that network, that name server, and a secret.
fn inspected(
    id: &str,
    labels: serde_json::Value,
    network: &str,
    dns: &[&str],
) -> serde_json::Value {
    let file = "/run/skep/files/node/task/0";
    json!({
        "Id": id,
        "HostConfig": {"NetworkMode": "front", "Dns": dns, "Mounts": [{"Source": file, "Target": "/s"}]},
        "Mounts": [{"Source": file}, {"Source": "/data"}],
        "Config": {"Labels": labels},
        "NetworkSettings": {"Networks": {"front": {"NetworkID": network, "Gateway": "10.0.1.1"}}},
    })
}

#[tokio::test]
async fn a_container_is_told_as_the_cluster_sees_it() {
    let fake = Fake::cluster();
    let spec = json!({
        "Name": "web",
        "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}, "Networks": [{"Target": "front"}]},
    });
    assert_eq!(fake.post("/services/create", spec).await.status, 201);
    fake.settle();
    let state = fake.state();
    let network = state.find_network("front").expect("there is one").id.to_string();
    let task = state.tasks().values().next().expect("it was planned");
    assert!(!task.networks.is_empty(), "it has an address");
    let labels = json!({"com.docker.swarm.task.id": task.id.to_string()});
    let gateways = &state.find_network("front").expect("there is one").gateways;
    let own = gateways.get(&node_id()).expect("its task is here").to_string();
    let servers: [&str; 2] = [&own, "192.0.2.53"];
    let found = inspected("c", labels.clone(), "5e", &servers).to_string();
    fake.engine("/containers/c/json", 200, &found);
    let told = fake.ask("GET", "/containers/c/json", "").await.json();
    assert_eq!(told["HostConfig"]["Dns"], json!(["192.0.2.53"]));
    let found = inspected("c", labels, "5e", &servers[..1]).to_string();
    fake.engine("/containers/c/json", 200, &found);
    let told = fake.ask("GET", "/containers/c/json", "").await.json();
    let expect = json!({
        "Id": "c",
        "HostConfig": {"NetworkMode": "bridge", "Dns": null},
        "Mounts": [{"Source": "/data"}],
        "Config": {"Labels": {"com.docker.swarm.task.id": task.id.to_string()}},
        "NetworkSettings": {"Networks": {"front": {"NetworkID": network, "Gateway": ""}}},
    });
    assert_eq!(told, expect);
    // One that only has a network of the same name stays as it is.
    let other = inspected("d", json!({}), "5f", &[]);
    fake.engine("/containers/d/json", 200, &other.to_string());
    let told = fake.ask("GET", "/containers/d/json", "").await.json();
    assert_eq!(told["NetworkSettings"], other["NetworkSettings"]);
    assert_eq!(told["HostConfig"]["NetworkMode"], "front");
}
