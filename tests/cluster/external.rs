//! A root whose key the cluster never sees: a signer outside makes the certificates of all nodes, and vouches for the next root.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::client::Answer;
use crate::managers::{join, managers, token};
use crate::rotation::{rotate, rotated};
use crate::signer::{Root, Signer, make_root};
use crate::workers::id_of;
use crate::world::{Daemon, Site, within};

/// Nobody listens there.
const NOBODY: &str = "https://127.0.0.1:1/sign";

/// Starts a signer for a root that takes the managers of this cluster for what they are now, and will be.
async fn signer(root: &Root, daemon: &Daemon) -> Signer {
    let now = daemon.client.get("/swarm").await.ok()["TLSInfo"]["TrustRoot"].clone();
    let clients = root.certificate_pem.clone() + now.as_str().expect("a root is text");
    let listen = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    Signer::start(listen, root, &clients).expect("a signer starts")
}

fn listed(url: &str, root: &Root) -> Value {
    json!({ "Protocol": "cfssl", "URL": url, "CACert": root.certificate_pem })
}

/// Changes what the spec says of roots, as often as something else comes between.
async fn set(daemon: &Daemon, change: impl Fn(&mut Value)) -> Answer {
    loop {
        let cluster = daemon.client.get("/swarm").await.ok();
        let mut spec = cluster["Spec"].clone();
        change(&mut spec["CAConfig"]);
        let path = format!("/swarm/update?version={}", cluster["Version"]["Index"]);
        let answer = daemon.client.post(&path, &spec).await;
        if !answer.body["message"].to_string().contains("update out of sequence") {
            return answer;
        }
    }
}

/// Waits for the next whom a signer signed for.
async fn next(signer: Signer) -> (Signer, String) {
    let waiting = tokio::task::spawn_blocking(move || {
        let name = signer.signed.recv();
        (signer, name)
    });
    let (signer, name) = within("a signature", waiting).await.expect("it waits");
    (signer, name.expect("the signer goes on"))
}

fn has_key(daemon: &Daemon) -> bool {
    let state = daemon.state();
    !state.cluster().expect("there is a cluster").root_ca.key_pem.0.is_empty()
}

