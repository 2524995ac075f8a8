//! `skep-bench [ROW...]`: measures skep against the swarm mode of the same engine build, alternating, and prints markdown
//! tables. All rows without arguments; names are in `ROWS` of the modules. Asserts nothing.

mod certs;
mod commit;
mod connect;
mod drain;
mod failover;
mod join;
mod paths;
mod rules;
mod side;
mod single;
mod synthetic;
mod table;
mod trio;
mod writers;

use std::io::Write;

use anyhow::{Context, Result};

use table::Table;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(outcome) = connect::mode(&args) {
        return outcome;
    }
    let wanted = |row: &str| args.is_empty() || args.iter().any(|name| name == row);
    let mut swarm =
        Table::new(["measure", "raw engine", "genuine", "skep", "genuine / skep", "aim"]);
    let mut network =
        Table::new(["measure", "beside it", "genuine", "skep", "skep / beside it", "aim"]);
    if single::ROWS.into_iter().any(wanted) {
        single::measure(&wanted, &mut swarm)?;
    }
    if wanted("certs") {
        certs::measure(&mut swarm).context("row certs")?;
    }
    if wanted("rules") {
        rules::measure(&mut network).context("row rules")?;
    }
    if trio::ROWS.into_iter().any(wanted) {
        trio::measure(&wanted, &mut swarm, &mut network)?;
    }
    writeln!(std::io::stdout(), "{}\n\n{}", swarm.text(), network.text())?;
    Ok(())
}
