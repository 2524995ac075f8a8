//! Named checks that a node must pass to get a task, each with its explanation (contract behaviour.md section 6).

use super::constraint::Constraints;
use super::engine::{self, Api, Need};
use super::{Candidate, figures, host_ports};
use crate::model::container::MountKind;
use crate::model::node::{Availability, Node, NodeAgent, NodeState};
use crate::model::service::Platform;
use crate::model::task::{Task, TaskNetwork};
use crate::plan::why::Check;
use crate::state::State;

/// A task that looks for a node.
pub(super) struct Wanted<'a> {
    pub(super) task: &'a Task,
    pub(super) constraints: Constraints,
    /// What only newer engines can do for it.
    pub(super) engine: Vec<Need>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(task: &'a Task) -> Self {
        Self { task, constraints: Constraints::of(&task.spec), engine: engine::needs(task) }
    }
}

/// One check: how many nodes fail it is explained to the user, and on demand what it compared.
struct Filter {
    name: &'static str,
    passes: fn(&Wanted, &Candidate) -> bool,
    explain: fn(usize) -> String,
    figures: fn(&State, &Wanted, &Candidate) -> String,
}

/// The check whose explanation names more than numbers.
const ENGINE: &str = "engine";

/// The checks in the order they are made; the first that fails counts.
const FILTERS: [Filter; 9] = [
    Filter {
        name: "available",
        passes: is_ready,
        explain: |nodes| match nodes {
            1 => "1 node not available for new tasks".to_owned(),
            nodes => format!("{nodes} nodes not available for new tasks"),
        },
        figures: figures::availability,
    },
    Filter {
        name: "resources",
        passes: |wanted, node| node.free.fits(wanted.task),
        explain: |nodes| format!("insufficient resources on {}", count(nodes)),
        figures: |_, wanted, node| node.free.figures(wanted.task, &node.node),
    },
    Filter {
        name: "plugins",
        passes: |wanted, node| missing_plugins(wanted, node).is_empty(),
        explain: |nodes| format!("missing plugin on {}", count(nodes)),
        figures: figures::plugins,
    },
    Filter {
        name: "skep",
        passes: |wanted, node| can_join(&node.node, needs_skep(wanted.task)),
        explain: |nodes| {
            match nodes {
            1 => "overlay networks and image mounts need skep on the node, 1 node runs a Docker Engine alone"
                .to_owned(),
            nodes => format!(
                "overlay networks and image mounts need skep on the node, {nodes} nodes run a Docker Engine alone"
            ),
        }
        },
        figures: figures::overlays,
    },
    Filter {
        name: "constraints",
        passes: |wanted, node| wanted.constraints.match_node(&node.node),
        explain: |nodes| format!("scheduling constraints not satisfied on {}", count(nodes)),
        figures: |_, wanted, node| wanted.constraints.figures(&node.node),
    },
    Filter {
        name: "platform",
        passes: runs_platform,
        explain: |nodes| format!("unsupported platform on {}", count(nodes)),
        figures: figures::platform,
    },
    Filter {
        name: ENGINE,
        passes: |wanted, node| lacking(wanted, node).is_empty(),
        explain: |nodes| format!("engine too old on {}", count(nodes)),
        figures: figures::engine,
    },
    Filter {
        name: "host ports",
        passes: |wanted, node| host_ports(wanted.task).all(|port| !node.host_ports.contains(&port)),
        explain: |nodes| format!("host-mode port already in use on {}", count(nodes)),
        figures: figures::ports,
    },
    Filter {
        name: "max replicas",
        passes: has_room,
        // The missing letters are part of what clients know.
        explain: |_| "max replicas per node limit exceed".to_owned(),
        figures: figures::replicas,
    },
];

/// Makes all checks on one node, with their figures.
pub(super) fn examine(state: &State, wanted: &Wanted, node: &Candidate) -> Vec<Check> {
    let check = |filter: &Filter| Check {
        name: filter.name,
        passes: (filter.passes)(wanted, node),
        figures: (filter.figures)(state, wanted, node),
    };
    FILTERS.iter().map(check).collect()
}

fn count(nodes: usize) -> String {
    if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") }
}

/// How many nodes failed each check.
#[derive(Default)]
pub(super) struct Failures {
    nodes: [usize; FILTERS.len()],
    /// The oldest engine of those that are too old.
    oldest: Option<Api>,
}

impl Failures {
    /// Runs the checks on one node and counts the first that fails.
    pub(super) fn check(&mut self, wanted: &Wanted, node: &Candidate) -> bool {
        let failed = FILTERS.iter().position(|filter| !(filter.passes)(wanted, node));
        if let Some(failed) = failed {
            self.nodes[failed] += 1;
            if FILTERS[failed].name == ENGINE {
                let api = node.node.description.engine_api;
                self.oldest = self.oldest.map_or(api, |oldest| api.map(|api| api.min(oldest)));
            }
        }
        failed.is_none()
    }

