//! What the ways through the cluster's networks carry: bytes (iperf3) and new connections, each beside a plainer way of the
//! same run. The kernel needs IPVS for genuine virtual addresses and its mesh, and few that this is run on have it: of
//! genuine Swarm only the plain way between containers is taken.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use skep_integration::wait_for;

use crate::table::{Table, Times};
use crate::trio::{Machine, PATIENCE, Trio, Trios};

const ROUNDS: usize = 7;
const SECONDS: &str = "2";
const CONNECTIONS: &str = "3000";

/// Ports inside containers of the two servers, with those that lead there by the mesh and by the host.
const BYTES: u16 = 5201;
const GREETINGS: u16 = 5202;
const HOST_MODE: u16 = 100;
/// Between the hosts themselves.
const PLAIN: u16 = 200;
/// Without the virtual address. Were it the same server, connections of the one way would be in the way of those of the
/// other: the kernel remembers either by the addresses of its answers.
const DIRECT: u16 = 10;

/// A process that ends with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _collected = self.0.wait();
    }
}

/// One way: from which process, to which address and by how much the port there differs.
struct Way {
    from: u32,
    to: String,
    shift: u16,
}

struct Ways {
    host: Way,
    direct: Way,
    virtual_ip: Option<Way>,
    encrypted: Option<Way>,
    host_mode: Way,
    mesh_near: Option<Way>,
    mesh_far: Option<Way>,
    _servers: Vec<Server>,
}

pub fn measure(trios: &Trios, wanted: &dyn Fn(&str) -> bool, table: &mut Table) -> Result<()> {
    let genuine = prepare(&trios.genuine, false).context("genuine")?;
    let skep = prepare(&trios.skep, true).context("skep")?;
    if wanted("net") {
        compare(&genuine, &skep, bytes, "Gbit/s, ", table)?;
    }
    if wanted("conns") {
        compare(&genuine, &skep, connections, "connections/s, ", table)?;
    }
    for trio in [&trios.genuine, &trios.skep] {
        trio.first()?.docker().ok(&["service", "rm", "srv", "cli", "hm"])?;
    }
    Ok(())
}

/// Makes the services, one on each end and one behind a port of its host, and starts servers in them.
fn prepare(trio: &Trio, is_skep: bool) -> Result<Ways> {
    let docker = trio.first()?.docker();
    docker.ok(&["network", "create", "-d", "overlay", "ov"])?;
    // Without IPsec the engine makes no encrypted network either.
    if is_skep {
        docker.ok(&["network", "create", "-d", "overlay", "--opt", "encrypted", "enc"])?;
    }
    let make = |name: &str, place: usize, more: &[&str]| -> Result<u32> {
        let machine = trio.machine(place)?;
        let place = format!("node.hostname=={}", machine.name);
        let start = ["service", "create", "-q", "-d", "--name", name, "--constraint", &place];
        let what = ["--no-resolve-image", "--stop-signal", "KILL", "busybox:latest", "sleep"];
        docker.ok(&[&start[..], more, &what, &["100000"]].concat())?;
        machine.process_of(name)
    };
    // Without IPVS the engine starts no task that has a virtual address or is published by its mesh.
    let plain = ["--network", "ov", "--endpoint-mode", "dnsrr"];
    let both = ["--network", "ov", "--network", "enc", "--endpoint-mode", "dnsrr"];
    let led = ["--network", "ov", "--network", "enc", "-p", "5201:5201", "-p", "5202:5202"];
    let server = make("srv", 1, if is_skep { &led } else { &plain })?;
    let client = make("cli", 0, if is_skep { &both } else { &plain })?;
    let ports = ["mode=host,published=5301,target=5201", "mode=host,published=5302,target=5202"];
    let behind = make("hm", 1, &["-p", ports[0], "-p", ports[1]])?;
    let (first, second, third) = (trio.first()?, trio.machine(1)?, trio.machine(2)?);
    let host = first.engine.pid();
    let way = |from, to: &str, shift| Way { from, to: to.to_owned(), shift };
    let servers = [(server, 0), (server, DIRECT), (behind, 0), (second.engine.pid(), PLAIN)];
    let mut running = Vec::new();
    for (inside, shift) in servers {
        let (bytes, greetings) = ((BYTES + shift).to_string(), (GREETINGS + shift).to_string());
        running.push(serve(inside, "iperf3", &["-s", "-p", &bytes])?);
        running.push(serve(inside, &this_program()?, &["accept", &greetings])?);
    }
    Ok(Ways {
        host: way(host, &second.address, PLAIN),
        virtual_ip: if is_skep { Some(way(client, &virtual_ip(first)?, 0)) } else { None },
        direct: way(client, &address_on(second, "ov")?, DIRECT),
        encrypted: is_skep
            .then(|| address_on(second, "enc"))
            .transpose()?
            .map(|to| way(client, &to, DIRECT)),
        host_mode: way(host, &second.address, HOST_MODE),
        mesh_near: is_skep.then(|| way(host, &second.address, 0)),
        mesh_far: is_skep.then(|| way(host, &third.address, 0)),
        _servers: running,
    })
}

