//! A worker is away while every manager it knows is replaced.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_integration::{Docker, Generation, Hosts, wait_for};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_worker_finds_managers_that_an_operator_names() -> Result<()> {
    let mut hosts = Hosts::start(&[Generation::Engine28; 3])?;
    let outcome = replace(&mut hosts);
    hosts.explain(outcome)
}

/// The first host hands all over to the second while the third is off.
fn replace(hosts: &mut Hosts) -> Result<()> {
    Hosts::join_as(&hosts.all, ["worker", "worker"])?;
    hosts.all[2].skep.stop()?;
    let (first, second) = (hosts.all[0].docker(), hosts.all[1].docker());
    let own = |docker: &Docker| docker.ok(&["info", "-f", "{{.Swarm.NodeID}}"]);
    let (old, new) = (own(first)?, own(second)?);
    first.ok(&["node", "promote", &new])?;
    wait_for("a second manager", SOON, || second.ok(&["node", "ls"]))?;
    second.ok(&["node", "demote", &old])?;
    wait_for("the first to be a worker", SOON, || {
        let control = first.ok(&["info", "-f", "{{.Swarm.ControlAvailable}}"])?;
        ensure!(control == "false", "not yet");
        Ok(())
    })?;
    // It knows the first alone, which does not answer any more.
    let named = hosts.all[1].address.clone();
    let lost = &mut hosts.all[2].skep;
    lost.add_environment(vec![("SKEP_MANAGER".to_owned(), named.clone())]);
    lost.restart()?;
    ready(hosts.all[1].docker())?;
    let remembered = std::fs::read_to_string(hosts.all[2].skep.data().join("managers.json"))?;
    ensure!(remembered.contains(&named), "{remembered}");
    Ok(())
}

fn ready(manager: &Docker) -> Result<()> {
    wait_for("all to be ready", SOON, || {
        let nodes = manager.lines(&["node", "ls", "--format", "{{.Status}}"])?;
        ensure!(nodes == ["Ready"; 3], "{nodes:?}");
        Ok(())
    })
}
