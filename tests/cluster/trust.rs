//! What certificates allow, and what they do not: those of workers, of removed nodes, and those that ran out.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::uri::PathAndQuery;
use serde_json::json;
use skep::rpc::client::{Trust, channel};
use skep::rpc::tls::Tls;
use skep_core::id::NodeId;
use skep_core::model::node::NodeState;
use tonic::client::Grpc;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use crate::managers::{join, managers, token};
use crate::rotation::{rotate, rotated};
use crate::workers::{id_of, node_is, set};
use crate::world::{Daemon, Site, within};

/// Every method that managers serve each other and their nodes, and whether workers may call it.
const METHODS: &[(&str, bool)] = &[
    ("/docker.swarmkit.v1.CA/GetRootCACertificate", true),
    ("/docker.swarmkit.v1.CA/GetUnlockKey", false),
    ("/docker.swarmkit.v1.NodeCA/IssueNodeCertificate", true),
    ("/docker.swarmkit.v1.NodeCA/NodeCertificateStatus", true),
    ("/docker.swarmkit.v1.Dispatcher/Session", true),
    ("/docker.swarmkit.v1.Dispatcher/Heartbeat", true),
    ("/docker.swarmkit.v1.Dispatcher/UpdateTaskStatus", true),
    ("/docker.swarmkit.v1.Dispatcher/UpdateVolumeStatus", true),
    ("/docker.swarmkit.v1.Dispatcher/Assignments", true),
    ("/docker.swarmkit.v1.LogBroker/ListenSubscriptions", true),
    ("/docker.swarmkit.v1.LogBroker/PublishLogs", true),
    ("/docker.swarmkit.v1.ResourceAllocator/AttachNetwork", true),
    ("/docker.swarmkit.v1.ResourceAllocator/DetachNetwork", true),
    ("/skep.v1.Agent/Follow", true),
    ("/skep.v1.Agent/InForce", true),
    ("/skep.v1.Agent/Await", true),
    ("/skep.v1.Logs/Read", false),
    ("/skep.v1.Relay/Open", false),
    ("/skep.v1.Relay/Listen", true),
    ("/skep.v1.Relay/Serve", true),
    ("/skep.v1.Raft/Call", false),
    ("/skep.v1.Raft/Snapshot", false),
    ("/skep.v1.Raft/Join", false),
];

/// Finds the methods in the sources: the name of each service, and what its `call` matches.
fn served(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            served(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("sources are text");
        for service in text.split("impl RpcService for").skip(1) {
            let service = service.split("\n}").next().unwrap_or("");
            let name = service.split('"').nth(1).expect("a service has a name");
            let arms = service.lines().filter_map(|line| {
                let (method, _) = line.trim().strip_prefix('"')?.split_once("\" =>")?;
                Some(method)
            });
            found.extend(arms.map(|method| format!("/{name}/{method}")));
        }
    }
}

/// Uses the certificate that lies in a daemon's folder.
pub fn credentials(site: &Site) -> Trust {
    let read = |name: &str| {
        let path = site.data_dir().join("certificates").join(name);
        std::fs::read_to_string(path).expect("a member has a certificate")
    };
    let tls = Tls::default();
    tls.replace(&read("swarm-node.crt"), &read("swarm-node.key"), &read("swarm-root-ca.crt"))
        .expect("a certificate with its key");
    Trust::Mutual(Arc::new(tls))
}

/// Calls a method with an empty message; returns what is answered. Streams that stay open count as answered.
async fn call(to: &Site, trust: &Trust, path: &'static str) -> (Code, String) {
    let mut grpc = Grpc::new(channel(&to.listen(), trust.clone()).expect("an address"));
    within("a connection", grpc.ready()).await.expect("a manager listens");
    let codec = ProstCodec::<(), ()>::default();
    let asked = grpc.unary(Request::new(()), PathAndQuery::from_static(path), codec);
    match tokio::time::timeout(Duration::from_secs(2), asked).await {
        Ok(Err(status)) => (status.code(), status.message().to_owned()),
        Ok(Ok(_)) | Err(_) => (Code::Ok, String::new()),
    }
}

