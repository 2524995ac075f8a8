//! From a packet to what to do with it, and from an answer to a packet. Sends nothing, knows no state but the table.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};
use skep_core::net::names::{Answer, NameTable, Question};

/// Length of the header of every message.
pub const HEADER_BYTES: usize = 12;
/// What UDP carries when nothing else was agreed.
const UDP_BYTES: u16 = 512;
/// What we agree to: no fragments on any usual link.
const EDNS_BYTES: u16 = 1232;
/// The address may be that of another task the next moment.
const TTL_SECONDS: u32 = 0;

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// What to do with a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: it is no question.
    Drop,
    /// Send this back.
    Reply(Vec<u8>),
    /// Ask these servers, or the node's own if there are none; if none answers, send `failure` back.
    Forward { servers: Vec<IpAddr>, failure: Vec<u8> },
}

/// Decides about a packet from `source`. `turn` says which of several addresses comes first.
pub fn decide(
    table: &NameTable,
    source: IpAddr,
    packet: &[u8],
    transport: Transport,
    turn: usize,
) -> Decision {
    // The third byte's highest bit marks answers; to answer those could go on for ever.
    if packet.len() < HEADER_BYTES || packet[2] & 0x80 != 0 {
        return Decision::Drop;
    }
    let Ok(request) = Message::from_vec(packet) else {
        let id = u16::from_be_bytes([packet[0], packet[1]]);
        return reply(&Message::error_msg(id, OpCode::Query, ResponseCode::FormErr), UDP_BYTES);
    };
    let limit = match transport {
        Transport::Tcp => u16::MAX,
        Transport::Udp => request.max_payload().clamp(UDP_BYTES, EDNS_BYTES),
    };
    let query = match question_of(&request) {
        Ok(query) => query,
        Err(code) => return reply(&respond(&request, code), limit),
    };
    match table.ask(source, to_question(query, &plain_name(&query.name))) {
        Answer::Addresses(mut list) => {
            let start = turn.checked_rem(list.len()).unwrap_or(0);
            list.rotate_left(start);
            reply(&with_records(&request, query, list.into_iter().map(to_data)), limit)
        }
        Answer::Name(name) => {
            let name = Name::from_labels(name.split('.').map(str::as_bytes));
            let data = name.ok().map(|mut name| {
                name.set_fqdn(true);
                RData::PTR(PTR(name))
            });
            reply(&with_records(&request, query, data), limit)
        }
        Answer::Empty => reply(&with_records(&request, query, None), limit),
        Answer::Unknown => reply(&respond(&request, ResponseCode::NXDomain), limit),
        Answer::Refused => reply(&respond(&request, ResponseCode::Refused), limit),
        Answer::NoWayOut => reply(&respond(&request, ResponseCode::ServFail), limit),
        Answer::Forward(servers) => Decision::Forward {
            servers: servers.to_vec(),
            failure: encode(&respond(&request, ResponseCode::ServFail), limit),
        },
    }
}

/// Returns the one question of a request that we understand.
fn question_of(request: &Message) -> Result<&Query, ResponseCode> {
    if request.message_type != MessageType::Query {
        return Err(ResponseCode::FormErr);
    }
    if request.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Err(ResponseCode::BADVERS);
    }
    let [query] = request.queries.as_slice() else { return Err(ResponseCode::FormErr) };
    let transfer = matches!(query.query_type, RecordType::AXFR | RecordType::IXFR);
    if query.query_class != DNSClass::IN || transfer {
        return Err(ResponseCode::Refused);
    }
    Ok(query)
}

fn to_question<'a>(query: &Query, name: &'a str) -> Question<'a> {
    if query.query_type == RecordType::A {
        Question::V4(name)
    } else if query.query_type == RecordType::AAAA {
        Question::V6(name)
    } else if query.query_type == RecordType::PTR {
        pointed(&query.name).map_or(Question::Other(name), Question::Pointer)
    } else {
        Question::Other(name)
    }
}

/// Returns the whole address that a name under `arpa` stands for.
fn pointed(name: &Name) -> Option<IpAddr> {
    let net = name.parse_arpa_name().ok()?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

/// Returns a name as text; empty, which is nobody's name, when a label could be mistaken for two.
fn plain_name(name: &Name) -> String {
    let mut text = String::new();
    for label in name.iter() {
        if !label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.') {
            return String::new();
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|byte| char::from(*byte)));
    }
    text
}

const fn to_data(addr: IpAddr) -> RData {
    match addr {
        IpAddr::V4(addr) => RData::A(A(addr)),
        IpAddr::V6(addr) => RData::AAAA(AAAA(addr)),
    }
}

fn respond(request: &Message, code: ResponseCode) -> Message {
    let mut response = Message::response(request.id, request.op_code);
    response.metadata.recursion_desired = request.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.response_code = code;
    response.queries.extend(request.queries.first().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_BYTES).set_version(0);
        response.set_edns(edns);
    }
    response
}

fn with_records(
    request: &Message,
    query: &Query,
    data: impl IntoIterator<Item = RData>,
) -> Message {
    let mut response = respond(request, ResponseCode::NoError);
    response.metadata.authoritative = true;
    response.add_answers(
        data.into_iter().map(|data| Record::from_rdata(query.name.clone(), TTL_SECONDS, data)),
    );
    response
}

fn reply(response: &Message, limit: u16) -> Decision {
    let bytes = encode(response, limit);
    if bytes.is_empty() { Decision::Drop } else { Decision::Reply(bytes) }
}

/// Encodes as much as fits and marks what was cut; empty when not even the question fits.
fn encode(response: &Message, limit: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(usize::from(UDP_BYTES));
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit);
    if response.emit(&mut encoder).is_err() {
        bytes.clear();
    }
    bytes
}

/// Tells whether `answer` may be one to `question`.
pub fn answers(answer: &[u8], question: &[u8]) -> bool {
    let (Some(head), Some(asked)) = (answer.get(..HEADER_BYTES), question.get(..HEADER_BYTES))
    else {
        return false;
    };
    if head[..2] != asked[..2] || head[2] & 0x80 == 0 {
        return false;
    }
    // Some servers leave the question out of an error.
    if head[4..6] == [0, 0] {
        return is_failure(answer);
    }
    let end = question_end(question);
    match (answer.get(HEADER_BYTES..end), question.get(HEADER_BYTES..end)) {
        (Some(answered), Some(asked)) => answered.eq_ignore_ascii_case(asked),
        _ => false,
    }
}

/// Returns where the first question of a message ends.
fn question_end(packet: &[u8]) -> usize {
    let mut at = HEADER_BYTES;
    while let Some(length) = packet.get(at).filter(|length| (1..64).contains(*length)) {
        at += 1 + usize::from(*length);
    }
    at + 5
}

/// Tells whether another server may know better: it could not, or would not, answer.
pub fn is_failure(answer: &[u8]) -> bool {
    answer.get(3).is_none_or(|flags| !matches!(flags & 0x0f, 0 | 3))
}
