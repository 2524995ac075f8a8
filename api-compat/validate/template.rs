//! Tries the templates of a spec on made-up values, so that mistakes show before any task is made.

use skep_core::agent::container::NodeContext;
use skep_core::agent::template::{self, Context, TemplateError};
use skep_core::model::container::{ContainerSpec, Mount};

/// Says which template cannot be expanded, if any.
pub(super) fn check(spec: &ContainerSpec) -> Result<(), String> {
    let context = context();
    let expand = |text: &str| template::expand(text, &context).map(drop);
    for entry in &spec.env {
        if let Some((_, value)) = entry.split_once('=') {
            expand(value).map_err(|problem| {
                format!("expanding env failed: expanding env {entry:?}: {problem}")
            })?;
        }
    }
    for mount in &spec.mounts {
        check_mount(mount, &expand)
            .map_err(|problem| format!("expanding mounts failed: {problem}"))?;
    }
    expand(&spec.hostname).map_err(|problem| format!("expanding hostname failed: {problem}"))
}

fn check_mount(
    mount: &Mount,
    expand: &dyn Fn(&str) -> Result<(), TemplateError>,
) -> Result<(), String> {
    let named = |what: &str, text: &str| {
        expand(text).map_err(|problem| format!("expanding mount {what} {text:?}: {problem}"))
    };
    named("source", &mount.source)?;
    named("target", &mount.target)?;
    let Some(options) = &mount.volume else {
        return Ok(());
    };
    let driver = options.driver.iter().flat_map(|driver| driver.options.values());
    for value in options.labels.values() {
        named("label", value)?;
    }
    for value in driver {
        named("driver option", value)?;
    }
    Ok(())
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
