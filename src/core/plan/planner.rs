//! A planner with a memory: the next plan looks only at what changed since the last one. Forgetting costs only time.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::touched::Touched;
use super::{Limits, Plan, Reason, run};
use crate::id::ServiceId;
use crate::state::State;
use crate::time::Timestamp;

/// Plans again and again, as [`super::plan`] would, for less.
#[derive(Debug, Default)]
pub struct Planner {
    limits: Limits,
    last: Option<Last>,
}

/// What is known since the last plan.
#[derive(Debug)]
struct Last {
    state: State,
    at: Timestamp,
    /// What the last plan changed; to be looked at again, in case that was not carried out.
    changed: Touched,
    /// What was not done, and whom another one's change may help.
    reasons: Vec<Reason>,
    /// When to look at each service again, and at what belongs to none.
    wakes: Wakes,
}

/// Times to look again, by whom they concern.
pub(super) type Wakes = BTreeMap<Option<ServiceId>, Timestamp>;

impl Planner {
    /// Makes a planner that does more or less in a plan than others.
    pub fn new(limits: Limits) -> Self {
        Self { limits, last: None }
    }

    /// Plans from a state that is later than those of earlier calls.
    ///
    /// # Panics
    /// As [`super::plan`]; the next call looks at everything then.
    pub fn plan(&mut self, state: &State, now: Timestamp) -> Plan {
        let last = self.last.take();
        let touched = last.as_ref().map_or(Touched::Everything, |last| last.touched(state, now));
        if let Some(mut last) = last {
            if touched.is_empty() {
                last.state = state.clone();
                last.at = now;
                let (reasons, wake_at) = (last.reasons.clone(), earliest(&last.wakes));
                self.last = Some(last);
                return Plan { changes: Vec::new(), wake_at, reasons };
            }
            let mut kept = last.wakes;
            kept.retain(|service, _| !touched.contains(service.as_ref()));
            return self.plan_touched(state, touched, kept, now);
        }
        self.plan_touched(state, touched, Wakes::new(), now)
    }

    fn plan_touched(
        &mut self,
        state: &State,
        touched: Touched,
        mut wakes: Wakes,
        now: Timestamp,
    ) -> Plan {
        let draft = run(Draft::new(state, touched, self.limits, now));
        wakes.extend(draft.wakes().clone());
        let changed = draft.changed().clone();
        let plan = Plan { wake_at: earliest(&wakes), ..draft.finish() };
        let reasons = plan.reasons.clone();
        self.last = Some(Last { state: state.clone(), at: now, changed, reasons, wakes });
        plan
    }
}

impl Last {
    /// Returns what a plan from `state` has to look at.
    fn touched(&self, state: &State, now: Timestamp) -> Touched {
        if now < self.at {
            // The clock was set back: no time to look again means anything now.
            return Touched::Everything;
        }
        let mut touched = Touched::between(&self.state, state);
        touched.join(&self.changed);
        for (service, at) in &self.wakes {
            if *at <= now {
                touched.add(service.as_ref());
            }
        }
        // What had to wait may wait for something that a change set free.
        if !touched.is_empty() {
            for reason in &self.reasons {
                touched.add(reason.service.as_ref());
            }
        }
        touched
    }
}

pub(super) fn earliest(wakes: &Wakes) -> Option<Timestamp> {
    wakes.values().min().copied()
}
