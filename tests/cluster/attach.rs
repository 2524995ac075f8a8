//! Containers that users make on a worker and that join networks of the cluster: the worker asks the managers for their addresses
//! and gives them back, whatever happens to it between.

use std::sync::Arc;

use http::uri::PathAndQuery;
use serde_json::json;
use skep::engine::Engine as _;
use skep::rpc::client::channel;
use skep::rpc::proto::{DetachNetworkRequest, DetachNetworkResponse};
use skep_core::agent::ContainerPlan;
use skep_core::agent::step::Container;
use skep_core::model::task::{Task, TaskState};
use skep_core::state::State;
use tonic::client::Grpc;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use crate::managers::{join, leader, managers, settled, token};
use crate::spec;
use crate::trust::credentials;
use crate::workers::id_of;
use crate::world::{Daemon, Site, within};

/// Makes a container as a user does, and starts it.
async fn container(site: &Site, name: &str) -> String {
    let plan = ContainerPlan {
        name: name.to_owned(),
        image: spec::FIRST.to_owned(),
        ..ContainerPlan::default()
    };
    let made = site.engine.create(&plan).await.expect("the image is there").id;
    site.engine.start(&made).await.expect("it starts");
    made
}

async fn network(manager: &Daemon, name: &str, attachable: bool) {
    let request = json!({ "Name": name, "Driver": "overlay", "Attachable": attachable });
    manager.client.post("/networks/create", &request).await.ok();
}

fn attachments(state: &State) -> Vec<&Arc<Task>> {
    state.tasks().values().filter(|task| task.service.is_none()).collect()
}

async fn connect(worker: &Daemon, network: &str, container: &str) -> crate::client::Answer {
    let path = format!("/networks/{network}/connect");
    worker.client.post(&path, &json!({ "Container": container })).await
}

/// Names the networks that a node lists.
async fn listed(daemon: &Daemon) -> Vec<String> {
    let all = daemon.client.get("/networks").await.ok();
    let name = |network: &serde_json::Value| network["Name"].as_str().map(str::to_owned);
    all.as_array().expect("a list").iter().filter_map(name).collect()
}

async fn is_held(manager: &Daemon, container: &str) {
    manager
        .until("an address is held for the container", |state, _| {
            let [task] = attachments(state)[..] else { return false };
            let names = task.networks.first().map(|joined| &joined.aliases);
            task.status.state == TaskState::Running
                && names.is_some_and(|names| names.iter().any(|name| container.starts_with(name)))
        })
        .await;
}

async fn none_is_held(manager: &Daemon) {
    manager.until("no address is held", |state, _| attachments(state).is_empty()).await;
}

#[tokio::test]
async fn a_workers_containers_have_addresses_of_the_cluster_while_they_run() {
    let (sites, managers) = managers(1).await;
    let site = Site::new();
    let worker = join(&site, &sites[0], &token(&managers[0], "Worker").await).await;
    network(&managers[0], "front", true).await;
    network(&managers[0], "closed", false).await;
    let mine = container(&site, "mine").await;
    assert!(listed(&worker).await.is_empty());

    connect(&worker, "front", "mine").await.ok();
    is_held(&managers[0], &mine).await;
    assert_eq!(listed(&worker).await, ["front"]);
    let shown = worker.client.get("/networks/front").await.ok();
    assert_eq!(shown["Created"], managers[0].client.get("/networks/front").await.ok()["Created"]);
    let text = worker.client.delete("/networks/front").await.error(503);
    assert!(text.contains("Worker nodes can't be used to view or modify"), "{text}");
    for (network, code, reason) in [
        ("closed", "PermissionDenied", "not manually attachable"),
        ("nosuch", "NotFound", "not found"),
    ] {
        assert_eq!(
            connect(&worker, network, "mine").await.error(500),
            format!(
                "Could not attach to network {network}: rpc error: code = {code} desc = network {network} {reason}"
            )
        );
    }

    let disconnect = json!({ "Container": "mine" });
    worker.client.post("/networks/front/disconnect", &disconnect).await.ok();
    none_is_held(&managers[0]).await;

    // What a user removes, and what goes while the worker is away.
    connect(&worker, "front", "mine").await.ok();
    worker.client.delete("/containers/mine?force=1").await.ok();
    none_is_held(&managers[0]).await;
    let mine = container(&site, "another").await;
    connect(&worker, "front", "another").await.ok();
    is_held(&managers[0], &mine).await;
    worker.cut_off().await;
    site.engine.set_state(&mine, Container::Absent);
    let worker = site.start().await;
    none_is_held(&managers[0]).await;
    worker.stop().await;
    for daemon in managers {
        daemon.stop().await;
    }
}

#[tokio::test]
async fn an_address_is_kept_over_a_workers_restart_and_given_by_whoever_leads() {
    let (sites, mut managers) = managers(3).await;
    let site = Site::new();
    let worker = join(&site, &sites[0], &token(&managers[0], "Worker").await).await;
    network(&managers[0], "front", true).await;
    let mine = container(&site, "mine").await;
    let dying = leader(&managers);
    managers.remove(dying).cut_off().await;
    // The worker does not know yet.
    connect(&worker, "front", "mine").await.ok();
    is_held(&managers[0], &mine).await;
    let before = attachments(&managers[0].state())[0].networks.clone();
    managers.insert(dying, sites[dying].start().await);
    settled(&managers).await;

    worker.cut_off().await;
    let worker = site.start().await;
    worker.is_worker().await;
    is_held(&managers[0], &mine).await;
    assert_eq!(attachments(&managers[0].state())[0].networks, before);
    let exited = Container::Exited {
        code: 0,
        error: String::new(),
        health: skep_core::agent::step::Health::Unchecked,
    };
    site.engine.set_state(&mine, exited);
    none_is_held(&managers[0]).await;
    worker.stop().await;
    for daemon in managers {
        daemon.stop().await;
    }
}

#[tokio::test]
async fn no_node_gives_back_what_another_one_holds() {
    let (sites, managers) = managers(1).await;
    let (site, stranger) = (Site::new(), Site::new());
    let token = token(&managers[0], "Worker").await;
    let worker = join(&site, &sites[0], &token).await;
    let other = join(&stranger, &sites[0], &token).await;
    network(&managers[0], "front", true).await;
    let mine = container(&site, "mine").await;
    connect(&worker, "front", "mine").await.ok();
    is_held(&managers[0], &mine).await;
    let state = managers[0].state();
    let held = attachments(&state)[0];
    assert_eq!(held.node, Some(id_of(&worker).await));

    let detach = async |site: &Site| {
        let trust = credentials(site);
        let mut grpc = Grpc::new(channel(&sites[0].listen(), trust).expect("an address"));
        within("a connection", grpc.ready()).await.expect("a manager listens");
        let codec = ProstCodec::<DetachNetworkRequest, DetachNetworkResponse>::default();
        let path = "/docker.swarmkit.v1.ResourceAllocator/DetachNetwork";
        let request = Request::new(DetachNetworkRequest { attachment_id: held.id.to_string() });
        let answer = grpc.unary(request, PathAndQuery::from_static(path), codec).await;
        answer.err().map_or(Code::Ok, |status| status.code())
    };
    assert_eq!(detach(&stranger).await, Code::PermissionDenied);
    is_held(&managers[0], &mine).await;
    assert_eq!(detach(&site).await, Code::Ok);
    none_is_held(&managers[0]).await;
    assert_eq!(detach(&site).await, Code::NotFound);
    for daemon in [worker, other].into_iter().chain(managers) {
        daemon.stop().await;
    }
}
