//! A network of the mesh as its owner wants it, ranges of ports, and a host behind a narrow link, on hosts of both generations of
//! the engine and one whose packet rules are those that Engine 29 makes with its nftables back end, set by hand: no such engine
//! is at hand, so that the third host shows what becomes of packets under these rules and nothing else of that engine.

mod nftables;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use skep_integration::{Generation, Host, Hosts, Namespace, sh, wait_for};

use crate::packets::{Lent, address, container, get, inside, network_of, nothing_is_amiss, on};

const SOON: Duration = Duration::from_secs(90);

/// Where the client outside is.
const OUTSIDE: &str = "10.77.0.95";
const OUTSIDE_V6: &str = "2001:db8:77::95";

/// What the second host's link carries, in bytes.
const NARROW: u32 = 1400;

/// The networks, and the packets they must have: as asked for, and what the narrow link leaves in a tunnel, in clear and
/// encrypted.
const SIZES: [(&str, u32); 3] = [("mesh", 1300), ("wide", 1350), ("sealed", 1270)];

/// Published ports with the servers they lead to.
const PORTS: [(u16, u16); 10] = [
    (8000, 80),
    (8001, 81),
    (8002, 82),
    (8003, 83),
    (8010, 80),
    (8011, 80),
    (8012, 80),
    // These are of the stack.
    (8020, 80),
    (8021, 81),
    (8022, 82),
];

/// Servers on four ports; each says its own, the host's name and whom it saw.
const SERVERS: &str = r#"for port in 80 81 82 83; do mkdir -p /www$port/cgi-bin
printf '#!/bin/sh\necho\necho '$port' $(hostname) $REMOTE_ADDR\n' >/www$port/cgi-bin/who
chmod +x /www$port/cgi-bin/who
httpd -p $port -h /www$port
done
dd if=/dev/zero of=/www80/large bs=1M count=1 2>/dev/null
exec sleep 100000"#;

/// Sends each packet back.
const ECHO: &str = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', 84))
while True:
    packet, client = s.recvfrom(2000)
    s.sendto(packet, client)";

/// Sends a packet that may not be taken apart, with so many bytes; prints how many came back. One byte more must not even leave.
const ASK: &str = "import errno, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 10, 2)
s.settimeout(2)
size = int(sys.argv[2])
s.sendto(bytes(size), (sys.argv[1], 84))
print(len(s.recv(2000)))
try:
    s.sendto(bytes(size + 1), (sys.argv[1], 84))
    print('more fits')
except OSError as error:
    assert error.errno == errno.EMSGSIZE";

#[test]
fn custom_mesh() -> Result<()> {
    let mut hosts = Hosts::start_with(&[Generation::Debian20, Generation::Engine28], "info")?;
    hosts.add(Generation::Engine28, json!({ "iptables": false, "ip6tables": false }), "info")?;
    let outside = Namespace::on(&hosts.fabric, OUTSIDE)?;
    let outcome = live(&hosts, &outside);
    hosts.explain(outcome)
}

fn live(hosts: &Hosts, outside: &Namespace) -> Result<()> {
    prepare(&hosts.all, outside)?;
    make_mesh(&hosts.all)?;
    deploy(&hosts.all)?;
    nftables::rules_of_the_engine(&hosts.all[2], outside)?;
    ports_lead_to_servers(&hosts.all, outside)?;
    ports_of_the_host_lead_there(&hosts.all, outside)?;
    names_lead_to_tasks(&hosts.all)?;
    packets_are_as_large_as_they_fit(hosts)?;
    large_pages_arrive(&hosts.all, outside)?;
    nothing_is_amiss(&hosts.all, "range", 1 + 7)
}

/// The address of a host among the hosts.
fn of_host(number: usize) -> String {
    format!("2001:db8:77::{}", number + 1)
}

