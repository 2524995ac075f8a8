//! UDP over IPv6, by the virtual address and by the mesh. The image has no server for it, so that each task is lent one of the host's.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use skep_integration::{Host, Namespace, sh, wait_for};

use crate::packets::{Lent, network_of};

use super::{OUTSIDE_V6, SOON, address, container, of_host, virtual_address};

/// Answers each packet with who it was from.
const SERVER: &str = "import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(('::', 81))
while True:
    _, client = s.recvfrom(99)
    s.sendto(client[0].encode(), client)";

/// Sends packets, each from a port of its own; prints what each answer said, and fails at the first that does not come.
const CLIENT: &str = "import socket, sys
for _ in range(12):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.settimeout(1)
    s.sendto(b'?', (sys.argv[1], int(sys.argv[2])))
    print(s.recv(99).decode())";

fn serve(host: &Host) -> Result<Lent> {
    Lent::start(&network_of(host, &container(host, "web")?)?, SERVER)
}

/// Asks from a network; returns whom the servers took for the client.
fn ask(network: &str, addr: &str, port: &str) -> Result<BTreeSet<String>> {
    let told = sh("nsenter", &[network, "python3", "-c", CLIENT, addr, port])?;
    Ok(told.lines().map(str::to_owned).collect())
}

pub(super) fn packets_arrive(hosts: &[Host], outside: &Namespace) -> Result<()> {
    let _servers = hosts.iter().map(serve).collect::<Result<Vec<_>>>()?;
    let from_outside = format!("--net={}", outside.path());
    for (number, host) in hosts.iter().enumerate() {
        wait_for("answers by the mesh", SOON, || {
            let seen = ask(&from_outside, &of_host(number), "18082")?;
            ensure!(seen == BTreeSet::from([OUTSIDE_V6.to_owned()]), "{seen:?}");
            Ok(())
        })?;
        let near = container(host, "near")?;
        let own = address(host, &near, "front")?;
        let virtual_address = virtual_address(host, &near)?;
        wait_for("answers by the virtual address", SOON, || {
            let seen = ask(&network_of(host, &near)?, &virtual_address, "81")?;
            ensure!(seen == BTreeSet::from([own.clone()]), "{seen:?}");
            Ok(())
        })?;
    }
    Ok(())
}
