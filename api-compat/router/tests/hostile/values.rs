//! Every value of every valid body replaced by one of each other kind, or by one too large.

use serde_json::{Map, Value, json};

use super::{Described, Sent, bodies, inhabited, routes, send, still_works};

/// What takes a value's place.
fn replacements() -> Vec<Value> {
    let huge: Value = serde_json::from_str("1e400").unwrap_or(json!(f64::MAX));
    let beyond: Value =
        serde_json::from_str("340282366920938463463374607431768211456").unwrap_or_default();
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(f64::MAX),
        huge,
        beyond,
        json!(""),
        json!("x"),
        json!("\u{0}\u{feff}\u{1f600}\n/../%00{{.}}"),
        json!("9".repeat(3000)),
        json!([]),
        json!([null, 1, "x", {}]),
        json!({}),
        json!({"": {"a": []}}),
    ]
}

/// Returns the places of all values in a document.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(field, &format!("{at}/{name}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn replaced(document: &Value, place: &str, with: &Value) -> Value {
    let mut changed = document.clone();
    if let Some(value) = changed.pointer_mut(place) {
        value.clone_from(with);
    }
    changed
}

fn routes_with_bodies() -> Vec<Described> {
    routes().into_iter().filter(|described| described.method != "GET").collect()
}

#[tokio::test]
async fn valid_bodies_are_what_clients_send() {
    let fake = inhabited().await;
    let spec = bodies::of("/services/create");
    let answer = super::super::ask(&fake, "POST", "/services/create", &spec.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[tokio::test]
async fn no_kind_of_value_breaks_a_route() {
    let values = replacements();
    for described in routes_with_bodies() {
        let document = bodies::of(&described.path);
        let mut found = Vec::new();
        places(&document, "", &mut found);
        for place in found {
            // A cluster for each place: what was accepted before must not hide what comes after.
            let fake = inhabited().await;
            for value in &values {
                let body = replaced(&document, &place, value).to_string();
                send(&fake, Sent::json(&described, described.found_path(), body)).await;
            }
            still_works(&fake).await;
        }
    }
}

#[tokio::test]
async fn many_of_everything_is_taken_or_refused() {
    let many_labels: Map<String, Value> =
        (0..20_000).map(|number| (format!("label-{number}"), json!("x".repeat(20)))).collect();
    let ports: Vec<Value> =
        (1..=65_535).map(|port| json!({"TargetPort": port, "PublishedPort": port})).collect();
    let mounts = vec![json!({"Type": "volume", "Source": "v", "Target": "/v"}); 5_000];
    let words = vec![json!("node.labels.a==b"); 20_000];
    let cases = [
        ("/Labels", Value::Object(many_labels)),
        ("/EndpointSpec", json!({"Ports": ports})),
        ("/TaskTemplate/ContainerSpec/Mounts", json!(mounts)),
        ("/TaskTemplate/ContainerSpec/Env", json!(words)),
        ("/TaskTemplate/Placement", json!({"Constraints": words})),
        ("/Mode", json!({"Replicated": {"Replicas": u64::MAX}})),
        ("/Name", json!("n".repeat(1 << 20))),
    ];
    for described in routes_with_bodies() {
        for (place, value) in &cases {
            let document = bodies::of(&described.path);
            if document.pointer(place).is_none() {
                continue;
            }
            let fake = inhabited().await;
            let body = replaced(&document, place, value).to_string();
            send(&fake, Sent::json(&described, described.found_path(), body)).await;
            still_works(&fake).await;
        }
    }
}
