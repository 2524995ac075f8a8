//! What leads from one set of packet rules to another, step by step, and how nftables writes it. Carries nothing out.

use std::fmt;
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use super::element::{Key, Value};
use super::rule::Rule;
use super::ruleset::{Chain, Ruleset, Set, Table};

/// Changes in order, for one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes<'a>(Vec<Change<'a>>);

/// A table's name and that of a set or a chain in it.
pub type Place<'a> = (&'a str, &'a str);

/// Elements and what a map makes of them.
pub type Elements<'a> = Vec<(&'a Key, &'a Value)>;

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    /// Removes a table, whether or not it is there.
    RemoveTable(&'a str),
    /// Makes a table with its sets and chains, all of them empty.
    MakeTable(&'a str, &'a Table),
    /// Makes a chain that only other chains enter.
    MakeChain(Place<'a>),
    /// Takes all rules out of a chain.
    EmptyChain(Place<'a>),
    /// Removes a chain, which is empty and named by no rule or element.
    RemoveChain(Place<'a>),
    /// Adds a rule at the end of a chain.
    AddRule(Place<'a>, &'a Rule),
    /// Adds elements to a set or a map.
    AddElements(Place<'a>, Elements<'a>),
    /// Takes elements out of a set or a map.
    RemoveElements(Place<'a>, Elements<'a>),
}

impl Ruleset {
    /// Lists what makes exactly these rules, whatever was there; `gone` are tables to remove beside.
    pub fn whole<'a>(&'a self, gone: impl IntoIterator<Item = &'a str>) -> Changes<'a> {
        let mut changes = Changes::default();
        for name in gone.into_iter().filter(|name| !self.tables.contains_key(name)) {
            changes.0.push(Change::RemoveTable(name));
        }
        for (name, table) in &self.tables {
            changes.make_anew(name, table);
        }
        changes
    }

    /// Lists what leads here from other rules.
    pub fn since<'a>(&'a self, held: &'a Self) -> Changes<'a> {
        let mut changes = Changes::default();
        for name in held.tables.keys().filter(|name| !self.tables.contains_key(*name)) {
            changes.0.push(Change::RemoveTable(name));
        }
        for (name, table) in &self.tables {
            match held.tables.get(name) {
                Some(held) if held == table => {}
                Some(held) if table.has_form_of(held) => changes.within(name, held, table),
                Some(_) | None => changes.make_anew(name, table),
            }
        }
        changes
    }
}

impl<'a> Changes<'a> {
    /// Tells whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lists them in order.
    pub fn iter(&self) -> impl Iterator<Item = &Change<'a>> {
        self.0.iter()
    }

    fn make_anew(&mut self, name: &'a str, table: &'a Table) {
        self.0.extend([Change::RemoveTable(name), Change::MakeTable(name, table)]);
        for (chain_name, chain) in &table.chains {
            self.fill((name, chain_name), chain);
        }
        for (set_name, set) in &table.sets {
            let elements: Elements<'a> = set.elements.iter().collect();
            if !elements.is_empty() {
                self.0.push(Change::AddElements((name, set_name), elements));
            }
        }
    }

    fn fill(&mut self, place: Place<'a>, chain: &'a Chain) {
        self.0.extend(chain.rules.iter().map(|rule| Change::AddRule(place, rule)));
    }

    /// Chains are there before an element names them, and gone after it.
    fn within(&mut self, name: &'a str, held: &'a Table, wanted: &'a Table) {
        for (chain_name, old, new) in chain_changes(held, wanted) {
            let (place, Some(new)) = ((name, chain_name.as_str()), new) else { continue };
            let first = if old.is_some() { Change::EmptyChain } else { Change::MakeChain };
            self.0.push(first(place));
            self.fill(place, new);
        }
        for (set_name, set) in &wanted.sets {
            if let Some(held) = held.sets.get(set_name) {
                self.within_set((name, set_name), held, set);
            }
        }
        for (chain_name, ..) in chain_changes(held, wanted).filter(|(_, _, new)| new.is_none()) {
            let place = (name, chain_name.as_str());
            self.0.extend([Change::EmptyChain(place), Change::RemoveChain(place)]);
        }
    }

    /// What is gone comes before what is new, which may have its key.
    fn within_set(&mut self, place: Place<'a>, held: &'a Set, wanted: &'a Set) {
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        for change in held.elements.diff(&wanted.elements) {
            match change {
                DiffItem::Add(key, value) => new.push((key, value)),
                DiffItem::Remove(key, value) => gone.push((key, value)),
                DiffItem::Update { old, new: other } => {
                    gone.push(old);
                    new.push(other);
                }
            }
        }
        if !gone.is_empty() {
            self.0.push(Change::RemoveElements(place, gone));
        }
        if !new.is_empty() {
            self.0.push(Change::AddElements(place, new));
        }
    }
}

/// What differs between two chains of a name; none where there is no such chain.
type ChainChange<'a> = (&'a String, Option<&'a Arc<Chain>>, Option<&'a Arc<Chain>>);

/// Lists chains that differ; costs no more than there are.
fn chain_changes<'a>(held: &'a Table, wanted: &'a Table) -> impl Iterator<Item = ChainChange<'a>> {
    held.chains.diff(&wanted.chains).map(|change| match change {
        DiffItem::Add(name, new) => (name, None, Some(new)),
        DiffItem::Remove(name, old) => (name, Some(old), None),
        DiffItem::Update { old: (_, old), new: (name, new) } => (name, Some(old), Some(new)),
    })
}

impl Table {
    /// Tells whether only elements, rules and chains that nothing hooks differ.
    fn has_form_of(&self, held: &Self) -> bool {
        let types = |table: &Self| -> Vec<_> {
            table.sets.iter().map(|(name, set)| (*name, set.types)).collect()
        };
        let hook = |chain: Option<&Arc<Chain>>| chain.map_or("", |chain| chain.hook);
        types(self) == types(held)
            && chain_changes(held, self).all(|(_, old, new)| hook(old) == hook(new))
    }
}

/// A line each, as `nft -f` reads them.
impl fmt::Display for Changes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // To add it first makes the removal succeed whether or not it is there.
            Self::RemoveTable(name) => write!(f, "add table {name}\ndelete table {name}"),
            Self::MakeTable(name, table) => write_table(f, name, table),
            Self::MakeChain((table, chain)) => write!(f, "add chain {table} {chain}"),
            Self::EmptyChain((table, chain)) => write!(f, "flush chain {table} {chain}"),
            Self::RemoveChain((table, chain)) => write!(f, "delete chain {table} {chain}"),
            Self::AddRule((table, chain), rule) => write!(f, "add rule {table} {chain} {rule}"),
            Self::AddElements(place, elements) => write_elements(f, "add", *place, elements),
            Self::RemoveElements(place, elements) => write_elements(f, "delete", *place, elements),
        }
    }
}

