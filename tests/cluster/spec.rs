//! Requests of the tests: services whose waits are short.

use serde_json::{Value, json};

/// The image that services start with.
pub const FIRST: &str = "web:1";
/// Another one.
pub const SECOND: &str = "web:2";
/// An image that is nowhere.
pub const MISSING: &str = "web:missing";

const MILLISECOND: u64 = 1_000_000;

/// Makes the spec of the replicated service `web`.
pub fn web(replicas: u64) -> Value {
    json!({
        "Name": "web",
        "TaskTemplate": {
            "ContainerSpec": { "Image": FIRST },
            "RestartPolicy": { "Condition": "any", "Delay": 10 * MILLISECOND },
        },
        "Mode": { "Replicated": { "Replicas": replicas } },
        "UpdateConfig": update("stop-first", "pause"),
        "RollbackConfig": update("stop-first", "pause"),
    })
}

/// Makes an update that goes one task at a time.
pub fn update(order: &str, failure_action: &str) -> Value {
    json!({
        "Parallelism": 1,
        "Monitor": 50 * MILLISECOND,
        "FailureAction": failure_action,
        "Order": order,
    })
}

/// Gives a service another image.
pub fn with_image(mut spec: Value, image: &str) -> Value {
    spec["TaskTemplate"]["ContainerSpec"]["Image"] = image.into();
    spec
}