#[tokio::test]
async fn nodes_get_certificates_of_a_root_that_is_held_outside() {
    let (sites, managers) = managers(2).await;
    let worker_site = Site::new();
    let worker = join(&worker_site, &sites[0], &token(&managers[0], "Worker").await).await;
    let root = make_root("outside").expect("a root");
    let wanted = |spec: &mut Value, signers: Value| {
        spec["SigningCACert"] = json!(root.certificate_pem);
        spec["ExternalCAs"] = signers;
    };
    let text = set(&managers[1], |spec| wanted(spec, json!([listed(NOBODY, &root)]))).await;
    let text = text.error(400);
    let expect =
        "at least one valid, reachable external CA corresponding to the desired CA certificate";
    assert!(text.contains(expect), "{text}");

    // One of two signers is enough.
    let mut signer = signer(&root, &managers[0]).await;
    let both = json!([listed(NOBODY, &root), listed(&signer.url, &root)]);
    set(&managers[1], |spec| wanted(spec, both.clone())).await.ok();
    rotated(&managers[0]).await;
    assert!(!has_key(&managers[0]));
    let nodes = [managers[0].node_id(), managers[1].node_id(), id_of(&worker).await];
    let nodes: BTreeSet<String> = nodes.iter().map(ToString::to_string).collect();
    let mut signed = BTreeSet::new();
    while signed != nodes {
        let (same, name) = next(signer).await;
        signer = same;
        signed.insert(name);
    }

    // While the signer refuses, who joins waits.
    signer.away.store(true, Ordering::Relaxed);
    let late_site = Site::new();
    let late_token = token(&managers[0], "Worker").await;
    let known = managers[0].state().nodes().len();
    let joining = join(&late_site, &sites[1], &late_token);
    let admitted = async {
        let admitted = |state: &skep_core::state::State, _: &_| state.nodes().len() > known;
        managers[0].until("the node is admitted", admitted).await;
        signer.away.store(false, Ordering::Relaxed);
    };
    let (late, ()) = tokio::join!(Box::pin(joining), admitted);
    let late_id = id_of(&late).await;
    assert!(managers[0].state().nodes().contains_key(&late_id));

    // Whoever has the key now is needed.
    let text = set(&managers[0], |spec| spec["ExternalCAs"] = json!([])).await.error(400);
    assert!(text.contains("corresponding to the current CA certificate"), "{text}");
    late.stop().await;
    worker.stop().await;
    for daemon in managers {
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_signer_outside_vouches_for_the_next_root() {
    let (sites, managers) = managers(1).await;
    let worker_site = Site::new();
    let worker = join(&worker_site, &sites[0], &token(&managers[0], "Worker").await).await;
    let root = make_root("first").expect("a root");
    let first = signer(&root, &managers[0]).await;
    let signers = json!([listed(&first.url, &root)]);
    set(&managers[0], |spec| {
        spec["SigningCACert"] = json!(root.certificate_pem);
        spec["ExternalCAs"] = signers.clone();
    })
    .await
    .ok();
    rotated(&managers[0]).await;

    let other = make_root("second").expect("a root");
    let second = signer(&other, &managers[0]).await;
    let text = set(&managers[0], |spec| {
        spec["SigningCACert"] = json!(other.certificate_pem);
        spec["ExternalCAs"] = json!([listed(&first.url, &root), listed(&second.url, &other)]);
    })
    .await
    .error(400);
    let expect = "rotating from one external CA to a different external CA is not supported";
    assert!(text.contains(expect), "{text}");

    first.away.store(true, Ordering::Relaxed);
    let force = |spec: &mut Value| {
        let counter = spec["ForceRotate"].as_u64().unwrap_or(0);
        spec["ForceRotate"] = json!(counter + 1);
    };
    let text = set(&managers[0], force).await.error(500);
    let expect = "unable to generate a cross-signed certificate for root rotation";
    assert!(text.contains(expect) && text.contains("out of office"), "{text}");
    first.away.store(false, Ordering::Relaxed);
    rotate(&managers[0], None).await;
    rotated(&managers[0]).await;
    assert!(has_key(&managers[0]));
    worker.stop().await;
    for daemon in managers {
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_signer_may_come_with_the_cluster_and_give_its_key_away() {
    let site = Site::new();
    let daemon = site.start().await;
    let root = make_root("company").expect("a root");
    let mut init = site.init();
    init["Spec"]["CAConfig"]["ExternalCAs"] = json!([listed(NOBODY, &root)]);
    daemon.client.post("/swarm/init", &init).await.ok();
    let signer = signer(&root, &daemon).await;
    let shown = daemon.client.get("/swarm").await.ok()["Spec"]["CAConfig"].clone();
    assert_eq!(shown["ExternalCAs"][0]["URL"], NOBODY);
    // Until its root is the cluster's, it is not asked.
    let worker_site = Site::new();
    let worker = join(&worker_site, &site, &token(&daemon, "Worker").await).await;
    set(&daemon, |spec| {
        spec["SigningCACert"] = json!(root.certificate_pem);
        spec["ExternalCAs"] = json!([listed(&signer.url, &root)]);
    })
    .await
    .ok();
    rotated(&daemon).await;
    let nodes = daemon.client.get("/nodes").await.ok();

    // With the key the cluster signs itself, and nobody needs another certificate.
    set(&daemon, |spec| {
        spec["SigningCACert"] = json!(root.certificate_pem);
        spec["SigningCAKey"] = json!(root.key_pem);
        spec["ExternalCAs"] = json!([]);
    })
    .await
    .ok();
    rotated(&daemon).await;
    assert!(has_key(&daemon));
    let tls = |nodes: &Value| nodes[0]["Description"]["TLSInfo"].clone();
    assert_eq!(tls(&nodes), tls(&daemon.client.get("/nodes").await.ok()));
    signer.away.store(true, Ordering::Relaxed);
    let late_site = Site::new();
    let late = join(&late_site, &site, &token(&daemon, "Worker").await).await;
    for daemon in [late, worker, daemon] {
        daemon.stop().await;
    }
}
