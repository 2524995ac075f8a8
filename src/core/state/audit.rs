//! Every consistency rule of a state, as a list. Finds what is wrong; mends nothing.

mod applied;
mod planned;

use super::State;

/// Something that is wrong with a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the check that found it.
    pub check: &'static str,
    /// What is wrong, for people.
    pub detail: String,
}

/// A rule: its name, and the function that tells every breach.
#[derive(Clone, Copy)]
struct Check {
    name: &'static str,
    run: fn(&State, &mut Vec<String>),
}

/// Checks every rule: those that each command keeps, and those that planners keep.
pub fn audit(state: &State) -> Vec<Finding> {
    let mut findings = audit_applied(state);
    run(planned::CHECKS, state, &mut findings);
    findings
}

/// Checks the rules that hold after any sequence of commands, sensible or not.
pub fn audit_applied(state: &State) -> Vec<Finding> {
    let mut findings = Vec::new();
    run(applied::CHECKS, state, &mut findings);
    findings
}

fn run(checks: &[Check], state: &State, findings: &mut Vec<Finding>) {
    for check in checks {
        let mut details = Vec::new();
        (check.run)(state, &mut details);
        findings.extend(details.into_iter().map(|detail| Finding { check: check.name, detail }));
    }
}
