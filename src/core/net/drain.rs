//! How long a task that is to stop goes on, so that what is under way ends. Waits for nothing itself.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::plain;
use crate::agent::network::is_overlay;
use crate::model::task::{Task, TaskState};
use crate::state::State;

/// Label of services: how long a task of theirs waits at most for its connections to come to rest, as in `30s`.
pub const LABEL: &str = "skep.lb.drain";

/// Longest wait where the service names none.
const AT_MOST: Duration = Duration::from_secs(10);

/// Grace period of containers whose service names none.
const GRACE: Duration = Duration::from_secs(10);

/// Longest wait that a service may name.
const LABEL_MAX: Duration = Duration::from_secs(24 * 3600);

/// What to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// Addresses whose connections count.
    pub addrs: Vec<Ipv4Addr>,
    /// Longest wait.
    pub at_most: Duration,
}

/// Returns what to wait for before a task is stopped; nothing if nobody is led to it, or if its service is gone and with it
/// everybody's way there.
pub fn drain(state: &State, task: &Task) -> Option<Drain> {
    let service = task.service.as_ref()?;
    if task.status.state != TaskState::Running || !state.services().contains_key(service) {
        return None;
    }
    let held = task.networks.iter().filter(|held| is_overlay(&held.network));
    let addrs = held.flat_map(|held| plain(&held.addresses)).filter_map(|addr| match addr {
        IpAddr::V4(addr) => Some(addr),
        IpAddr::V6(_) => None,
    });
    let addrs: Vec<Ipv4Addr> = addrs.collect();
    let grace = task.spec.container().and_then(|container| container.stop_grace_period);
    let label = task.service_annotations.labels.get(LABEL).and_then(|text| parse(text));
    let at_most = label.unwrap_or_else(|| grace.unwrap_or(GRACE).min(AT_MOST));
    (!addrs.is_empty() && !at_most.is_zero()).then_some(Drain { addrs, at_most })
}

/// Reads the value of the label: whole numbers with the units `ms`, `s`, `m` and `h`, one day at most.
pub fn parse(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        rest = &rest[end..];
        total = total.checked_add(Duration::from_millis(number.checked_mul(unit)?))?;
    }
    (!text.is_empty() && total <= LABEL_MAX).then_some(total)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Annotations;
    use crate::net::fixture::World;

    #[test]
    fn durations_are_read_whole_or_not_at_all() {
        for (text, expect) in [
            ("0s", Some(0)),
            ("500ms", Some(500)),
            ("1m30s", Some(90_000)),
            ("24h", Some(86_400_000)),
            ("24h1ms", None),
            ("", None),
            ("5", None),
            ("s", None),
            ("-5s", None),
            ("1.5s", None),
            ("5 s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(parse(text), expect.map(Duration::from_millis), "{text}");
        }
    }

    fn found(change: impl FnOnce(&mut World)) -> Option<Drain> {
        let mut world = World::default();
        world.network("front", "10.0.1.0/24");
        world.service("web", &["front"]);
        world.task("web", &[("front", "10.0.1.5")]).desired = TaskState::Shutdown;
        change(&mut world);
        let state = world.state();
        drain(&state, state.tasks().values().next().expect("one was made"))
    }

    #[test]
    fn tasks_wait_that_somebody_is_led_to() {
        let waits = |seconds| {
            let at_most = Duration::from_secs(seconds);
            Some(Drain { addrs: vec![Ipv4Addr::new(10, 0, 1, 5)], at_most })
        };
        assert_eq!(found(|_| {}), waits(10));
        let labelled = |value: &str| {
            let labels = [(LABEL.to_owned(), value.to_owned())].into();
            found(|world| {
                let annotations = Annotations { name: "web".to_owned(), labels };
                world.first_task().service_annotations = Arc::new(annotations);
            })
        };
        assert_eq!(labelled("3s"), waits(3));
        assert_eq!(labelled("0s"), None);
        assert_eq!(labelled("soon"), waits(10));
        assert_eq!(found(|world| world.first_task().status.state = TaskState::Starting), None);
        assert_eq!(found(|world| world.first_task().networks.clear()), None);
        assert_eq!(found(World::drop_services), None);
    }
}
