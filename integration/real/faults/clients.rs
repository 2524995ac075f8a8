//! A client at each manager that writes a register of its own, reads all of them and looks for slots with two wanted tasks, as
//! fast as answers come, through whatever happens.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use skep_integration::http::{Client, Endpoint};
use skep_integration::{Docker, wait_for};

use super::history::History;

/// Between two operations of a client, so that the machine has time for what is tested.
const PACE: Duration = Duration::from_millis(25);

/// Longest wait for an answer. Managers themselves give up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// How soon clients must be served again; managers need 1.5 s, the rest is what a busy machine takes.
const SERVED_AGAIN: Duration = Duration::from_secs(30);

/// Writes that must be acknowledged at each manager asked about.
const GOES_ON: u64 = 5;

const WANTED: &str = "/tasks?filters=%7B%22desired-state%22%3A%5B%22running%22%5D%7D";

/// What all clients share.
struct Shared {
    history: History,
    /// Writes acknowledged at each manager.
    acknowledged: Vec<AtomicU64>,
    /// What must never be seen.
    wrong: Mutex<Option<String>>,
}

pub struct Clients {
    shared: Arc<Shared>,
    /// Dropped to stop them.
    stops: Vec<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Makes a register for each manager and starts a client there.
    pub fn start(managers: impl Iterator<Item = Endpoint>) -> Result<Self> {
        let managers: Vec<_> = managers.collect();
        let mut client = managers.first().context("a manager")?.connect()?;
        for register in 0..managers.len() {
            let spec =
                json!({ "Name": name(register), "Data": "eA==", "Labels": { "value": "0" } });
            client.json("POST", "/configs/create", Some(&spec))?;
        }
        let shared = Arc::new(Shared {
            history: History::default(),
            acknowledged: managers.iter().map(|_| AtomicU64::new(0)).collect(),
            wrong: Mutex::default(),
        });
        let (mut stops, mut threads) = (Vec::new(), Vec::new());
        for (place, endpoint) in managers.into_iter().enumerate() {
            let (stop, stopped) = channel();
            let shared = shared.clone();
            stops.push(stop);
            threads.push(std::thread::spawn(move || run(place, &endpoint, &shared, &stopped)));
        }
        Ok(Self { shared, stops, threads })
    }

    /// Waits until writes were acknowledged at each of these managers from now on.
    pub fn go_on(&self, managers: &[usize]) -> Result<()> {
        let count = |manager: &usize| self.shared.acknowledged[*manager].load(Ordering::Relaxed);
        let wanted: Vec<u64> = managers.iter().map(|manager| count(manager) + GOES_ON).collect();
        wait_for("clients to be served again", SERVED_AGAIN, || {
            let counts: Vec<u64> = managers.iter().map(count).collect();
            ensure!(
                counts.iter().zip(&wanted).all(|(count, wanted)| count >= wanted),
                "{counts:?}"
            );
            Ok(())
        })
    }

    /// Stops all clients; returns what they did.
    pub fn finish(mut self) -> Result<History> {
        self.stops.clear();
        for thread in std::mem::take(&mut self.threads) {
            ensure!(thread.join().is_ok(), "a client panicked");
        }
        let shared = Arc::into_inner(self.shared).context("all clients have ended")?;
        let wrong = shared.wrong.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        match wrong {
            Some(wrong) => bail!(wrong),
            None => Ok(shared.history),
        }
    }
}

/// Returns the name of a register, which its manager alone writes.
pub fn name(register: usize) -> String {
    format!("register-{register}")
}

fn run(place: usize, endpoint: &Endpoint, shared: &Shared, stop: &Receiver<()>) {
    let mut connection: Option<Client> = None;
    let mut value = 0;
    for round in 0_u64.. {
        let outcome = match connection.as_mut() {
            Some(client) => turn(client, place, round, &mut value, shared),
            None => endpoint.connect().and_then(|client| {
                client.set_patience(PATIENCE)?;
                connection = Some(client);
                Ok(())
            }),
        };
        if outcome.is_err() {
            // What became of the request is not known; the rest of an answer may be still to come.
            connection = None;
        }
        match stop.recv_timeout(PACE) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn turn(
    client: &mut Client,
    place: usize,
    round: u64,
    value: &mut u64,
    shared: &Shared,
) -> Result<()> {
    let by = format!("manager {place}");
    let version = read(client, place, shared, &by)?;
    *value += 1;
    let began = Instant::now();
    shared.history.writes_value(place, *value);
    let spec =
        json!({ "Name": name(place), "Data": "eA==", "Labels": { "value": value.to_string() } });
    let path = format!("/configs/{}/update?version={version}", name(place));
    let (status, answer) = client.call("POST", &path, Some(spec.to_string().as_bytes()))?;
    if status < 300 {
        shared.history.wrote(place, *value, began, &by);
        shared.acknowledged[place].fetch_add(1, Ordering::Relaxed);
    } else {
        ensure!(status >= 500, "{status} {}", String::from_utf8_lossy(&answer));
    }
    for register in (0..shared.acknowledged.len()).filter(|register| *register != place) {
        read(client, register, shared, &by)?;
    }
    if round.is_multiple_of(8) {
        let tasks = wanted(client)?;
        let slots: Vec<String> =
            tasks.iter().map(|task| format!("{} {}", task["ServiceID"], task["Slot"])).collect();
        if slots.iter().collect::<BTreeSet<_>>().len() < slots.len() {
            let mut wrong = shared.wrong.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            wrong.get_or_insert(format!("a slot has two wanted tasks: {tasks:?}"));
        }
    }
    Ok(())
}

/// Reads a register; returns its version.
fn read(client: &mut Client, register: usize, shared: &Shared, by: &str) -> Result<u64> {
    let began = Instant::now();
    let (value, version) = shown(client, register)?;
    shared.history.saw(register, value, began, by);
    Ok(version)
}

fn shown(client: &mut Client, register: usize) -> Result<(u64, u64)> {
    let config = client.json("GET", &format!("/configs/{}", name(register)), None)?;
    let value = config["Spec"]["Labels"]["value"].as_str().context("a label")?.parse()?;
    Ok((value, config["Version"]["Index"].as_u64().context("a version")?))
}

/// Returns the tasks that are wanted.
pub fn wanted(client: &mut Client) -> Result<Vec<Value>> {
    let tasks = client.json("GET", WANTED, None)?;
    Ok(tasks.as_array().context("a list")?.clone())
}

/// Checks that every manager shows the newest value that anybody knows of, or one whose writer never got an answer.
pub fn all_is_there<'a>(
    history: &History,
    managers: impl Iterator<Item = &'a Docker>,
) -> Result<()> {
    let mut all = Vec::new();
    for docker in managers {
        let mut client = Endpoint::new(docker.host()).connect()?;
        let mut values = Vec::new();
        for register in 0.. {
            match shown(&mut client, register) {
                Ok((value, _)) => values.push(value),
                Err(_) if register > 0 => break,
                Err(error) => return Err(error),
            }
        }
        for (register, value) in values.iter().enumerate() {
            let newest = history.newest(register);
            ensure!(*value >= newest, "register {register} is {value}, not {newest}");
        }
        all.push(values);
    }
    ensure!(all.windows(2).all(|two| two[0] == two[1]), "managers differ: {all:?}");
    Ok(())
}
