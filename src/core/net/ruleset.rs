//! Packet rules as nftables takes them: tables of sets and chains, their text, and the shortest text from one to another.
//! Runs nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

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
    pub elements: OrdMap<String, String>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// Where the kernel enters it, as in `type nat hook output priority -110;`; empty if only other chains do.
    pub hook: &'static str,
    /// Rules.
    pub rules: Vec<String>,
}

impl Set {
    /// Makes an empty one.
    pub fn new(types: &'static str) -> Self {
        Self { types, elements: OrdMap::new() }
    }

    /// Makes a set of these elements.
    pub fn of(types: &'static str, elements: impl IntoIterator<Item = String>) -> Self {
        let elements = elements.into_iter().map(|element| (element, String::new())).collect();
        Self { types, elements }
    }

    fn kind(&self) -> &'static str {
        if self.types.contains(':') { "map" } else { "set" }
    }
}

impl Ruleset {
    /// Returns the text that makes exactly this, whatever was there; `gone` are tables to remove beside.
    pub fn whole<'a>(&self, gone: impl IntoIterator<Item = &'a str>) -> String {
        let mut text = String::new();
        for name in gone.into_iter().filter(|name| !self.tables.contains_key(name)) {
            remove_table(&mut text, name);
        }
        for (name, table) in &self.tables {
            remove_table(&mut text, name);
            table.write(&mut text, name);
        }
        text
    }

    /// Returns the text that leads here from another set of rules; empty if nothing differs.
    pub fn since(&self, held: &Self) -> String {
        let mut text = String::new();
        for name in held.tables.keys().filter(|name| !self.tables.contains_key(*name)) {
            remove_table(&mut text, name);
        }
        for (name, table) in &self.tables {
            match held.tables.get(name) {
                Some(held) if held == table => {}
                Some(held) if table.has_form_of(held) => table.write_changes(held, &mut text, name),
                Some(_) | None => {
                    remove_table(&mut text, name);
                    table.write(&mut text, name);
                }
            }
        }
        text
    }
}

/// To add it first makes the removal succeed whether or not it is there.
fn remove_table(text: &mut String, name: &str) {
    line(text, format_args!("add table {name}\ndelete table {name}"));
}

/// Writing to a string never fails.
fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{line}");
}

/// What differs between two chains of a name; none where there is no such chain.
type ChainChange<'a> = (&'a String, Option<&'a Arc<Chain>>, Option<&'a Arc<Chain>>);

impl Table {
    /// Puts a chain in that the kernel enters at `hook`, or only other chains do if that is empty; tells whether there was one.
    pub fn put_chain(&mut self, name: &str, hook: &'static str, rules: Vec<String>) -> bool {
        self.chains.insert(name.to_owned(), Arc::new(Chain { hook, rules })).is_some()
    }

    /// Adds a rule to a chain that is there.
    pub fn add_rule(&mut self, chain: &str, rule: String) {
        if let Some(chain) = self.chains.get_mut(chain) {
            Arc::make_mut(chain).rules.push(rule);
        }
    }

    /// Puts an element into a set, or a map, that is there.
    pub fn put_element(&mut self, set: &str, key: String, value: String) {
        if let Some(set) = self.sets.get_mut(set) {
            set.elements.insert(key, value);
        }
    }

    /// Takes an element out of a set or a map.
    pub fn take_element(&mut self, set: &str, key: &str) {
        if let Some(set) = self.sets.get_mut(set) {
            set.elements.remove(key);
        }
    }

    /// Lists chains that differ; costs no more than there are.
    fn changes<'a>(&'a self, held: &'a Self) -> impl Iterator<Item = ChainChange<'a>> {
        held.chains.diff(&self.chains).map(|change| match change {
            DiffItem::Add(name, new) => (name, None, Some(new)),
            DiffItem::Remove(name, old) => (name, Some(old), None),
            DiffItem::Update { old: (_, old), new: (name, new) } => (name, Some(old), Some(new)),
        })
    }

    /// Tells whether only elements, rules and chains that nothing hooks differ.
    fn has_form_of(&self, held: &Self) -> bool {
        let types = |table: &Self| -> Vec<_> {
            table.sets.iter().map(|(name, set)| (*name, set.types)).collect()
        };
        let hook = |chain: Option<&Arc<Chain>>| chain.map_or("", |chain| chain.hook);
        types(self) == types(held) && self.changes(held).all(|(_, old, new)| hook(old) == hook(new))
    }

