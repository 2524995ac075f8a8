//! How often the kernel asks for the hardware address of another node that does not answer. By itself it does so once a second,
//! and a link that comes back is of no use until it asks again. Asks for nothing.

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

/// Lists the kernel settings that are about the link to other nodes.
pub fn settings(desired: &Desired, kernel: &Kernel) -> Vec<String> {
    let Some(link) = link(desired, kernel) else { return Vec::new() };
    [RETRANSMISSION].iter().chain(&COUNTS).map(|name| path(link, name)).collect()
}

/// Returns the steps to questions in quick succession. A user's settings that are quicker still, or more patient, stay.
pub(super) fn steps(desired: &Desired, kernel: &Kernel) -> Vec<NetOp> {
    let Some(link) = link(desired, kernel) else { return Vec::new() };
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

/// The link by which other nodes are reached.
fn link<'a>(desired: &Desired, kernel: &'a Kernel) -> Option<&'a str> {
    kernel.addressed.get(&desired.underlay?).map(String::as_str)
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
    fn nothing_is_set_where_there_is_no_way_to_other_nodes() {
        assert_eq!(check(None, ["1000", "3", "3"]), [""; 0]);
        assert_eq!(check(Some([192, 0, 2, 2].into()), ["1000", "3", "3"]), [""; 0]);
    }
}
