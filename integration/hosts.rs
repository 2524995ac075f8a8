//! Several hosts on one switch, each an engine with skep beside it.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cluster::address;
use crate::{Docker, Engine, Fabric, Generation, Namespace, Skep};

/// One of them. Fields drop in this order: skep before its engine.
pub struct Host {
    pub skep: Skep,
    pub engine: Engine,
    pub address: String,
}

impl Host {
    /// The CLI against its skep.
    pub fn docker(&self) -> &Docker {
        self.skep.docker()
    }

    /// Joins another one to the swarm that this one manages; returns what its CLI printed.
    pub fn admit(&self, other: &Docker, role: &str) -> Result<String> {
        self.docker().admit(&self.address, other, role)
    }
}

/// Fields drop in this order: the switch last.
pub struct Hosts {
    pub all: Vec<Host>,
    pub fabric: Fabric,
}

impl Hosts {
    /// Starts hosts that are in no swarm.
    pub fn start(generations: &[Generation]) -> Result<Self> {
        Self::start_with(generations, "debug")
    }

    /// As [`Hosts::start`], with daemons that say so much: consensus says a great deal, which takes its time.
    pub fn start_with(generations: &[Generation], log_level: &str) -> Result<Self> {
        let mut hosts = Self { all: Vec::new(), fabric: Fabric::new()? };
        for generation in generations {
            hosts.add(*generation, Value::Null, log_level)?;
        }
        Ok(hosts)
    }

    /// Adds a host whose engine has more in its configuration file.
    pub fn add(&mut self, generation: Generation, settings: Value, log_level: &str) -> Result<()> {
        let number = self.all.len() + 1;
        let address = address(number);
        let space = Namespace::on(&self.fabric, &address)?;
        let engine = Engine::start_with(generation, space, &format!("skep-{number}"), settings)?;
        let skep = Skep::start_with(&engine, "skep", &["--log-level", log_level], &[])?;
        self.all.push(Host { skep, engine, address });
        Ok(())
    }

    /// As [`Hosts::start`], and makes them one swarm, all of them managers.
    pub fn managers(generations: &[Generation]) -> Result<Self> {
        let hosts = Self::start(generations)?;
        let joined = hosts.join();
        hosts.explain(joined)?;
        Ok(hosts)
    }

    /// Makes the hosts one swarm, all of them managers.
    pub fn join(&self) -> Result<()> {
        Self::join_as(&self.all, std::iter::repeat("manager"))
    }

    /// Makes hosts one swarm: the first one a manager, the others what these roles say.
    pub fn join_as<'a>(hosts: &[Host], roles: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let [first, others @ ..] = hosts else { return Ok(()) };
        first.docker().found(&first.address)?;
        for (host, role) in others.iter().zip(roles) {
            first.admit(host.docker(), role)?;
        }
        Ok(())
    }

    /// Adds what each host knows to a failure.
    pub fn explain<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.with_context(|| {
            let nodes = |host: &Host| match host.docker().run(&["node", "ls"]) {
                Ok(output) => format!("{}{}", output.stdout, output.stderr),
                Err(error) => format!("{error:#}\n"),
            };
            let told = |host: &Host| {
                let log = host.skep.log(60);
                format!("{}, docker node ls:\n{}{log}\n", host.address, nodes(host))
            };
            self.all.iter().map(told).collect::<String>()
        })
    }
}