    fn write(&self, text: &mut String, name: &str) {
        line(text, format_args!("table {name} {{"));
        for (set_name, set) in &self.sets {
            line(text, format_args!("{} {set_name} {{ type {}; }}", set.kind(), set.types));
        }
        // Chains are there before a rule of another one names them.
        for (chain_name, chain) in &self.chains {
            line(text, format_args!("chain {chain_name} {{ {} }}", chain.hook));
        }
        line(text, format_args!("}}"));
        for (chain_name, chain) in &self.chains {
            write_rules(text, name, chain_name, chain);
        }
        for (set_name, set) in &self.sets {
            write_elements(text, "add", name, set_name, set.elements.iter());
        }
    }

    fn write_changes(&self, held: &Self, text: &mut String, name: &str) {
        for (chain_name, old, new) in self.changes(held) {
            let Some(new) = new else { continue };
            match old {
                Some(_) => line(text, format_args!("flush chain {name} {chain_name}")),
                None => line(text, format_args!("add chain {name} {chain_name}")),
            }
            write_rules(text, name, chain_name, new);
        }
        for (set_name, set) in &self.sets {
            if let Some(held) = held.sets.get(set_name) {
                set.write_changes(held, text, (name, set_name));
            }
        }
        for (chain_name, ..) in self.changes(held).filter(|(_, _, new)| new.is_none()) {
            line(text, format_args!("flush chain {name} {chain_name}"));
            line(text, format_args!("delete chain {name} {chain_name}"));
        }
    }
}

impl Set {
    /// Writes what differs from another set of the same name: what is gone before what is new, which may have its key.
    fn write_changes(&self, held: &Self, text: &mut String, (table, name): (&str, &str)) {
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        for change in held.elements.diff(&self.elements) {
            match change {
                DiffItem::Add(key, value) => new.push((key, value)),
                DiffItem::Remove(key, value) => gone.push((key, value)),
                DiffItem::Update { old, new: other } => {
                    gone.push(old);
                    new.push(other);
                }
            }
        }
        write_elements(text, "delete", table, name, gone.into_iter());
        write_elements(text, "add", table, name, new.into_iter());
    }
}

fn write_rules(text: &mut String, table: &str, name: &str, chain: &Chain) {
    for rule in &chain.rules {
        line(text, format_args!("add rule {table} {name} {rule}"));
    }
}

fn write_elements<'a>(
    text: &mut String,
    verb: &str,
    table: &str,
    set: &str,
    elements: impl Iterator<Item = (&'a String, &'a String)>,
) {
    let one = |(key, value): (&String, &String)| {
        if value.is_empty() { key.clone() } else { format!("{key} : {value}") }
    };
    let elements: Vec<String> = elements.map(one).collect();
    if !elements.is_empty() {
        line(text, format_args!("{verb} element {table} {set} {{ {} }}", elements.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(ports: &[(&str, &str)]) -> Ruleset {
        let mut table = Table::default();
        let hook = "type nat hook output priority -110;";
        table.put_chain("c_out", hook, vec!["th dport vmap @ports".to_owned()]);
        let mut set = Set::new("inet_service : verdict");
        for (port, to) in ports {
            set.elements.insert((*port).to_owned(), format!("goto p_{port}"));
            let rules = vec![format!("dnat to {to}")];
            table.put_chain(&format!("p_{port}"), "", rules);
        }
        table.sets.insert("ports", set);
        Ruleset { tables: [("ip skep", table)].into() }
    }

    #[test]
    fn whole_text_begins_with_nothing() {
        let text = rules(&[("80", "10.0.0.2")]).whole(["ip skep", "inet skep_fw"]);
        assert_eq!(
            text,
            "add table inet skep_fw\ndelete table inet skep_fw\nadd table ip skep\ndelete table ip skep\ntable ip skep {\n\
             map ports { type inet_service : verdict; }\n\
             chain c_out { type nat hook output priority -110; }\nchain p_80 {  }\n}\n\
             add rule ip skep c_out th dport vmap @ports\nadd rule ip skep p_80 dnat to 10.0.0.2\n\
             add element ip skep ports { 80 : goto p_80 }\n"
        );
    }

    #[test]
    fn changes_touch_only_what_differs() {
        let held = rules(&[("80", "10.0.0.2"), ("81", "10.0.0.3")]);
        assert_eq!(held.since(&held), "");
        let next = rules(&[("80", "10.0.0.9"), ("82", "10.0.0.3")]);
        assert_eq!(
            next.since(&held),
            "flush chain ip skep p_80\nadd rule ip skep p_80 dnat to 10.0.0.9\nadd chain ip skep p_82\n\
             add rule ip skep p_82 dnat to 10.0.0.3\ndelete element ip skep ports { 81 : goto p_81 }\n\
             add element ip skep ports { 82 : goto p_82 }\nflush chain ip skep p_81\ndelete chain ip skep p_81\n"
        );
        let none = Ruleset::default();
        assert_eq!(none.since(&held), "add table ip skep\ndelete table ip skep\n");
        assert_eq!(held.since(&none), held.whole([]));
    }
}
