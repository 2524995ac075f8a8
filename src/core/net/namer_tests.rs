//! Names that follow states, beside tables made anew of each.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::changing::{beginning, change, change_state};
use super::*;
use crate::net::fixture::World;

proptest! {
    /// However states follow one another, and whichever of them were looked at: names are those of the last one.
    #[test]
    fn names_that_followed_are_those_made_anew(
        dual in any::<bool>(),
        steps in vec((vec(change(), 1..4), prop::option::of(prop::bool::weighted(0.9))), 1..25),
    ) {
        let node = World::node(1);
        let mut namer = Namer::new(node.clone());
        let mut state = beginning(dual);
        namer.follow(&state, true);
        for (changes, seen) in steps {
            for change in &changes {
                change_state(&mut state, change);
            }
            if let Some(virtual_ips) = seen {
                let anew = NameTable::new(&state, &node, virtual_ips);
                prop_assert_eq!(namer.follow(&state, virtual_ips), &anew);
            }
        }
    }
}