fn this_program() -> Result<String> {
    Ok(std::env::current_exe()?.to_string_lossy().into_owned())
}

fn serve(inside: u32, program: &str, args: &[&str]) -> Result<Server> {
    let mut command = Command::new("nsenter");
    command.args(["-t", &inside.to_string(), "-n", program]).args(args);
    Ok(Server(command.stdout(Stdio::null()).spawn()?))
}

/// The address of the server itself on a network.
fn address_on(machine: &Machine, network: &str) -> Result<String> {
    let engine = machine.engine.docker();
    let own = engine.service_containers("srv")?;
    let own = own.first().context("it runs")?;
    let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    engine.ok(&["inspect", "-f", &format, own])
}

/// The address of the server's service on the network that is not the mesh's.
fn virtual_ip(manager: &Machine) -> Result<String> {
    let mut api = manager.api().connect()?;
    let network = api.json("GET", "/v1.44/networks/ov", None)?;
    let service = api.json("GET", "/v1.44/services/srv", None)?;
    let all = service["Endpoint"]["VirtualIPs"].as_array().context("virtual addresses")?;
    let found = all.iter().find(|it| it["NetworkID"] == network["Id"]);
    let addr = found.and_then(|it| it["Addr"].as_str()).context("none on the network")?;
    Ok(addr.split('/').next().unwrap_or(addr).to_owned())
}

type Measure = fn(&Way) -> Result<f64>;

fn compare(
    genuine: &Ways,
    skep: &Ways,
    measure: Measure,
    unit: &str,
    table: &mut Table,
) -> Result<()> {
    let ways = [
        Some(&skep.host),
        Some(&skep.direct),
        skep.virtual_ip.as_ref(),
        skep.encrypted.as_ref(),
        Some(&skep.host_mode),
        skep.mesh_near.as_ref(),
        skep.mesh_far.as_ref(),
        Some(&genuine.host),
        Some(&genuine.direct),
    ];
    for way in ways.into_iter().flatten() {
        wait_for("an open way", PATIENCE, || measure(way))?;
    }
    let mut seen: [Times; 9] = Default::default();
    for _ in 0..ROUNDS {
        for (way, times) in ways.into_iter().zip(&mut seen) {
            times.put(measure(way.context("skep has all ways")?)?);
        }
    }
    let [host, direct, virtual_ip, encrypted, host_mode, near, far, genuine_host, genuine_direct] =
        &seen;
    let own = genuine_direct.shares(genuine_host).median();
    let own = format!("{} ({own:.2} of its own hosts)", show(genuine_direct));
    let mut row = |what: &str, beside: &Times, genuine: &str, skep: &Times, aim: &str| {
        let share = format!("{:.2}", skep.shares(beside).median());
        let cells = [&show(beside), genuine, &show(skep), &share];
        table.row(&format!("{unit}{what}"), cells.map(|cell: &str| cell), aim);
    };
    row("container to container across hosts, beside host to host", host, &own, direct, "");
    row("virtual address, beside direct", direct, "", virtual_ip, "0.95");
    row("encrypted, beside not encrypted", direct, "", encrypted, "");
    row("mesh on the task's node, beside host mode", host_mode, "", near, "0.90");
    row("mesh by another node, beside host mode", host_mode, "", far, "");
    Ok(())
}

fn show(rates: &Times) -> String {
    match rates.median() {
        rate if rate < 10.0 => format!("{rate:.2}"),
        rate if rate < 1000.0 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    }
}

/// Gigabits a second of one TCP connection.
fn bytes(way: &Way) -> Result<f64> {
    let port = (BYTES + way.shift).to_string();
    let args = ["-c", &way.to, "-p", &port, "-t", SECONDS, "-J"];
    let report: Value = serde_json::from_str(&Machine::inside(way.from, "iperf3", &args)?)?;
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(rate.context("iperf3 says nothing")? / 1e9)
}

/// New connections a second, one after the other.
fn connections(way: &Way) -> Result<f64> {
    let address = format!("{}:{}", way.to, GREETINGS + way.shift);
    let args = ["connect", address.as_str(), CONNECTIONS];
    let rate: f64 = Machine::inside(way.from, &this_program()?, &args)?.parse()?;
    ensure!(rate > 0.0, "no connection");
    Ok(rate)
}
