//! Plans that follow states, beside plans made anew of each.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::changing::{Change, beginning, change, change_state};
use super::*;
use crate::net::fixture::World;
use crate::net::plan::desired;

proptest! {
    /// However states follow one another, and whichever of them were looked at: the plan is that of the last one, and the
    /// rules' text leads there from the one before.
    #[test]
    fn a_plan_that_followed_is_one_made_anew(
        dual in any::<bool>(),
        steps in vec((vec(change(), 1..4), any::<bool>()), 1..25),
    ) {
        let host = Host { node: World::node(1), addr: [192, 0, 2, 1].into() };
        let mut planner = Planner::new(host.clone());
        let mut state = beginning(dual);
        let mut held = planner.follow(&state).clone();
        for (changes, is_seen) in steps {
            for change in &changes {
                change_state(&mut state, change);
            }
            if is_seen {
                let found = planner.follow(&state).clone();
                let anew = desired(&state, &host);
                prop_assert_eq!(&found, &anew);
                prop_assert_eq!(found.rules.since(&held.rules), anew.rules.since(&held.rules));
                prop_assert_eq!(found == held, anew == held);
                held = found;
            }
        }
    }
}

/// What is not touched is not made again: it is the very same.
#[test]
fn what_is_not_touched_stays_the_same_object() {
    let mut state = beginning(false);
    for number in 0..4 {
        let vip = u8::try_from(number).expect("there are few");
        change_state(&mut state, &Change::Service { number, vip: Some(vip), port: None });
        change_state(
            &mut state,
            &Change::Task { number, service: number, node: 2, addr: vip, how: 0 },
        );
    }
    let host = Host { node: World::node(1), addr: [192, 0, 2, 1].into() };
    let mut planner = Planner::new(host);
    let before = planner.follow(&state).clone();
    change_state(&mut state, &Change::Task { number: 2, service: 2, node: 2, addr: 2, how: 3 });
    let after = planner.follow(&state);
    let chains = |plan: &Desired| plan.rules.tables["ip skep"].chains.clone();
    let same = chains(&before)
        .iter()
        .zip(chains(after).iter())
        .filter(|((_, a), (_, b))| Arc::ptr_eq(a, b))
        .count();
    assert_eq!(same + 1, chains(after).len());
    assert_eq!(
        after.rules.since(&before.rules).to_string(),
        "flush chain ip skep v_10_0_1_52\nadd rule ip skep v_10_0_1_52 accept\n"
    );
}
