//! Whole lifetimes of a cluster from one seed: the real state, planners and agent steps, a simulated engine, faults, users.
//! First a phase with faults in which nothing may go wrong, then one without in which everything must come right.

mod bugs;
mod engine;
mod faults;
mod invariants;
mod leader;
mod log;
mod node;
mod oracle;
mod random;
mod worker;
mod workload;
mod world;

use crate::state::State;

pub use faults::Faults;

/// What to simulate.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Nodes of the cluster; the first one also manages it.
    pub nodes: u64,
    /// Things that happen in the phase with faults.
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

/// A mistake made on purpose; each breaks the invariant it is named after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlantedBug {
    /// A plan fills a slot twice.
    SecondTaskInSlot,
    /// A late report takes a task back.
    StateGoesBack,
    /// A task is bound to another node.
    TaskMoves,
    /// A task gets an address that another one has.
    AddressTwice,
    /// An update takes all slots at once.
    ParallelismIgnored,
    /// A crash loses an entry that was acknowledged.
    WriteLost,
    /// A replica stamps its own time on what it applies.
    ReplicaDiverges,
    /// An agent that comes back starts its tasks' containers anew.
    NoAdoption,
    /// Nobody looks again when a plan asks for it.
    WakeUpIgnored,
    /// A write that found no room is acknowledged.
    RefusalHidden,
    /// Containers of tasks that are gone stay.
    LeavesBehind,
    /// An agent believes that no event is ever lost.
    NeverCompares,
    /// A job runs a place again that is complete.
    JobRunsAgain,
    /// A plan forgets tasks that belong to the history.
    HistoryForgotten,
    /// Every node gets every secret.
    SecretsEverywhere,
}

impl PlantedBug {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::SecondTaskInSlot,
        Self::StateGoesBack,
        Self::TaskMoves,
        Self::AddressTwice,
        Self::ParallelismIgnored,
        Self::WriteLost,
        Self::ReplicaDiverges,
        Self::NoAdoption,
        Self::WakeUpIgnored,
        Self::RefusalHidden,
        Self::LeavesBehind,
        Self::NeverCompares,
        Self::JobRunsAgain,
        Self::HistoryForgotten,
        Self::SecretsEverywhere,
    ];

    /// Returns the name of the invariant that has to notice it.
    pub const fn breaks(self) -> &'static str {
        match self {
            Self::SecondTaskInSlot => invariants::ONE_WANTED,
            Self::StateGoesBack => invariants::FORWARD_ONLY,
            Self::TaskMoves => invariants::BOUND_ONCE,
            Self::AddressTwice => invariants::GIVEN_ONCE,
            Self::ParallelismIgnored => invariants::PARALLELISM,
            Self::WriteLost | Self::RefusalHidden => invariants::NO_LOST_WRITE,
            Self::ReplicaDiverges => invariants::EQUAL_REPLICAS,
            Self::NoAdoption => invariants::NO_RESTART,
            Self::WakeUpIgnored | Self::NeverCompares => invariants::CONVERGES,
            Self::LeavesBehind => invariants::NOTHING_LEFT,
            Self::JobRunsAgain => invariants::JOBS_ONCE,
            Self::HistoryForgotten => invariants::HISTORY_KEPT,
            Self::SecretsEverywhere => invariants::SECRETS_NEEDED,
        }
    }
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
}

/// Lives through one lifetime.
///
/// # Errors
/// Tells the first invariant that did not hold.
pub fn run(seed: u64, settings: Settings) -> Result<Report, Violation> {
    world::World::new(seed, settings).live()
}
