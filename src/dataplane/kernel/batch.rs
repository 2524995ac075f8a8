//! Changes of packet rules as the kernel takes them: one batch of netlink messages. Opens no socket.
//!
//! Numbers are those of the kernel's `linux/netfilter/nf_tables.h` and `nfnetlink.h`, which never change. Only what follows
//! tasks and services is written here: chains and their rules that lead connections, and elements. nft knows the rest.

use skep_core::net::changes::{Change, Changes, Elements, Place};

use super::expressions::{expressions, key, value};
use crate::dataplane::attributes::{HEAD, NESTED, put, put_name};

/// A batch, as it is sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// All messages.
    pub(super) bytes: Vec<u8>,
    /// The sequence number of the one that is answered last.
    pub(super) last: u32,
}

/// A batch that is larger may not fit into a socket's buffer.
const SIZE_MAX: usize = 128 << 10;

/// So many elements, of some 100 bytes, fit into one attribute, of which the length has 16 bits.
const ELEMENTS_MAX: usize = 400;

/// The subsystem nf_tables, in the upper half of a message's type.
pub(super) const SUBSYSTEM: u16 = 10;

/// Types of messages.
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const DELETE_CHAIN: u16 = SUBSYSTEM << 8 | 5;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
const DELETE_RULE: u16 = SUBSYSTEM << 8 | 8;
const NEW_ELEMENTS: u16 = SUBSYSTEM << 8 | 12;
const DELETE_ELEMENTS: u16 = SUBSYSTEM << 8 | 14;

/// Flags of messages.
const REQUEST: u16 = 1;
const ANSWER: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

/// Attributes: the table's name is the first of each message.
pub(super) const TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const ITEM: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_VALUE: u16 = 2;

/// Writes changes; absent where there is something among them that is left to nft.
pub(super) fn batch(changes: &Changes<'_>) -> Option<Batch> {
    let mut writer = Writer::default();
    writer.message(BEGIN, REQUEST, Subject::Batch, &[]);
    for change in changes.iter() {
        writer.change(change)?;
    }
    let last = writer.ask_for_answer();
    writer.message(END, REQUEST, Subject::Batch, &[]);
    (writer.bytes.len() <= SIZE_MAX).then_some(Batch { bytes: writer.bytes, last })
}

/// Returns the number of a table's family.
pub(super) fn family_of(word: &str) -> Option<u8> {
    match word {
        "inet" => Some(1),
        "ip" => Some(2),
        "ip6" => Some(10),
        _ => None,
    }
}

/// What a message is about.
#[derive(Clone, Copy)]
enum Subject {
    /// All of the batch.
    Batch,
    /// A table of this family.
    Table(u8),
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    /// The number of messages, each of which is its sequence number.
    count: u32,
    /// Where the last one begins.
    last_at: usize,
}

impl Writer {
    fn change(&mut self, change: &Change<'_>) -> Option<()> {
        match change {
            Change::RemoveTable(_) | Change::MakeTable(..) => return None,
            Change::MakeChain(place) => self.of(*place, NEW_CHAIN, CREATE, CHAIN_NAME, &[])?,
            Change::EmptyChain(place) => self.of(*place, DELETE_RULE, 0, RULE_CHAIN, &[])?,
            Change::RemoveChain(place) => self.of(*place, DELETE_CHAIN, 0, CHAIN_NAME, &[])?,
            Change::AddRule(place, rule) => {
                let mut rest = Vec::new();
                put(&mut rest, RULE_EXPRESSIONS | NESTED, &expressions(rule)?);
                self.of(*place, NEW_RULE, CREATE | APPEND, RULE_CHAIN, &rest)?;
            }
            Change::AddElements(place, elements) => {
                self.elements(*place, NEW_ELEMENTS, CREATE, elements)?;
            }
            Change::RemoveElements(place, elements) => {
                self.elements(*place, DELETE_ELEMENTS, 0, elements)?;
            }
        }
        Some(())
    }

    /// Writes a message about something in a table, which has its name in the attribute `named`.
    fn of(
        &mut self,
        (table, name): Place<'_>,
        kind: u16,
        flags: u16,
        named: u16,
        rest: &[u8],
    ) -> Option<()> {
        let (family, table) = table.split_once(' ')?;
        let family = family_of(family)?;
        let mut body = Vec::new();
        put_name(&mut body, TABLE, table);
        put_name(&mut body, named, name);
        body.extend(rest);
        self.message(kind, REQUEST | flags, Subject::Table(family), &body);
        Some(())
    }

