//! How long a worker takes to join.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skep_integration::{Docker, wait_for};

use crate::table::{Table, Times, ratio};
use crate::trio::{PATIENCE, Trio, Trios};

const ROUNDS: usize = 7;

/// Between two looks at the list of nodes.
const PAUSE: Duration = Duration::from_millis(2);

/// The host that joins.
const PLACE: usize = 2;

pub fn measure(trios: &Trios, table: &mut Table) -> Result<()> {
    let (mut genuine, mut skep, mut stock) = (Times::default(), Times::default(), Times::default());
    for _ in 0..ROUNDS {
        let joins = trios.genuine.machine(PLACE)?;
        genuine.add(join(&trios.genuine, joins.docker())?);
        let joins = trios.skep.machine(PLACE)?;
        skep.add(join(&trios.skep, joins.docker())?);
        stock.add(join(&trios.skep, joins.engine.docker())?);
    }
    let measure = "`docker swarm join` of a worker until Ready";
    let cells = ["", &genuine.show(), &skep.show(), &ratio(genuine.median(), skep.median())];
    table.row(measure, cells, "500 ms");
    let cells = ["", &genuine.show(), &stock.show(), &ratio(genuine.median(), stock.median())];
    table.row("… of an engine alone, to skep", cells, "500 ms");
    Ok(())
}

/// Time from the start of the command until the manager shows the node as ready; the node is removed afterwards.
fn join(trio: &Trio, worker: &Docker) -> Result<Duration> {
    let manager = trio.first()?;
    let name = &trio.machine(PLACE)?.name;
    let (token, remote) = (trio.token("worker")?, format!("{}:2377", manager.address));
    let mut client = manager.api().connect()?;
    let mut state = || -> Result<Option<String>> {
        let nodes = client.json("GET", "/v1.44/nodes", None)?;
        let mut nodes = nodes.as_array().context("a list")?.iter();
        let found = nodes.find(|node| node["Description"]["Hostname"] == name.as_str());
        Ok(found.and_then(|node| node["Status"]["State"].as_str().map(str::to_owned)))
    };
    let began = Instant::now();
    let took = thread::scope(|scope| {
        let command = scope.spawn(|| worker.ok(&["swarm", "join", "--token", &token, &remote]));
        while state()?.as_deref() != Some("ready") {
            ensure!(began.elapsed() < PATIENCE, "it does not join");
            thread::sleep(PAUSE);
        }
        let took = began.elapsed();
        command.join().ok().context("the command panicked")??;
        anyhow::Ok(took)
    })?;
    worker.ok(&["swarm", "leave", "--force"])?;
    wait_for("the node to be gone", PATIENCE, || {
        manager.docker().ok(&["node", "rm", "--force", name])
    })?;
    Ok(took)
}
