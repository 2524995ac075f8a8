//! The rows of one node: skep beside an engine, and an engine of the same build in swarm mode.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use skep_integration::http::Endpoint;
use skep_integration::{ADDRESS, Engine, Generation, Skep, wait_for};

use crate::side::{self, Side, raw, spec};
use crate::table::{Table, Times, millis, ratio};

/// Repetitions of the rows that start containers, and of those that only ask.
const ROUNDS: u32 = 15;
const ROUNDS_MANY: u32 = 4;
const CALLS: u32 = 1500;

/// How many containers are made at once by the raw engine; the best of them counts.
const PARALLEL: [usize; 3] = [4, 8, 12];

/// Parts in which services are made, alternating, and the clients and services of each.
const CREATES: (u32, [(&str, usize, usize); 2]) = (8, [("a", 1, 50), ("b", 16, 75)]);

pub const ROWS: [&str; 7] = ["proxy", "start", "one", "many", "update", "kill", "create"];

struct Bench<'a> {
    genuine: Side,
    skep: Side,
    raw: Endpoint,
    daemon: Skep,
    engine_pid: u32,
    table: &'a mut Table,
}

pub fn measure(wanted: &dyn Fn(&str) -> bool, table: &mut Table) -> Result<()> {
    let genuine_engine = Engine::start(Generation::Engine28, ADDRESS)?;
    let engine = Engine::start(Generation::Engine28, ADDRESS)?;
    let daemon = Skep::start_with(&engine, "skep", &["--log-level", "warn"], &[])?;
    for docker in [genuine_engine.docker(), daemon.docker()] {
        docker.ok(&["swarm", "init", "--advertise-addr", ADDRESS])?;
    }
    let genuine_at = Endpoint::new(genuine_engine.docker().host());
    let raw_at = Endpoint::new(engine.docker().host());
    let mut bench = Bench {
        genuine: Side::new(genuine_at.clone(), &genuine_at)?,
        skep: Side::new(Endpoint::new(daemon.docker().host()), &raw_at)?,
        raw: raw_at,
        daemon,
        engine_pid: genuine_engine.pid(),
        table,
    };
    bench.memory("memory at rest", "25 MB")?;
    for name in ROWS.into_iter().filter(|name| wanted(name)) {
        bench.row(name).with_context(|| format!("row {name}"))?;
    }
    if wanted("start") {
        bench.start_full().context("row start")?;
    }
    Ok(())
}

