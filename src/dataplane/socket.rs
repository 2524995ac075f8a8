//! Sockets with the options that name servers and relays need. Knows nothing of either.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::libc::{in6_addr, in6_pktinfo};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    SockaddrStorage, bind, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

/// The one port that a relay and our own name servers may both want; the more exact address wins.
const SHARED_PORT: u16 = 53;
const KEEP_ALIVE_IDLE_SECONDS: u32 = 60;

/// Returns the address that stands for all addresses of both families, or of IPv4 where there is no IPv6.
pub fn wildcard(port: u16) -> SocketAddr {
    let has_v6 =
        socket(AddressFamily::Inet6, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).is_ok();
    let ip = if has_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    SocketAddr::new(ip, port)
}

/// Where a socket is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    pub addr: SocketAddr,
    /// Name of the only interface that it hears, if not all.
    pub interface: Option<String>,
}

impl From<SocketAddr> for Spot {
    fn from(addr: SocketAddr) -> Self {
        Self { addr, interface: None }
    }
}

/// Binds a TCP socket that does not listen yet: until it does, who connects is refused.
pub fn bind_tcp(spot: &Spot) -> io::Result<TcpSocket> {
    let addr = spot.addr;
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    set_common(&socket, spot)?;
    socket.bind(addr)?;
    Ok(socket)
}

/// Binds a UDP socket.
pub fn bind_udp(spot: &Spot) -> io::Result<UdpSocket> {
    let addr = spot.addr;
    let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket(family, SockType::Datagram, flags, None)?;
    set_common(&socket, spot)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(addr))?;
    UdpSocket::from_std(socket.into())
}

fn set_common(socket: &impl AsFd, spot: &Spot) -> io::Result<()> {
    let addr = spot.addr;
    if let Some(interface) = &spot.interface {
        setsockopt(socket, sockopt::BindToDevice, &interface.into())?;
    }
    if addr.is_ipv6() {
        setsockopt(socket, sockopt::Ipv6V6Only, &!addr.ip().is_unspecified())?;
    }
    if !addr.ip().is_unspecified() {
        // The address of a bridge may come, go and come again while the socket stays.
        setsockopt(socket, sockopt::IpFreebind, &true)?;
    }
    if addr.port() == SHARED_PORT {
        setsockopt(socket, sockopt::ReusePort, &true)?;
    }
    Ok(())
}

/// Makes a relayed connection prompt, and notice a peer that is gone.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &KEEP_ALIVE_IDLE_SECONDS)?;
    Ok(())
}

/// A UDP socket that answers from the address it was asked at, also when it is bound to all addresses.
pub struct Datagrams {
    socket: UdpSocket,
}

/// Whom a datagram came from, and which of our addresses it went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    pub peer: SocketAddr,
    local: Option<(Ipv6Addr, u32)>,
}

impl Datagrams {
    pub fn bind(spot: &Spot) -> io::Result<Self> {
        let socket = bind_udp(spot)?;
        let addr = spot.addr;
        if addr.is_ipv6() && addr.ip().is_unspecified() {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        Ok(Self { socket })
    }

    /// Receives one datagram. Cancelling loses none.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<(usize, Origin)> {
        self.socket.async_io(Interest::READABLE, || recv_now(self.socket.as_raw_fd(), buffer)).await
    }

    /// Sends one datagram back to where another came from.
    pub async fn send(&self, data: &[u8], origin: &Origin) -> io::Result<usize> {
        let Some((addr, interface)) = origin.local else {
            return self.socket.send_to(data, origin.peer).await;
        };
        let info =
            in6_pktinfo { ipi6_addr: in6_addr { s6_addr: addr.octets() }, ipi6_ifindex: interface };
        let peer = SockaddrStorage::from(origin.peer);
        let send = || {
            let messages = [ControlMessage::Ipv6PacketInfo(&info)];
            let data = [IoSlice::new(data)];
            let fd = self.socket.as_raw_fd();
            Ok(sendmsg(fd, &data, &messages, MsgFlags::empty(), Some(&peer))?)
        };
        match self.socket.async_io(Interest::WRITABLE, send).await {
            // Nobody may send from some addresses, those of a broadcast for one.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.socket.send_to(data, origin.peer).await
            }
            sent => sent,
        }
    }
}

fn recv_now(fd: i32, buffer: &mut [u8]) -> io::Result<(usize, Origin)> {
    let mut space = nix::cmsg_space!(in6_pktinfo);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::empty();
    let received = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut space), flags)?;
    let peer = received.address.as_ref().and_then(to_std).ok_or(io::ErrorKind::InvalidData)?;
    let local = received.cmsgs()?.find_map(|message| {
        let ControlMessageOwned::Ipv6PacketInfo(info) = message else { return None };
        let addr = Ipv6Addr::from(info.ipi6_addr.s6_addr);
        // Only link-local addresses need their interface; naming it would bypass routing for others.
        Some((addr, if addr.is_unicast_link_local() { info.ipi6_ifindex } else { 0 }))
    });
    Ok((received.bytes, Origin { peer, local }))
}

fn to_std(addr: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = addr.as_sockaddr_in().map(|addr| SocketAddrV4::from(*addr).into());
    v4.or_else(|| addr.as_sockaddr_in6().map(|addr| SocketAddrV6::from(*addr).into()))
}

/// Returns an address of any port of the same family, to connect from.
pub const fn any_like(addr: IpAddr) -> SocketAddr {
    match addr {
        IpAddr::V4(_) => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        IpAddr::V6(_) => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    }
}