fn write_table(f: &mut fmt::Formatter<'_>, name: &str, table: &Table) -> fmt::Result {
    writeln!(f, "table {name} {{")?;
    for (set_name, set) in &table.sets {
        writeln!(f, "{} {set_name} {{ type {}; }}", set.kind(), set.types)?;
    }
    for (chain_name, chain) in &table.chains {
        writeln!(f, "chain {chain_name} {{ {} }}", chain.hook)?;
    }
    f.write_str("}")
}

fn write_elements(
    f: &mut fmt::Formatter<'_>,
    verb: &str,
    (table, set): Place<'_>,
    elements: &Elements<'_>,
) -> fmt::Result {
    write!(f, "{verb} element {table} {set} {{ ")?;
    for (place, (key, value)) in elements.iter().enumerate() {
        write!(f, "{}{key}", if place == 0 { "" } else { ", " })?;
        if **value != Value::Nothing {
            write!(f, " : {value}")?;
        }
    }
    f.write_str(" }")
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::element::Part;
    use super::super::rule::Lead;
    use super::*;

    fn rules(ports: &[(u16, u8)]) -> Ruleset {
        let mut table = Table::default();
        let hook = "type nat hook output priority -110;";
        table.put_chain("c_out", hook, ["th dport vmap @ports".to_owned()]);
        let mut set = Set::new("inet_service : verdict");
        for (port, to) in ports {
            set.elements.insert(Part::Port(*port).into(), Value::Goto(format!("p_{port}")));
            let addr = IpAddr::from(Ipv4Addr::new(10, 0, 0, *to));
            let lead = Lead { place: None, protocol: None, one_in: None, addr, port: None };
            table.put_chain(&format!("p_{port}"), "", [lead]);
        }
        table.sets.insert("ports", set);
        Ruleset { tables: [("ip skep", table)].into() }
    }

    #[test]
    fn the_whole_begins_with_nothing() {
        let rules = rules(&[(80, 2)]);
        assert_eq!(
            rules.whole(["ip skep", "inet skep_fw"]).to_string(),
            "add table inet skep_fw\ndelete table inet skep_fw\nadd table ip skep\ndelete table ip skep\ntable ip skep {\n\
             map ports { type inet_service : verdict; }\n\
             chain c_out { type nat hook output priority -110; }\nchain p_80 {  }\n}\n\
             add rule ip skep c_out th dport vmap @ports\nadd rule ip skep p_80 dnat to 10.0.0.2\n\
             add element ip skep ports { 80 : goto p_80 }\n"
        );
    }

    #[test]
    fn changes_touch_only_what_differs() {
        let held = rules(&[(80, 2), (81, 3)]);
        assert!(held.since(&held).is_empty());
        let next = rules(&[(80, 9), (82, 3)]);
        assert_eq!(
            next.since(&held).to_string(),
            "flush chain ip skep p_80\nadd rule ip skep p_80 dnat to 10.0.0.9\nadd chain ip skep p_82\n\
             add rule ip skep p_82 dnat to 10.0.0.3\ndelete element ip skep ports { 81 : goto p_81 }\n\
             add element ip skep ports { 82 : goto p_82 }\nflush chain ip skep p_81\ndelete chain ip skep p_81\n"
        );
        let none = Ruleset::default();
        let removal = "add table ip skep\ndelete table ip skep\n";
        assert_eq!(none.since(&held).to_string(), removal);
        assert_eq!(held.since(&none), held.whole([]));
    }
}
