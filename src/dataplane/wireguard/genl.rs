//! What the kernel's WireGuard is told and asked, over generic netlink. A private key that passes here is wiped behind it: it is
//! part of no message that is kept, and none is ever logged.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;

use netlink_sys::{Socket, protocols::NETLINK_GENERIC};
use skep_core::model::tunnel_key::TunnelKey;
use skep_core::net::wire_link::WireOp;
use skep_core::net::wireguard::{PEERS_MAX, PORT, WirePeer};
use zeroize::Zeroizing;

use crate::dataplane::attributes::{DONE, ERROR, HEAD, NESTED, attributes, find, messages, put};

/// Nodes that one message tells of: a list of them has a length of 16 bits.
const PEERS_A_MESSAGE: usize = 200;

/// Answers to one question: at least one node in each, and what begins and ends them.
const ANSWERS_MAX: usize = 2 * PEERS_MAX;

/// Length of what comes between a message's head and the attributes.
const COMMAND: usize = 4;

/// Flags of a request: that it is one, that it wants to know how it went, that it asks for a list.
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;

/// The part of the kernel that knows the numbers of others (GENL_ID_CTRL): its command to find one, and the attributes.
const CONTROLLER: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const NAME: &[u8] = b"wireguard\0";

/// WireGuard's commands.
const GET_DEVICE: u8 = 0;
const SET_DEVICE: u8 = 1;

/// Attributes of a link (WGDEVICE_A).
const LINK_INDEX: u16 = 1;
const PRIVATE_KEY: u16 = 3;
const PUBLIC_KEY: u16 = 4;
const LISTEN_PORT: u16 = 6;
const PEERS: u16 = 8;

/// Attributes of a node (WGPEER_A), and the flags of one: that it goes, that the addresses are all it may speak for.
const PEER_KEY: u16 = 1;
const PEER_FLAGS: u16 = 3;
const PEER_ENDPOINT: u16 = 4;
const PEER_KEEPALIVE: u16 = 5;
const PEER_ALLOWED: u16 = 9;
const REMOVE: u32 = 1;
const REPLACE_ALLOWED: u32 = 2;

/// Attributes of an address that a node may speak for (WGALLOWEDIP_A).
const ALLOWED_FAMILY: u16 = 1;
const ALLOWED_ADDR: u16 = 2;
const ALLOWED_WIDTH: u16 = 3;

/// Number of the family of IPv4 addresses, and the width of one.
const INET: u16 = 2;
const WIDTH: u8 = 32;

/// The number of WireGuard's part of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WireFamily(u16);

/// What a link says of itself.
#[derive(Debug, Default)]
pub(super) struct Device {
    /// The public half of its key pair, if it has one.
    pub(super) key: Option<TunnelKey>,
    pub(super) port: u16,
    pub(super) peers: BTreeMap<TunnelKey, Option<WirePeer>>,
}

