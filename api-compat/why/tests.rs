//! The route of the reasoning, on the real planners.

use serde_json::json;

use super::Report;
use crate::fake::Fake;

#[tokio::test]
async fn a_service_is_explained_with_every_check_of_every_node() {
    let fake = Fake::cluster();
    let spec = json!({"Name": "web", "TaskTemplate": {
        "ContainerSpec": {"Image": "busybox"},
        "Placement": {"Constraints": ["node.labels.x==1"]},
    }});
    assert_eq!(fake.post("/services/create", spec).await.status, 201);
    let answer = fake.get("/skep/why/web").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let report: Report = serde_json::from_value(answer.json()).expect("a report");
    assert_eq!(report.service.map(|service| service.name), Some("web".to_owned()));
    assert!(!report.nodes.is_empty(), "the cluster has a node");
    for node in &report.nodes {
        assert_eq!(node.checks.len(), 9);
        let failed = node.checks.iter().find(|check| check.name == "constraints" && !check.passes);
        assert!(failed.is_some_and(|check| check.figures.starts_with("node.labels.x==1: not met")));
    }
    let missing = fake.get("/skep/why/nope").await.error();
    assert_eq!(missing, (404, "no service or task nope".to_owned()));
}
