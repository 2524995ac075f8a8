//! Turns a task into the container to make for it, as data. Makes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::InvalidTask;
use super::expansion::{expand_env, expand_hostname};
use super::mounts::plan_mounts;
use super::network::{Networking, name_servers, plan_networking};
use super::template::Context;
use crate::id::{NetworkId, NodeId};
use crate::model::container::{
    ContainerSpec, DnsConfig, Healthcheck, Mount, Privileges, Seccomp, Ulimit,
};
use crate::model::network::Network;
use crate::model::node::GenericResource;
use crate::model::service::{PortConfig, PublishMode};
use crate::model::task::Task;
use crate::model::{Driver, Labels};

/// Label that marks containers of tasks.
pub const TASK_LABEL: &str = "com.docker.swarm.task";
/// Label that names the task.
pub const TASK_ID_LABEL: &str = "com.docker.swarm.task.id";
/// Label that names the node.
pub const NODE_ID_LABEL: &str = "com.docker.swarm.node.id";

/// What templates know of the node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeContext {
    /// Its id.
    pub id: NodeId,
    /// Its host name.
    pub hostname: String,
    /// Its operating system.
    pub os: String,
    /// Its architecture.
    pub architecture: String,
}

/// A file of the host to mount read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMount {
    /// Path on the host.
    pub source: String,
    /// Path in the container.
    pub target: String,
}

/// A container to make, complete. It has no restart policy: dead tasks are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerPlan {
    /// Name.
    pub name: String,
    /// Labels of the spec and those that name the task.
    pub labels: Labels,
    /// Image reference exactly as in the spec.
    pub image: String,
    /// Replaces the image's entrypoint unless empty.
    pub entrypoint: Vec<String>,
    /// Arguments; empty leaves the image's.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Host name; empty leaves it to the engine.
    pub hostname: String,
    /// Working directory.
    pub dir: String,
    /// `user[:group]`.
    pub user: String,
    /// Further groups.
    pub groups: Vec<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its standard input stays open.
    pub open_stdin: bool,
    /// Whether its root file system is read-only.
    pub read_only: bool,
    /// Whether an init process runs; `None` leaves it to the engine.
    pub init: Option<bool>,
    /// Signal that asks it to stop.
    pub stop_signal: String,
    /// Seconds between that signal and the kill; `None` leaves it to the engine.
    pub stop_timeout_seconds: Option<i64>,
    /// Health check; `None` inherits the image's.
    pub healthcheck: Option<Healthcheck>,
    /// Mounts, templates expanded.
    pub mounts: Vec<Mount>,
    /// Files of secrets and configs.
    pub files: Vec<FileMount>,
    /// CPU limit in units of 1e-9; 0 for none.
    pub nano_cpus: i64,
    /// Memory limit; 0 for none.
    pub memory_bytes: i64,
    /// Memory and swap together; -1 for no limit.
    pub memory_swap_bytes: Option<i64>,
    /// Swappiness 0 to 100.
    pub memory_swappiness: Option<i64>,
    /// Limit of processes; 0 for none.
    pub pids: i64,
    /// Resource limits of the process.
    pub ulimits: Vec<Ulimit>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Capabilities added.
    pub capability_add: Vec<String>,
    /// Capabilities removed.
    pub capability_drop: Vec<String>,
    /// Adjustment of the out-of-memory score.
    pub oom_score_adj: i64,
    /// Security options as the engine writes them.
    pub security_options: Vec<String>,
    /// Isolation technology.
    pub isolation: String,
    /// Name resolution; servers of skep come first.
    pub dns: DnsConfig,
    /// `name:IP`.
    pub extra_hosts: Vec<String>,
    /// Where its output goes; `None` leaves it to the engine.
    pub log_driver: Option<Driver>,
    /// Ports published on this node.
    pub ports: Vec<PortConfig>,
    /// How it is connected.
    pub networking: Networking,
}

/// Plans the container of a task.
pub fn container_plan(
    task: &Task,
    node: &NodeContext,
    networks: &BTreeMap<NetworkId, Arc<Network>>,
    files: Vec<FileMount>,
) -> Result<ContainerPlan, InvalidTask> {
    let invalid = || InvalidTask("task has no container".to_owned());
    let spec = task.spec.container().ok_or_else(invalid)?;
    let context = Context::new(task, node);
    let networking = plan_networking(task)?;
    let mut dns = spec.dns.clone().unwrap_or_default();
    if networking != Networking::Host {
        let servers = name_servers(task, &node.id, networks);
        dns.nameservers.splice(0..0, servers);
    }
    let mut plan = ContainerPlan {
        name: task.name(),
        labels: labels(task, spec, node),
        image: spec.image.clone(),
        entrypoint: spec.command.clone(),
        cmd: spec.args.clone(),
        env: environment(task, spec, &context)?,
        hostname: expand_hostname(&spec.hostname, &context).map_err(InvalidTask)?,
        stop_timeout_seconds: spec
            .stop_grace_period
            .map(|grace| i64::try_from(grace.as_secs()).unwrap_or(i64::MAX)),
        healthcheck: spec.healthcheck.clone(),
        mounts: plan_mounts(&spec.mounts, &context)?,
        files,
        security_options: spec.privileges.as_ref().map(security_options).unwrap_or_default(),
        dns,
        extra_hosts: spec.hosts.iter().filter_map(|entry| extra_host(entry)).collect(),
        log_driver: task.spec.log_driver.clone(),
        ports: host_ports(task),
        networking,
        ..ContainerPlan::default()
    };
    copy_settings(&mut plan, spec);
    add_limits(&mut plan, task);
    Ok(plan)
}

