//! Goes from a node's network plan of one state to that of the next, at the cost of what differs. What comes out is what a
//! plan made anew would be.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use super::draft::Draft;
use super::kernel::Desired;
use super::plan::{Host, Site};
use crate::id::ServiceId;
use crate::state::State;

/// Plans the network of one node, of one state after another.
pub struct Planner {
    host: Host,
    last: Option<(State, Draft)>,
}

impl Planner {
    /// Makes one that has planned nothing yet.
    pub fn new(host: Host) -> Self {
        Self { host, last: None }
    }

    /// Returns the node that is planned for.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Goes on to a state, a newer one or any other; returns what should be on the node by it.
    pub fn follow(&mut self, state: &State) -> &Desired {
        let site = Site::new(state, &self.host);
        let known = self.last.take().filter(|(last, _)| stand_alike(last, state));
        let followed = known.map(|(last, draft)| follow(&site, &last, draft));
        // Of services that want the same, whoever comes first has it: that is told only by going through all.
        let draft = followed.filter(|draft| !draft.is_crowded);
        let draft = draft.unwrap_or_else(|| Draft::whole(&site));
        &self.last.insert((state.clone(), draft)).1.desired
    }
}

/// Tells whether the ground of the plan is the same by two states: all but tasks and services.
fn stand_alike(last: &State, next: &State) -> bool {
    let port = |state: &State| state.cluster().map(|cluster| cluster.data_path_port);
    port(last) == port(next) && last.networks() == next.networks() && last.nodes() == next.nodes()
}

/// Goes on where nothing but tasks and services differs.
fn follow(site: &Site<'_>, last: &State, mut draft: Draft) -> Draft {
    if draft.is_crowded {
        return draft;
    }
    let next = site.state;
    // What a service leads to is made of its tasks.
    let mut touched: BTreeSet<ServiceId> = BTreeSet::new();
    for difference in last.tasks().diff(next.tasks()) {
        let (old, new) = sides(difference);
        if let Some(task) = old {
            draft.take_task(site, task);
        }
        if let Some(task) = new {
            draft.put_task(site, task);
        }
        touched.extend(old.into_iter().chain(new).filter_map(|task| task.service.clone()));
    }
    for difference in last.services().diff(next.services()) {
        let (old, new) = sides(difference);
        touched.extend(old.or(new).map(|service| service.id.clone()));
    }
    // All leave before any comes: an address may pass from one to another.
    for service in touched.iter().filter_map(|id| last.services().get(id)) {
        draft.take_service(site, service);
    }
    for service in touched.iter().filter_map(|id| next.services().get(id)) {
        draft.put_service(site, service);
    }
    draft
}

/// Returns what was there and what is there.
fn sides<'a, K, T>(
    difference: DiffItem<'a, 'a, K, Arc<T>>,
) -> (Option<&'a Arc<T>>, Option<&'a Arc<T>>) {
    match difference {
        DiffItem::Add(_, new) => (None, Some(new)),
        DiffItem::Remove(_, old) => (Some(old), None),
        DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
    }
}

#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;
