//! Ranks the nodes that fit and spreads tasks over the branches that users named. Checks nothing.

use std::collections::BTreeMap;

use super::Candidate;
use crate::model::node::Node;
use crate::model::task::Task;

/// Failures of a service on a node from which on the node is a last resort.
const FAILURES_MAX: u64 = 5;

/// Returns the place of the best of `fitting` in `all`.
pub(super) fn best(task: &Task, all: &[Candidate], fitting: Vec<usize>) -> Option<usize> {
    let preferences = task.spec.placement.as_ref().map_or(&[][..], |it| &it.preferences);
    let mut fitting = fitting;
    let mut scope: Vec<usize> = (0..all.len()).collect();
    for preference in preferences {
        let Some(descriptor) = Descriptor::parse(preference) else { continue };
        (scope, fitting) = least_used_branch(task, all, &descriptor, scope, fitting);
    }
    fitting.into_iter().min_by_key(|place| rank(task, &all[*place]))
}

/// Narrows the nodes down to the branch with the fewest tasks of the service that has a node that fits.
fn least_used_branch(
    task: &Task,
    all: &[Candidate],
    descriptor: &Descriptor,
    scope: Vec<usize>,
    fitting: Vec<usize>,
) -> (Vec<usize>, Vec<usize>) {
    let mut branches: BTreeMap<&str, (u64, Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for place in scope {
        let branch = branches.entry(descriptor.value(&all[place].node)).or_default();
        branch.0 += all[place].active_of(task.service.as_ref());
        branch.1.push(place);
    }
    for place in fitting {
        branches.entry(descriptor.value(&all[place].node)).or_default().2.push(place);
    }
    branches
        .into_values()
        .filter(|(_, _, fitting)| !fitting.is_empty())
        .min_by_key(|(tasks, _, _)| *tasks)
        .map_or((Vec::new(), Vec::new()), |(_, scope, fitting)| (scope, fitting))
}

/// Smaller is better; the id only settles a tie.
fn rank<'a>(task: &Task, node: &'a Candidate) -> (u64, u64, u64, &'a str) {
    let failures = node.failures_of(task);
    let failures = if failures >= FAILURES_MAX { failures } else { 0 };
    (failures, node.active_of(task.service.as_ref()), node.active, node.node.id.as_str())
}

/// A label to spread over.
enum Descriptor {
    Node(String),
    Engine(String),
}

impl Descriptor {
    fn parse(text: &str) -> Option<Self> {
        let label = |prefix: &str| text.strip_prefix(prefix).filter(|label| !label.is_empty());
        if let Some(label) = label("node.labels.") {
            return Some(Self::Node(label.to_owned()));
        }
        label("engine.labels.").map(|label| Self::Engine(label.to_owned()))
    }

    /// Returns the node's branch; nodes without the label share one.
    fn value<'a>(&self, node: &'a Node) -> &'a str {
        let label = match self {
            Self::Node(label) => node.spec.annotations.labels.get(label),
            Self::Engine(label) => node.description.engine_labels.get(label),
        };
        label.map_or("", String::as_str)
    }
}
