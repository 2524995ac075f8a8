//! What packet rules cost with ever more services: planned by the core, set by nft in a network of their own.

use std::io::Write;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use skep_core::net::plan::desired;
use skep_integration::{ADDRESS, Namespace};

use crate::synthetic::{Synthetic, host};
use crate::table::{Table, Times};

const SERVICES: [u32; 3] = [10, 1000, 10_000];
const ROUNDS: u32 = 11;
const LOADS: u32 = 3;

pub fn measure(table: &mut Table) -> Result<()> {
    for services in SERVICES {
        with(services, table).with_context(|| format!("{services} services"))?;
    }
    Ok(())
}

fn with(services: u32, table: &mut Table) -> Result<()> {
    let mut cluster = Synthetic::new(services);
    let mut states = Vec::new();
    for runs in [true, false] {
        cluster.set_running(runs)?;
        states.push(cluster.state()?);
    }
    let host = host();
    let space = Namespace::new(ADDRESS)?;
    let mut held = desired(states.first().context("two states")?, &host);
    let text = held.rules.whole([]);
    let (mut loads, mut planned) = (Times::default(), Times::default());
    for _ in 0..LOADS {
        let began = Instant::now();
        nft(&space, &text)?;
        loads.add(began.elapsed());
    }
    let (mut changes, mut set) = (Times::default(), Times::default());
    for round in 1..=ROUNDS {
        let state = states.get(round as usize % 2).context("two states")?;
        let began = Instant::now();
        let wanted = desired(state, &host);
        let text = wanted.rules.since(&held.rules);
        planned.add(began.elapsed());
        let until_set = Instant::now();
        nft(&space, &text)?;
        set.add(until_set.elapsed());
        changes.add(began.elapsed());
        held = wanted;
    }
    let size = text.len() / 1024;
    let mut row = |measure: &str, times: &Times, aim: &str| {
        let measure = format!("{services} services: {measure}");
        table.row(&measure, ["", "", &times.show(), ""], aim);
    };
    row(&format!("all rules set at once ({size} KiB)"), &loads, "");
    row("one backend more or less", &changes, if services == 1000 { "20 ms" } else { "" });
    row("… of which planning, which is all where nothing differs", &planned, "");
    row("… of which nft", &set, "");
    Ok(())
}

fn nft(space: &Namespace, text: &str) -> Result<()> {
    let mut command = space.command("nft");
    let mut child = command.args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().context("stdin is piped")?.write_all(text.as_bytes())?;
    ensure!(child.wait()?.success(), "nft refused the rules");
    Ok(())
}
