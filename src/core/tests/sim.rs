//! Lives through many simulated lifetimes. `SKEP_SIM_SEEDS` says how many or, as `FROM..TO`, which; `SKEP_SIM_SEED`
//! picks one to look at, `SKEP_SIM_EVENTS` makes them longer.

use std::env;
use std::ops::Range;

use skep_core::State;
use skep_core::sim::{Faults, PlantedBug, Report, Settings, Violation, run};

/// Lifetimes of one run.
const SEEDS_DEFAULT: u64 = 200;

/// What users and faults do in one lifetime before faults stop.
const EVENTS_DEFAULT: u64 = 45;

/// Lifetimes until a planted bug must have been noticed.
const BUG_SEEDS_MAX: u64 = 60;

/// Lifetimes of three managers in one run: they cost more.
const SEEDS_OF_THREE: u64 = 70;

/// Managers and workers of a cluster.
type Size = (u64, u64);

/// Lifetimes that once showed something wrong, beside those that every run lives through.
const REMEMBERED: [(Size, u64); 3] = [((3, 2), 8907), ((3, 2), 1208), ((5, 3), 4822)];

fn encode(state: &State) -> Vec<u8> {
    rmp_serde::to_vec_named(state).expect("a state can be encoded")
}

fn decode(bytes: &[u8]) -> Option<State> {
    rmp_serde::from_slice(bytes).ok()
}

fn settings((managers, workers): Size, bug: Option<PlantedBug>) -> Settings {
    let events = number("SKEP_SIM_EVENTS").unwrap_or(EVENTS_DEFAULT);
    Settings { managers, workers, events, faults: Faults::ALL, bug, encode, decode }
}

#[expect(clippy::disallowed_methods, reason = "the test is told what to run, the core is not")]
fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

fn number(name: &str) -> Option<u64> {
    variable(name)?.parse().ok()
}

fn seeds((managers, _): Size) -> Range<u64> {
    if let Some(seed) = number("SKEP_SIM_SEED") {
        return seed..seed + 1;
    }
    let Some(text) = variable("SKEP_SIM_SEEDS") else {
        return 0..if managers > 1 { SEEDS_OF_THREE } else { SEEDS_DEFAULT };
    };
    let (from, to) = text.split_once("..").unwrap_or(("0", &text));
    let bound = |text: &str| text.parse().expect("SKEP_SIM_SEEDS is a number or FROM..TO");
    bound(from)..bound(to)
}

fn dump(size: Size, found: &Violation) -> String {
    let Violation { seed, event, invariant, detail } = found;
    format!("{size:?} seed {seed} event {event}: {invariant}: {detail}")
}

/// Lives on after what is found, and tells it all; `SKEP_SIM_SIZE` says how many machines, `SKEP_SIM_BUG` plants a mistake.
#[test]
#[ignore = "by hand, to count what is found"]
fn all_that_is_found() {
    let size = variable("SKEP_SIM_SIZE").unwrap_or_else(|| "3,2".to_owned());
    let (managers, workers) = size.split_once(',').expect("MANAGERS,WORKERS");
    let number = |text: &str| text.parse().expect("a number");
    let size = (number(managers), number(workers));
    let named = variable("SKEP_SIM_BUG");
    let bug = PlantedBug::ALL.into_iter().find(|bug| named == Some(format!("{bug:?}")));
    let found: Vec<String> = seeds(size)
        .filter_map(|seed| run(seed, settings(size, bug)).err())
        .map(|found| dump(size, &found))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn tell(size: Size, found: &Violation) -> ! {
    let Violation { seed, event, invariant, detail } = found;
    let (managers, workers) = size;
    panic!(
        "\nseed {seed}, {managers} managers, {workers} workers, event {event}: not true that {invariant}:\n{detail}\n\
            replay with SKEP_SIM_SEED={seed} and the same SKEP_SIM_EVENTS"
    );
}

fn live(size: Size) -> Report {
    let mut sum = Report::default();
    for seed in seeds(size) {
        let report = run(seed, settings(size, None)).unwrap_or_else(|found| tell(size, &found));
        sum.add(&report);
    }
    sum
}

/// A run in which little happened proves little.
fn check_busy(size: Size, sum: Report) {
    let (managers, workers) = size;
    let seeds = seeds(size).count() as u64;
    if seeds < 20 {
        return;
    }
    assert!(sum.tasks > 5 * seeds, "{sum:?}");
    assert!(sum.containers > 3 * seeds, "{sum:?}");
    assert!(sum.commands > 5 * seeds, "{sum:?}");
    assert!(sum.crashes > seeds / 2, "{sum:?}");
    assert!(sum.adopted > seeds / 2, "{sum:?}");
    assert!(sum.reads > seeds, "{sum:?}");
    if workers > 0 {
        assert!(sum.sessions > 2 * seeds, "{sum:?}");
    }
    if managers > 1 {
        assert!(sum.terms > 3 * seeds, "{sum:?}");
        assert!(sum.overwritten > seeds / 20, "{sum:?}");
        assert!(sum.snapshots > seeds / 20, "{sum:?}");
        assert!(sum.promotions > seeds / 10, "{sum:?}");
        assert!(sum.demotions > seeds / 10, "{sum:?}");
    }
}

fn keeps_every_promise(size: Size) {
    let sum = live(size);
    check_busy(size, sum);
}

#[test]
fn one_manager_keeps_every_promise() {
    keeps_every_promise((1, 0));
}

#[test]
fn one_manager_with_workers_keeps_every_promise() {
    keeps_every_promise((1, 2));
}

#[test]
fn three_managers_keep_every_promise() {
    keeps_every_promise((3, 2));
}

#[test]
fn what_was_mended_stays_mended() {
    for (size, seed) in REMEMBERED {
        run(seed, settings(size, None)).unwrap_or_else(|found| tell(size, &found));
    }
}

/// Faults can be switched off, and then nothing crashes.
#[test]
fn a_calm_world_keeps_every_promise() {
    for size in [(1, 2), (3, 1)] {
        for seed in 0..5 {
            let calm = Settings { faults: Faults::NONE, ..settings(size, None) };
            let report = run(seed, calm).unwrap_or_else(|found| tell(size, &found));
            // A leader that is demoted hands over, and loses what it has not sent yet: nobody was told of that.
            assert_eq!(report.crashes, 0);
        }
    }
}

#[test]
fn the_same_seed_is_the_same_lifetime() {
    for seed in 0..3 {
        assert_eq!(run(seed, settings((3, 1), None)), run(seed, settings((3, 1), None)));
    }
}

#[test]
fn every_planted_bug_is_noticed() {
    let mut unseen = Vec::new();
    for bug in PlantedBug::ALL {
        let size = (bug.managers(), if bug.managers() > 1 { 2 } else { 1 });
        // What breaks a rule of the state may break a property first or not.
        let named = |found: &Violation| found.invariant != "audit";
        let mut found = (0..BUG_SEEDS_MAX)
            .filter_map(|seed| run(seed, settings(size, Some(bug))).err().filter(named));
        match found.next() {
            Some(found) if found.invariant == bug.breaks() => {}
            Some(found) => unseen.push(format!("{bug:?}: {found:?}")),
            None => unseen.push(format!("{bug:?} goes unnoticed")),
        }
    }
    assert!(unseen.is_empty(), "{}", unseen.join("\n"));
}
