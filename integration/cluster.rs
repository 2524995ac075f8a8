//! Several hosts on one switch: the first runs an engine with skep, which made a swarm; the others run an engine alone.

use anyhow::{Context, Result};

use crate::{Docker, Engine, Fabric, Generation, Namespace, Skep};

/// Address of the host with that number, counted from 1.
pub fn address(number: usize) -> String {
    format!("10.77.0.{number}")
}

/// Fields drop in this order: skep before its engine, the switch last.
pub struct Cluster {
    pub skep: Skep,
    pub engine: Engine,
    pub workers: Vec<Engine>,
    pub fabric: Fabric,
}

impl Cluster {
    /// Starts a manager and engines that have joined nothing yet.
    pub fn start(manager: Generation, workers: &[Generation]) -> Result<Self> {
        let fabric = Fabric::new()?;
        let space = Namespace::on(&fabric, &address(1))?;
        let engine = Engine::start_in(manager, space, "skep-1")?;
        let others = workers.iter().enumerate().map(|(place, generation)| {
            let space = Namespace::on(&fabric, &address(place + 2))?;
            Engine::start_in(*generation, space, &format!("skep-{}", place + 2))
        });
        let workers = others.collect::<Result<_>>()?;
        let skep = Skep::start(&engine, "skep")?;
        skep.docker().found(&address(1))?;
        Ok(Self { skep, engine, workers, fabric })
    }

    /// As [`Cluster::start`], with every engine joined as a worker.
    pub fn joined(manager: Generation, workers: &[Generation]) -> Result<Self> {
        let cluster = Self::start(manager, workers)?;
        for number in 0..workers.len() {
            let joined = cluster.join(number);
            cluster.explain(joined)?;
        }
        Ok(cluster)
    }

    /// Joins the worker with that place; returns what the CLI printed.
    pub fn join(&self, place: usize) -> Result<String> {
        self.docker().admit(&address(1), self.worker(place)?.docker(), "worker")
    }

    /// Where managers are found.
    pub fn remote(&self) -> String {
        format!("{}:2377", address(1))
    }

    /// The CLI against the manager.
    pub fn docker(&self) -> &Docker {
        self.skep.docker()
    }

    pub fn worker(&self, place: usize) -> Result<&Engine> {
        self.workers.get(place).context("there is no such worker")
    }

    /// Adds all that is known of the cluster to a failure.
    pub fn explain<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.with_context(|| {
            let show = |args: &[&str]| match self.docker().run(args) {
                Ok(output) => {
                    format!("$ docker {}\n{}{}", args.join(" "), output.stdout, output.stderr)
                }
                Err(error) => format!("$ docker {}\n{error:#}\n", args.join(" ")),
            };
            let mut report = String::from("the cluster when the test failed:\n");
            report += &show(&["node", "ls"]);
            report += &show(&["service", "ls"]);
            for service in self.docker().lines(&["service", "ls", "-q"]).unwrap_or_default() {
                report += &show(&["service", "ps", "--no-trunc", &service]);
            }
            report += &self.skep.log(80);
            for worker in &self.workers {
                report += "\n";
                report += &worker.log(25);
            }
            report
        })
    }
}