impl Bench<'_> {
    fn row(&mut self, name: &str) -> Result<()> {
        match name {
            "proxy" => self.proxy(),
            "start" => self.start_empty(),
            "one" => self.one(),
            "many" => self.many(),
            "update" => self.update(),
            "kill" => self.kill(),
            _ => self.create(),
        }
    }

    fn one(&mut self) -> Result<()> {
        let (mut alone, mut genuine, mut skep) =
            (Times::default(), Times::default(), Times::default());
        for round in 0..ROUNDS {
            alone.add(raw(&self.raw, &format!("raw-{round}"), 1, 1)?);
            genuine.add(self.genuine.until_running(&format!("one-{round}"), 1)?);
            skep.add(self.skep.until_running(&format!("one-{round}"), 1)?);
        }
        let cells = [alone.show(), genuine.show(), skep.show()];
        self.compare("one replica until running", &cells, genuine.median(), skep.median(), "");
        let (above_g, above_s) =
            (genuine.median() - alone.median(), skep.median() - alone.median());
        let cells = [String::new(), millis(above_g), millis(above_s)];
        self.compare("… above raw create+start", &cells, above_g, above_s, "15 ms");
        Ok(())
    }

    fn many(&mut self) -> Result<()> {
        let (mut alone, mut genuine, mut skep) =
            (Times::default(), Times::default(), Times::default());
        let mut parallel = 8;
        let mut best = Duration::MAX;
        for tried in PARALLEL {
            let took = raw(&self.raw, &format!("tried-{tried}"), tried, 40)?;
            if took < best {
                (parallel, best) = (tried, took);
            }
        }
        for round in 0..ROUNDS_MANY {
            alone.add(raw(&self.raw, &format!("raws-{round}"), parallel, 40)?);
            genuine.add(self.genuine.until_running(&format!("many-{round}"), 40)?);
            skep.add(self.skep.until_running(&format!("many-{round}"), 40)?);
        }
        let aim = format!("{} (raw + 5 %)", millis(alone.median() * 1.05));
        let cells = [alone.show(), genuine.show(), skep.show()];
        self.compare(
            &format!("40 replicas (raw: {parallel} at a time, the best of {PARALLEL:?})"),
            &cells,
            genuine.median(),
            skep.median(),
            &aim,
        );
        Ok(())
    }

    fn update(&mut self) -> Result<()> {
        let six = spec("six", 6);
        let (at_genuine, at_skep) = (self.genuine.create(&six)?, self.skep.create(&six)?);
        self.genuine.await_running(&at_genuine, 6, |_| true)?;
        self.skep.await_running(&at_skep, 6, |_| true)?;
        let (mut alone, mut genuine, mut skep) =
            (Times::default(), Times::default(), Times::default());
        for round in 1..=u64::from(ROUNDS / 2) {
            alone.add(side::raw_update(&self.raw, &format!("rawu-{round}"), 6)?);
            genuine.add(self.genuine.update(&at_genuine, round, 6)?);
            skep.add(self.skep.update(&at_skep, round, 6)?);
        }
        self.genuine.remove(&at_genuine)?;
        self.skep.remove(&at_skep)?;
        let aim = format!("{} (a third of genuine)", millis(genuine.median() / 3.0));
        let cells = [alone.show(), genuine.show(), skep.show()];
        let measure = "update of 6 at once (raw: create, kill, wait, start)";
        self.compare(measure, &cells, genuine.median(), skep.median(), &aim);
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        let one = spec("killed", 1);
        let (at_genuine, at_skep) = (self.genuine.create(&one)?, self.skep.create(&one)?);
        let (mut alone, mut genuine, mut skep) =
            (Times::default(), Times::default(), Times::default());
        for round in 0..ROUNDS {
            alone.add(side::raw_replace(&self.raw, &format!("rawk-{round}"))?);
            genuine.add(self.genuine.replace(&at_genuine)?);
            skep.add(self.skep.replace(&at_skep)?);
        }
        self.genuine.remove(&at_genuine)?;
        self.skep.remove(&at_skep)?;
        let aim = format!("{} (raw + 30 ms)", millis(alone.median() + 30.0));
        let cells = [alone.show(), genuine.show(), skep.show()];
        self.compare(
            "killed container replaced (raw: kill, wait, create, start)",
            &cells,
            genuine.median(),
            skep.median(),
            &aim,
        );
        Ok(())
    }

    fn create(&mut self) -> Result<()> {
        let (parts, kinds) = CREATES;
        for (prefix, clients, count) in kinds {
            let (mut genuine, mut skep, mut floor) = (0.0, 0.0, Times::default());
            for part in 0..parts {
                // Names of the first part are those that are asked for below.
                let prefix = if part == 0 { prefix.to_owned() } else { format!("{prefix}{part}") };
                genuine += self.genuine.create_many(&prefix, clients, count)?.as_secs_f64();
                fsyncs(self.daemon.data().as_path(), &mut floor)?;
                skep += self.skep.create_many(&prefix, clients, count)?.as_secs_f64();
            }
            #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
            let made = (parts as usize * count) as f64;
            let aim = match clients {
                1 => format!("{:.0}/s (fdatasync of 4 KiB)", 1e3 / floor.mean()),
                _ => "5 times genuine".to_owned(),
            };
            let (per_genuine, per_skep) = (made / genuine, made / skep);
            let shown = [per_genuine, per_skep].map(|rate| format!("{rate:.0}/s"));
            let cells = ["", shown[0].as_str(), shown[1].as_str(), &ratio(per_skep, per_genuine)];
            self.table.row(&format!("service creates, {clients} clients"), cells, &aim);
        }
        self.memory("memory with 1,000 services", "40 MB")?;
        self.ask("list of 1,000 services", "/v1.44/services", CALLS / 15, "10 times genuine")?;
        self.ask("inspect of one of them", "/v1.44/services/a-7", CALLS, "200 µs")?;
        self.genuine.clear()?;
        self.skep.clear()
    }

    fn ask(&mut self, measure: &str, path: &str, calls: u32, aim: &str) -> Result<()> {
        let (mut genuine, mut skep) = (Times::default(), Times::default());
        for _ in 0..calls {
            for (side, times) in [(&mut self.genuine, &mut genuine), (&mut self.skep, &mut skep)] {
                let began = Instant::now();
                let (status, _) = side.client.call("GET", path, None)?;
                anyhow::ensure!(status == 200, "{path}: {status}");
                times.add(began.elapsed());
            }
        }
        let cells = [String::new(), genuine.show(), skep.show()];
        self.compare(measure, &cells, genuine.median(), skep.median(), aim);
        Ok(())
    }

    fn proxy(&mut self) -> Result<()> {
        let path = "/v1.44/volumes";
        let (mut direct, mut through) = (Times::default(), Times::default());
        for _ in 0..CALLS {
            for (client, times) in
                [(&mut self.skep.engine, &mut direct), (&mut self.skep.client, &mut through)]
            {
                let began = Instant::now();
                client.call("GET", path, None)?;
                times.add(began.elapsed());
            }
        }
        let added = millis(through.median() - direct.median());
        let cells = [&direct.show(), "", &through.show(), &format!("added: {added}")];
        self.table.row("proxied call (GET /volumes)", cells.map(|cell: &str| cell), "60 µs added");
        Ok(())
    }

    fn start_empty(&mut self) -> Result<()> {
        self.start("daemon start until serving", "50 ms")
    }

    /// Leaves the services there: it is the last row.
    fn start_full(&mut self) -> Result<()> {
        self.skep.create_many("full", 16, 10_000)?;
        self.start("… with 10,000 services", "300 ms")?;
        self.memory("memory with 10,000 services (skep only)", "")
    }

    fn start(&mut self, measure: &str, aim: &str) -> Result<()> {
        let mut times = Times::default();
        for _ in 0..5 {
            self.daemon.stop()?;
            let began = Instant::now();
            self.daemon.launch()?;
            let answer = || -> Result<()> {
                let (status, _) =
                    self.skep.endpoint.connect()?.call("GET", "/v1.44/nodes", None)?;
                anyhow::ensure!(status == 200, "{status}");
                Ok(())
            };
            while answer().is_err() {
                anyhow::ensure!(began.elapsed() < Duration::from_secs(60), "it does not serve");
                std::thread::sleep(Duration::from_millis(1));
            }
            times.add(began.elapsed());
        }
        self.skep.reconnect()?;
        self.table.row(measure, ["", "", &times.show(), ""], aim);
        Ok(())
    }

    fn memory(&mut self, measure: &str, aim: &str) -> Result<()> {
        // What was needed only to get there is given back within moments.
        let settle = Instant::now();
        wait_for("a quiet moment", Duration::from_secs(10), || {
            anyhow::ensure!(settle.elapsed() > Duration::from_secs(2), "too early");
            Ok(())
        })?;
        let (genuine, skep) = (resident(self.engine_pid)?, resident(self.daemon.pid()?)?);
        let cells =
            ["", &format!("{genuine:.0} MB"), &format!("{skep:.1} MB"), &ratio(genuine, skep)];
        self.table.row(measure, cells, aim);
        Ok(())
    }

    fn compare(&mut self, measure: &str, cells: &[String; 3], genuine: f64, skep: f64, aim: &str) {
        let [raw, shown_genuine, shown_skep] = cells;
        let cells = [raw.as_str(), shown_genuine, shown_skep, &ratio(genuine, skep)];
        self.table.row(measure, cells, aim);
    }
}

/// Resident memory of a process in MB.
fn resident(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024.0 / 1e6)
}

/// What the disk can do just now: times of appending 4 KiB and making it durable.
fn fsyncs(folder: &std::path::Path, times: &mut Times) -> Result<()> {
    let mut file = tempfile::tempfile_in(folder)?;
    for _ in 0..100 {
        let began = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.add(began.elapsed());
    }
    Ok(())
}
