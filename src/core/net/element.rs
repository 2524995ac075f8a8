//! Elements of sets and maps of packet rules: keys of several parts, and what maps make of them.

use std::fmt;
use std::net::IpAddr;

use super::mac::Mac;
use crate::model::service::PortProtocol;

/// The key of an element: its parts, as in `ifname . ipv4_addr`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub Vec<Part>);

/// A part of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Name of a link.
    Link(String),
    /// Address.
    Addr(IpAddr),
    /// Hardware address.
    Mac(Mac),
    /// Protocol of a port.
    Protocol(PortProtocol),
    /// Port.
    Port(u16),
}

/// What a map makes of a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Value {
    /// Nothing: it is a set.
    #[default]
    Nothing,
    /// A chain that the packet goes to.
    Goto(String),
    /// Address.
    Addr(IpAddr),
    /// Mark.
    Mark(u32),
}

impl From<Part> for Key {
    fn from(part: Part) -> Self {
        Self(vec![part])
    }
}

impl From<&str> for Key {
    fn from(link: &str) -> Self {
        Part::from(link).into()
    }
}

impl From<IpAddr> for Key {
    fn from(addr: IpAddr) -> Self {
        Part::from(addr).into()
    }
}

impl<P: Into<Part>, Q: Into<Part>> From<(P, Q)> for Key {
    fn from((first, second): (P, Q)) -> Self {
        Self(vec![first.into(), second.into()])
    }
}

impl From<&str> for Part {
    fn from(link: &str) -> Self {
        Self::Link(link.to_owned())
    }
}

impl From<IpAddr> for Part {
    fn from(addr: IpAddr) -> Self {
        Self::Addr(addr)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, part) in self.0.iter().enumerate() {
            write!(f, "{}{part}", if place == 0 { "" } else { " . " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(name) => write!(f, "\"{name}\""),
            Self::Addr(addr) => addr.fmt(f),
            Self::Mac(mac) => mac.fmt(f),
            Self::Protocol(protocol) => f.write_str(word(*protocol)),
            Self::Port(port) => port.fmt(f),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Addr(addr) => addr.fmt(f),
            Self::Mark(mark) => write!(f, "0x{mark:08x}"),
        }
    }
}

/// Returns the word for a protocol in rules.
pub(super) const fn word(protocol: PortProtocol) -> &'static str {
    match protocol {
        PortProtocol::Tcp => "tcp",
        PortProtocol::Udp => "udp",
        PortProtocol::Sctp => "sctp",
    }
}