/// Finds WireGuard in the kernel, which loads it where it is a module; nothing where it has none. It may take a while.
pub(super) fn family() -> io::Result<Option<WireFamily>> {
    let mut name = Vec::new();
    put(&mut name, FAMILY_NAME, NAME);
    let mut found = None;
    let ask = request(CONTROLLER, GET_FAMILY, ACKNOWLEDGE, &name);
    let asked = exchange(&ask, |answer| {
        let id = find(answer, &[FAMILY_ID]).and_then(short);
        found = found.or(id.map(WireFamily));
    });
    match asked {
        Ok(()) => Ok(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl WireFamily {
    /// Asks a link about itself. The private key is part of the answer, and is not looked at.
    pub(super) fn get(self, link: u32) -> io::Result<Device> {
        let mut index = Vec::new();
        put(&mut index, LINK_INDEX, &link.to_ne_bytes());
        let mut device = Device::default();
        let mut peers: BTreeMap<TunnelKey, Heard> = BTreeMap::new();
        exchange(&request(self.0, GET_DEVICE, DUMP, &index), |answer| {
            for (kind, value) in attributes(answer) {
                match kind {
                    PUBLIC_KEY => device.key = TunnelKey::read(value),
                    LISTEN_PORT => device.port = short(value).unwrap_or(0),
                    PEERS => attributes(value).for_each(|(_, peer)| hear(peer, &mut peers)),
                    _ => {}
                }
            }
        })?;
        device.peers = peers.into_iter().map(|(key, heard)| (key, heard.peer())).collect();
        Ok(device)
    }

    /// Gives a link its private key.
    pub(super) fn set_key(self, link: u32, secret: &Zeroizing<[u8; 32]>) -> io::Result<()> {
        self.set(link, PRIVATE_KEY, secret.as_slice())
    }

    /// Tells a link the port to listen on.
    pub(super) fn set_port(self, link: u32, port: u16) -> io::Result<()> {
        self.set(link, LISTEN_PORT, &port.to_ne_bytes())
    }

    /// Carries out those of the steps that are about nodes.
    pub(super) fn set_peers(self, link: u32, steps: &[WireOp]) -> io::Result<()> {
        let told: Vec<Vec<u8>> = steps.iter().filter_map(tell).collect();
        for some in told.chunks(PEERS_A_MESSAGE) {
            self.set(link, PEERS | NESTED, &some.concat())?;
        }
        Ok(())
    }

    fn set(self, link: u32, kind: u16, value: &[u8]) -> io::Result<()> {
        // As large as it gets, so that no part of a key stays behind where it grew.
        let mut change = Zeroizing::new(Vec::with_capacity(value.len() + 2 * HEAD));
        put(&mut change, LINK_INDEX, &link.to_ne_bytes());
        put(&mut change, kind, value);
        exchange(&request(self.0, SET_DEVICE, ACKNOWLEDGE, &change), |_| {})
    }
}

/// What the link is told of a node, if the step is about one.
fn tell(step: &WireOp) -> Option<Vec<u8>> {
    match step {
        WireOp::RemovePeer(key) => Some(forget(*key)),
        WireOp::SetPeer(key, peer) => Some(know(*key, *peer)),
        WireOp::RemoveAddr(..)
        | WireOp::AddAddr(_)
        | WireOp::SetMtu(_)
        | WireOp::SetPort(_)
        | WireOp::TakeUp => None,
    }
}

/// Where a node is, and the one address that it may speak for.
fn know(key: TunnelKey, peer: WirePeer) -> Vec<u8> {
    let mut allowed = Vec::new();
    put(&mut allowed, ALLOWED_FAMILY, &INET.to_ne_bytes());
    put(&mut allowed, ALLOWED_ADDR, &peer.addr.octets());
    put(&mut allowed, ALLOWED_WIDTH, &[WIDTH]);
    let mut list = Vec::new();
    put(&mut list, NESTED, &allowed);
    let mut told = Vec::new();
    put(&mut told, PEER_KEY, &key.0);
    put(&mut told, PEER_FLAGS, &REPLACE_ALLOWED.to_ne_bytes());
    put(&mut told, PEER_ENDPOINT, &socket_address(peer.endpoint));
    // Whoever knows the other last begins: what the other began before was in vain. The kernel begins a session by itself only
    // to say that it is there, which it is asked to for a moment.
    put(&mut told, PEER_KEEPALIVE, &1_u16.to_ne_bytes());
    put(&mut told, PEER_ALLOWED | NESTED, &list);
    let mut quiet = Vec::new();
    put(&mut quiet, PEER_KEY, &key.0);
    put(&mut quiet, PEER_KEEPALIVE, &0_u16.to_ne_bytes());
    let mut both = Vec::new();
    put(&mut both, NESTED, &told);
    put(&mut both, NESTED, &quiet);
    both
}

fn forget(key: TunnelKey) -> Vec<u8> {
    let mut told = Vec::new();
    put(&mut told, PEER_KEY, &key.0);
    put(&mut told, PEER_FLAGS, &REMOVE.to_ne_bytes());
    let mut one = Vec::new();
    put(&mut one, NESTED, &told);
    one
}

/// An address and the port of all ends, as the kernel keeps them (sockaddr_in).
fn socket_address(addr: Ipv4Addr) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&INET.to_ne_bytes());
    bytes[2..4].copy_from_slice(&PORT.to_be_bytes());
    bytes[4..8].copy_from_slice(&addr.octets());
    bytes
}

/// A node as the kernel tells of it, in one message or in more.
#[derive(Default)]
struct Heard {
    /// As it was written.
    endpoint: Vec<u8>,
    /// Addresses that it may speak for; nothing of what is no single one of IPv4.
    allowed: Vec<Option<Ipv4Addr>>,
}

impl Heard {
    /// Returns the node, if this is all that skep tells of one.
    fn peer(&self) -> Option<WirePeer> {
        let octets: [u8; 4] = self.endpoint.get(4..8)?.try_into().ok()?;
        let endpoint = Ipv4Addr::from(octets);
        let [Some(addr)] = self.allowed[..] else { return None };
        (self.endpoint == socket_address(endpoint)).then_some(WirePeer { endpoint, addr })
    }
}

fn hear(peer: &[u8], peers: &mut BTreeMap<TunnelKey, Heard>) {
    let Some(key) = find(peer, &[PEER_KEY]).and_then(TunnelKey::read) else { return };
    let heard = peers.entry(key).or_default();
    for (kind, value) in attributes(peer) {
        match kind {
            PEER_ENDPOINT => heard.endpoint = value.to_vec(),
            PEER_ALLOWED => heard.allowed.extend(attributes(value).map(|(_, of)| single(of))),
            _ => {}
        }
    }
}

fn single(of: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = find(of, &[ALLOWED_ADDR])?.try_into().ok()?;
    (find(of, &[ALLOWED_WIDTH])? == [WIDTH]).then(|| octets.into())
}

fn short(value: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(value.try_into().ok()?))
}

