//! What the death of the leader costs: how long nobody can write, and how long it takes until what it ran runs elsewhere.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skep_integration::http::Client;

use crate::side::spec;
use crate::table::{Table, Times, ratio};
use crate::trio::{Death, Machine, PATIENCE, Trio, Trios, running};
use crate::writers::Writers;

const ROUNDS: usize = 3;
const REPLICAS: usize = 6;
const SERVICE: &str = "six";

/// Between two looks at the engines.
const PAUSE: Duration = Duration::from_millis(10);

/// Writing goes on so long at least, for the worst to be seen.
const WATCHED: Duration = Duration::from_secs(5);

pub fn measure(trios: &mut Trios, table: &mut Table) -> Result<()> {
    let mut gaps: [Times; 3] = Default::default();
    let mut returns: [Times; 2] = Default::default();
    for _ in 0..ROUNDS {
        let [genuine, skep, alone] = &mut gaps;
        let [genuine_again, skep_again] = &mut returns;
        let (gap, again) = kill_leader(&mut trios.genuine, Death::Host).context("genuine")?;
        genuine.add(gap);
        genuine_again.add(again);
        let (gap, again) = kill_leader(&mut trios.skep, Death::Host).context("skep")?;
        skep.add(gap);
        skep_again.add(again);
        let (gap, _) = kill_leader(&mut trios.skep, Death::Manager).context("skep alone")?;
        alone.add(gap);
    }
    let [genuine, skep, alone] = gaps;
    let mut row = |measure: &str, genuine: &Times, skep: &Times, aim: &str| {
        let cells = ["", &genuine.show(), &skep.show(), &ratio(genuine.median(), skep.median())];
        table.row(measure, cells, aim);
    };
    let [genuine_again, skep_again] = returns;
    row("leader's host killed: longest time without a write", &genuine, &skep, "1500 ms");
    row("… until 6 replicas run on live hosts again", &genuine_again, &skep_again, "8000 ms");
    row("leader's skep alone killed: longest time without a write", &genuine, &alone, "1500 ms");
    Ok(())
}

/// Returns how long nothing could be written, and how long too few tasks ran.
fn kill_leader(trio: &mut Trio, death: Death) -> Result<(Duration, Duration)> {
    trio.settled()?;
    let leader = trio.leader()?;
    let mut api = trio.machine(leader)?.api().connect()?;
    api.json("POST", "/v1.44/services/create", Some(&spec(SERVICE, REPLICAS.try_into()?)))?;
    let mut engines = all_engines(trio, |_| true)?;
    all_run(&mut engines)?;
    let others = |place: usize| place != leader;
    let survivors = (0..).zip(&trio.all).filter(|(place, _)| others(*place));
    let survivors: Vec<_> = survivors.map(|(_, machine)| machine.api()).collect();
    let mut engines = all_engines(trio, others)?;
    let writers = Writers::start(&survivors)?;
    let began = Instant::now();
    trio.die(leader, death)?;
    let again = match death {
        Death::Host => {
            all_run(&mut engines)?;
            began.elapsed()
        }
        Death::Manager => Duration::ZERO,
    };
    writers.written_since(began.max(Instant::now()))?;
    writers.written_since(began + WATCHED)?;
    let gap = writers.finish()?;
    trio.revive(leader, death)?;
    trio.first()?.docker().ok(&["service", "rm", SERVICE])?;
    let mut engines = all_engines(trio, |_| true)?;
    until(&mut engines, |running| running == 0)?;
    Ok((gap, again))
}

fn all_engines(trio: &Trio, which: impl Fn(usize) -> bool) -> Result<Vec<Client>> {
    let machines = (0..).zip(&trio.all).filter(|(place, _)| which(*place));
    machines.map(|(_, machine): (_, &Machine)| machine.engine_api().connect()).collect()
}

fn all_run(engines: &mut [Client]) -> Result<()> {
    until(engines, |running| running >= REPLICAS)
}

/// Waits for a number of running tasks.
fn until(engines: &mut [Client], is_it: impl Fn(usize) -> bool) -> Result<()> {
    let began = Instant::now();
    loop {
        let mut total = 0;
        for engine in &mut *engines {
            total += running(engine, SERVICE)?;
        }
        if is_it(total) {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "{total} run");
        thread::sleep(PAUSE);
    }
}
