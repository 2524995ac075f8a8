//! How long it takes to move twenty tasks off a node.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use skep_integration::http::{Client, Endpoint};

use crate::side::spec;
use crate::table::{Table, Times, millis, ratio};
use crate::trio::{PATIENCE, Trio, Trios, running, set_availability};

const ROUNDS: usize = 3;
const TASKS: usize = 20;
const SERVICE: &str = "many";

/// The host that is drained.
const PLACE: usize = 2;

/// Tasks that the engines move at once; the best of them counts.
const PARALLEL: [usize; 3] = [4, 8, 20];

/// Between two looks at the engines.
const PAUSE: Duration = Duration::from_millis(10);

pub fn measure(trios: &Trios, table: &mut Table) -> Result<()> {
    let mut parallel = 4;
    let mut best = Duration::MAX;
    for tried in PARALLEL {
        let took = raw(&trios.skep, tried)?;
        if took < best {
            (parallel, best) = (tried, took);
        }
    }
    let (mut alone, mut genuine, mut skep) = (Times::default(), Times::default(), Times::default());
    for _ in 0..ROUNDS {
        alone.add(raw(&trios.skep, parallel)?);
        genuine.add(drain(&trios.genuine).context("genuine")?);
        skep.add(drain(&trios.skep).context("skep")?);
    }
    let measure = format!(
        "drain of a node with {TASKS} tasks (raw: create, kill, wait, start; {parallel} at a time, the best of {PARALLEL:?})"
    );
    let ratio = ratio(genuine.median(), skep.median());
    let cells = [&alone.show(), &genuine.show(), &skep.show(), &ratio];
    table.row(&measure, cells.map(String::as_str), &format!("{} (raw)", millis(alone.median())));
    Ok(())
}

/// Time from the call until all tasks run on the other hosts and none on this one.
fn drain(trio: &Trio) -> Result<Duration> {
    let mut api = trio.first()?.api().connect()?;
    let (drained, others) = trio.all.split_last().context("three hosts")?;
    for machine in others {
        set_availability(&mut api, &machine.name, "drain")?;
    }
    api.json("POST", "/v1.44/services/create", Some(&spec(SERVICE, TASKS.try_into()?)))?;
    let mut last = drained.engine_api().connect()?;
    let others_at = others.iter().map(|machine| machine.engine_api().connect());
    let mut others_at = others_at.collect::<Result<Vec<_>>>()?;
    until(|| Ok(running(&mut last, SERVICE)? == TASKS))?;
    for machine in others {
        set_availability(&mut api, &machine.name, "active")?;
    }
    let began = Instant::now();
    set_availability(&mut api, &drained.name, "drain")?;
    until(|| {
        let mut elsewhere = 0;
        for engine in &mut others_at {
            elsewhere += running(engine, SERVICE)?;
        }
        Ok(elsewhere == TASKS && running(&mut last, SERVICE)? == 0)
    })?;
    let took = began.elapsed();
    set_availability(&mut api, &drained.name, "active")?;
    api.json("DELETE", &format!("/v1.44/services/{SERVICE}"), None)?;
    for engine in others_at.iter_mut().chain([&mut last]) {
        until(|| Ok(running(engine, SERVICE)? == 0))?;
    }
    Ok(took)
}

fn until(mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !is_so()? {
        ensure!(began.elapsed() < PATIENCE, "the tasks do not move");
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// The same work on the engines with no swarm involved, so many tasks at once: a container made on another host, the old
/// one killed and waited for, the new one started.
fn raw(trio: &Trio, parallel: usize) -> Result<Duration> {
    let body = json!({ "Image": "busybox:latest", "Cmd": ["sleep", "86400"] });
    let old_at = trio.machine(PLACE)?.engine_api();
    let new_at = [trio.machine(0)?.engine_api(), trio.machine(1)?.engine_api()];
    let call = |client: &mut Client, method: &str, path: String| {
        let body = path.starts_with("create").then_some(&body);
        client.json(method, &format!("/v1.44/containers/{path}"), body)
    };
    at_once(parallel, &|worker| {
        let mut client = old_at.connect()?;
        for number in (worker..TASKS).step_by(parallel) {
            call(&mut client, "POST", format!("create?name=old-{number}"))?;
            call(&mut client, "POST", format!("old-{number}/start"))?;
        }
        Ok(())
    })?;
    let began = Instant::now();
    looked_at(trio, || {
        at_once(parallel, &|worker| {
            let mut old = old_at.connect()?;
            let mut new = new_at.iter().map(Endpoint::connect).collect::<Result<Vec<_>>>()?;
            for number in (worker..TASKS).step_by(parallel) {
                let new = new.get_mut(number % 2).context("two hosts")?;
                call(new, "POST", format!("create?name=new-{number}"))?;
                call(&mut old, "POST", format!("old-{number}/kill"))?;
                call(&mut old, "POST", format!("old-{number}/wait"))?;
                call(new, "POST", format!("new-{number}/start"))?;
            }
            Ok(())
        })
    })?;
    let took = began.elapsed();
    at_once(parallel, &|worker| {
        let mut old = old_at.connect()?;
        for number in (worker..TASKS).step_by(parallel) {
            call(&mut old, "DELETE", format!("old-{number}?force=1"))?;
            let new = new_at.get(number % 2).context("two hosts")?;
            call(&mut new.connect()?, "DELETE", format!("new-{number}?force=1"))?;
        }
        Ok(())
    })?;
    Ok(took)
}

/// Does work while the engines are asked what runs as often as [`drain`] asks them, which takes its time too.
fn looked_at(trio: &Trio, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let engines = trio.all.iter().map(|machine| machine.engine_api().connect());
    let mut engines = engines.collect::<Result<Vec<_>>>()?;
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let looks = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                for engine in &mut engines {
                    running(engine, SERVICE)?;
                }
                thread::sleep(PAUSE);
            }
            anyhow::Ok(())
        });
        let done = work();
        ended.store(true, Ordering::Relaxed);
        looks.join().ok().context("the looks panicked")??;
        done
    })
}

/// Does work in so many threads, each told its number.
fn at_once(threads: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
    thread::scope(|scope| {
        let workers = (0..threads).map(|worker| scope.spawn(move || work(worker)));
        let workers: Vec<_> = workers.collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().ok().context("a client panicked")?)
    })
}