/// Writes a request to a part of the kernel.
fn request(family: u16, command: u8, flags: u16, attributes: &[u8]) -> Zeroizing<Vec<u8>> {
    const VERSION: u8 = 1;
    let length = HEAD + COMMAND + attributes.len();
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    bytes.extend(u32::try_from(length).unwrap_or(0).to_ne_bytes());
    bytes.extend(family.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.resize(HEAD, 0);
    bytes.extend([command, VERSION, 0, 0]);
    bytes.extend(attributes);
    bytes
}

/// Sends a request and takes the attributes of all answers to it.
fn exchange(request: &[u8], mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&netlink_sys::SocketAddr::new(0, 0))?;
    // Else a refusal repeats the request.
    socket.set_cap_ack(true)?;
    socket.send(request, 0)?;
    for _ in 0..ANSWERS_MAX {
        let (bytes, _) = socket.recv_from_full()?;
        let bytes = Zeroizing::new(bytes);
        for (kind, body) in messages(&bytes) {
            if kind != ERROR && kind != DONE {
                take(body.get(COMMAND..).unwrap_or_default());
                continue;
            }
            let code =
                body.get(..4).and_then(|code| Some(i32::from_ne_bytes(code.try_into().ok()?)));
            return match code {
                None | Some(0) => Ok(()),
                Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
            };
        }
    }
    Err(io::Error::other("the answer has no end"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer(number: u8) -> (TunnelKey, WirePeer) {
        let peer =
            WirePeer { endpoint: [192, 0, 2, number].into(), addr: [240, 0, 2, number].into() };
        (TunnelKey([number; 32]), peer)
    }

    fn heard(list: &[u8]) -> BTreeMap<TunnelKey, Heard> {
        let mut peers = BTreeMap::new();
        attributes(list).for_each(|(_, peer)| hear(peer, &mut peers));
        peers
    }

    #[test]
    fn what_is_told_of_a_node_is_what_is_read_of_it() {
        let (key, told) = peer(2);
        assert_eq!(heard(&know(key, told)).get(&key).and_then(Heard::peer), Some(told));
        // A second address, another port, none: not what skep tells.
        let strange: [fn(&mut Heard); 3] = [
            |heard| heard.allowed.push(Some([10, 0, 0, 1].into())),
            |heard| heard.endpoint[3] += 1,
            |heard| heard.allowed.clear(),
        ];
        for change in strange {
            let mut peers = heard(&know(key, told));
            let heard = peers.get_mut(&key).expect("it was heard of");
            change(heard);
            assert_eq!(heard.peer(), None);
        }
    }

    #[test]
    fn as_many_nodes_as_fit_into_a_message_do() {
        let (key, told) = peer(2);
        assert!(know(key, told).len() * PEERS_A_MESSAGE < usize::from(u16::MAX));
    }

    /// Whatever the kernel has, it says so.
    #[test]
    fn the_kernel_says_whether_it_has_wireguard() {
        let found = family().expect("it answers");
        let is_loaded = std::path::Path::new("/sys/module/wireguard").exists();
        assert_eq!(found.is_some(), is_loaded, "{found:?}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for heard in heard(&bytes).values() {
                let _peer = heard.peer();
            }
        }
    }
}
