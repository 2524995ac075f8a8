//! Lives through many simulated lifetimes. `SKEP_SIM_SEEDS` says how many or, as `FROM..TO`, which; `SKEP_SIM_SEED`
//! picks one to look at, `SKEP_SIM_EVENTS` makes them longer.

use std::env;
use std::ops::Range;

use skep_core::State;
use skep_core::sim::{Faults, PlantedBug, Report, Settings, Violation, run};

/// Lifetimes of one run.
const SEEDS_DEFAULT: u64 = 200;

/// Things that happen in one lifetime before faults stop.
const EVENTS_DEFAULT: u64 = 160;

/// Lifetimes until a planted bug must have been noticed.
const BUG_SEEDS_MAX: u64 = 60;

/// Lifetimes that once showed something wrong, with the number of nodes, beside those that every run lives through.
const REMEMBERED: [(u64, u64); 5] = [(1, 959), (1, 3686), (3, 856), (3, 955), (3, 5981)];

fn encode(state: &State) -> Vec<u8> {
    rmp_serde::to_vec_named(state).expect("a state can be encoded")
}

fn decode(bytes: &[u8]) -> Option<State> {
    rmp_serde::from_slice(bytes).ok()
}

fn settings(nodes: u64, bug: Option<PlantedBug>) -> Settings {
    let events = number("SKEP_SIM_EVENTS").unwrap_or(EVENTS_DEFAULT);
    Settings { nodes, events, faults: Faults::ALL, bug, encode, decode }
}

#[expect(clippy::disallowed_methods, reason = "the test is told what to run, the core is not")]
fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

fn number(name: &str) -> Option<u64> {
    variable(name)?.parse().ok()
}

fn seeds() -> Range<u64> {
    if let Some(seed) = number("SKEP_SIM_SEED") {
        return seed..seed + 1;
    }
    let Some(text) = variable("SKEP_SIM_SEEDS") else { return 0..SEEDS_DEFAULT };
    let (from, to) = text.split_once("..").unwrap_or(("0", &text));
    let bound = |text: &str| text.parse().expect("SKEP_SIM_SEEDS is a number or FROM..TO");
    bound(from)..bound(to)
}

fn tell(nodes: u64, found: &Violation) -> ! {
    let Violation { seed, event, invariant, detail } = found;
    panic!(
        "\nseed {seed}, {nodes} nodes, event {event}: not true that {invariant}:\n{detail}\n\
            replay with SKEP_SIM_SEED={seed} and the same SKEP_SIM_EVENTS"
    );
}

fn live(nodes: u64) -> Report {
    let mut sum = Report::default();
    for seed in seeds() {
        let report = run(seed, settings(nodes, None)).unwrap_or_else(|found| tell(nodes, &found));
        sum.entries += report.entries;
        sum.plans += report.plans;
        sum.tasks += report.tasks;
        sum.crashes += report.crashes;
        sum.containers += report.containers;
        sum.commands += report.commands;
        sum.adopted += report.adopted;
        sum.stale_plans += report.stale_plans;
    }
    sum
}

/// A run in which little happened proves little.
fn check_busy(sum: Report) {
    let seeds = seeds().count() as u64;
    if seeds < 20 {
        return;
    }
    assert!(sum.tasks > 5 * seeds, "{sum:?}");
    assert!(sum.containers > 3 * seeds, "{sum:?}");
    assert!(sum.commands > 5 * seeds, "{sum:?}");
    assert!(sum.crashes > seeds / 2, "{sum:?}");
    assert!(sum.adopted > seeds / 2, "{sum:?}");
    assert!(sum.stale_plans > seeds / 2, "{sum:?}");
}

#[test]
fn one_node_keeps_every_promise() {
    check_busy(live(1));
}

#[test]
fn three_nodes_keep_every_promise() {
    check_busy(live(3));
}

#[test]
fn what_was_mended_stays_mended() {
    for (nodes, seed) in REMEMBERED {
        run(seed, settings(nodes, None)).unwrap_or_else(|found| tell(nodes, &found));
    }
}

/// Faults can be switched off, and then nothing crashes.
#[test]
fn a_calm_world_keeps_every_promise() {
    for seed in 0..5 {
        let calm = Settings { faults: Faults::NONE, ..settings(3, None) };
        let report = run(seed, calm).unwrap_or_else(|found| tell(3, &found));
        assert_eq!((report.crashes, report.adopted), (0, 0));
    }
}

#[test]
fn the_same_seed_is_the_same_lifetime() {
    for seed in 0..3 {
        assert_eq!(run(seed, settings(1, None)), run(seed, settings(1, None)));
    }
}

#[test]
fn every_planted_bug_is_noticed() {
    for bug in PlantedBug::ALL {
        let found = (0..BUG_SEEDS_MAX).find_map(|seed| run(seed, settings(1, Some(bug))).err());
        let found = found.unwrap_or_else(|| panic!("{bug:?} goes unnoticed"));
        assert_eq!(found.invariant, bug.breaks(), "{bug:?}: {found:?}");
    }
}
