//! What clients did to registers and saw in them, and whether one order explains it all. Each register has one writer, whose
//! values only grow: so a read is right if it shows no less than what was acknowledged or shown before it began, and no more than
//! what was begun before it ended.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Result, ensure};

/// One operation that got an answer.
#[derive(Clone)]
struct Seen {
    register: usize,
    value: u64,
    began: Instant,
    ended: Instant,
    by: String,
}

impl Seen {
    fn told(&self) -> String {
        format!("register {} was {} for {}", self.register, self.value, self.by)
    }
}

/// What happened.
#[derive(Default)]
pub struct History {
    /// Writes that were acknowledged, and reads: after them, the register has that value or a greater one.
    seen: Mutex<Vec<Seen>>,
    /// When the write of a value began, whatever became of it.
    begun: Mutex<BTreeMap<(usize, u64), Instant>>,
    writes: Mutex<usize>,
}

fn lock<T>(held: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl History {
    /// Remembers that a write is on its way.
    pub fn writes_value(&self, register: usize, value: u64) {
        lock(&self.begun).insert((register, value), Instant::now());
    }

    /// Remembers that a write was acknowledged.
    pub fn wrote(&self, register: usize, value: u64, began: Instant, by: &str) {
        *lock(&self.writes) += 1;
        self.saw(register, value, began, by);
    }

    /// Remembers what a read showed.
    pub fn saw(&self, register: usize, value: u64, began: Instant, by: &str) {
        let ended = Instant::now();
        lock(&self.seen).push(Seen { register, value, began, ended, by: by.to_owned() });
    }

    pub fn writes(&self) -> usize {
        *lock(&self.writes)
    }

    pub fn reads(&self) -> usize {
        lock(&self.seen).len() - self.writes()
    }

    /// The greatest value of a register that anybody knows of.
    pub fn newest(&self, register: usize) -> u64 {
        let seen = lock(&self.seen);
        let of_it = seen.iter().filter(|one| one.register == register);
        of_it.map(|one| one.value).max().unwrap_or_default()
    }

    /// Checks that one order explains everything.
    pub fn check(&self) -> Result<()> {
        let mut by_begin = lock(&self.seen).clone();
        by_begin.sort_by_key(|one| one.began);
        let mut by_end = by_begin.clone();
        by_end.sort_by_key(|one| one.ended);
        let mut ended = by_end.iter().peekable();
        let mut newest: BTreeMap<usize, &Seen> = BTreeMap::new();
        let begun = lock(&self.begun);
        for one in &by_begin {
            while let Some(before) = ended.next_if(|before| before.ended < one.began) {
                let held = newest.entry(before.register).or_insert(before);
                if before.value > held.value {
                    *held = before;
                }
            }
            if let Some(before) = newest.get(&one.register) {
                let (one_told, before_told) = (one.told(), before.told());
                ensure!(one.value >= before.value, "{one_told}, although before {before_told}");
            }
            let written = begun.get(&(one.register, one.value));
            let known = one.value == 0 || written.is_some_and(|at| *at < one.ended);
            ensure!(known, "{}, which nobody had written", one.told());
        }
        Ok(())
    }
}

#[test]
fn what_no_order_explains_is_caught() {
    let check = |second: u64, overlaps: bool| {
        let history = History::default();
        let at = |millis: u64| Instant::now() + std::time::Duration::from_millis(millis);
        for value in 1..=3 {
            history.writes_value(0, value);
        }
        let seen =
            |value, began, ended| Seen { register: 0, value, began, ended, by: String::new() };
        let (first, begin) = (seen(2, at(10), at(20)), if overlaps { at(15) } else { at(30) });
        lock(&history.seen).extend([seen(second, begin, at(40)), first]);
        history.check().is_ok()
    };
    assert!(check(2, false) && check(3, false) && check(1, true));
    assert!(!check(1, false), "a stale read or a lost write");
    assert!(!check(4, false), "a value from nowhere");
}