    /// Explains the failures, the most frequent first; empty if there were no nodes.
    pub(super) fn explain(&self, wanted: &Wanted) -> String {
        let mut failed: Vec<(usize, &Filter)> =
            self.nodes.iter().copied().zip(&FILTERS).filter(|(nodes, _)| *nodes > 0).collect();
        failed.sort_by_key(|(nodes, _)| std::cmp::Reverse(*nodes));
        let texts: Vec<String> =
            failed.into_iter().map(|(nodes, filter)| self.text(wanted, nodes, filter)).collect();
        texts.join("; ")
    }

    fn text(&self, wanted: &Wanted, nodes: usize, filter: &Filter) -> String {
        let text = (filter.explain)(nodes);
        match self.oldest.filter(|_| filter.name == ENGINE) {
            Some(oldest) => {
                let lacking = engine::list(engine::lacking(&wanted.engine, Some(oldest)));
                format!("{text}: {lacking}, it has {}.{}", oldest.0, oldest.1)
            }
            None => text,
        }
    }
}

/// Returns what a node's engine is too old for.
pub(super) fn lacking<'a>(wanted: &'a Wanted, node: &Candidate) -> Vec<&'a Need> {
    engine::lacking(&wanted.engine, node.node.description.engine_api)
}

/// A container that a user made is on its node already, whatever that node is available for.
fn is_ready(wanted: &Wanted, node: &Candidate) -> bool {
    let available = node.node.spec.availability == Availability::Active
        || wanted.task.spec.container().is_none();
    node.node.status.state == NodeState::Ready && available
}

/// Volumes, networks and logs may need a plugin. A node that names no plugin of a type may be one that does not tell.
pub(super) fn missing_plugins(wanted: &Wanted, node: &Candidate) -> Vec<String> {
    let plugins = &node.node.description.plugins;
    let has = |kind: &str, name: &str| {
        let mut of_kind = plugins.iter().filter(|(plugin, _)| plugin == kind).peekable();
        of_kind.peek().is_none()
            || of_kind.any(|(_, plugin)| plugin.strip_suffix(":latest").unwrap_or(plugin) == name)
    };
    let mounts = wanted.task.spec.container().map_or(&[][..], |container| &container.mounts);
    let volumes = mounts
        .iter()
        .filter(|mount| mount.kind == MountKind::Volume)
        .filter_map(|mount| mount.volume.as_ref()?.driver.as_ref())
        .map(|driver| driver.name.as_str())
        .filter(|name| !name.is_empty() && *name != "local")
        .map(|name| ("Volume", name));
    let networks = wanted
        .task
        .networks
        .iter()
        .filter(|attachment| !attachment.network.spec.predefined)
        .filter_map(|attachment| attachment.network.spec.driver.as_ref())
        .map(|driver| driver.name.as_str())
        .filter(|name| !name.is_empty() && *name != "overlay")
        .map(|name| ("Network", name));
    let log = wanted.task.spec.log_driver.as_ref().map_or("", |driver| driver.name.as_str());
    let log = (!log.is_empty() && log != "none").then_some(("Log", log));
    volumes
        .chain(networks)
        .chain(log)
        .filter(|(kind, name)| !has(kind, name))
        .map(|(kind, name)| format!("{kind} {name}"))
        .collect()
}

/// Tells whether a task needs what engines alone cannot give it: networks that span nodes, to which the ports of the routing
/// mesh belong, and mounts of images.
pub(super) fn needs_skep(task: &Task) -> bool {
    let spans = |joined: &TaskNetwork| !joined.network.spec.predefined;
    let mounts = task.spec.container().map_or(&[][..], |container| &container.mounts);
    task.networks.iter().any(spans) || mounts.iter().any(|mount| mount.kind == MountKind::Image)
}

/// Tells whether a node can have such tasks.
pub(in crate::plan) fn can_join(node: &Node, needs_skep: bool) -> bool {
    !needs_skep || node.agent != Some(NodeAgent::Engine)
}

fn runs_platform(wanted: &Wanted, node: &Candidate) -> bool {
    let platforms = wanted.task.spec.placement.as_ref().map_or(&[][..], |it| &it.platforms);
    let description = &node.node.description;
    let matches = |platform: &Platform| {
        (platform.os.is_empty() || platform.os == description.os)
            && (platform.architecture.is_empty()
                || architecture(&platform.architecture) == architecture(&description.architecture))
    };
    platforms.is_empty() || platforms.iter().any(matches)
}

/// Takes the kernel's names of architectures for those of images.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn has_room(wanted: &Wanted, node: &Candidate) -> bool {
    let limit = wanted.task.spec.placement.as_ref().map_or(0, |placement| placement.max_replicas);
    limit == 0 || node.active_of(wanted.task.service.as_ref()) < limit
}
