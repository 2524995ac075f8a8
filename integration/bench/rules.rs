//! What packet rules cost with ever more services: planned by the core, set in a network of their own.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use skep::dataplane::Rules;
use skep_core::net::plan::desired;
use skep_core::net::planner::Planner;
use skep_core::net::served::may_differ;
use skep_core::view::Incoming;
use skep_integration::{ADDRESS, Namespace};

use crate::synthetic::{Synthetic, host};
use crate::table::{Table, Times};

const SERVICES: [u32; 3] = [10, 1000, 10_000];
const ROUNDS: u32 = 11;
const LOADS: u32 = 3;

pub fn measure(table: &mut Table) -> Result<()> {
    for services in SERVICES {
        let space = Namespace::new(ADDRESS)?;
        space
            .enter(async || with(services, table).await)
            .with_context(|| format!("{services} services"))?;
    }
    Ok(())
}

async fn with(services: u32, table: &mut Table) -> Result<()> {
    let mut cluster = Synthetic::new(services);
    let mut view = Incoming::default();
    cluster.parts().for_each(|part| view.take(part));
    let host = host();
    let mut last = view.shown(0);
    let (mut loads, mut whole) = (Times::default(), Times::default());
    let mut planner = Planner::new(host.clone());
    let mut held = planner.follow(&last).clone();
    let mut rules = Rules::open()?;
    for _ in 0..LOADS {
        let began = Instant::now();
        let anew = desired(&last, &host);
        whole.add(began.elapsed());
        ensure!(anew == held, "a plan made anew is another");
        rules = Rules::open()?;
        let began = Instant::now();
        rules.set(&held.rules).await?;
        loads.add(began.elapsed());
    }
    let (mut changes, mut planned, mut set) =
        (Times::default(), Times::default(), Times::default());
    for round in 1..=ROUNDS {
        view.take(cluster.set_running(round % 2 == 0)?);
        let state = view.shown(round.into());
        // What a node does with a state that it is shown.
        let began = Instant::now();
        ensure!(may_differ(&last, &state), "a backend more or less is served");
        let wanted = planner.follow(&state).clone();
        ensure!(wanted != held, "a backend more or less is planned");
        planned.add(began.elapsed());
        let until_set = Instant::now();
        rules.set(&wanted.rules).await?;
        set.add(until_set.elapsed());
        changes.add(began.elapsed());
        (last, held) = (state, wanted);
    }
    let mut row = |measure: &str, times: &Times, aim: &str| {
        let measure = format!("{services} services: {measure}");
        table.row(&measure, ["", "", &times.show(), ""], aim);
    };
    row("all rules planned anew", &whole, "");
    row("all rules set at once (nft)", &loads, "");
    let aim = if services == 1000 { "20 ms" } else { "" };
    row("one backend more or less, planned and set", &changes, aim);
    row("… of which planning", &planned, "");
    row("… of which setting", &set, "");
    Ok(())
}
