//! What a node has free: CPU, memory and generic resources, and what a task takes of it. Chooses no node.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::node::{GenericResource, Node, Resources};
use crate::model::task::Task;

/// What a node has free.
#[derive(Debug, Clone, Default)]
pub(in crate::plan) struct Free {
    nano_cpus: i64,
    memory_bytes: i64,
    discrete: BTreeMap<String, i64>,
    named: BTreeMap<String, BTreeSet<String>>,
}

/// Says that a node has not enough.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::plan) struct Insufficient;

impl Free {
    /// Returns what a node has when no task runs on it.
    pub(in crate::plan) fn of_node(node: &Node) -> Self {
        let description = &node.description;
        let mut free = Self {
            nano_cpus: description.nano_cpus,
            memory_bytes: description.memory_bytes,
            ..Self::default()
        };
        for resource in &description.generic_resources {
            match resource {
                GenericResource::Discrete { kind, value } => {
                    let amount = free.discrete.entry(kind.clone()).or_default();
                    *amount = amount.saturating_add(*value);
                }
                GenericResource::Named { kind, value } => {
                    free.named.entry(kind.clone()).or_default().insert(value.clone());
                }
            }
        }
        free
    }

    /// Takes what a bound task has reserved, if there is enough.
    pub(in crate::plan) fn take(&mut self, task: &Task) -> Result<(), Insufficient> {
        let Some(wanted) = reservations(task) else { return Ok(()) };
        let held = task.generic_resources.iter().all(|resource| match resource {
            GenericResource::Discrete { kind, value } => {
                self.discrete.get(kind).is_some_and(|free| free >= value)
            }
            GenericResource::Named { kind, value } => {
                self.named.get(kind).is_some_and(|free| free.contains(value))
            }
        });
        if !self.has_basics(wanted) || !held {
            return Err(Insufficient);
        }
        self.charge(task);
        Ok(())
    }

    /// Takes what a bound task has reserved, even if that leaves less than nothing.
    pub(super) fn charge(&mut self, task: &Task) {
        let Some(wanted) = reservations(task) else { return };
        self.nano_cpus = self.nano_cpus.saturating_sub(wanted.nano_cpus);
        self.memory_bytes = self.memory_bytes.saturating_sub(wanted.memory_bytes);
        for resource in &task.generic_resources {
            match resource {
                GenericResource::Discrete { kind, value } => {
                    let amount = self.discrete.entry(kind.clone()).or_default();
                    *amount = amount.saturating_sub(*value);
                }
                GenericResource::Named { kind, value } => {
                    if let Some(names) = self.named.get_mut(kind) {
                        names.remove(value);
                    }
                }
            }
        }
    }

    /// Tells whether there is enough for a task.
    pub(super) fn fits(&self, task: &Task) -> bool {
        reservations(task)
            .is_none_or(|wanted| self.has_basics(wanted) && self.claim(wanted).is_some())
    }

    /// Returns the generic resources that a task gets; none for one that does not fit.
    pub(super) fn claims(&self, task: &Task) -> Vec<GenericResource> {
        reservations(task).and_then(|wanted| self.claim(wanted)).unwrap_or_default()
    }

    /// Says what a task reserves, what of it is free and what the node has in all.
    pub(super) fn figures(&self, task: &Task, node: &Node) -> String {
        let Some(wanted) = reservations(task) else { return "reserves nothing".to_owned() };
        let mut parts = Vec::new();
        if wanted.nano_cpus > 0 {
            let (asks, free) = (cpus(wanted.nano_cpus), cpus(self.nano_cpus));
            parts.push(format!(
                "CPUs: {asks} wanted, {free} of {} free",
                cpus(node.description.nano_cpus)
            ));
        }
        if wanted.memory_bytes > 0 {
            let (asks, free) = (size(wanted.memory_bytes), size(self.memory_bytes));
            let all = size(node.description.memory_bytes);
            parts.push(format!("memory: {asks} wanted, {free} of {all} free"));
        }
        for resource in &wanted.generic {
            parts.push(match resource {
                GenericResource::Discrete { kind, value } => {
                    let named = self.named.get(kind).map(|names| names.len() as i64);
                    let free = named.or(self.discrete.get(kind).copied()).unwrap_or(0);
                    format!("{kind}: {value} wanted, {free} free")
                }
                GenericResource::Named { kind, value } => {
                    let free = self.named.get(kind).is_some_and(|names| names.contains(value));
                    format!("{kind} {value}: {}", if free { "free" } else { "not free" })
                }
            });
        }
        if parts.is_empty() { "reserves nothing".to_owned() } else { parts.join("; ") }
    }

    fn has_basics(&self, wanted: &Resources) -> bool {
        (wanted.nano_cpus <= 0 || wanted.nano_cpus <= self.nano_cpus)
            && (wanted.memory_bytes <= 0 || wanted.memory_bytes <= self.memory_bytes)
    }

    /// Picks pieces for what is asked by number: named ones where the node names them, the lowest names first.
    fn claim(&self, wanted: &Resources) -> Option<Vec<GenericResource>> {
        let mut claims = Vec::new();
        for resource in &wanted.generic {
            match resource {
                GenericResource::Named { kind, value } => {
                    self.named.get(kind).filter(|names| names.contains(value))?;
                    claims.push(resource.clone());
                }
                GenericResource::Discrete { kind, value } => {
                    claims.extend(self.claim_number(kind, *value)?);
                }
            }
        }
        Some(claims)
    }

    fn claim_number(&self, kind: &str, count: i64) -> Option<Vec<GenericResource>> {
        if let Some(names) = self.named.get(kind) {
            let count = usize::try_from(count).ok().filter(|count| *count <= names.len())?;
            let named = |name: &String| GenericResource::Named {
                kind: kind.to_owned(),
                value: name.clone(),
            };
            return Some(names.iter().take(count).map(named).collect());
        }
        let free = self.discrete.get(kind).copied().unwrap_or(0);
        (count <= free)
            .then(|| vec![GenericResource::Discrete { kind: kind.to_owned(), value: count }])
    }
}

/// Tells whether a task takes anything that could be used up.
pub(in crate::plan) fn has_reservations(task: &Task) -> bool {
    reservations(task).is_some()
}

fn reservations(task: &Task) -> Option<&Resources> {
    task.spec.resources.as_ref()?.reservations.as_ref()
}

/// Writes CPUs with as many decimals as they have, three at the most.
fn cpus(nano: i64) -> String {
    let thousandths = nano / 1_000_000;
    let sign = if thousandths < 0 { "-" } else { "" };
    let (whole, rest) = ((thousandths / 1000).abs(), (thousandths % 1000).abs());
    let decimals = format!("{rest:03}");
    match decimals.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        decimals => format!("{sign}{whole}.{decimals}"),
    }
}

/// Writes a size in the largest unit it fills.
fn size(bytes: i64) -> String {
    const UNITS: [(&str, i64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let found = UNITS.iter().find(|(_, unit)| bytes.saturating_abs() >= *unit);
    let Some((name, unit)) = found else { return format!("{bytes} B") };
    let tenths = i128::from(bytes) * 10 / i128::from(*unit);
    match (tenths / 10, (tenths % 10).abs()) {
        (whole, 0) => format!("{whole} {name}"),
        (whole, tenth) => format!("{whole}.{tenth} {name}"),
    }
}