/// Copies what needs no thought.
fn copy_settings(plan: &mut ContainerPlan, spec: &ContainerSpec) {
    plan.dir = spec.dir.clone();
    plan.user = spec.user.clone();
    plan.groups = spec.groups.clone();
    plan.tty = spec.tty;
    plan.open_stdin = spec.open_stdin;
    plan.read_only = spec.read_only;
    plan.init = spec.init;
    plan.stop_signal = spec.stop_signal.clone();
    plan.ulimits = spec.ulimits.clone();
    plan.sysctls = spec.sysctls.clone();
    plan.capability_add = spec.capability_add.clone();
    plan.capability_drop = spec.capability_drop.clone();
    plan.oom_score_adj = spec.oom_score_adj;
    plan.isolation = spec.isolation.clone();
}

fn labels(task: &Task, spec: &ContainerSpec, node: &NodeContext) -> Labels {
    let mut labels = spec.labels.clone();
    let service = task.service.as_ref().map(ToString::to_string).unwrap_or_default();
    let own = [
        (TASK_LABEL, String::new()),
        (TASK_ID_LABEL, task.id.to_string()),
        ("com.docker.swarm.task.name", task.name()),
        (NODE_ID_LABEL, node.id.to_string()),
        ("com.docker.swarm.service.id", service),
        ("com.docker.swarm.service.name", task.service_annotations.name.clone()),
    ];
    labels.extend(own.map(|(key, value)| (key.to_owned(), value)));
    labels
}

/// Collects the variables: those of the spec, then those that name what the task got of generic resources.
fn environment(
    task: &Task,
    spec: &ContainerSpec,
    context: &Context,
) -> Result<Vec<String>, InvalidTask> {
    let mut env = expand_env(&spec.env, context).map_err(InvalidTask)?;
    let mut claims: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in &task.generic_resources {
        let (kind, value) = match resource {
            GenericResource::Discrete { kind, value } => (kind, value.to_string()),
            GenericResource::Named { kind, value } => (kind, value.clone()),
        };
        claims.entry(kind.to_uppercase()).or_default().push(value);
    }
    let claims = claims.iter();
    env.extend(claims.map(|(kind, values)| format!("DOCKER_RESOURCE_{kind}={}", values.join(","))));
    Ok(env)
}

/// Turns `IP name [alias]` into `name:IP`.
fn extra_host(entry: &str) -> Option<String> {
    let mut words = entry.split_whitespace();
    let (address, name) = (words.next()?, words.next()?);
    Some(format!("{name}:{address}"))
}

/// Ports of the endpoint as allocated, or as wanted before that.
fn host_ports(task: &Task) -> Vec<PortConfig> {
    let Some(endpoint) = &task.endpoint else { return Vec::new() };
    let ports = if endpoint.ports.is_empty() { &endpoint.spec.ports } else { &endpoint.ports };
    ports.iter().filter(|port| port.mode == PublishMode::Host).cloned().collect()
}

fn add_limits(plan: &mut ContainerPlan, task: &Task) {
    let Some(resources) = &task.spec.resources else { return };
    if let Some(limits) = &resources.limits {
        plan.nano_cpus = limits.nano_cpus;
        plan.memory_bytes = limits.memory_bytes;
        plan.pids = limits.pids;
    }
    plan.memory_swap_bytes = resources
        .swap_bytes
        .map(|swap| if swap < 0 { -1 } else { plan.memory_bytes.saturating_add(swap) });
    plan.memory_swappiness = resources.memory_swappiness;
}

fn security_options(privileges: &Privileges) -> Vec<String> {
    let mut options = Vec::new();
    let mut add = |prefix: &str, value: &str| {
        if !value.is_empty() {
            options.push(format!("{prefix}{value}"));
        }
    };
    if let Some(spec) = &privileges.credential_spec {
        add("credentialspec=file://", &spec.file);
        add("credentialspec=registry://", &spec.registry);
        add("credentialspec=config://", &spec.config);
    }
    if let Some(selinux) = &privileges.selinux {
        add("label=", if selinux.disable { "disable" } else { "" });
        add("label=user:", &selinux.user);
        add("label=role:", &selinux.role);
        add("label=type:", &selinux.kind);
        add("label=level:", &selinux.level);
    }
    add("seccomp=", &privileges.seccomp.as_ref().map(seccomp).unwrap_or_default());
    if privileges.apparmor.as_deref() == Some("disabled") {
        add("apparmor=", "unconfined");
    }
    add("no-new-privileges=", if privileges.no_new_privileges { "true" } else { "" });
    options
}

fn seccomp(seccomp: &Seccomp) -> String {
    match seccomp.mode.as_str() {
        "unconfined" => "unconfined".to_owned(),
        "custom" => String::from_utf8_lossy(&seccomp.profile).into_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
