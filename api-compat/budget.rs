//! How many bytes of bodies all requests together may hold, so that many slow or large ones do not fill the memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of all bodies being collected or looked at. One legal body has 1.4 MB at most.
static BODIES: Budget = Budget::new(64 << 20);

/// Bytes in use, and how many may be.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    bytes_max: usize,
}

/// Bytes that one body holds. They are free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: &'static Budget,
    bytes: usize,
}

/// Keeps the bytes of a body that was collected ahead of its handler in use as long as its request lives.
#[derive(Debug, Clone)]
pub(crate) struct Ahead(#[expect(dead_code, reason = "only its end matters")] pub(crate) Arc<Held>);

impl Budget {
    const fn new(bytes_max: usize) -> Self {
        Self { used: AtomicUsize::new(0), bytes_max }
    }
}

impl Held {
    /// Holds nothing of what all requests share.
    pub(crate) fn none() -> Self {
        Self { budget: &BODIES, bytes: 0 }
    }

    /// Takes more bytes; says whether there were any left.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let budget = self.budget;
        let before = budget.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > budget.bytes_max {
            budget.used.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.bytes += bytes;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_free_again() {
        static SMALL: Budget = Budget::new(10);
        let mut first = Held { budget: &SMALL, bytes: 0 };
        assert!(first.take(4) && first.take(6) && !first.take(1));
        let mut second = Held { budget: &SMALL, bytes: 0 };
        assert!(!second.take(1));
        drop(first);
        assert!(second.take(10));
    }
}
