//! Packet rules of chains: those that lead connections to tasks, in parts, and all others, as they are written.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::element::word;
use super::family::Family;
use crate::labels::Place;
use crate::model::service::PortProtocol;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// As nftables takes it.
    Written(String),
    /// Lets the packet go its own way.
    Accept,
    /// Leads a connection to a task.
    Lead(Lead),
}

/// Where a rule leads a connection, and which ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// Those that come in at this place only.
    pub place: Option<Place>,
    /// Those of this protocol only.
    pub protocol: Option<PortProtocol>,
    /// One in so many only.
    pub one_in: Option<u32>,
    /// Address of the task.
    pub addr: IpAddr,
    /// Port of the task, if it is not that of the packet; only with a protocol.
    pub port: Option<u16>,
}

impl From<String> for Rule {
    fn from(text: String) -> Self {
        Self::Written(text)
    }
}

impl From<Lead> for Rule {
    fn from(lead: Lead) -> Self {
        Self::Lead(lead)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(text) => f.write_str(text),
            Self::Accept => f.write_str("accept"),
            Self::Lead(lead) => lead.fmt(f),
        }
    }
}

impl fmt::Display for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_match(f, self.place.as_ref(), self.protocol)?;
        if let Some(count) = self.one_in {
            write!(f, "numgen inc mod {count} == 0 ")?;
        }
        match self.port {
            Some(port) => write!(f, "dnat to {}", SocketAddr::new(self.addr, port)),
            None => write!(f, "dnat to {}", self.addr),
        }
    }
}

/// Writes which connections a rule is for.
pub(super) fn write_match(
    f: &mut impl fmt::Write,
    place: Option<&Place>,
    protocol: Option<PortProtocol>,
) -> fmt::Result {
    match place {
        None => {}
        Some(Place::Interface(name)) => write!(f, "iifname \"{name}\" ")?,
        Some(Place::Address(addr)) => write!(f, "{} daddr {addr} ", Family::of(*addr).word())?,
    }
    match protocol {
        None => Ok(()),
        Some(protocol) => write!(f, "meta l4proto {} ", word(protocol)),
    }
}
