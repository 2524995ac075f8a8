//! What must always hold, one property a file. Each looks at one write, or at the world when it has come to rest.

mod bound_once;
mod converges;
mod equal_replicas;
mod forward_only;
mod given_once;
mod no_lost_write;
mod no_restart;
mod one_wanted;
mod parallelism;

pub(super) use bound_once::NAME as BOUND_ONCE;
pub(super) use converges::NAME as CONVERGES;
pub(super) use equal_replicas::NAME as EQUAL_REPLICAS;
pub(super) use forward_only::NAME as FORWARD_ONLY;
pub(super) use given_once::NAME as GIVEN_ONCE;
pub(super) use no_lost_write::NAME as NO_LOST_WRITE;
pub(super) use no_restart::NAME as NO_RESTART;
pub(super) use one_wanted::NAME as ONE_WANTED;
pub(super) use parallelism::NAME as PARALLELISM;

pub(super) use converges::check as check_converged;
pub(super) use equal_replicas::check as check_replicas;
pub(super) use no_lost_write::check as check_promises;
pub(super) use no_restart::{check as check_containers, check_stop};

use crate::state::State;

/// Name of the check that the state's own rules hold.
pub(super) const AUDIT: &str = "audit";

/// One write.
pub(super) struct Transition<'a> {
    pub(super) before: &'a State,
    pub(super) after: &'a State,
    /// For a plan, the state it was made from.
    pub(super) base: Option<&'a State>,
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
            (AUDIT, audit(write)),
        ];
        match found.into_iter().find_map(|(name, found)| found.map(|detail| (name, detail))) {
            Some(broken) => Err(broken),
            None => Ok(()),
        }
    }
}

fn audit(write: &Transition) -> Option<String> {
    let findings = crate::state::audit::audit(write.after);
    findings.first().map(|finding| format!("{}: {}", finding.check, finding.detail))
}
