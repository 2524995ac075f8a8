//! The figures behind the checks: what a task wants against what a node has. Judges nothing.

use super::filter::{Wanted, missing_plugins, needs_skep};
use super::{Candidate, engine, host_ports};
use crate::model::node::{Availability, NodeAgent, NodeState};
use crate::model::service::PortProtocol;
use crate::plan::slots::is_on_node;
use crate::state::State;

pub(super) fn availability(_: &State, _: &Wanted, node: &Candidate) -> String {
    let state = match node.node.status.state {
        NodeState::Unknown => "unknown",
        NodeState::Down => "down",
        NodeState::Ready => "ready",
        NodeState::Disconnected => "disconnected",
    };
    let availability = match node.node.spec.availability {
        Availability::Active => "active",
        Availability::Pause => "pause",
        Availability::Drain => "drain",
    };
    let message = &node.node.status.message;
    let because = if message.is_empty() { String::new() } else { format!(" ({message})") };
    format!("state {state}{because}, availability {availability}")
}

pub(super) fn plugins(_: &State, wanted: &Wanted, node: &Candidate) -> String {
    match missing_plugins(wanted, node) {
        missing if missing.is_empty() => "none missing".to_owned(),
        missing => format!("missing: {}", missing.join(", ")),
    }
}

pub(super) fn overlays(_: &State, wanted: &Wanted, node: &Candidate) -> String {
    let needs = if needs_skep(wanted.task) { "needed" } else { "not needed" };
    let has = match &node.node.agent {
        Some(NodeAgent::Engine) => "a Docker Engine alone",
        Some(NodeAgent::Skep { .. }) | None => "skep",
    };
    format!("{needs}, the node runs {has}")
}

pub(super) fn platform(_: &State, wanted: &Wanted, node: &Candidate) -> String {
    let platforms = wanted.task.spec.placement.as_ref().map_or(&[][..], |it| &it.platforms);
    let any = |text: &str| if text.is_empty() { "any".to_owned() } else { text.to_owned() };
    let asked: Vec<String> = platforms
        .iter()
        .map(|platform| format!("{}/{}", any(&platform.os), any(&platform.architecture)))
        .collect();
    let asked = if asked.is_empty() { "any".to_owned() } else { asked.join(" or ") };
    let description = &node.node.description;
    format!("{asked} wanted, the node is {}/{}", description.os, description.architecture)
}

pub(super) fn engine(_: &State, wanted: &Wanted, node: &Candidate) -> String {
    let api = match node.node.description.engine_api {
        Some((major, minor)) => format!("the engine has API {major}.{minor}"),
        None => "the engine does not tell its API version".to_owned(),
    };
    match wanted.engine.as_slice() {
        [] => format!("any will do; {api}"),
        needs => format!("{}; {api}", engine::list(needs)),
    }
}

/// Names the task that holds each port.
pub(super) fn ports(state: &State, wanted: &Wanted, node: &Candidate) -> String {
    let holder = |port: (PortProtocol, u16)| {
        let mut tasks = state.node_tasks(&node.node.id).filter(|task| is_on_node(task));
        tasks.find(|task| host_ports(task).any(|taken| taken == port)).map(|task| task.name())
    };
    let describe = |port: (PortProtocol, u16)| {
        let protocol = match port.0 {
            PortProtocol::Tcp => "tcp",
            PortProtocol::Udp => "udp",
            PortProtocol::Sctp => "sctp",
        };
        match holder(port) {
            Some(task) => format!("{}/{protocol}: in use by task {task}", port.1),
            None => format!("{}/{protocol}: free", port.1),
        }
    };
    let described: Vec<String> = host_ports(wanted.task).map(describe).collect();
    if described.is_empty() { "none".to_owned() } else { described.join("; ") }
}

pub(super) fn replicas(_: &State, wanted: &Wanted, node: &Candidate) -> String {
    let limit = wanted.task.spec.placement.as_ref().map_or(0, |placement| placement.max_replicas);
    let here = node.active_of(wanted.task.service.as_ref());
    match limit {
        0 => format!("{here} here, no limit"),
        limit => format!("{here} here, {limit} at the most"),
    }
}
