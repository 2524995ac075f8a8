//! What rules and elements are made of, as the kernel takes them: expressions over registers. Opens no socket.
//!
//! Numbers are those of the kernel's `linux/netfilter/nf_tables.h`.

use std::net::IpAddr;

use skep_core::labels;
use skep_core::model::service::PortProtocol;
use skep_core::net::element::{Key, Part, Value};
use skep_core::net::family::Family;
use skep_core::net::rule::{Lead, Rule};

use crate::dataplane::attributes::{NESTED, put, put_name};

/// Registers: that of the verdict, and two of 16 bytes each.
const VERDICT: u32 = 0;
const FIRST: u32 = 1;
const SECOND: u32 = 2;

/// Length of a link's name with the zero that ends it.
const LINK_NAME: usize = 16;

/// A list's entry, and an expression's two parts.
const ITEM: u16 = 1;
const NAME: u16 = 1;
const DATA: u16 = 2;

/// What data holds: bytes, or what becomes of the packet with the chain it goes to.
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const ACCEPT: i32 = 1;
const GOTO: i32 = -4;

/// Writes the expressions of a rule; absent where that is left to nft.
pub(super) fn expressions(rule: &Rule) -> Option<Vec<u8>> {
    match rule {
        Rule::Written(_) => None,
        Rule::Accept => {
            let mut list = Vec::new();
            immediate(&mut list, VERDICT, &verdict(ACCEPT, None));
            Some(list)
        }
        Rule::Lead(lead) => self::lead(lead),
    }
}

fn lead(lead: &Lead) -> Option<Vec<u8>> {
    let mut list = Vec::new();
    match &lead.place {
        None => {}
        Some(labels::Place::Interface(name)) => {
            meta(&mut list, META_INCOMING);
            equals(&mut list, &link_name(name)?);
        }
        Some(labels::Place::Address(addr)) => {
            destination(&mut list, Family::of(*addr));
            equals(&mut list, &octets(*addr));
        }
    }
    if let Some(protocol) = lead.protocol {
        meta(&mut list, META_PROTOCOL);
        equals(&mut list, &[number(protocol)]);
    }
    if let Some(count) = lead.one_in {
        in_turn(&mut list, count);
        equals(&mut list, &0_u32.to_ne_bytes());
    }
    translate(&mut list, lead);
    Some(list)
}

/// Writes a key: each part begins at a multiple of four.
pub(super) fn key(key: &Key) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for part in &key.0 {
        match part {
            Part::Link(name) => bytes.extend(link_name(name)?),
            Part::Addr(addr) => bytes.extend(octets(*addr)),
            Part::Mac(mac) => bytes.extend(mac.0),
            Part::Protocol(protocol) => bytes.push(number(*protocol)),
            Part::Port(port) => bytes.extend(port.to_be_bytes()),
        }
        // A key of one part is as long as that.
        if key.0.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    Some(data(&bytes))
}

/// Writes what a map makes of a key; absent in a set.
pub(super) fn value(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Nothing => None,
        Value::Goto(chain) => Some(verdict(GOTO, Some(chain))),
        Value::Addr(addr) => Some(data(&octets(*addr))),
        Value::Mark(mark) => Some(data(&mark.to_ne_bytes())),
    }
}

fn data(bytes: &[u8]) -> Vec<u8> {
    let mut list = Vec::new();
    put(&mut list, DATA_VALUE, bytes);
    list
}

fn verdict(code: i32, chain: Option<&str>) -> Vec<u8> {
    let mut verdict = Vec::new();
    put(&mut verdict, VERDICT_CODE, &code.to_be_bytes());
    if let Some(chain) = chain {
        put_name(&mut verdict, VERDICT_CHAIN, chain);
    }
    let mut list = Vec::new();
    put(&mut list, DATA_VERDICT | NESTED, &verdict);
    list
}

/// Adds an expression: its name and attributes.
fn add(list: &mut Vec<u8>, name: &str, attributes: &[u8]) {
    let mut item = Vec::new();
    put_name(&mut item, NAME, name);
    put(&mut item, DATA | NESTED, attributes);
    put(list, ITEM | NESTED, &item);
}

