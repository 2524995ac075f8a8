//! Whether ports can be had, and who has them.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use super::process::{self, Holder};
use crate::doctor::facts::{Need, Port, PortState};

const CLUSTER_PORT: u16 = 2377;
const DATA_PATH_PORT: u16 = 4789;
const GOSSIP_PORT: u16 = 7946;

/// Tries each port for a moment.
pub fn look(
    listen: Option<SocketAddr>,
    data_path: Option<u16>,
    daemon: Option<i32>,
    root: bool,
) -> Vec<Port> {
    let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    let wanted = [
        ("The cluster's port", "tcp", listen.unwrap_or(any(CLUSTER_PORT)), Need::Now),
        (
            "The port of overlay networks",
            "udp",
            any(data_path.unwrap_or(DATA_PATH_PORT)),
            Need::SeveralNodes,
        ),
        ("The gossip port", "tcp", any(GOSSIP_PORT), Need::StockNodes),
        ("The gossip port", "udp", any(GOSSIP_PORT), Need::StockNodes),
    ];
    wanted
        .into_iter()
        .map(|(what, protocol, address, needed)| {
            let state = state(protocol, address, daemon, root);
            Port { what, protocol, address, needed, state }
        })
        .collect()
}

fn state(protocol: &str, address: SocketAddr, daemon: Option<i32>, root: bool) -> PortState {
    let tried = match protocol {
        "tcp" => TcpListener::bind(address).map(drop),
        _ => UdpSocket::bind(address).map(drop),
    };
    match tried {
        Ok(()) => PortState::Free,
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            held(protocol, address.port(), daemon, root)
        }
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => PortState::NoSuchAddress,
        Err(error) => PortState::Failed(error.to_string()),
    }
}

fn held(protocol: &str, port: u16, daemon: Option<i32>, root: bool) -> PortState {
    match process::holder_of_port(protocol, port, root) {
        Holder::Process(pid, _) if Some(pid) == daemon => PortState::Ours,
        Holder::Process(pid, name) => PortState::Taken(Some(format!("{name} (process {pid})"))),
        Holder::Kernel => PortState::Kernel { tunnels: process::has_tunnels() },
        Holder::Unknown => PortState::Taken(None),
    }
}
