//! Bounds how much of something is under way, in all and for one source address. Makes nobody wait.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// The bound, and what is under way.
pub struct PerSource {
    each: usize,
    all: usize,
    taken: Mutex<(usize, BTreeMap<IpAddr, usize>)>,
}

/// The right to do one; given back when dropped.
pub struct Permit {
    of: Arc<PerSource>,
    source: IpAddr,
}

impl PerSource {
    pub fn new(each: usize, all: usize) -> Arc<Self> {
        Arc::new(Self { each, all, taken: Mutex::default() })
    }

    /// Takes a permit; absent when the source, or all together, have as many as they may.
    pub fn take(self: &Arc<Self>, source: IpAddr) -> Option<Permit> {
        let mut taken = self.taken.lock();
        let (sum, by_source) = &mut *taken;
        let own = by_source.get(&source).copied().unwrap_or(0);
        if *sum >= self.all || own >= self.each {
            return None;
        }
        *sum += 1;
        by_source.insert(source, own + 1);
        Some(Permit { of: self.clone(), source })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock();
        let (sum, by_source) = &mut *taken;
        *sum = sum.saturating_sub(1);
        if let Some(own) = by_source.get_mut(&self.source) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_cannot_take_all() {
        let bound = PerSource::new(2, 3);
        let (greedy, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let held = [bound.take(greedy), bound.take(greedy)];
        assert!(held.iter().all(Option::is_some) && bound.take(greedy).is_none());
        let third = bound.take(other);
        assert!(third.is_some() && bound.take(other).is_none());
        drop(held);
        assert!(bound.take(greedy).is_some());
        drop(third);
        assert_eq!(*bound.taken.lock(), (0, BTreeMap::new()));
    }
}
