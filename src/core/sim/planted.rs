//! The list of mistakes that can be made on purpose, and which invariant has to notice each.

use super::invariants;

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
    /// A write is acknowledged once the leader has it.
    AcknowledgedEarly,
    /// Half of the managers are enough to commit.
    HalfCommits,
    /// A manager forgets whom it voted for.
    VotesTwice,
    /// The group changes while an earlier change is under way.
    ChangesOverlap,
    /// A manager is taken out although too few are left that answer.
    QuorumRisked,
    /// A leader answers reads without asking whether it still leads.
    ReadsUnconfirmed,
    /// A new leader plans before it has applied all that was committed.
    PlansTooSoon,
    /// A plan claims to be made from a newer state than it was.
    PlanOfOldState,
    /// The agent of a manager believes a state that may be old.
    OldStateBelieved,
    /// A node believes that nothing is assigned before it is shown anything.
    EmptyViewBelieved,
    /// A node that comes back runs what was replaced.
    ReplacedRunsOn,
    /// The leader does not hear beats.
    BeatsForgotten,
    /// Parts of what a node is shown get lost.
    PartLost,
}

impl PlantedBug {
    /// All of them.
    pub const ALL: [Self; 28] = [
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
        Self::AcknowledgedEarly,
        Self::HalfCommits,
        Self::VotesTwice,
        Self::ChangesOverlap,
        Self::QuorumRisked,
        Self::ReadsUnconfirmed,
        Self::PlansTooSoon,
        Self::PlanOfOldState,
        Self::OldStateBelieved,
        Self::EmptyViewBelieved,
        Self::ReplacedRunsOn,
        Self::BeatsForgotten,
        Self::PartLost,
    ];

    /// Returns how many managers it takes to show it.
    pub const fn managers(self) -> u64 {
        match self {
            Self::AcknowledgedEarly
            | Self::HalfCommits
            | Self::VotesTwice
            | Self::ChangesOverlap
            | Self::QuorumRisked
            | Self::ReadsUnconfirmed
            | Self::PlansTooSoon
            | Self::PlanOfOldState
            | Self::OldStateBelieved => 3,
            Self::SecondTaskInSlot
            | Self::StateGoesBack
            | Self::TaskMoves
            | Self::AddressTwice
            | Self::ParallelismIgnored
            | Self::WriteLost
            | Self::ReplicaDiverges
            | Self::NoAdoption
            | Self::WakeUpIgnored
            | Self::RefusalHidden
            | Self::LeavesBehind
            | Self::NeverCompares
            | Self::JobRunsAgain
            | Self::HistoryForgotten
            | Self::SecretsEverywhere
            | Self::EmptyViewBelieved
            | Self::ReplacedRunsOn
            | Self::BeatsForgotten
            | Self::PartLost => 1,
        }
    }

    /// Returns the name of the invariant that has to notice it.
    pub const fn breaks(self) -> &'static str {
        match self {
            Self::SecondTaskInSlot => invariants::ONE_WANTED,
            Self::StateGoesBack => invariants::FORWARD_ONLY,
            Self::TaskMoves => invariants::BOUND_ONCE,
            Self::AddressTwice => invariants::GIVEN_ONCE,
            Self::ParallelismIgnored => invariants::PARALLELISM,
            Self::RefusalHidden | Self::AcknowledgedEarly => invariants::NO_LOST_WRITE,
            Self::WriteLost | Self::HalfCommits => invariants::COMMITTED_STAYS,
            Self::ReplicaDiverges => invariants::EQUAL_REPLICAS,
            Self::NoAdoption | Self::OldStateBelieved | Self::EmptyViewBelieved => {
                invariants::NO_RESTART
            }
            Self::VotesTwice => invariants::ONE_LEADER,
            Self::ChangesOverlap => invariants::MEMBERS_ONE_BY_ONE,
            Self::QuorumRisked => invariants::QUORUM_LEFT,
            Self::ReadsUnconfirmed => invariants::CURRENT_READS,
            Self::PlansTooSoon => invariants::READY_FIRST,
            Self::PlanOfOldState => invariants::PLANS_IN_ORDER,
            Self::ReplacedRunsOn => invariants::REPLACED_STOPS,
            Self::BeatsForgotten => invariants::FAIR_VERDICTS,
            Self::PartLost => invariants::TRUE_VIEWS,
            Self::WakeUpIgnored | Self::NeverCompares => invariants::CONVERGES,
            Self::LeavesBehind => invariants::NOTHING_LEFT,
            Self::JobRunsAgain => invariants::JOBS_ONCE,
            Self::HistoryForgotten => invariants::HISTORY_KEPT,
            Self::SecretsEverywhere => invariants::SECRETS_NEEDED,
        }
    }
}
