//! Packet rules as nftables has them: tables of sets and chains. Runs nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;

use super::element::{Key, Value};
use super::rule::Rule;

/// Tables by family and name, as in `ip skep`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruleset {
    /// The tables.
    pub tables: BTreeMap<&'static str, Table>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Sets and maps.
    pub sets: BTreeMap<&'static str, Set>,
    /// Chains.
    pub chains: OrdMap<String, Arc<Chain>>,
}

/// A set or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Types, as in `ifname . ipv4_addr : verdict`; a map is one with a colon.
    pub types: &'static str,
    /// Elements, with what they map to; nothing in a set.
    pub elements: OrdMap<Key, Value>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// Where the kernel enters it, as in `type nat hook output priority -110;`; empty if only other chains do.
    pub hook: &'static str,
    /// Rules.
    pub rules: Vec<Rule>,
}

impl Set {
    /// Makes an empty one.
    pub fn new(types: &'static str) -> Self {
        Self { types, elements: OrdMap::new() }
    }

    /// Makes a set of these elements.
    pub fn of<K: Into<Key>>(types: &'static str, elements: impl IntoIterator<Item = K>) -> Self {
        let elements = elements.into_iter().map(|element| (element.into(), Value::Nothing));
        Self { types, elements: elements.collect() }
    }

    pub(super) fn kind(&self) -> &'static str {
        if self.types.contains(':') { "map" } else { "set" }
    }
}

impl Table {
    /// Puts a chain in that the kernel enters at `hook`, or only other chains do if that is empty; tells whether there was one.
    pub fn put_chain<R: Into<Rule>>(
        &mut self,
        name: &str,
        hook: &'static str,
        rules: impl IntoIterator<Item = R>,
    ) -> bool {
        let rules = rules.into_iter().map(Into::into).collect();
        self.chains.insert(name.to_owned(), Arc::new(Chain { hook, rules })).is_some()
    }

    /// Adds a rule to a chain that is there.
    pub fn add_rule(&mut self, chain: &str, rule: impl Into<Rule>) {
        if let Some(chain) = self.chains.get_mut(chain) {
            Arc::make_mut(chain).rules.push(rule.into());
        }
    }

    /// Puts an element into a set, or a map, that is there.
    pub fn put_element(&mut self, set: &str, key: impl Into<Key>, value: Value) {
        if let Some(set) = self.sets.get_mut(set) {
            set.elements.insert(key.into(), value);
        }
    }

    /// Takes an element out of a set or a map.
    pub fn take_element(&mut self, set: &str, key: impl Into<Key>) {
        if let Some(set) = self.sets.get_mut(set) {
            set.elements.remove(&key.into());
        }
    }
}