#[tokio::test]
async fn a_workers_certificate_does_nothing_that_a_managers_can() {
    let mut found = BTreeSet::new();
    served(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manager"), &mut found);
    let listed: BTreeSet<String> = METHODS.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(found, listed, "every method is in the table above");

    let (sites, managers) = managers(1).await;
    let site = Site::new();
    let worker = join(&site, &sites[0], &token(&managers[0], "Worker").await).await;
    let node = id_of(&worker).await;
    let trust = credentials(&site);
    for (path, allowed) in METHODS {
        let (code, text) = call(&sites[0], &trust, path).await;
        assert_eq!(code != Code::PermissionDenied, *allowed, "{path}: {code:?} {text}");
    }
    // Services that genuine managers have beside are not there at all.
    for path in [
        "/docker.swarmkit.v1.Control/ListSecrets",
        "/docker.swarmkit.v1.Raft/ProcessRaftMessage",
        "/docker.swarmkit.v1.RaftMembership/Join",
        "/docker.swarmkit.v1.Health/Check",
    ] {
        assert_eq!(call(&sites[0], &trust, path).await.0, Code::Unimplemented, "{path}");
    }

    managers[0].client.delete(&format!("/nodes/{node}?force=true")).await.ok();
    for (path, _) in METHODS {
        let (code, text) = call(&sites[0], &trust, path).await;
        assert_eq!(code, Code::PermissionDenied, "{path}: {text}");
    }
    worker.stop().await;
    for daemon in managers {
        daemon.stop().await;
    }
}

/// Returns the time, so many days ago.
fn days_ago(days: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    i64::try_from(now).expect("it fits") - days * 86_400
}

/// A worker that is off, with a certificate of a day that was signed so many days ago.
async fn worker_that_is_off(sites: &[Site], managers: &[Daemon], days: i64) -> (Site, NodeId) {
    let site = Site::new();
    let worker = join(&site, &sites[0], &token(&managers[0], "Worker").await).await;
    let node = id_of(&worker).await;
    // The cluster's own root is too young to have signed anything that ran out.
    let root = skep_pki::RootCa::generate(days_ago(10)).expect("a root");
    rotate(&managers[0], Some(&root)).await;
    rotated(&managers[0]).await;
    worker.stop().await;
    managers[0].until("it is missed", |state, _| node_is(state, &node, NodeState::Down)).await;
    let cluster = managers[0].client.get("/swarm").await.ok()["ID"].clone();
    let cluster = cluster.as_str().expect("an id");
    let (role, day) = (skep_pki::NodeRole::Worker, Duration::from_secs(86_400));
    let made = skep_pki::generate_node(&root, node.as_str(), role, cluster, days_ago(days), day);
    let made = made.expect("a certificate");
    let folder = site.data_dir().join("certificates");
    for (name, text) in [
        ("swarm-node.crt", made.certificate_pem.as_str()),
        ("swarm-node.key", made.key_pem.as_str()),
    ] {
        std::fs::write(folder.join(name), text).expect("it can be written");
    }
    (site, node)
}

#[tokio::test]
async fn a_node_whose_certificate_does_not_hold_yet_gets_another_one() {
    let (sites, managers) = managers(1).await;
    let (site, node) = worker_that_is_off(&sites, &managers, -365).await;
    let trust = credentials(&site);
    for (path, _) in METHODS {
        let (code, text) = call(&sites[0], &trust, path).await;
        let is_refused = code == Code::PermissionDenied;
        assert_eq!(is_refused, !path.contains("NodeCA"), "{path}: {code:?} {text}");
    }
    let worker = site.start().await;
    managers[0].until("it is back", |state, _| node_is(state, &node, NodeState::Ready)).await;
    worker.stop().await;
    for daemon in managers {
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_node_whose_certificate_ran_out_comes_back_where_users_allow_it() {
    let (sites, managers) = managers(2).await;
    let (site, node) = worker_that_is_off(&sites, &managers, 2).await;
    let trust = credentials(&site);
    let worker = site.start().await;
    let renewal = "/docker.swarmkit.v1.NodeCA/IssueNodeCertificate";
    for (path, _) in METHODS {
        let (code, text) = call(&sites[0], &trust, path).await;
        assert_eq!(code, Code::PermissionDenied, "{path}: {text}");
        assert_eq!(text.contains("skep.certificate-grace"), path.contains("NodeCA"), "{text}");
    }

    set(&managers[0], &node, &json!({ "Labels": { "skep.certificate-grace": "48h" } })).await;
    managers[0].until("it is back", |state, _| node_is(state, &node, NodeState::Ready)).await;
    for (path, _) in METHODS {
        let (code, text) = call(&sites[0], &trust, path).await;
        let is_refused = code == Code::PermissionDenied;
        assert_eq!(is_refused, !path.contains("NodeCA"), "{path}: {code:?} {text}");
    }

    // One that is removed is refused, whatever grace it had.
    managers[0].client.delete(&format!("/nodes/{node}?force=true")).await.ok();
    let (code, text) = call(&sites[0], &trust, renewal).await;
    assert_eq!((code, text.contains("removed")), (Code::PermissionDenied, true), "{text}");
    worker.stop().await;
    for daemon in managers {
        daemon.stop().await;
    }
}
