//! From the commit of a change to the packet rules on all hosts of a real cluster, with ever more services loaded; and what
//! keeping so many costs at rest.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skep_integration::http::Client;

use crate::side::{Side, spec};
use crate::table::{Table, Times};
use crate::trio::{Machine, PATIENCE, Trio};

/// Services beside the two that are made first.
const SERVICES: [usize; 3] = [10, 1000, 10_000];
const ROUNDS: usize = 10;
const CLIENTS: usize = 16;
const NETWORK: &str = "wide";
const SERVICE: &str = "web";

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// How long nothing is done, to see what that costs.
const REST: Duration = Duration::from_secs(10);

/// Clock ticks of a process's times in a second.
const TICKS: f64 = 100.0;

pub fn measure(trio: &Trio, table: &mut Table) -> Result<()> {
    let first = trio.first()?;
    let docker = first.docker();
    docker.ok(&["network", "create", "-d", "overlay", "--subnet", "10.200.0.0/16", NETWORK])?;
    let mut side = Side::new(first.api(), &first.engine_api())?;
    // A host has a network while a task of its own is on it.
    let mut anchor = with_network(spec("anchor", 0));
    anchor["Mode"] = json!({ "Global": {} });
    let anchor = side.create(&anchor)?;
    let web = side.create(&with_network(spec(SERVICE, 1)))?;
    side.await_running(&anchor, trio.all.len(), |_| true)?;
    side.await_running(&web, 1, |_| true)?;
    let chain = chain_of(&mut side.client)?;
    let watchers = trio.all.iter().map(|machine| Watcher::start(machine, &chain));
    let watchers = watchers.collect::<Result<Vec<_>>>()?;
    let mut made = 0;
    for services in SERVICES {
        fill(&side, made, services)?;
        made = services;
        quiet(trio)?;
        let (mut down, mut up) = (Times::default(), Times::default());
        for _ in 0..ROUNDS {
            up.add(scale(&mut side, &watchers, 2).context("up")?);
            down.add(scale(&mut side, &watchers, 1).context("down")?);
        }
        let mut row = |measure: &str, shown: &str, aim: &str| {
            table.row(&format!("{services} services: {measure}"), ["", "", shown, ""], aim);
        };
        row("from a task's `running` to the rules of three hosts", &up.show(), "");
        row("from a scale down to the rules of three hosts", &down.show(), "");
        quiet(trio)?;
        let spent = spent_at_rest(trio)?;
        row("one core's share per host, at rest", &format!("{spent:.1} %"), "");
    }
    side.clear()?;
    Ok(())
}

fn with_network(mut spec: Value) -> Value {
    spec["TaskTemplate"]["Networks"] = json!([{ "Target": NETWORK }]);
    spec
}

/// Makes more services that have an address and no tasks.
fn fill(side: &Side, from: usize, to: usize) -> Result<()> {
    thread::scope(|scope| {
        let workers = (0..CLIENTS).map(|worker| {
            scope.spawn(move || -> Result<()> {
                let mut client = side.endpoint.connect()?;
                for number in (from + worker..to).step_by(CLIENTS) {
                    let spec = with_network(spec(&format!("idle-{number}"), 0));
                    client.json("POST", "/v1.44/services/create", Some(&spec))?;
                }
                Ok(())
            })
        });
        let workers: Vec<_> = workers.collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().ok().context("a client panicked")?)
    })
}

/// The chain that leads connections to the service.
fn chain_of(api: &mut Client) -> Result<String> {
    let service = api.json("GET", &format!("/v1.44/services/{SERVICE}"), None)?;
    let addr = &service["Endpoint"]["VirtualIPs"][0]["Addr"];
    let addr = addr.as_str().and_then(|addr| addr.split('/').next()).context("no address")?;
    Ok(format!("v_{}", addr.replace('.', "_")))
}

/// Scales to so many tasks; returns how long after that was known to the API the last host had rules for it.
fn scale(side: &mut Side, watchers: &[Watcher], tasks: u64) -> Result<Duration> {
    let path = format!("/v1.44/services/{SERVICE}");
    let held = side.client.json("GET", &path, None)?;
    let (id, version) = (held["ID"].as_str().context("no id")?, &held["Version"]["Index"]);
    let mut spec = held["Spec"].clone();
    let is_more = spec["Mode"]["Replicated"]["Replicas"].as_u64() < Some(tasks);
    spec["Mode"]["Replicated"]["Replicas"] = json!(tasks);
    let called = Instant::now();
    let update = format!("/v1.44/services/{id}/update?version={version}");
    side.client.json("POST", &update, Some(&spec))?;
    if is_more {
        side.await_running(id, usize::try_from(tasks)?, |_| true)?;
    }
    let known = Instant::now();
    let mut last = known;
    for watcher in watchers {
        last = last.max(watcher.changed_since(called)?);
    }
    Ok(last - known)
}

/// Follows the rules of one host.
struct Watcher {
    child: Child,
    changes: Arc<Mutex<Vec<Instant>>>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _collected = self.child.wait();
    }
}

impl Watcher {
    fn start(machine: &Machine, chain: &str) -> Result<Self> {
        let mut command = Command::new("nsenter");
        command.args(["-t", &machine.engine.pid().to_string(), "-n", "nft", "monitor", "rules"]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("its output is piped")?).lines();
        let changes = Arc::<Mutex<Vec<Instant>>>::default();
        let (noted, sought) = (changes.clone(), format!("add rule ip skep {chain} "));
        thread::spawn(move || {
            for _ in lines.map_while(Result::ok).filter(|line| line.starts_with(&sought)) {
                let Ok(mut noted) = noted.lock() else { return };
                noted.push(Instant::now());
            }
        });
        Ok(Self { child, changes })
    }

    /// Waits for the first change after a moment.
    fn changed_since(&self, moment: Instant) -> Result<Instant> {
        loop {
            let changes = self.changes.lock().ok().context("a reader panicked")?;
            if let Some(found) = changes.iter().find(|at| **at > moment) {
                return Ok(*found);
            }
            drop(changes);
            ensure!(moment.elapsed() < PATIENCE, "the rules stay");
            thread::sleep(PAUSE);
        }
    }
}

/// Waits until the daemons have done what they were given to do.
fn quiet(trio: &Trio) -> Result<()> {
    let began = Instant::now();
    let mut before = spent(trio)?;
    loop {
        thread::sleep(Duration::from_secs(4));
        let after = spent(trio)?;
        if after - before < 1.0 {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "the daemons find no rest");
        before = after;
    }
}

/// Percent of one core that a host takes with nothing to do.
fn spent_at_rest(trio: &Trio) -> Result<f64> {
    let before = spent(trio)?;
    thread::sleep(REST);
    let hosts = f64::from(u32::try_from(trio.all.len())?);
    Ok((spent(trio)? - before) / hosts / REST.as_secs_f64() * 100.0)
}

/// Seconds of processor time that the daemons and the programs they ran have taken.
fn spent(trio: &Trio) -> Result<f64> {
    let mut ticks = 0;
    for machine in &trio.all {
        let pid = machine.skep.as_ref().context("these hosts have skep")?.pid()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, fields) = stat.rsplit_once(") ").context("a name in parentheses")?;
        // utime, stime, cutime and cstime.
        for field in fields.split(' ').skip(11).take(4) {
            ticks += field.parse::<u32>()?;
        }
    }
    Ok(f64::from(ticks) / TICKS)
}
