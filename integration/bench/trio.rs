//! Three hosts on one switch, as a swarm of the engines themselves and as one of skep beside each; the rows that need them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skep_integration::http::{Client, Endpoint};
use skep_integration::{Docker, Engine, Fabric, Generation, Namespace, Skep, sh, wait_for};

use crate::table::Table;
use crate::{commit, drain, failover, join, paths};

pub const ROWS: [&str; 6] = ["join", "cluster", "drain", "net", "conns", "commit"];

pub const PATIENCE: Duration = Duration::from_secs(180);

const HOSTS: usize = 3;

/// One host. Fields drop in this order: skep before its engine.
pub struct Machine {
    pub skep: Option<Skep>,
    pub engine: Engine,
    pub name: String,
    pub address: String,
}

/// Fields drop in this order: the switch last.
pub struct Trio {
    pub all: Vec<Machine>,
    _fabric: Fabric,
}

pub struct Trios {
    pub genuine: Trio,
    pub skep: Trio,
}

/// What dies of a host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The engine, with skep where there is one.
    Host,
    /// Skep alone.
    Manager,
}

pub fn measure(
    wanted: &dyn Fn(&str) -> bool,
    swarm: &mut Table,
    network: &mut Table,
) -> Result<()> {
    let mut trios = Trios { genuine: Trio::start(false)?, skep: Trio::start(true)? };
    for trio in [&trios.genuine, &trios.skep] {
        let first = trio.first()?;
        first.docker().found(&first.address)?;
    }
    if wanted("join") {
        join::measure(&trios, swarm).context("row join")?;
    }
    for trio in [&trios.genuine, &trios.skep] {
        for place in 1..HOSTS {
            trio.join(place, "manager")?;
        }
    }
    if wanted("drain") {
        drain::measure(&trios, swarm).context("row drain")?;
    }
    if wanted("net") || wanted("conns") {
        paths::measure(&trios, wanted, network).context("rows net and conns")?;
    }
    if wanted("commit") {
        commit::measure(&trios.skep, network).context("row commit")?;
    }
    // What it leaves behind is not what it found.
    if wanted("cluster") {
        failover::measure(&mut trios, swarm).context("row cluster")?;
    }
    Ok(())
}

impl Trio {
    fn start(with_skep: bool) -> Result<Self> {
        let fabric = Fabric::new()?;
        let machine = |number: usize| {
            let (name, address) = (format!("skep-{number}"), format!("10.77.0.{number}"));
            let space = Namespace::on(&fabric, &address)?;
            let engine = Engine::start_in(Generation::Engine28, space, &name)?;
            let level = ["--log-level", "warn"];
            let beside = || Skep::start_with(&engine, "skep", &level, &[]);
            let skep = if with_skep { Some(beside()?) } else { None };
            anyhow::Ok(Machine { skep, engine, name, address })
        };
        let all = (1..=HOSTS).map(machine).collect::<Result<_>>()?;
        Ok(Self { all, _fabric: fabric })
    }

    pub fn machine(&self, place: usize) -> Result<&Machine> {
        self.all.get(place).context("there are three hosts")
    }

    pub fn first(&self) -> Result<&Machine> {
        self.machine(0)
    }

    pub fn token(&self, role: &str) -> Result<String> {
        self.first()?.docker().ok(&["swarm", "join-token", "-q", role])
    }

    fn join(&self, place: usize, role: &str) -> Result<()> {
        let first = self.first()?;
        first.docker().admit(&first.address, self.machine(place)?.docker(), role).map(drop)
    }

    /// The place of the host that leads.
    pub fn leader(&self) -> Result<usize> {
        let leads = |machine: &Machine| {
            let format = ["node", "inspect", "self", "-f", "{{.ManagerStatus.Leader}}"];
            machine.docker().ok(&format).is_ok_and(|shown| shown == "true")
        };
        wait_for("a leader", PATIENCE, || self.all.iter().position(leads).context("nobody leads"))
    }

    /// Waits until all hosts are there, as each of them sees it.
    pub fn settled(&self) -> Result<()> {
        for machine in &self.all {
            wait_for("three managers", PATIENCE, || {
                let nodes = machine.api().connect()?.json("GET", "/v1.44/nodes", None)?;
                let nodes = nodes.as_array().context("a list")?;
                let is_well = |node: &&Value| {
                    node["Status"]["State"] == "ready"
                        && node["ManagerStatus"]["Reachability"] == "reachable"
                };
                let well = nodes.iter().filter(is_well).count();
                ensure!(well == HOSTS, "{well} of {}: {nodes:?}", machine.name);
                Ok(())
            })?;
        }
        Ok(())
    }

    pub fn die(&mut self, place: usize, death: Death) -> Result<()> {
        let machine = self.all.get_mut(place).context("there is such a host")?;
        let skep = machine.skep.as_mut().map_or(Ok(()), Skep::kill9);
        if death == Death::Host {
            machine.engine.kill9()?;
        }
        skep
    }

    pub fn revive(&mut self, place: usize, death: Death) -> Result<()> {
        let machine = self.all.get_mut(place).context("there is such a host")?;
        if death == Death::Host {
            machine.engine.launch()?;
        }
        if let Some(skep) = &mut machine.skep {
            skep.follow(&machine.engine);
            skep.restart()?;
        }
        self.settled()
    }
}

impl Machine {
    /// The CLI against what is measured.
    pub fn docker(&self) -> &Docker {
        self.skep.as_ref().map_or(self.engine.docker(), Skep::docker)
    }

    pub fn api(&self) -> Endpoint {
        Endpoint::new(self.docker().host())
    }

    /// The engine itself.
    pub fn engine_api(&self) -> Endpoint {
        Endpoint::new(self.engine.docker().host())
    }

    /// The process inside a container of a service on this host.
    pub fn process_of(&self, service: &str) -> Result<u32> {
        let docker = self.engine.docker();
        wait_for(&format!("a container of {service}"), PATIENCE, || {
            let found = docker.service_containers(service)?;
            let container = found.first().context("none yet")?;
            let pid: u32 = docker.ok(&["inspect", "-f", "{{.State.Pid}}", container])?.parse()?;
            ensure!(pid > 0, "not started yet");
            Ok(pid)
        })
    }

    /// Runs a program in the network of a process.
    pub fn inside(pid: u32, program: &str, args: &[&str]) -> Result<String> {
        let pid = pid.to_string();
        sh("nsenter", &[&["-t", pid.as_str(), "-n", program][..], args].concat())
    }
}

/// Containers of a service that run on an engine.
pub fn running(engine: &mut Client, service: &str) -> Result<usize> {
    let filters = format!(
        "%7B%22label%22%3A%5B%22com.docker.swarm.service.name%3D{service}%22%5D%2C%22status%22%3A%5B%22running%22%5D%7D"
    );
    let path = format!("/v1.44/containers/json?filters={filters}");
    Ok(engine.json("GET", &path, None)?.as_array().context("a list")?.len())
}

pub fn set_availability(api: &mut Client, node: &str, value: &str) -> Result<()> {
    let held = api.json("GET", &format!("/v1.44/nodes/{node}"), None)?;
    let (id, version) = (held["ID"].as_str().context("no id")?, &held["Version"]["Index"]);
    let mut spec = held["Spec"].clone();
    spec["Availability"] = json!(value);
    api.json("POST", &format!("/v1.44/nodes/{id}/update?version={version}"), Some(&spec))?;
    Ok(())
}
