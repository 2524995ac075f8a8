//! Which connections the kernel knows of, as far as it matters who is still being answered.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::netfilter::open;
use crate::dataplane::attributes::{DONE, ERROR, HEAD, NESTED, find, messages, put};

/// A connection is at rest when it had no packet for so long.
const REST: Duration = Duration::from_secs(2);

/// Where the kernel says how long a connection at rest is remembered, in seconds.
const REMEMBERED: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established";

/// Asks for all connections: a dump (flags 0x301) of the subsystem conntrack (1), message GET (1), of any family.
const REQUEST: [u8; 20] = [20, 0, 0, 0, 1, 1, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Length of what comes between a message's head and the attributes.
const FAMILY: usize = 4;

/// States of TCP: the first packet was sent, the second (TCP_CONNTRACK_SYN_SENT, TCP_CONNTRACK_SYN_RECV), and connected both
/// ways (TCP_CONNTRACK_ESTABLISHED).
const ASKED: u8 = 1;
const BEGUN: [u8; 2] = [ASKED, 2];
const ESTABLISHED: u8 = 3;

/// Protocol number of UDP.
const UDP: u8 = 17;

/// Attributes on the way to what is read: the direction of the first packet and that of answers, with addresses (source, of
/// either family) and protocol (number); what TCP knows, with its state; the time left.
const FIRST: u16 = 1;
const SOURCE: [u16; 3] = [2, 1, 1];
const SOURCE_V6: [u16; 3] = [2, 1, 3];
const PROTOCOL: [u16; 3] = [2, 2, 1];
const TCP_STATE: [u16; 3] = [4, 1, 1];
const TIMEOUT: [u16; 1] = [7];

/// Tells whether one of these addresses is answering somebody over TCP.
///
/// # Errors
/// Fails where the kernel gives no list.
pub(super) fn is_busy(addrs: &[IpAddr]) -> io::Result<bool> {
    let remembered = std::fs::read_to_string(REMEMBERED)?;
    let remembered: u32 = remembered.trim().parse().map_err(io::Error::other)?;
    let rest = u32::try_from(REST.as_secs()).unwrap_or(0);
    let busy_above = remembered.saturating_sub(rest);
    let addrs: BTreeSet<IpAddr> = addrs.iter().copied().collect();
    let mut busy = false;
    for_each(|flow| {
        let Some(state) = flow.state else { return };
        let works = state == ESTABLISHED && flow.timeout > busy_above;
        busy |= (works || BEGUN.contains(&state))
            && flow.answers_from.is_some_and(|addr| addrs.contains(&addr));
    })?;
    Ok(busy)
}

/// Forgets what these addresses answer over UDP, and what they were asked over TCP and have not answered: the next packet of
/// each, which may be the first of another connection by the same port, is led elsewhere.
///
/// # Errors
/// Fails where the kernel gives no list or forgets nothing.
pub(super) fn forget(addrs: &BTreeSet<IpAddr>) -> io::Result<()> {
    let mut found = Vec::new();
    for_each(|flow| {
        if flow.may_move() && flow.answers_from.is_some_and(|it| addrs.contains(&it)) {
            found.push((flow.family, flow.first));
        }
    })?;
    let socket = open()?;
    for (family, first) in found {
        socket.send(&deletion(family, &first), 0)?;
    }
    Ok(())
}

/// A request (flag 1) to delete (2) the connection whose first packet was this.
fn deletion(family: u8, first: &[u8]) -> Vec<u8> {
    let length = HEAD + FAMILY + 4 + first.len();
    let mut bytes = u32::try_from(length).unwrap_or(0).to_ne_bytes().to_vec();
    bytes.extend([2, 1, 1, 0]);
    bytes.resize(HEAD, 0);
    bytes.extend([family, 0, 0, 0]);
    put(&mut bytes, FIRST | NESTED, first);
    bytes
}

fn for_each(mut look: impl FnMut(Flow)) -> io::Result<()> {
    let socket = open()?;
    socket.send(&REQUEST, 0)?;
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        for (kind, body) in messages(&bytes) {
            match kind {
                DONE => return Ok(()),
                ERROR => return Err(io::Error::other("the kernel gives no list of connections")),
                _ => look(Flow::read(body)),
            }
        }
    }
}