    fn elements(
        &mut self,
        place: Place<'_>,
        kind: u16,
        flags: u16,
        elements: &Elements<'_>,
    ) -> Option<()> {
        for some in elements.chunks(ELEMENTS_MAX) {
            let mut list = Vec::new();
            for (its_key, its_value) in some {
                let mut item = Vec::new();
                put(&mut item, ELEMENT_KEY | NESTED, &key(its_key)?);
                // It is found by its key.
                if kind == NEW_ELEMENTS
                    && let Some(value) = value(its_value)
                {
                    put(&mut item, ELEMENT_VALUE | NESTED, &value);
                }
                put(&mut list, ITEM | NESTED, &item);
            }
            let mut rest = Vec::new();
            put(&mut rest, ELEMENTS | NESTED, &list);
            self.of(place, kind, flags, ELEMENTS_SET, &rest)?;
        }
        Some(())
    }

    fn message(&mut self, kind: u16, flags: u16, subject: Subject, body: &[u8]) {
        self.last_at = self.bytes.len();
        // A family, version 0, and what a batch is for.
        let about = match subject {
            Subject::Batch => [0, 0, 0, SUBSYSTEM.to_be_bytes()[1]],
            Subject::Table(family) => [family, 0, 0, 0],
        };
        let length = u32::try_from(HEAD + about.len() + body.len()).unwrap_or(u32::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.count.to_ne_bytes());
        self.bytes.extend(0_u32.to_ne_bytes());
        self.bytes.extend(about);
        self.bytes.extend(body);
        self.count += 1;
    }

    /// Lets the last message be answered when all is done; returns its number.
    fn ask_for_answer(&mut self) -> u32 {
        const FLAGS_AT: usize = 4 + 2;
        let at = self.last_at + FLAGS_AT;
        if let Some(flags) = self.bytes.get_mut(at..at + 2) {
            let [low, high] = ANSWER.to_ne_bytes();
            flags[0] |= low;
            flags[1] |= high;
        }
        self.count.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use skep_core::net::element::Value;
    use skep_core::net::rule::{Lead, Rule};
    use skep_core::net::ruleset::{Ruleset, Set, Table};

    use super::*;
    use crate::dataplane::attributes::{Message, find, with_heads};

    fn ruleset(link: &str, rules: &[Rule]) -> Ruleset {
        let mut table = Table::default();
        table.sets.insert("vips", Set::new("ifname . ipv4_addr : verdict"));
        let addr = IpAddr::from([10, 0, 0, 2]);
        table.put_element("vips", (link, addr), Value::Goto("v_one".to_owned()));
        table.put_chain("v_one", "", rules.to_vec());
        Ruleset { tables: [("ip skep", table)].into() }
    }

    fn lead(one_in: u32) -> Rule {
        let addr = IpAddr::from([10, 0, 0, 9]);
        let (one_in, port) = ((one_in > 1).then_some(one_in), None);
        Rule::Lead(Lead { place: None, protocol: None, one_in, addr, port })
    }

    #[test]
    fn what_follows_tasks_is_one_batch() {
        let (held, wanted) = (ruleset("sk1", &[Rule::Accept]), ruleset("sk2", &[lead(2), lead(1)]));
        let batch = batch(&wanted.since(&held)).expect("nothing in it is nft's");
        let told: Vec<Message<'_>> = with_heads(&batch.bytes).collect();
        let kinds: Vec<_> = told.iter().map(|it| it.kind).collect();
        let expected = [BEGIN, DELETE_RULE, NEW_RULE, NEW_RULE, DELETE_ELEMENTS, NEW_ELEMENTS, END];
        assert_eq!(kinds, expected);
        assert!(told.iter().map(|it| it.sequence).eq(0..7));
        assert_eq!(batch.last, 5);
        for it in &told[1..6] {
            assert_eq!(it.body[0], 2, "all of it is of IPv4");
            assert_eq!(find(&it.body[4..], &[TABLE]), Some(&b"skep\0"[..]));
        }
        let gone = told[4].body;
        let key = find(&gone[4..], &[ELEMENTS, ITEM, ELEMENT_KEY, 1]);
        assert_eq!(key, Some(&b"sk1\0\0\0\0\0\0\0\0\0\0\0\0\0\x0a\0\0\x02"[..]));
        assert_eq!(find(&gone[4..], &[ELEMENTS, ITEM, ELEMENT_VALUE]), None);
    }

    #[test]
    fn what_is_left_to_nft_is_no_batch() {
        let (held, none) = (ruleset("sk1", &[]), Ruleset::default());
        let written = Rule::Written("counter".to_owned());
        for wanted in [ruleset("sk1", &[written]), ruleset("sk345678901234567", &[]), none] {
            assert_eq!(batch(&wanted.since(&held)), None);
        }
        assert_eq!(batch(&held.whole([])), None);
    }
}
