//! What openraft calls `base2histogram`, in the little that it uses of it: counts by powers of two.
//!
//! The crate of that name computes tables for sixteen precisions when the first histogram is made, 26 MB that stay
//! resident, to count how large batches are. Nothing shows those counts here. This has the same names and rougher
//! percentiles, and fits into a page.

use std::fmt;
use std::marker::PhantomData;

/// Groups of values: zero, then one for each number of significant bits.
const GROUPS: usize = 65;

/// Counts of values, by how many bits they need. `T` is for periods of time, of which there is only one here.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: [u64; GROUPS],
    period: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    /// Makes one that has counted nothing.
    pub const fn new() -> Self {
        Self { counts: [0; GROUPS], period: PhantomData }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value several times.
    pub fn record_n(&mut self, value: u64, times: u64) {
        if let Some(held) = self.counts.get_mut(group(value)) {
            *held = held.saturating_add(times);
        }
    }

    /// Returns how many values were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns the least value of the group in which a value of this rank lies; `per_mille` of all values are not
    /// above that group.
    fn per_mille(&self, per_mille: u64) -> u64 {
        let wanted = u128::from(self.total()) * u128::from(per_mille);
        let mut seen: u128 = 0;
        for (group, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if *count > 0 && seen * 1000 >= wanted {
                return least(group);
            }
        }
        0
    }

    /// Returns the usual percentiles.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.per_mille(1),
            p1: self.per_mille(10),
            p5: self.per_mille(50),
            p10: self.per_mille(100),
            p50: self.per_mille(500),
            p90: self.per_mille(900),
            p99: self.per_mille(990),
            p99_9: self.per_mille(999),
        }
    }
}

impl<T> fmt::Debug for Histogram<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}", self.percentile_stats())
    }
}

fn group(value: u64) -> usize {
    (u64::BITS - value.leading_zeros()) as usize
}

fn least(group: usize) -> u64 {
    match group {
        0 => 0,
        bits => 1 << (bits - 1),
    }
}

/// Values below which so many of all lie, to a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} samples, p50 {}, p99 {}", self.samples, self.p50, self.p99)
    }
}

/// Histograms shown below each other.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart(Vec<(&'static str, Histogram)>);

impl AsciiChart {
    /// Makes an empty chart.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a histogram under a name.
    #[must_use]
    pub fn add(mut self, name: &'static str, histogram: Histogram) -> Self {
        self.0.push((name, histogram));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, held)| writeln!(to, "{name}: {held:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_a_power_of_two() {
        let mut counted = Histogram::<()>::new();
        assert_eq!(counted.percentile_stats(), PercentileStats::default());
        counted.record_n(0, 10);
        counted.record_n(5, 80);
        counted.record_n(1000, 9);
        counted.record(u64::MAX);
        let found = counted.percentile_stats();
        assert_eq!((found.samples, found.p5, found.p50), (100, 0, 4));
        assert_eq!((found.p99, found.p99_9), (512, 1 << 63));
    }
}
