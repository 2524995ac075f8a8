//! Which manager a worker turns to, and when: the one it was sent to, else each it knows in turn, with a wait between rounds that
//! is short as long as a new leader may come any moment. Calls none.

use std::time::Duration;

use crate::id::NodeId;

/// Waits before a round of tries, doubling from the first to the second. A new leader gives its nodes a few seconds to come.
const WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(400));

/// Rounds after which no leader is about to come, and the wait from then on: short beside what a new leader gives its nodes.
const PATIENT: (usize, Duration) = (25, Duration::from_secs(1));

/// Managers remembered; a cluster with more is none of ours.
const MANAGERS_MAX: usize = 64;

/// A try: where, and how long to wait before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// `host:port`.
    pub address: String,
    /// Wait before it.
    pub wait: Duration,
}

/// The managers a worker knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ManagerList {
    known: Vec<(NodeId, String)>,
    /// Addresses that an operator named, tried after those known: these may all be managers no more.
    named: Vec<String>,
    /// The next to try.
    next: usize,
    /// Where a manager said that the leader is.
    leader: Option<String>,
    /// Tries since the last session.
    tries: usize,
}

impl ManagerList {
    /// Begins with what is remembered.
    pub fn new(known: Vec<(NodeId, String)>) -> Self {
        Self { known, ..Self::default() }
    }

    /// Adds addresses to try as well.
    #[must_use]
    pub fn with_named(self, addresses: Vec<String>) -> Self {
        Self { named: addresses, ..self }
    }

    /// Returns where a manager may be, the likeliest first.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        let known = self.known.iter().map(|(_, address)| address.as_str());
        let is_known = |named: &&str| self.known.iter().any(|(_, known)| known == named);
        known.chain(self.named.iter().map(String::as_str).filter(move |named| !is_known(named)))
    }

    /// Returns the managers known.
    pub fn known(&self) -> &[(NodeId, String)] {
        &self.known
    }

    /// Takes the list that a manager told; tells whether it is another one. An empty list is no news.
    pub fn learn(&mut self, mut told: Vec<(NodeId, String)>) -> bool {
        told.truncate(MANAGERS_MAX);
        if told.is_empty() || told == self.known {
            return false;
        }
        self.known = told;
        true
    }

    /// Chooses where to try next. `roll` spreads the waits of many workers.
    pub fn attempt(&mut self, roll: u32) -> Option<Attempt> {
        let wait = self.wait(roll);
        self.tries += 1;
        if let Some(address) = self.leader.take() {
            return Some(Attempt { address, wait });
        }
        let count = self.addresses().count();
        let address = self.addresses().nth(self.next % count.max(1))?.to_owned();
        self.next = (self.next + 1) % count;
        Some(Attempt { address, wait })
    }

    /// A round has a try more than managers, for the way that one of them pointed out.
    fn wait(&self, roll: u32) -> Duration {
        let length = self.addresses().count() + 1;
        let round = self.tries / length;
        if round == 0 || !self.tries.is_multiple_of(length) {
            return Duration::ZERO;
        }
        let doublings = u32::try_from(round - 1).unwrap_or(u32::MAX).min(16);
        let eager = WAIT.0.saturating_mul(1 << doublings).min(WAIT.1);
        let longest = if round > PATIENT.0 { PATIENT.1 } else { eager };
        longest / 2 + longest / 2 * (roll % 1024) / 1024
    }

    /// Notes that a session was opened at an address, to come back to it first.
    pub fn opened(&mut self, address: &str) {
        self.tries = 0;
        let place = self.addresses().position(|known| known == address);
        if let Some(place) = place {
            self.next = place;
        }
    }

    /// Notes where a manager said that the leader is.
    pub fn led_by(&mut self, address: &str) {
        self.leader = Some(address.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> ManagerList {
        ManagerList::new(known(names))
    }

    fn known(names: &[&str]) -> Vec<(NodeId, String)> {
        let entry =
            |(number, name): (u128, &&str)| (NodeId::from_entropy(number), (*name).to_owned());
        (0..).zip(names).map(entry).collect()
    }

    fn tries(list: &mut ManagerList, count: usize) -> Vec<String> {
        (0..count).filter_map(|_| list.attempt(0)).map(|it| it.address).collect()
    }

    #[test]
    fn each_manager_has_its_turn_and_the_last_one_the_first() {
        let mut list = list(&["a", "b", "c"]);
        assert_eq!(tries(&mut list, 4), ["a", "b", "c", "a"]);
        list.opened("c");
        assert_eq!(tries(&mut list, 2), ["c", "a"]);
    }

    #[test]
    fn the_way_to_the_leader_is_tried_once() {
        let mut list = list(&["a", "b"]);
        assert_eq!(tries(&mut list, 1), ["a"]);
        list.led_by("x");
        assert_eq!(tries(&mut list, 3), ["x", "b", "a"]);
    }

    #[test]
    fn rounds_wait_longer_until_a_session_opens() {
        let mut list = list(&["a"]);
        let waits = |list: &mut ManagerList, count: usize| -> Vec<u128> {
            let tries = (0..count).filter_map(|_| list.attempt(0));
            tries.map(|it| it.wait.as_millis()).collect()
        };
        assert_eq!(waits(&mut list, 8), [0, 0, 50, 0, 100, 0, 200, 0]);
        assert_eq!(waits(&mut list, 40).iter().max(), Some(&200));
        assert_eq!(waits(&mut list, 40).iter().max(), Some(&500));
        list.opened("a");
        assert_eq!(waits(&mut list, 1), [0]);
        let longest = (0..1024).map(|roll| {
            let mut tired = list.clone();
            tired.tries = 1 << 40;
            tired.attempt(roll).map_or(Duration::ZERO, |it| it.wait)
        });
        assert!(longest.max().is_some_and(|wait| wait <= PATIENT.1));
    }

    #[test]
    fn what_an_operator_names_comes_last_and_once() {
        let mut list = list(&["a", "b"]).with_named(vec!["b".to_owned(), "x".to_owned()]);
        assert_eq!(tries(&mut list, 4), ["a", "b", "x", "a"]);
        list.opened("x");
        assert_eq!(tries(&mut list, 1), ["x"]);
        assert!(list.learn(known(&["c"])));
        assert_eq!(list.addresses().collect::<Vec<_>>(), ["c", "b", "x"]);
    }

    #[test]
    fn a_new_list_replaces_the_old_one() {
        let mut list = list(&["a", "b"]);
        assert!(!list.learn(known(&["a", "b"])) && !list.learn(Vec::new()));
        assert!(list.learn(known(&["c"])));
        assert_eq!(tries(&mut list, 2), ["c", "c"]);
        assert_eq!(ManagerList::default().attempt(1), None);
    }
}
