//! What must always hold, one property a file. Each looks at one write, or at the world when it has come to rest.

mod bound_once;
mod committed_stays;
mod converges;
mod current_reads;
mod equal_replicas;
mod fair_verdicts;
mod forward_only;
mod given_once;
mod history_kept;
mod jobs_once;
mod members_one_by_one;
mod no_lost_write;
mod no_restart;
mod nothing_left;
mod one_leader;
mod one_wanted;
mod parallelism;
mod plans_in_order;
mod quorum_left;
mod ready_first;
mod replaced_stops;
mod secrets_needed;
mod true_views;

pub(super) use bound_once::NAME as BOUND_ONCE;
pub(super) use committed_stays::NAME as COMMITTED_STAYS;
pub(super) use converges::NAME as CONVERGES;
pub(super) use current_reads::NAME as CURRENT_READS;
pub(super) use equal_replicas::NAME as EQUAL_REPLICAS;
pub(super) use fair_verdicts::NAME as FAIR_VERDICTS;
pub(super) use forward_only::NAME as FORWARD_ONLY;
pub(super) use given_once::NAME as GIVEN_ONCE;
pub(super) use history_kept::NAME as HISTORY_KEPT;
pub(super) use jobs_once::NAME as JOBS_ONCE;
pub(super) use members_one_by_one::NAME as MEMBERS_ONE_BY_ONE;
pub(super) use no_lost_write::NAME as NO_LOST_WRITE;
pub(super) use no_restart::NAME as NO_RESTART;
pub(super) use nothing_left::NAME as NOTHING_LEFT;
pub(super) use one_leader::NAME as ONE_LEADER;
pub(super) use one_wanted::NAME as ONE_WANTED;
pub(super) use parallelism::NAME as PARALLELISM;
pub(super) use plans_in_order::NAME as PLANS_IN_ORDER;
pub(super) use quorum_left::NAME as QUORUM_LEFT;
pub(super) use ready_first::NAME as READY_FIRST;
pub(super) use replaced_stops::NAME as REPLACED_STOPS;
pub(super) use secrets_needed::NAME as SECRETS_NEEDED;
pub(super) use true_views::NAME as TRUE_VIEWS;

pub(super) use committed_stays::check as check_entry;
pub(super) use current_reads::check as check_read;
pub(super) use equal_replicas::{check as check_replica, check_rest as check_replicas};
pub(super) use fair_verdicts::check as check_verdict;
pub(super) use members_one_by_one::{check as check_membership, check_proposed as check_change};
pub(super) use no_lost_write::check as check_promises;
pub(super) use no_restart::{check as check_containers, check_stop};
pub(super) use one_leader::check as check_leader;
pub(super) use plans_in_order::check as check_plan;
pub(super) use quorum_left::{check as check_quorum, check_rest as check_group};
pub(super) use ready_first::check as check_ready;
pub(super) use secrets_needed::check as check_secrets;
pub(super) use true_views::check as check_view;

use crate::command::Change;
use crate::sim::node::SimNode;
use crate::state::State;
use crate::time::Timestamp;

/// Name of the check that the state's own rules hold.
pub(super) const AUDIT: &str = "audit";

/// Of the reports one in so many is audited.
const AUDIT_EVERY: u64 = 8;

/// One write.
pub(super) struct Transition<'a> {
    pub(super) before: &'a State,
    pub(super) after: &'a State,
    /// For a plan, the state it was made from.
    pub(super) base: Option<&'a State>,
    /// The changes of a plan.
    pub(super) changes: &'a [Change],
    /// Whether it only noted what tasks came to.
    pub(super) reports: bool,
}

/// Name and finding of an invariant that did not hold.
pub(super) type Broken = (&'static str, String);

/// The properties of writes, with what some of them remember.
#[derive(Default)]
pub(super) struct Invariants {
    one_wanted: one_wanted::OneWanted,
    parallelism: parallelism::Parallelism,
}

impl Invariants {
    /// Looks at one write.
    pub(super) fn check(&mut self, write: &Transition) -> Result<(), Broken> {
        let found = [
            (FORWARD_ONLY, forward_only::check(write)),
            (BOUND_ONCE, bound_once::check(write)),
            (ONE_WANTED, self.one_wanted.check(write)),
            (GIVEN_ONCE, given_once::check(write)),
            (PARALLELISM, self.parallelism.check(write)),
            (JOBS_ONCE, jobs_once::check(write)),
            (HISTORY_KEPT, history_kept::check(write)),
            (AUDIT, audit(write)),
        ];
        match found.into_iter().find_map(|(name, found)| found.map(|detail| (name, detail))) {
            Some(broken) => Err(broken),
            None => Ok(()),
        }
    }
}

/// Looks at a world that has come to rest; `wall` is what the manager's clock says.
pub(super) fn check_rest(
    state: &State,
    wall: Timestamp,
    nodes: &[&SimNode],
    now: Timestamp,
) -> Result<(), Broken> {
    let left = nodes.iter().find_map(|node| nothing_left::check(state, node));
    let replaced = nodes.iter().find_map(|node| replaced_stops::check(state, node));
    let found = [
        (NOTHING_LEFT, left),
        (REPLACED_STOPS, replaced),
        (CONVERGES, converges::check(state, wall, nodes, now)),
        (JOBS_ONCE, jobs_once::check_rest(state)),
        (HISTORY_KEPT, history_kept::check_rest(state)),
    ];
    match found.into_iter().find_map(|(name, found)| found.map(|detail| (name, detail))) {
        Some(broken) => Err(broken),
        None => Ok(()),
    }
}

/// Runs the state's own rules. Reports come often and change little: after most of them the rules wait for the next write.
fn audit(write: &Transition) -> Option<String> {
    if write.reports && !write.after.index().is_multiple_of(AUDIT_EVERY) {
        return None;
    }
    let findings = crate::state::audit::audit(write.after);
    findings.first().map(|finding| format!("{}: {}", finding.check, finding.detail))
}
