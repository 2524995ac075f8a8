//! The route of the ways to a service.

use serde_json::json;

use super::Report;
use crate::backend::Membership;
use crate::fake::Fake;

#[tokio::test]
async fn the_ways_to_a_service_are_told() {
    let fake = Fake::cluster();
    let spec = json!({"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}},
        "EndpointSpec": {"Ports": [{"TargetPort": 80, "PublishedPort": 8080}]}});
    assert_eq!(fake.post("/services/create", spec).await.status, 201);
    let report = |answer: crate::fake::Answer| -> Report {
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_value(answer.json()).expect("a report")
    };
    let told = report(fake.get("/skep/net/web").await);
    assert!(!told.node.is_empty() && told.amiss.is_empty(), "{told:?}");
    assert!(told.ways.iter().all(|way| !way.stops.is_empty()), "{told:?}");
    let host = report(fake.get("/skep/net").await);
    assert_eq!((host.node, host.ways), (told.node, Vec::new()));
    let missing = fake.get("/skep/net/nope").await.error();
    assert_eq!(missing, (404, "service nope not found".to_owned()));
    assert_eq!(fake.post("/skep/net", json!({})).await.status, 404);
}

#[tokio::test]
async fn a_node_in_no_cluster_says_so() {
    let fake = Fake::cluster();
    fake.inner().membership = Membership::Inactive;
    assert_eq!(fake.get("/skep/net").await.status, 503);
}
