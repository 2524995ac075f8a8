//! What may have changed between two states, as far as planners care. Plans nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use crate::id::ServiceId;
use crate::model::network::Network;
use crate::state::State;

/// What a plan has to look at. A hint for speed: it never changes the outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Touched {
    /// Anything may have changed.
    Everything,
    /// Nothing changed but these services and their tasks.
    Services(BTreeSet<ServiceId>),
}

impl Default for Touched {
    fn default() -> Self {
        Self::Services(BTreeSet::new())
    }
}

impl Touched {
    /// Finds what changed. Costs as much as there are changes.
    pub(super) fn between(old: &State, new: &State) -> Self {
        let same_cluster = match (old.cluster(), new.cluster()) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let same_nodes = old.nodes().diff(new.nodes()).next().is_none();
        if !same_cluster || !same_nodes || !same_networks(old, new) {
            return Self::Everything;
        }
        let mut touched = Self::default();
        for difference in old.services().diff(new.services()) {
            let (DiffItem::Add(id, _)
            | DiffItem::Remove(id, _)
            | DiffItem::Update { new: (id, _), .. }) = difference;
            touched.add(Some(id));
        }
        for difference in old.tasks().diff(new.tasks()) {
            let (DiffItem::Add(_, task)
            | DiffItem::Remove(_, task)
            | DiffItem::Update { new: (_, task), .. }) = difference;
            touched.add(task.service.as_ref());
        }
        touched
    }

    /// Adds a service; what belongs to none may concern all.
    pub(super) fn add(&mut self, service: Option<&ServiceId>) {
        match (&mut *self, service) {
            (Self::Everything, _) => {}
            (Self::Services(services), Some(service)) => {
                if !services.contains(service) {
                    services.insert(service.clone());
                }
            }
            (Self::Services(_), None) => *self = Self::Everything,
        }
    }

    pub(super) fn join(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Everything, _) => {}
            (Self::Services(services), Self::Services(others)) => {
                services.extend(others.iter().cloned());
            }
            (Self::Services(_), Self::Everything) => *self = Self::Everything,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Services(services) if services.is_empty())
    }

    pub(super) fn contains(&self, service: Option<&ServiceId>) -> bool {
        match self {
            Self::Everything => true,
            Self::Services(services) => service.is_some_and(|service| services.contains(service)),
        }
    }
}

/// Tells whether networks differ in no more than the addresses that were given out.
fn same_networks(old: &State, new: &State) -> bool {
    old.networks().diff(new.networks()).all(|difference| match difference {
        DiffItem::Update { old: (_, old), new: (_, new) } => is_same(old, new),
        DiffItem::Add(..) | DiffItem::Remove(..) => false,
    })
}

fn is_same(old: &Network, new: &Network) -> bool {
    let gained = old.gateways.iter().all(|(node, addr)| new.gateways.get(node) == Some(addr));
    gained && old.spec == new.spec && old.allocation == new.allocation
}
