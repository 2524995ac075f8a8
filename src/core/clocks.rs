//! Whether a manager's clock can be right, by what those of the other managers say. Reads no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Timestamp;

/// How far apart two clocks may be. Certificates hold from an hour before they are signed, so that within half of it
/// whatever one node signs holds for all others.
const TOLERANCE: Duration = Duration::from_secs(30 * 60);

/// For how long what a manager said counts: its clock may have been set since.
const COUNTS_FOR: Duration = Duration::from_secs(3600);

/// Managers remembered; a group has seven at most, and some that were replaced.
const MEMBERS_MAX: usize = 64;

/// What the clocks of other managers said last.
#[derive(Debug, Default)]
pub struct Clocks {
    heard: BTreeMap<u64, Heard>,
}

#[derive(Debug)]
struct Heard {
    /// What its clock said.
    wall: Timestamp,
    /// When, by the time since this process started.
    at: Timestamp,
}

/// The clock of this manager may be wrong: at least as many others speak against it as for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clock of this manager and those of {differ} others are {} apart, so that nothing is signed here: set the clocks",
    rounded(*apart)
)]
pub struct Apart {
    /// Managers that say another time.
    pub differ: usize,
    /// By how much, the least of them.
    pub apart: Duration,
}

impl Clocks {
    /// Takes in what the clock of a manager says; `uptime` is the time since this process started.
    pub fn hear(&mut self, member: u64, wall: Timestamp, uptime: Timestamp) {
        if self.heard.len() >= MEMBERS_MAX && !self.heard.contains_key(&member) {
            self.heard.retain(|_, heard| uptime.since(heard.at) <= COUNTS_FOR);
            if self.heard.len() >= MEMBERS_MAX {
                return;
            }
        }
        self.heard.insert(member, Heard { wall, at: uptime });
    }

    /// Judges the own clock, which says `wall`.
    ///
    /// # Errors
    /// Says that it is not to be trusted.
    pub fn judge(&self, wall: Timestamp, uptime: Timestamp) -> Result<(), Apart> {
        let count = self.heard.values().filter(|heard| uptime.since(heard.at) <= COUNTS_FOR);
        let apart = count.map(|heard| {
            let there = heard.wall.after(uptime.since(heard.at));
            there.since(wall).max(wall.since(there))
        });
        let (differ, agree): (Vec<Duration>, Vec<Duration>) =
            apart.partition(|apart| *apart > TOLERANCE);
        match differ.iter().min() {
            Some(apart) if differ.len() > agree.len() => {
                Err(Apart { differ: differ.len(), apart: *apart })
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn rounded(apart: Duration) -> String {
    let minutes = apart.as_secs() / 60;
    match (minutes / 60 / 24, minutes / 60) {
        (0, 0) => format!("{minutes} minutes"),
        (0, hours) => format!("{hours} hours"),
        (days, _) => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    /// What this manager is told, its own clock being at the hundredth day.
    fn judged(others: &[i64]) -> Result<(), Apart> {
        let mut clocks = Clocks::default();
        for (member, days) in (1..).zip(others) {
            clocks.hear(member, at(days * DAY), at(10));
        }
        clocks.judge(at(100 * DAY), at(10))
    }

    #[test]
    fn a_clock_that_as_many_speak_against_as_for_is_not_trusted() {
        assert_eq!(judged(&[]), Ok(()));
        assert_eq!(judged(&[100, 100]), Ok(()));
        assert_eq!(judged(&[465, 100]), Ok(()), "it is the other one's that is wrong");
        let apart = |differ, days| {
            Err(Apart { differ, apart: Duration::from_secs(days * DAY.unsigned_abs()) })
        };
        assert_eq!(judged(&[465]), apart(1, 365), "either may be wrong");
        assert_eq!(judged(&[465, 464]), apart(2, 364));
        assert_eq!(judged(&[1, 2]), apart(2, 98));
        assert_eq!(judged(&[1, 2, 100, 100]), Ok(()));
        assert_eq!(judged(&[1, 2, 3, 100]), apart(3, 97));
    }

    #[test]
    fn what_was_heard_goes_on_for_a_while_although_the_own_clock_jumps() {
        let mut clocks = Clocks::default();
        clocks.hear(1, at(100 * DAY), at(10));
        assert_eq!(clocks.judge(at(100 * DAY + 600), at(610)), Ok(()));
        assert!(clocks.judge(at(465 * DAY), at(620)).is_err());
        assert_eq!(clocks.judge(at(100 * DAY + 620), at(630)), Ok(()));
        assert_eq!(clocks.judge(at(465 * DAY), at(3611)), Ok(()), "too long ago");
    }

    #[test]
    fn small_differences_do_no_harm_and_no_number_of_members_does() {
        let mut clocks = Clocks::default();
        for member in 0..10_000 {
            clocks.hear(member, at(100 * DAY + 1700), at(10));
        }
        assert_eq!(clocks.heard.len(), MEMBERS_MAX);
        assert_eq!(clocks.judge(at(100 * DAY), at(10)), Ok(()));
        let apart = clocks.judge(at(100 * DAY - 200), at(10)).expect_err("more than half an hour");
        assert!(apart.to_string().contains("31 minutes apart"), "{apart}");
        clocks.hear(u64::MAX, Timestamp(i64::MAX), at(10_000));
        assert!(clocks.judge(Timestamp(i64::MIN), at(10_000)).is_err());
    }
}
