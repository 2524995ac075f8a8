//! Clients that write all the time, each to its manager; what is of interest is when none of them could.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use skep_integration::http::{Client, Endpoint};
use skep_integration::wait_for;

/// Between two writes of one client.
const PAUSE: Duration = Duration::from_millis(10);

/// A write that takes so long is given up and another one tried.
const GIVE_UP: Duration = Duration::from_secs(1);

const EACH: usize = 2;

pub struct Writers {
    stop: Arc<AtomicBool>,
    written: Arc<Mutex<Vec<Instant>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Starts a few clients a manager, and waits until they write.
    pub fn start(managers: &[Endpoint]) -> Result<Self> {
        let (stop, written) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Instant>>>::default());
        let clients = managers.iter().flat_map(|manager| [manager; EACH]).enumerate();
        let threads = clients.map(|(number, manager)| {
            let (manager, stop, written) = (manager.clone(), stop.clone(), written.clone());
            thread::spawn(move || write(&manager, number, &stop, &written))
        });
        let threads = threads.collect();
        let writers = Self { stop, written, threads };
        writers.written_since(Instant::now())?;
        Ok(writers)
    }

    /// Waits until something was written after a moment.
    pub fn written_since(&self, moment: Instant) -> Result<()> {
        wait_for("a write", Duration::from_secs(120), || {
            let written = self.written.lock().ok().context("a client panicked")?;
            ensure!(written.last().is_some_and(|last| *last > moment), "none");
            Ok(())
        })
    }

    /// Stops them; returns the longest time in which nothing was written.
    pub fn finish(self) -> Result<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().ok().context("a client panicked")?;
        }
        let written = self.written.lock().ok().context("a client panicked")?;
        let gaps = written.windows(2).filter_map(|two| Some(*two.last()? - *two.first()?));
        gaps.max().context("nothing was written")
    }
}

fn write(manager: &Endpoint, number: usize, stop: &AtomicBool, written: &Mutex<Vec<Instant>>) {
    let mut client = None;
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        if once(manager, &mut client, &format!("w-{number}-{count}"), written).is_err() {
            client = None;
        }
        thread::sleep(PAUSE);
    }
}

/// Makes a config and removes it again, each of which is a write.
fn once(
    manager: &Endpoint,
    kept: &mut Option<Client>,
    name: &str,
    written: &Mutex<Vec<Instant>>,
) -> Result<()> {
    let mut client = match kept.take() {
        Some(client) => client,
        None => manager.connect()?,
    };
    client.set_patience(GIVE_UP)?;
    let config = json!({ "Name": name, "Data": "eA==" });
    client.json("POST", "/v1.44/configs/create", Some(&config))?;
    written.lock().ok().context("a client panicked")?.push(Instant::now());
    client.json("DELETE", &format!("/v1.44/configs/{name}"), None)?;
    written.lock().ok().context("a client panicked")?.push(Instant::now());
    *kept = Some(client);
    Ok(())
}
