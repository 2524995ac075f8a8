//! Turns the addresses of `swarm init` and `swarm join` into ones to listen on and to tell others (contract api.md section 1).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use thiserror::Error;

/// Port of the cluster when none is named.
pub const DEFAULT_PORT: u16 = 2377;

/// Adds the usual port to a manager's address that has none.
pub fn with_port(manager: &str) -> String {
    match manager.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, DEFAULT_PORT).to_string(),
        Err(_) if manager.contains(':') => manager.to_owned(),
        Err(_) => format!("{manager}:{DEFAULT_PORT}"),
    }
}

/// Why an address cannot be used; the texts are those that clients match.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Neither an address nor an interface.
    #[error(
        "listen address must be an IP address or network interface (with optional port number)"
    )]
    Listen,
    /// Not an address that others can reach.
    #[error(
        "advertise address must be a non-zero IP address or network interface (with optional port number)"
    )]
    Advertise,
    /// Not an address for overlay traffic.
    #[error(
        "data path address must be a non-zero IP address or network interface (without a port number)"
    )]
    DataPath,
    /// The host has no address.
    #[error("could not find the system's IP address")]
    NoAddress,
    /// The host has more than one.
    #[error(
        "could not choose an IP address to advertise since this system has multiple addresses {0}"
    )]
    Ambiguous(String),
    /// An interface has several.
    #[error("interface {0} has more than one IPv4 address ({1} and {2})")]
    InterfaceAmbiguous(String, IpAddr, IpAddr),
    /// An interface has none.
    #[error("interface {0} has no usable IPv4 or IPv6 address")]
    InterfaceEmpty(String),
}

/// An address of an interface of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// Name of the interface.
    pub interface: String,
    /// The address.
    pub addr: IpAddr,
}

/// Where a node listens and what it tells others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwarmAddresses {
    /// To listen on.
    pub listen: SocketAddr,
    /// To tell others.
    pub advertise: SocketAddr,
    /// Source of overlay traffic.
    pub data_path: IpAddr,
}

impl SwarmAddresses {
    /// Resolves what the user gave against the addresses the host has.
    ///
    /// # Errors
    /// Says which of them cannot be used.
    pub fn resolve(
        listen: &str,
        advertise: &str,
        data_path: &str,
        host: &[InterfaceAddress],
    ) -> Result<Self, AddressError> {
        let listen = parse(listen, DEFAULT_PORT, host)?.ok_or(AddressError::Listen)?;
        let advertise = if advertise.is_empty() {
            let addr = if listen.ip().is_unspecified() { choose(host)? } else { listen.ip() };
            SocketAddr::new(addr, listen.port())
        } else {
            parse(advertise, listen.port(), host)?
                .filter(|address| !address.ip().is_unspecified())
                .ok_or(AddressError::Advertise)?
        };
        let data_path = if data_path.is_empty() {
            advertise.ip()
        } else {
            match interface(data_path, host)? {
                Some(addr) => addr,
                None => data_path.parse().map_err(|_| AddressError::DataPath)?,
            }
        };
        if data_path.is_unspecified() {
            return Err(AddressError::DataPath);
        }
        Ok(Self { listen, advertise, data_path })
    }
}

/// Parses `host[:port]`, the host being an address or an interface; `None` if it is neither.
fn parse(
    text: &str,
    default_port: u16,
    host: &[InterfaceAddress],
) -> Result<Option<SocketAddr>, AddressError> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        let port = if address.port() == 0 { default_port } else { address.port() };
        return Ok(Some(SocketAddr::new(address.ip(), port)));
    }
    if let Ok(addr) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(Some(SocketAddr::new(addr, default_port)));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => match port.parse() {
            Ok(port) => (name, port),
            Err(_) => return Ok(None),
        },
        None => (text, default_port),
    };
    if name.is_empty() && text.starts_with(':') {
        return Ok(Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)));
    }
    Ok(interface(name, host)?.map(|addr| SocketAddr::new(addr, port)))
}

