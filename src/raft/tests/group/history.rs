//! Remembers what clients did and saw, and checks that one order explains it all.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use skep_core::State;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Write,
    Read,
}

#[derive(Debug, Clone, Copy)]
struct Operation {
    kind: Kind,
    began: Instant,
    ended: Instant,
    /// The place in the one order: of the write, or of the newest write a read saw.
    index: u64,
}

/// What clients did.
#[derive(Default)]
pub struct History {
    operations: Mutex<Vec<Operation>>,
    written: Mutex<BTreeMap<u64, u64>>,
    seen: Mutex<BTreeMap<u64, Arc<State>>>,
}

impl History {
    /// Remembers an acknowledged write of a number.
    pub fn wrote(&self, began: Instant, index: u64, number: u64) {
        let ended = Instant::now();
        self.operations.lock().push(Operation { kind: Kind::Write, began, ended, index });
        let before = self.written.lock().insert(number, index);
        assert_eq!(before, None, "{number} is written once");
    }

    /// Remembers a read.
    pub fn read(&self, began: Instant, state: &Arc<State>) {
        let ended = Instant::now();
        let index = state.index();
        self.operations.lock().push(Operation { kind: Kind::Read, began, ended, index });
        self.saw(state);
    }

    /// Remembers a state, and checks that no other one was seen at its index.
    pub fn saw(&self, state: &Arc<State>) {
        let mut seen = self.seen.lock();
        let first = seen.entry(state.index()).or_insert_with(|| Arc::clone(state));
        assert!(**first == **state, "two states at index {}", state.index());
    }

    /// Returns how many writes were acknowledged.
    pub fn writes(&self) -> usize {
        self.written.lock().len()
    }

    /// Returns how many reads were answered.
    pub fn reads(&self) -> usize {
        self.operations.lock().iter().filter(|one| one.kind == Kind::Read).count()
    }

    /// Returns the numbers written.
    pub fn numbers(&self) -> Vec<u64> {
        self.written.lock().keys().copied().collect()
    }

    /// Checks that what ended before something else began comes before it: a write before every later write, and in every
    /// later read; a read never after a later one.
    pub fn check(&self) {
        let mut operations = self.operations.lock().clone();
        operations.sort_by_key(|one| one.began);
        let mut by_end = operations.clone();
        by_end.sort_by_key(|one| one.ended);
        let mut ended = by_end.iter().peekable();
        let mut newest = 0;
        for operation in &operations {
            while let Some(before) = ended.next_if(|before| before.ended < operation.began) {
                newest = newest.max(before.index);
            }
            let in_order = match operation.kind {
                Kind::Write => operation.index > newest,
                Kind::Read => operation.index >= newest,
            };
            assert!(in_order, "{operation:?} began after {newest} was there");
        }
    }
}

#[test]
fn a_stale_read_and_a_late_write_are_caught() {
    let check = |kind: Kind, index: u64| {
        let history = History::default();
        let at = Instant::now();
        let later = at + std::time::Duration::from_millis(1);
        let first = Operation { kind: Kind::Write, began: at, ended: at, index: 5 };
        let second = Operation { kind, began: later, ended: later, index };
        history.operations.lock().extend([second, first]);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history.check())).is_ok()
    };
    assert!(check(Kind::Read, 5) && check(Kind::Read, 6) && !check(Kind::Read, 4));
    assert!(check(Kind::Write, 6) && !check(Kind::Write, 5) && !check(Kind::Write, 4));
}
