//! Whole lifetimes of a cluster from one seed: the real state, planners, sessions, views and agent steps; simulated machines,
//! links, consensus and engines; faults and users.
//! First a phase with faults in which nothing may go wrong, then one without in which everything must come right.

mod bugs;
mod calls;
mod consensus;
mod dispatcher;
mod engine;
mod faults;
mod invariants;
mod leader;
mod ledger;
mod link;
mod machine;
mod members;
mod net;
mod node;
mod oracle;
mod planted;
mod random;
mod rest;
mod roster;
mod users;
mod worker;
mod workload;
mod world;

use crate::state::State;

pub use faults::Faults;
pub use planted::PlantedBug;

/// What to simulate.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Managers, which also run tasks.
    pub managers: u64,
    /// Nodes that only run tasks.
    pub workers: u64,
    /// What users and faults do in the phase with faults.
    pub events: u64,
    /// What may go wrong in that phase.
    pub faults: Faults,
    /// A mistake to make on purpose, to see whether it is noticed.
    pub bug: Option<PlantedBug>,
    /// Encodes a state as a snapshot does.
    pub encode: fn(&State) -> Vec<u8>,
    /// Decodes a snapshot.
    pub decode: fn(&[u8]) -> Option<State>,
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The seed that shows it.
    pub seed: u64,
    /// After how many events.
    pub event: u64,
    /// Name of the invariant.
    pub invariant: &'static str,
    /// What was found.
    pub detail: String,
}

/// What a lifetime saw, to tell a busy one from an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Entries in the log.
    pub entries: u64,
    /// Plans that changed something.
    pub plans: u64,
    /// Tasks made.
    pub tasks: u64,
    /// Crashes of a daemon.
    pub crashes: u64,
    /// Containers started.
    pub containers: u64,
    /// Commands of users that were carried out.
    pub commands: u64,
    /// Containers found again by an agent that came back.
    pub adopted: u64,
    /// Plans that the state had left behind when they were to be carried out.
    pub stale_plans: u64,
    /// How often a manager began to lead.
    pub terms: u64,
    /// How often entries were overwritten that were never committed.
    pub overwritten: u64,
    /// Snapshots that came from a leader.
    pub snapshots: u64,
    /// Sessions opened.
    pub sessions: u64,
    /// Reads that users got an answer to.
    pub reads: u64,
    /// Calls of users of which nobody knows what became.
    pub unknown: u64,
    /// Workers that became managers.
    pub promotions: u64,
    /// Managers that became workers.
    pub demotions: u64,
}

impl Report {
    /// Adds what another lifetime saw.
    pub fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.plans += other.plans;
        self.tasks += other.tasks;
        self.crashes += other.crashes;
        self.containers += other.containers;
        self.commands += other.commands;
        self.adopted += other.adopted;
        self.stale_plans += other.stale_plans;
        self.terms += other.terms;
        self.overwritten += other.overwritten;
        self.snapshots += other.snapshots;
        self.sessions += other.sessions;
        self.reads += other.reads;
        self.unknown += other.unknown;
        self.promotions += other.promotions;
        self.demotions += other.demotions;
    }
}

/// Lives through one lifetime.
///
/// # Errors
/// Tells the first invariant that did not hold.
pub fn run(seed: u64, settings: Settings) -> Result<Report, Violation> {
    world::World::new(seed, settings).live()
}
