//! Goes from a node's names by one state to those by the next, at the cost of what differs. What comes out is what a table
//! made anew would be.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::names::NameTable;
use super::naming::{Naming, Words};
use crate::id::{NodeId, ServiceId, TaskId};
use crate::state::State;

/// Names what one node knows, by one state after another.
pub struct Namer {
    node: NodeId,
    /// The state before, and whether services were known by their own addresses.
    last: Option<(State, bool)>,
    table: NameTable,
}

impl Namer {
    /// Makes one that knows no name yet.
    pub fn new(node: NodeId) -> Self {
        Self { node, last: None, table: NameTable::default() }
    }

    /// Goes on to a state, a newer one or any other; `virtual_ips` as for [`NameTable::new`].
    pub fn follow(&mut self, state: &State, virtual_ips: bool) -> &NameTable {
        let last = self.last.replace((state.clone(), virtual_ips));
        let known = last.filter(|(last, by)| *by == virtual_ips && stand_alike(last, state));
        match known {
            Some((last, _)) => self.go_on(&last, state, virtual_ips),
            None => self.table = NameTable::new(state, &self.node, virtual_ips),
        }
        &self.table
    }

    /// Goes on where nothing but tasks and services differs.
    fn go_on(&mut self, last: &State, next: &State, virtual_ips: bool) {
        let naming = |state| Naming { state, node: &self.node, virtual_ips };
        let (was, is) = (naming(last), naming(next));
        let services: BTreeSet<&ServiceId> = differing(last.services(), next.services()).collect();
        // A task goes by the name of its service, and says whether that has an address.
        let mut tasks: BTreeSet<&TaskId> = differing(last.tasks(), next.tasks()).collect();
        for service in &services {
            let both = last.service_tasks(service).chain(next.service_tasks(service));
            tasks.extend(both.map(|task| &task.id));
        }
        for id in tasks {
            let old = last.tasks().get(id).map(|task| was.of_task(task)).unwrap_or_default();
            let new = next.tasks().get(id).map(|task| is.of_task(task)).unwrap_or_default();
            replace(&mut self.table, &old, new);
        }
        for id in services {
            let old = last.services().get(id).map(|it| was.of_service(it)).unwrap_or_default();
            let new = next.services().get(id).map(|it| is.of_service(it)).unwrap_or_default();
            replace(&mut self.table, &old, new);
        }
    }
}

/// What is said anew and was said before stays as it is.
fn replace(table: &mut NameTable, old: &Words, new: Words) {
    if *old != new {
        table.take(old);
        table.put(new);
    }
}

/// Tells whether the ground of names is the same by two states: all but tasks and services.
fn stand_alike(last: &State, next: &State) -> bool {
    last.networks() == next.networks() && last.nodes() == next.nodes()
}

/// Lists what is not the same, or not there, in one of two.
fn differing<'a, K: Ord, T: PartialEq>(
    last: &'a OrdMap<K, Arc<T>>,
    next: &'a OrdMap<K, Arc<T>>,
) -> impl Iterator<Item = &'a K> {
    last.diff(next).map(|difference| match difference {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) => key,
        DiffItem::Update { new: (key, _), .. } => key,
    })
}

#[cfg(test)]
#[path = "namer_tests.rs"]
mod tests;