/// Returns the address of an interface: its only IPv4 one, else its only IPv6 one.
fn interface(name: &str, host: &[InterfaceAddress]) -> Result<Option<IpAddr>, AddressError> {
    let own: Vec<IpAddr> =
        host.iter().filter(|entry| entry.interface == name).map(|entry| entry.addr).collect();
    if own.is_empty() {
        return Ok(None);
    }
    for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        let mut usable = own.iter().filter(|addr| family(addr) && !is_link_local(addr));
        match (usable.next(), usable.next()) {
            (Some(first), Some(second)) => {
                return Err(AddressError::InterfaceAmbiguous(name.to_owned(), *first, *second));
            }
            (Some(only), None) => return Ok(Some(*only)),
            (None, _) => {}
        }
    }
    Err(AddressError::InterfaceEmpty(name.to_owned()))
}

/// Returns the one address of the host that others can use; loopback and engine bridges do not count.
fn choose(host: &[InterfaceAddress]) -> Result<IpAddr, AddressError> {
    let outside = |entry: &&InterfaceAddress| {
        let name = entry.interface.as_str();
        let bridge = ["docker", "br-", "sk", "veth"].iter().any(|start| name.starts_with(start));
        !entry.addr.is_loopback() && !is_link_local(&entry.addr) && !bridge
    };
    for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        let mut usable = host.iter().filter(outside).filter(|entry| family(&entry.addr));
        match (usable.next(), usable.next()) {
            (Some(first), Some(second)) => return Err(ambiguous(first, second)),
            (Some(only), None) => return Ok(only.addr),
            (None, _) => {}
        }
    }
    Err(AddressError::NoAddress)
}

fn ambiguous(first: &InterfaceAddress, second: &InterfaceAddress) -> AddressError {
    AddressError::Ambiguous(if first.interface == second.interface {
        format!("on interface {} ({} and {})", first.interface, first.addr, second.addr)
    } else {
        format!(
            "on different interfaces ({} on {} and {} on {})",
            first.addr, first.interface, second.addr, second.interface
        )
    })
}

fn is_link_local(addr: &IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}

/// Reads the addresses of this host's interfaces that are up.
pub fn host_addresses() -> Vec<InterfaceAddress> {
    let Ok(entries) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    entries
        .filter(|entry| entry.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP))
        .filter_map(|entry| {
            let address = entry.address?;
            let addr = address
                .as_sockaddr_in()
                .map(|v4| IpAddr::V4(v4.ip()))
                .or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))?;
            Some(InterfaceAddress { interface: entry.interface_name, addr })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(entries: &[(&str, &str)]) -> Vec<InterfaceAddress> {
        entries
            .iter()
            .map(|(name, addr)| InterfaceAddress {
                interface: (*name).to_owned(),
                addr: addr.parse().expect("the table holds addresses"),
            })
            .collect()
    }

    fn check(listen: &str, advertise: &str, host: &[InterfaceAddress], expect: &str) {
        let found = match SwarmAddresses::resolve(listen, advertise, "", host) {
            Ok(found) => format!("{} {} {}", found.listen, found.advertise, found.data_path),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expect, "{listen} {advertise}");
    }

    #[test]
    fn one_address_is_found_and_two_are_refused() {
        let one = host(&[("lo", "127.0.0.1"), ("eth0", "192.0.2.1"), ("docker0", "172.17.0.1")]);
        check("0.0.0.0:2377", "", &one, "0.0.0.0:2377 192.0.2.1:2377 192.0.2.1");
        check("0.0.0.0", "127.0.0.1", &one, "0.0.0.0:2377 127.0.0.1:2377 127.0.0.1");
        check("eth0:7", "", &one, "192.0.2.1:7 192.0.2.1:7 192.0.2.1");
        check("0.0.0.0:9", "eth0", &one, "0.0.0.0:9 192.0.2.1:9 192.0.2.1");
        let two = host(&[("eth0", "192.0.2.1"), ("eth1", "192.0.2.2")]);
        check(
            "0.0.0.0:2377",
            "",
            &two,
            "could not choose an IP address to advertise since this system has multiple addresses \
             on different interfaces (192.0.2.1 on eth0 and 192.0.2.2 on eth1)",
        );
        check("0.0.0.0:2377", "", &[], "could not find the system's IP address");
    }

    #[test]
    fn junk_is_named() {
        let one = host(&[("eth0", "192.0.2.1")]);
        check("no:such:thing", "", &one, &AddressError::Listen.to_string());
        check("0.0.0.0", "0.0.0.0", &one, &AddressError::Advertise.to_string());
        check("0.0.0.0", "nope", &one, &AddressError::Advertise.to_string());
    }
}
