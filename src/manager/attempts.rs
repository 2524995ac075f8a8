//! Counts failed attempts by source and tells who has to wait. Holds no clock and no more than a bounded number of sources.

use std::collections::BTreeMap;
use std::time::Duration;

use skep_core::time::Timestamp;

/// Sources remembered at once; beyond that the ones that waited longest are forgotten.
const SOURCES_MAX: usize = 4096;

/// A bucket for each source: an attempt takes one drop, and one drop comes back in each `period`.
#[derive(Debug)]
pub struct Attempts<K> {
    burst: u32,
    period: Duration,
    /// When the bucket of a source is full again.
    full_at: BTreeMap<K, Timestamp>,
}

impl<K: Ord + Clone> Attempts<K> {
    /// Allows `burst` attempts at once and one more in each `period`.
    pub fn new(burst: u32, period: Duration) -> Self {
        Self { burst, period, full_at: BTreeMap::new() }
    }

    /// Tells whether a source may try now.
    pub fn may_try(&self, source: &K, now: Timestamp) -> bool {
        let missing = self.full_at.get(source).map_or(Duration::ZERO, |full_at| full_at.since(now));
        missing + self.period <= self.period * self.burst
    }

    /// Counts an attempt.
    pub fn count(&mut self, source: K, now: Timestamp) {
        if self.full_at.len() >= SOURCES_MAX && !self.full_at.contains_key(&source) {
            self.full_at.retain(|_, full_at| *full_at > now);
            let soonest = self.full_at.iter().min_by_key(|(_, full_at)| **full_at);
            if self.full_at.len() >= SOURCES_MAX
                && let Some(soonest) = soonest.map(|(source, _)| source.clone())
            {
                self.full_at.remove(&soonest);
            }
        }
        let full_at = self.full_at.entry(source).or_insert(now);
        *full_at = (*full_at).max(now).after(self.period);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_a_rate() {
        let mut attempts = Attempts::new(3, Duration::from_secs(1));
        let at = Timestamp::from_secs;
        for _ in 0..3 {
            assert!(attempts.may_try(&1, at(10)));
            attempts.count(1, at(10));
        }
        assert!(!attempts.may_try(&1, at(10)) && attempts.may_try(&2, at(10)));
        assert!(attempts.may_try(&1, at(11)));
        attempts.count(1, at(11));
        assert!(!attempts.may_try(&1, at(11)) && attempts.may_try(&1, at(12)));
    }

    #[test]
    fn sources_are_bounded() {
        let mut attempts = Attempts::new(1, Duration::from_secs(1));
        for source in 0..10_000 {
            attempts.count(source, Timestamp::from_secs(10));
        }
        assert!(attempts.full_at.len() <= SOURCES_MAX);
    }
}
