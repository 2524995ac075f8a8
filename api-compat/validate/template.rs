//! Tries the templates of a spec on made-up values, so that mistakes show before any task is made.

use skep_core::agent::container::NodeContext;
use skep_core::agent::expansion;
use skep_core::agent::template::Context;
use skep_core::model::container::ContainerSpec;

/// Says which template cannot be expanded, if any.
pub(super) fn check(spec: &ContainerSpec) -> Result<(), String> {
    expansion::check(spec, &context())
}

fn context() -> Context {
    Context {
        service_id: "serviceid".to_owned(),
        service_name: "servicename".to_owned(),
        node: NodeContext {
            hostname: "nodeHostname".to_owned(),
            os: "os".to_owned(),
            architecture: "architecture".to_owned(),
            ..NodeContext::default()
        },
        task_id: "taskid".to_owned(),
        task_name: "taskname".to_owned(),
        slot: "1".to_owned(),
        ..Context::default()
    }
}