/// Writes attributes that are numbers: type and value.
fn numbers(of: &[(u16, u32)]) -> Vec<u8> {
    let mut attributes = Vec::new();
    for (kind, number) in of {
        put(&mut attributes, *kind, &number.to_be_bytes());
    }
    attributes
}

const META_PROTOCOL: u32 = 16;
const META_INCOMING: u32 = 6;

/// Loads something about the packet.
fn meta(list: &mut Vec<u8>, what: u32) {
    const TO: u16 = 1;
    const WHAT: u16 = 2;
    add(list, "meta", &numbers(&[(TO, FIRST), (WHAT, what)]));
}

/// Loads the address that the packet goes to.
fn destination(list: &mut Vec<u8>, family: Family) {
    const TO: u16 = 1;
    const BASE: u16 = 2;
    const OFFSET: u16 = 3;
    const LENGTH: u16 = 4;
    const NETWORK_HEADER: u32 = 1;
    let (offset, length) = match family {
        Family::V4 => (16, 4),
        Family::V6 => (24, 16),
    };
    let base = (BASE, NETWORK_HEADER);
    add(list, "payload", &numbers(&[(TO, FIRST), base, (OFFSET, offset), (LENGTH, length)]));
}

/// Loads a number that counts up to `count` and begins anew.
fn in_turn(list: &mut Vec<u8>, count: u32) {
    const TO: u16 = 1;
    const COUNT: u16 = 2;
    const KIND: u16 = 3;
    const OFFSET: u16 = 4;
    const INCREMENTAL: u32 = 0;
    let kind = (KIND, INCREMENTAL);
    add(list, "numgen", &numbers(&[(TO, FIRST), (COUNT, count), kind, (OFFSET, 0)]));
}

/// Goes on only if what was loaded is this.
fn equals(list: &mut Vec<u8>, bytes: &[u8]) {
    const FROM: u16 = 1;
    const HOW: u16 = 2;
    const WITH: u16 = 3;
    const EQUAL: u32 = 0;
    let mut attributes = numbers(&[(FROM, FIRST), (HOW, EQUAL)]);
    put(&mut attributes, WITH | NESTED, &data(bytes));
    add(list, "cmp", &attributes);
}

/// Loads data.
fn immediate(list: &mut Vec<u8>, to: u32, data: &[u8]) {
    const TO: u16 = 1;
    const WHAT: u16 = 2;
    let mut attributes = numbers(&[(TO, to)]);
    put(&mut attributes, WHAT | NESTED, data);
    add(list, "immediate", &attributes);
}

/// Changes where the connection goes.
fn translate(list: &mut Vec<u8>, lead: &Lead) {
    const KIND: u16 = 1;
    const FAMILY: u16 = 2;
    const ADDR: u16 = 3;
    const PORT: u16 = 5;
    const DESTINATION: u32 = 1;
    immediate(list, FIRST, &data(&octets(lead.addr)));
    let family = match Family::of(lead.addr) {
        Family::V4 => 2,
        Family::V6 => 10,
    };
    let mut found = vec![(KIND, DESTINATION), (FAMILY, family), (ADDR, FIRST)];
    if let Some(port) = lead.port {
        immediate(list, SECOND, &data(&port.to_be_bytes()));
        found.push((PORT, SECOND));
    }
    add(list, "nat", &numbers(&found));
}

fn link_name(name: &str) -> Option<[u8; LINK_NAME]> {
    let mut bytes = [0; LINK_NAME];
    bytes.get_mut(..name.len()).filter(|it| it.len() < LINK_NAME)?.copy_from_slice(name.as_bytes());
    Some(bytes)
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

const fn number(protocol: PortProtocol) -> u8 {
    match protocol {
        PortProtocol::Tcp => 6,
        PortProtocol::Udp => 17,
        PortProtocol::Sctp => 132,
    }
}
