//! One engine with one skep beside it, what most tests need; reports all it knows when a test fails.

use anyhow::{Context, Result};

use crate::{Docker, Engine, Generation, Skep};

/// The address of every lab inside its own namespace.
pub const ADDRESS: &str = "10.77.0.1";

/// Set to try the tests themselves on the engine's own swarm mode, without skep.
const GENUINE: &str = "SKEP_INTEGRATION_GENUINE";

/// Fields drop in this order: skep before its engine.
pub struct Lab {
    skep: Option<Skep>,
    pub engine: Engine,
}

impl Lab {
    /// Starts an engine and a skep that is no swarm yet.
    pub fn bare(generation: Generation) -> Result<Self> {
        let engine = Engine::start(generation, ADDRESS)?;
        let genuine = std::env::var_os(GENUINE).is_some();
        let skep = if genuine { None } else { Some(Skep::start(&engine, "skep")?) };
        Ok(Self { skep, engine })
    }

    /// As [`Lab::bare`], and makes it a swarm of one node.
    pub fn swarm(generation: Generation) -> Result<Self> {
        let lab = Self::bare(generation)?;
        let made = lab.docker().found(ADDRESS);
        lab.explain(made)?;
        Ok(lab)
    }

    /// Runs a test in a fresh swarm and adds the lab's state to its failure.
    pub fn with(generation: Generation, test: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let mut lab = Self::swarm(generation)?;
        let outcome = test(&mut lab);
        lab.explain(outcome)
    }

    /// The CLI against what is under test.
    pub fn docker(&self) -> &Docker {
        self.skep.as_ref().map_or(self.engine.docker(), Skep::docker)
    }

    pub fn skep(&mut self) -> Result<&mut Skep> {
        self.skep.as_mut().context("this test is about skep itself")
    }

    /// Adds all that is known of the lab to a failure.
    pub fn explain<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.with_context(|| {
            let show = |docker: &Docker, args: &[&str]| match docker.run(args) {
                Ok(output) => {
                    format!("$ docker {}\n{}{}", args.join(" "), output.stdout, output.stderr)
                }
                Err(error) => format!("$ docker {}\n{error:#}\n", args.join(" ")),
            };
            let mut report = String::from("the lab when the test failed:\n");
            report += &show(self.docker(), &["service", "ls"]);
            report += &show(self.docker(), &["node", "ps", "self", "--no-trunc"]);
            report += &show(self.engine.docker(), &["ps", "-a", "--no-trunc"]);
            report += &show(self.engine.docker(), &["network", "ls"]);
            if let Some(skep) = &self.skep {
                report += &skep.log(60);
            }
            report + "\n" + &self.engine.log(15)
        })
    }
}
