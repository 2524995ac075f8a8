//! How often the kernel asks for the hardware address of another node that does not answer. By itself it does so once a second,
//! and a link that comes back is of no use until it asks again. Asks for nothing.

use std::collections::BTreeSet;

use super::kernel::{Desired, Kernel, NetOp};

/// Between two questions, in milliseconds: a number of ticks that is whole with every clock of the kernel.
const PERIOD: &str = "200";
const PERIOD_MILLIS: u32 = 200;

/// Questions until the kernel gives up what waits for an answer, after three seconds as by itself.
const COUNT: &str = "15";
const COUNT_MIN: u32 = 15;

/// Settings of a link: the time between questions; how many are put to the address that was known, and to all.
const RETRANSMISSION: &str = "retrans_time_ms";
const COUNTS: [&str; 2] = ["ucast_solicit", "mcast_solicit"];
const ALL: [&str; 3] = [RETRANSMISSION, COUNTS[0], COUNTS[1]];

/// What the kernel has by itself.
const PERIOD_BEFORE: &str = "1000";
const COUNT_BEFORE: &str = "3";

/// Lists the kernel settings that are about links to other nodes, or may still be.
pub fn settings(desired: &Desired, kernel: &Kernel) -> Vec<String> {
    let all = |link: &String| ALL.map(|name| path(link, name));
    links(desired, kernel).into_iter().flat_map(all).collect()
}

/// Returns the steps to questions in quick succession, or back from there where no other node is reached any more. A user's
/// settings that are quicker still, or more patient, stay.
pub(super) fn steps(desired: &Desired, kernel: &Kernel) -> Vec<NetOp> {
    let one = if desired.underlay.is_some() { quicken } else { slow_down };
    links(desired, kernel).into_iter().flat_map(|link| one(link, kernel)).collect()
}

fn slow_down(link: &str, kernel: &Kernel) -> Vec<NetOp> {
    let ours = [PERIOD, COUNT, COUNT];
    let held = ALL.map(|name| kernel.settings.get(&path(link, name)).map(String::as_str));
    if held != ours.map(Some) {
        return Vec::new();
    }
    let before = [PERIOD_BEFORE, COUNT_BEFORE, COUNT_BEFORE];
    ALL.iter().zip(before).map(|(name, value)| NetOp::Set(path(link, name), value)).collect()
}

fn quicken(link: &str, kernel: &Kernel) -> Vec<NetOp> {
    let held = |name: &str| kernel.settings.get(&path(link, name))?.parse::<u32>().ok();
    let lower = |name: &&&str| held(name).is_some_and(|count| count < COUNT_MIN);
    let counts = COUNTS.iter().filter(lower).map(|name| NetOp::Set(path(link, name), COUNT));
    match held(RETRANSMISSION) {
        Some(period) if period > PERIOD_MILLIS => {
            // Patience first, so that it never gives up sooner.
            counts.chain([NetOp::Set(path(link, RETRANSMISSION), PERIOD)]).collect()
        }
        Some(PERIOD_MILLIS) => counts.collect(),
        Some(_) | None => Vec::new(),
    }
}

/// The link by which other nodes are reached; where there are none, each by which they may have been.
fn links<'a>(desired: &Desired, kernel: &'a Kernel) -> BTreeSet<&'a String> {
    match &desired.underlay {
        Some(addr) => kernel.addressed.get(addr).into_iter().collect(),
        None => kernel.addressed.values().collect(),
    }
}

fn path(link: &str, setting: &str) -> String {
    format!("net/ipv4/neigh/{link}/{setting}")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    /// Returns the steps where the link has these settings, in the order of [`settings`].
    fn check(underlay: Option<Ipv4Addr>, held: [&str; 3]) -> Vec<String> {
        let desired = Desired { underlay, ..Desired::default() };
        let mut kernel = Kernel::default();
        kernel.addressed.insert(HERE, "eth0".to_owned());
        let values = held.map(ToOwned::to_owned);
        kernel.settings = settings(&desired, &kernel).into_iter().zip(values).collect();
        let shown = |step| {
            let NetOp::Set(path, value) = step else { panic!("it sets nothing: {step:?}") };
            format!("{}={value}", path.trim_start_matches("net/ipv4/neigh/"))
        };
        steps(&desired, &kernel).into_iter().map(shown).collect()
    }

    #[test]
    fn a_node_that_does_not_answer_is_asked_for_often() {
        let all = ["eth0/ucast_solicit=15", "eth0/mcast_solicit=15", "eth0/retrans_time_ms=200"];
        assert_eq!(check(Some(HERE), ["1000", "3", "3"]), all);
        assert_eq!(check(Some(HERE), ["1000", "3", "20"]), [all[0], all[2]]);
        assert_eq!(check(Some(HERE), ["200", "15", "3"]), [all[1]]);
        assert_eq!(check(Some(HERE), ["200", "15", "15"]), [""; 0]);
        assert_eq!(check(Some(HERE), ["100", "3", "3"]), [""; 0], "somebody's own choice");
    }

    #[test]
    fn where_no_other_node_is_reached_any_more_all_is_as_before() {
        let all = ["eth0/retrans_time_ms=1000", "eth0/ucast_solicit=3", "eth0/mcast_solicit=3"];
        assert_eq!(check(None, ["200", "15", "15"]), all);
        assert_eq!(check(None, ["200", "15", "3"]), [""; 0], "somebody's own choice");
        assert_eq!(check(None, ["1000", "3", "3"]), [""; 0]);
        assert_eq!(check(Some([192, 0, 2, 2].into()), ["1000", "3", "3"]), [""; 0]);
    }
}