/// What of a connection matters.
#[derive(Debug, Default, PartialEq, Eq)]
struct Flow {
    /// Number of the family of addresses.
    family: u8,
    /// The first packet's addresses and ports, as the kernel writes them.
    first: Vec<u8>,
    /// Who answers.
    answers_from: Option<IpAddr>,
    /// Number of the protocol.
    protocol: Option<u8>,
    /// State of TCP; absent for other protocols.
    state: Option<u8>,
    /// Seconds until it is forgotten if nothing more is sent.
    timeout: u32,
}

impl Flow {
    /// Whether nobody notices that another one answers.
    fn may_move(&self) -> bool {
        self.protocol == Some(UDP) || self.state == Some(ASKED)
    }

    /// Reads a message without its head.
    fn read(body: &[u8]) -> Self {
        let bytes = body.get(FAMILY..).unwrap_or_default();
        let number = |bytes: &[u8]| bytes.get(..4)?.try_into().ok().map(u32::from_be_bytes);
        let v4 = || Some(IpAddr::from(<[u8; 4]>::try_from(find(bytes, &SOURCE)?).ok()?));
        let v6 = || Some(IpAddr::from(<[u8; 16]>::try_from(find(bytes, &SOURCE_V6)?).ok()?));
        let byte = |way: &[u16]| find(bytes, way).and_then(|bytes| bytes.first().copied());
        Self {
            family: body.first().copied().unwrap_or(0),
            first: find(bytes, &[FIRST]).unwrap_or_default().to_vec(),
            answers_from: v4().or_else(v6),
            protocol: byte(&PROTOCOL),
            state: byte(&TCP_STATE),
            timeout: find(bytes, &TIMEOUT).and_then(number).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, kind, value);
        bytes
    }

    #[test]
    fn a_connection_is_read() {
        let nested = |kind: u16, value: &[u8]| attribute(kind | 0x8000, value);
        let addrs = |source: u8| {
            let source = attribute(1, &[10, 0, 0, source]);
            let addrs = nested(1, &[source, attribute(2, &[10, 0, 0, 9])].concat());
            [addrs, nested(2, &attribute(1, &[6]))].concat()
        };
        let body = [
            vec![2, 0, 0, 0],
            nested(1, &addrs(5)),
            nested(2, &addrs(7)),
            nested(4, &nested(1, &[attribute(2, &[1]), attribute(1, &[3])].concat())),
            attribute(7, &432_000_u32.to_be_bytes()),
        ]
        .concat();
        let expect = Flow {
            family: 2,
            first: addrs(5),
            protocol: Some(6),
            answers_from: Some([10, 0, 0, 7].into()),
            state: Some(ESTABLISHED),
            timeout: 432_000,
        };
        assert_eq!(Flow::read(&body), expect);
        assert!(!expect.may_move());
        let udp = || Flow { protocol: Some(UDP), ..Flow::default() };
        let tcp = |state| Flow { protocol: Some(6), state: Some(state), ..Flow::default() };
        assert!(udp().may_move() && tcp(ASKED).may_move() && !tcp(ASKED + 1).may_move());
        assert_eq!(Flow::read(&body[..44]).state, None);
        let answers_from: std::net::Ipv6Addr = "fd00::7".parse().expect("it is one");
        let addrs_v6 = nested(1, &attribute(3, &answers_from.octets()));
        let found = Flow::read(&[vec![10, 0, 0, 0], nested(2, &addrs_v6)].concat());
        assert_eq!((found.family, found.answers_from), (10, Some(answers_from.into())));
        let deletion = deletion(2, &addrs(5));
        let (kind, body) = messages(&deletion).next().expect("it is a message");
        assert_eq!((kind, find(&body[FAMILY..], &[FIRST])), (0x0102, Some(&addrs(5)[..])));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for (_, body) in messages(&bytes) {
                let _flow = Flow::read(body);
            }
            let _flow = Flow::read(&bytes);
        }
    }
}
