//! Questions about who votes and who answers. Pure; knows no network.

use std::collections::{BTreeMap, BTreeSet};

/// Who belongs to the consensus group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// Those whose votes count; of both sets while the membership changes.
    pub voters: BTreeSet<u64>,
    /// Addresses of voters and learners.
    pub addresses: BTreeMap<u64, String>,
}

impl Members {
    /// Tells how many voters must agree.
    pub fn quorum(&self) -> usize {
        quorum_of(self.voters.len())
    }

    /// Tells whether the voters that answer are enough to go on.
    pub fn has_quorum(&self, reachable: &BTreeSet<u64>) -> bool {
        answering(&self.voters, reachable) >= self.quorum()
    }

    /// Tells whether the group could go on without one of its voters. It never can without its last one.
    pub fn survives_removal(&self, removed: u64, reachable: &BTreeSet<u64>) -> bool {
        let mut left = self.voters.clone();
        left.remove(&removed);
        !left.is_empty() && answering(&left, reachable) >= quorum_of(left.len())
    }
}

fn answering(voters: &BTreeSet<u64>, reachable: &BTreeSet<u64>) -> usize {
    voters.intersection(reachable).count()
}

/// Returns how many of so many voters are a majority.
pub const fn quorum_of(voters: usize) -> usize {
    voters / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(voters: &[u64]) -> Members {
        Members { voters: voters.iter().copied().collect(), addresses: BTreeMap::new() }
    }

    fn set(ids: &[u64]) -> BTreeSet<u64> {
        ids.iter().copied().collect()
    }

    #[test]
    fn removals_that_would_stop_the_group_are_found() {
        // (voters, those that answer, removed, whether the rest goes on)
        let cases: &[(&[u64], &[u64], u64, bool)] = &[
            (&[1], &[1], 1, false),
            (&[1, 2], &[1, 2], 2, true),
            (&[1, 2], &[1], 2, true),
            (&[1, 2], &[1], 1, false),
            (&[1, 2, 3], &[1, 2, 3], 1, true),
            (&[1, 2, 3], &[1, 2], 3, true),
            (&[1, 2, 3], &[1, 2], 2, false),
            (&[1, 2, 3], &[1], 2, false),
            (&[1, 2, 3, 4, 5], &[1, 2, 3], 3, false),
            (&[1, 2, 3, 4, 5], &[1, 2, 3], 5, true),
        ];
        for (voters, reachable, removed, survives) in cases {
            let found = members(voters).survives_removal(*removed, &set(reachable));
            assert_eq!(found, *survives, "{voters:?} {reachable:?} without {removed}");
        }
    }

    #[test]
    fn a_majority_is_more_than_half() {
        let sizes = [1, 2, 3, 4, 5, 7].map(quorum_of);
        assert_eq!(sizes, [1, 2, 2, 3, 3, 4]);
        assert!(members(&[1, 2, 3]).has_quorum(&set(&[1, 3, 9])));
        assert!(!members(&[1, 2, 3]).has_quorum(&set(&[3, 9])));
    }
}
