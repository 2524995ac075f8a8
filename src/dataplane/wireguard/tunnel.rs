//! The packets of the encrypted link: from the link to the node they are for, sealed, and back. Two threads, each with as many
//! packets a turn as there are. Nodes have fixed addresses, so that a packet's source tells whose it is before anything of it
//! is opened; what is inside is believed only of the address that is the node's.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use parking_lot::Mutex;
use skep_core::model::tunnel_key::TunnelKey;
use skep_core::net::wireguard::{MTU, PEERS_MAX, WirePeer};

/// Packets a turn.
const BATCH: usize = 64;

/// No packet is larger, sealed or not.
const PACKET_BYTES_MAX: usize = 2048;

/// Shortest packet with addresses.
const HEADER_BYTES: usize = 20;

/// One other node.
struct Peer {
    key: TunnelKey,
    told: WirePeer,
    to: SocketAddrV4,
    sessions: Mutex<Tunn>,
}

/// All of them, by where they are and by what they are called on the link.
#[derive(Default)]
struct Peers {
    by_endpoint: HashMap<Ipv4Addr, Arc<Peer>>,
    by_addr: HashMap<Ipv4Addr, Arc<Peer>>,
}

/// The link and the socket, and what is between.
pub(super) struct Tunnel {
    link: OwnedFd,
    udp: UdpSocket,
    port: u16,
    addr: Ipv4Addr,
    secret: StaticSecret,
    peers: ArcSwap<Peers>,
    made: AtomicU32,
}

impl Tunnel {
    /// Joins a link, whose every read is a packet, with a socket. All nodes use the socket's port.
    pub(super) fn new(
        link: OwnedFd,
        udp: UdpSocket,
        addr: Ipv4Addr,
        secret: StaticSecret,
    ) -> io::Result<Self> {
        let port = udp.local_addr()?.port();
        let (peers, made) = (ArcSwap::default(), AtomicU32::new(0));
        Ok(Self { link, udp, port, addr, secret, peers, made })
    }

    /// Returns the key that others are to be told.
    pub(super) fn key(&self) -> TunnelKey {
        TunnelKey(PublicKey::from(&self.secret).to_bytes())
    }

    /// Knows these nodes from here on; sessions with those that are the same go on.
    pub(super) fn set_peers(&self, wanted: &BTreeMap<TunnelKey, WirePeer>) {
        let held = self.peers.load_full();
        let mut peers = Peers::default();
        let mut new = Vec::new();
        for (key, told) in wanted.iter().take(PEERS_MAX) {
            let same = held.by_addr.get(&told.addr);
            let same = same.filter(|held| held.key == *key && held.told == *told).cloned();
            let peer = same.unwrap_or_else(|| {
                let peer = self.peer(*key, *told);
                new.push(peer.clone());
                peer
            });
            peers.by_endpoint.insert(told.endpoint, peer.clone());
            peers.by_addr.insert(told.addr, peer);
        }
        self.peers.store(Arc::new(peers));
        // Whoever knows the other last begins: what the other began before was in vain.
        for peer in new {
            let mut buffer = [0; PACKET_BYTES_MAX];
            let begun = peer.sessions.lock().format_handshake_initiation(&mut buffer, false);
            self.post(&peer, begun);
        }
    }

    fn peer(&self, key: TunnelKey, told: WirePeer) -> Arc<Peer> {
        /// The number's last byte counts sessions.
        const NUMBERS: u32 = 1 << 24;
        let number = self.made.fetch_add(1, Ordering::Relaxed) % NUMBERS;
        let public = PublicKey::from(key.0);
        let sessions = Tunn::new(self.secret.clone(), public, None, None, number, None);
        let to = SocketAddrV4::new(told.endpoint, self.port);
        Arc::new(Peer { key, told, to, sessions: Mutex::new(sessions) })
    }

    /// Does what time asks for: new session keys, tries again, signs of life. To be called several times a second.
    pub(super) fn look_at_clock(&self) {
        let mut buffer = [0; PACKET_BYTES_MAX];
        for peer in self.peers.load().by_addr.values() {
            let due = peer.sessions.lock().update_timers(&mut buffer);
            self.post(peer, due);
        }
    }

    /// Sends what a session has to say, if anything. What is lost is said again.
    fn post(&self, peer: &Peer, said: TunnResult<'_>) -> bool {
        let TunnResult::WriteToNetwork(packet) = said else { return false };
        let _ = self.udp.send_to(packet, peer.to);
        true
    }

