//! Which parts of a spec are templates, and Docker's words for those that cannot be expanded. Knows no syntax.

use super::template::{Context, TemplateError, expand, quote};
use crate::model::container::{ContainerSpec, Mount};

/// Tries every template of a spec.
///
/// # Errors
/// Says of the first that cannot be expanded which it is and why.
pub fn check(spec: &ContainerSpec, context: &Context) -> Result<(), String> {
    expand_env(&spec.env, context)?;
    expand_mounts(&spec.mounts, context)?;
    expand_hostname(&spec.hostname, context)?;
    Ok(())
}

/// Expands the values of variables.
pub(super) fn expand_env(env: &[String], context: &Context) -> Result<Vec<String>, String> {
    let entry = |entry: &String| {
        let Some((name, value)) = entry.split_once('=') else { return Ok(entry.clone()) };
        let value = expand(value, context).map_err(|error| {
            format!("expanding env failed: expanding env {}: {error}", quote(entry))
        })?;
        Ok(format!("{name}={value}"))
    };
    env.iter().map(entry).collect()
}

/// Expands the host name.
pub(super) fn expand_hostname(hostname: &str, context: &Context) -> Result<String, String> {
    expand(hostname, context).map_err(|error| format!("expanding hostname failed: {error}"))
}

/// Expands the templates of mounts.
pub(super) fn expand_mounts(mounts: &[Mount], context: &Context) -> Result<Vec<Mount>, String> {
    let mount = |mount: &Mount| expand_mount(mount, context);
    let expanded = mounts.iter().map(mount).collect::<Result<_, String>>();
    expanded.map_err(|error| format!("expanding mounts failed: {error}"))
}

fn expand_mount(mount: &Mount, context: &Context) -> Result<Mount, String> {
    let named = |what: &str, text: &str| {
        expand(text, context)
            .map_err(|error| format!("expanding mount {what} {}: {error}", quote(text)))
    };
    let entry = |what: &str, key: &str, text: &str| {
        expand(text, context).map_err(|error: TemplateError| {
            let (key, text) = (quote(key), quote(text));
            format!("expanding {what}: expanding map entry {key}={text}: {error}")
        })
    };
    let mut mount = mount.clone();
    mount.source = named("source", &mount.source)?;
    mount.target = named("target", &mount.target)?;
    if let Some(volume) = &mut mount.volume {
        for (key, value) in &mut volume.labels {
            *value = entry("volume labels", key, value)?;
        }
        for (key, value) in volume.driver.iter_mut().flat_map(|driver| &mut driver.options) {
            *value = entry("volume driver config", key, value)?;
        }
    }
    Ok(mount)
}