/// Addresses of IPv6, a narrow link at the second host, and forwarding where that engine would ask for it.
fn prepare(hosts: &[Host], outside: &Namespace) -> Result<()> {
    let spaces = hosts.iter().map(|host| host.engine.space());
    let all = (0..).zip(spaces).map(|(number, space)| (of_host(number), space));
    for (addr, space) in all.chain([(OUTSIDE_V6.to_owned(), outside)]) {
        let target = format!("--net={}", space.path());
        let add = ["ip", "addr", "add", &format!("{addr}/64"), "dev", "eth0", "nodad"];
        sh("nsenter", &[&[target.as_str()][..], &add].concat())?;
    }
    on(&hosts[1], "ip", &["link", "set", "eth0", "mtu", &NARROW.to_string()])?;
    on(&hosts[2], "sysctl", &["-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])?;
    Hosts::join_as(hosts, ["worker", "worker"])
}

fn make_mesh(hosts: &[Host]) -> Result<()> {
    let manager = hosts[0].docker();
    manager.run_with(&["network", "rm", "ingress"], b"y\n")?.ok("remove the mesh's network")?;
    let overlay = ["network", "create", "-d", "overlay"];
    let subnets = ["--ipv6", "--subnet", "10.70.0.0/24", "--subnet", "fd70::/64"];
    let size = ["--opt", "com.docker.network.driver.mtu=1300"];
    wait_for("another network of the mesh", SOON, || {
        manager.ok(&[&overlay[..], &["--ingress"], &subnets, &size, &["mesh"]].concat())
    })?;
    manager.ok(&[&overlay[..], &["wide"]].concat())?;
    manager.ok(&[&overlay[..], &["--opt", "encrypted", "sealed"]].concat())?;
    let shown = manager.json(&["network", "inspect", "mesh"])?;
    let (mesh, config) = (&shown[0], shown[0]["IPAM"]["Config"].as_array().context("subnets")?);
    let has = |subnet: &str| config.iter().any(|it| it["Subnet"] == subnet);
    ensure!(mesh["Ingress"] == true && has("10.70.0.0/24") && has("fd70::/64"), "{mesh:#}");
    ensure!(mesh["Options"]["com.docker.network.driver.mtu"] == "1300", "{mesh:#}");
    Ok(())
}

/// Ports by flags and by a stack, in all their spellings; the one task of either service is on another host.
fn deploy(hosts: &[Host]) -> Result<()> {
    let manager = hosts[0].docker();
    let how = ["--stop-signal", "KILL", "--no-resolve-image"];
    let what = ["busybox:latest", "sh", "-c", SERVERS];
    let range = ["service", "create", "-q", "-d", "--name", "range", "--network", "wide"];
    let ports = ["-p", "8000-8003:80-83", "-p", "8010-8012:80"];
    let place = ["--constraint", "node.hostname==skep-2", "--hostname", "range"];
    manager.ok(&[&range[..], &ports, &place, &how, &what].concat())?;
    let near = ["service", "create", "-q", "-d", "--name", "near", "--mode", "global"];
    let networks = ["--network", "wide", "--network", "sealed"];
    let ports = ["--publish", "mode=host,published=9090,target=81"];
    let name = ["--hostname", "{{.Node.Hostname}}"];
    manager.ok(&[&near[..], &networks, &ports, &name, &how, &what].concat())?;
    let stack = json!({ "version": "3.8", "services": { "app": {
        "image": "busybox:latest",
        "command": ["sh", "-c", SERVERS.replace('$', "$$")],
        "hostname": "app",
        "stop_signal": "SIGKILL",
        "ports": [
            "8020-8021:80-81",
            { "target": 82, "published": 8022, "protocol": "tcp", "mode": "ingress" },
            { "target": 83, "published": 9091, "protocol": "tcp", "mode": "host" },
        ],
        "deploy": { "placement": { "constraints": ["node.hostname==skep-1"] } },
    } } });
    let deploy = ["stack", "deploy", "--resolve-image", "never", "-c", "-", "stack"];
    manager.ok_with(&deploy, stack.to_string().as_bytes())?;
    manager.converged(SOON)
}

/// Asks from outside; returns which server answered, on which host, and checks that it saw who asked.
fn ask(outside: &Namespace, to: &str, port: u16) -> Result<(u16, String)> {
    let page = outside.get(&format!("http://{to}:{port}/cgi-bin/who"))?.ok("get the page")?;
    let own = if to.starts_with('[') { OUTSIDE_V6 } else { OUTSIDE };
    let [server, name, from] = page.split_whitespace().collect::<Vec<_>>()[..] else {
        anyhow::bail!("{page}")
    };
    ensure!(from.contains(own), "{to}:{port} shows the client as {from}");
    Ok((server.parse()?, name.to_owned()))
}

/// By every host, over both families; from hosts and containers too.
fn ports_lead_to_servers(hosts: &[Host], outside: &Namespace) -> Result<()> {
    for (number, host) in hosts.iter().enumerate() {
        let near = container(host, "near")?;
        for (port, server) in PORTS {
            let name = if port < 8020 { "range" } else { "app" };
            let expected = (server, name.to_owned());
            let v6 = format!("[{}]", of_host(number));
            for to in [&host.address, &v6] {
                let what = format!("the server of {to}:{port}");
                wait_for(&what, SOON, || {
                    let found = ask(outside, to, port)?;
                    ensure!(found == expected, "{found:?}, not {expected:?}");
                    Ok(())
                })?;
            }
        }
        for to in ["127.0.0.1", &hosts[0].address, &hosts[1].address, &hosts[2].address] {
            let page = format!("http://{to}:8001/cgi-bin/who");
            host.engine.space().get(&page)?.ok(&format!("get {page} on {}", host.address))?;
            if to != "127.0.0.1" {
                get(host, &near, &page).with_context(|| format!("inside {}", host.address))?;
            }
        }
    }
    Ok(())
}

/// Each host leads to its own task, or to none.
fn ports_of_the_host_lead_there(hosts: &[Host], outside: &Namespace) -> Result<()> {
    for (number, host) in hosts.iter().enumerate() {
        let expected = (81, format!("skep-{}", number + 1));
        let found = ask(outside, &host.address, 9090)?;
        ensure!(found == expected, "{found:?}, not {expected:?}");
        let found = ask(outside, &host.address, 9091);
        match number {
            0 => ensure!(found? == (83, "app".to_owned()), "another one answers"),
            _ => ensure!(found.is_err(), "somebody answers on {}: {found:?}", host.address),
        }
    }
    Ok(())
}

/// By its virtual address, which is on another host than two of the clients.
fn names_lead_to_tasks(hosts: &[Host]) -> Result<()> {
    for host in hosts {
        let near = container(host, "near")?;
        let own = address(host, &near, "wide")?;
        let page = get(host, &near, "http://range:82/cgi-bin/who")?;
        ensure!(page.starts_with("82 range ") && page.contains(&own), "{page} for {own}");
        let out = inside(host, &near, &["ping", "-c", "1", "-W", "2", OUTSIDE]);
        out.with_context(|| format!("the way out of {}", host.address))?;
    }
    Ok(())
}

/// Each network has packets of its size, and one of just that size crosses in one piece.
fn packets_are_as_large_as_they_fit(hosts: &Hosts) -> Result<()> {
    let manager = hosts.all[0].docker();
    for (network, size) in SIZES {
        let option = "com.docker.network.driver.overlay.vxlanid_list";
        let format = format!("{{{{index .Options \"{option}\"}}}}");
        let bridge =
            format!(" sk{}-", manager.ok(&["network", "inspect", "-f", &format, network])?);
        for host in &hosts.all {
            let links = on(host, "ip", &["-o", "link", "show", "type", "bridge"])?;
            let link = links.lines().find(|it| it.contains(&bridge)).context("its bridge")?;
            let is_so = link.contains(&format!(" mtu {size} "));
            ensure!(is_so, "{network} on {} is not {size}: {link}", host.address);
        }
    }
    let networks = hosts.all.iter().map(|host| network_of(host, &container(host, "near")?));
    let networks = networks.collect::<Result<Vec<_>>>()?;
    let echo = |network: &String| Lent::start(network, ECHO);
    let _servers = networks.iter().map(echo).collect::<Result<Vec<_>>>()?;
    hosts.fabric.count(&["ip frag-off & 0x3fff != 0", &format!("ip length {NARROW}")])?;
    for (network, size) in &SIZES[1..] {
        // 20 and 8 bytes of headers are part of it.
        let size = (size - 28).to_string();
        for (place, from) in networks.iter().enumerate() {
            for host in hosts.all.iter().enumerate().filter(|(other, _)| *other != place) {
                let to = address(host.1, &container(host.1, "near")?, network)?;
                let what = format!("{network} to {}", host.1.address);
                let came = wait_for(&what, SOON, || {
                    sh("nsenter", &[from, "python3", "-c", ASK, &to, &size])
                })?;
                ensure!(came == size, "{came} of {size} bytes came back over {what}");
            }
        }
    }
    let counted = hosts.fabric.counted()?;
    ensure!(counted[0] == 0 && counted[1] > 0, "pieces, and packets of that size: {counted:?}");
    Ok(())
}

/// A page that fills many packets, by every host.
fn large_pages_arrive(hosts: &[Host], outside: &Namespace) -> Result<()> {
    for host in hosts {
        for port in [8000, 8020] {
            let page = outside.get(&format!("http://{}:{port}/large", host.address))?;
            let length = page.ok("get the page")?.len();
            ensure!(length == 1 << 20, "{length} bytes came by {}", host.address);
        }
    }
    Ok(())
}