    /// Takes packets from the link until it is gone.
    pub(super) fn run_out(&self) -> io::Result<()> {
        let mut packet = [0; PACKET_BYTES_MAX];
        let mut sealed = vec![[0; PACKET_BYTES_MAX]; BATCH];
        let mut ready = Vec::with_capacity(BATCH);
        loop {
            let mut link = [PollFd::new(self.link.as_fd(), PollFlags::POLLIN)];
            match poll(&mut link, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let peers = self.peers.load();
            ready.clear();
            for _ in 0..BATCH {
                let length = match nix::unistd::read(&self.link, &mut packet) {
                    Ok(length) => length,
                    Err(Errno::EAGAIN | Errno::EINTR) => break,
                    Err(error) => return Err(error.into()),
                };
                let Some(buffer) = sealed.get_mut(ready.len()) else { break };
                ready.extend(seal(&peers, packet.get(..length).unwrap_or_default(), buffer));
            }
            self.send(&sealed, &ready);
        }
    }

    fn send(&self, sealed: &[[u8; PACKET_BYTES_MAX]], ready: &[(usize, SockaddrIn)]) {
        let packets = sealed.iter().zip(ready);
        let packets = packets.map(|(buffer, (length, _))| [IoSlice::new(&buffer[..*length])]);
        let slices: Vec<[IoSlice<'_>; 1]> = packets.collect();
        let to: Vec<Option<SockaddrIn>> = ready.iter().map(|(_, to)| Some(*to)).collect();
        let mut sent = 0;
        while sent < slices.len() {
            let mut headers = MultiHeaders::preallocate(slices.len() - sent, None);
            let (rest, to) = (&slices[sent..], &to[sent..]);
            let outcome =
                sendmmsg(self.udp.as_raw_fd(), &mut headers, rest, to, [], MsgFlags::empty());
            // One that cannot be sent keeps the others from nothing.
            sent += outcome.map_or(1, Iterator::count).max(1);
        }
    }

    /// Takes packets from other nodes.
    pub(super) fn run_in(&self) -> io::Result<()> {
        let mut buffers = vec![[0; PACKET_BYTES_MAX]; BATCH];
        let mut opened = [0; PACKET_BYTES_MAX];
        loop {
            let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
            let mut slices: Vec<[IoSliceMut<'_>; 1]> =
                buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
            let flags = MsgFlags::MSG_WAITFORONE;
            let received = recvmmsg(self.udp.as_raw_fd(), &mut headers, &mut slices, flags, None);
            let received = match received {
                Ok(received) => received,
                // An answer to something that was sent; it says nothing about this socket.
                Err(Errno::EINTR | Errno::ECONNREFUSED | Errno::EHOSTUNREACH) => continue,
                Err(error) => return Err(error.into()),
            };
            let peers = self.peers.load();
            for message in received {
                let from = message.address.filter(|from| from.port() == self.port);
                let peer = from.and_then(|from| peers.by_endpoint.get(&from.ip()));
                if let (Some(peer), Some(packet)) = (peer, message.iovs().next()) {
                    self.open(peer, packet, &mut opened);
                }
            }
        }
    }

    fn open(&self, peer: &Peer, packet: &[u8], buffer: &mut [u8; PACKET_BYTES_MAX]) {
        let from = Some(IpAddr::V4(*peer.to.ip()));
        let mut sessions = peer.sessions.lock();
        match sessions.decapsulate(from, packet, buffer) {
            TunnResult::WriteToTunnelV4(packet, from) => {
                if from == peer.told.addr && destination(packet) == Some(self.addr) {
                    // A full link drops what comes, as any does.
                    let _ = nix::unistd::write(&self.link, packet);
                }
            }
            said @ (TunnResult::WriteToNetwork(_) | TunnResult::Done) => {
                self.post(peer, said);
                // What waited for the session; each turn takes one of a bounded number.
                while self.post(peer, sessions.decapsulate(None, &[], buffer)) {}
            }
            TunnResult::Err(_) | TunnResult::WriteToTunnelV6(..) => {}
        }
    }
}

/// Seals a packet for the node it is for; returns how long it is then, and where it goes.
fn seal(
    peers: &Peers,
    packet: &[u8],
    buffer: &mut [u8; PACKET_BYTES_MAX],
) -> Option<(usize, SockaddrIn)> {
    if packet.len() > usize::from(MTU) {
        return None;
    }
    let peer = peers.by_addr.get(&destination(packet)?)?;
    match peer.sessions.lock().encapsulate(packet, buffer) {
        TunnResult::WriteToNetwork(sealed) => Some((sealed.len(), peer.to.into())),
        TunnResult::Done
        | TunnResult::Err(_)
        | TunnResult::WriteToTunnelV4(..)
        | TunnResult::WriteToTunnelV6(..) => None,
    }
}

/// Reads where an IPv4 packet is to go.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let is_ipv4 = packet.len() >= HEADER_BYTES && packet.first()? >> 4 == 4;
    let bytes: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    is_ipv4.then(|| bytes.into())
}

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;
