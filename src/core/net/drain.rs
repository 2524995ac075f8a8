//! How long a task that is to stop goes on, so that what is under way ends. Waits for nothing itself.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::pairs::Pairs;
use super::plain;
use crate::agent::network::is_overlay;
use crate::id::NodeId;
use crate::labels::{DRAIN, duration_of};
use crate::model::task::{Task, TaskState};
use crate::state::State;

/// Longest wait where the service names none.
const AT_MOST: Duration = Duration::from_secs(10);

/// Grace period of containers whose service names none.
const GRACE: Duration = Duration::from_secs(10);

/// What who asked for a name needs until it has used the address.
const NAMED: Duration = Duration::from_millis(500);

/// What to wait for, once all nodes lead nobody there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// Addresses whose connections count.
    pub addrs: Vec<IpAddr>,
    /// Shortest wait.
    pub at_least: Duration,
    /// Longest wait, that for the nodes included.
    pub at_most: Duration,
}

/// Returns what to wait for before a task is stopped; nothing if nobody is led to it, or if its service is gone and with it
/// everybody's way there.
pub fn drain(state: &State, task: &Task) -> Option<Drain> {
    let service = state.services().get(task.service.as_ref()?)?;
    if task.status.state != TaskState::Running {
        return None;
    }
    let held = task.networks.iter().filter(|held| is_overlay(&held.network));
    let addrs: Vec<IpAddr> = held
        .flat_map(|held| {
            let pairs = Pairs::of(&held.network);
            plain(&held.addresses).flat_map(move |addr| pairs.with_pair(addr))
        })
        .collect();
    let grace = task.spec.container().and_then(|container| container.stop_grace_period);
    let label = duration_of(&service.spec.annotations.labels, DRAIN);
    let at_most = label.unwrap_or_else(|| grace.unwrap_or(GRACE).min(AT_MOST));
    // Without a virtual address, names lead to the task itself.
    let is_named = service.endpoint.as_ref().is_none_or(|it| it.virtual_ips.is_empty());
    let at_least = if is_named { NAMED.min(at_most) } else { Duration::ZERO };
    let drain = Drain { addrs, at_least, at_most };
    (!drain.addrs.is_empty() && !at_most.is_zero()).then_some(drain)
}

/// Lists the nodes where packets may be led to a task: those with a bridge of one of its overlays.
pub fn leading(state: &State, task: &Task) -> BTreeSet<NodeId> {
    let held = task.networks.iter().filter(|held| is_overlay(&held.network));
    let networks = held.filter_map(|held| state.networks().get(&held.network.id));
    networks.flat_map(|network| network.gateways.keys().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fixture::World;

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
            Some(Drain { addrs: vec![[10, 0, 1, 5].into()], at_least: NAMED, at_most })
        };
        assert_eq!(found(|_| {}), waits(10));
        let labelled = |value: &str| found(|world| world.label("web", DRAIN, value));
        assert_eq!(labelled("3s"), waits(3));
        assert_eq!(labelled("0s"), None);
        assert_eq!(labelled("soon"), waits(10));
        assert_eq!(found(|world| world.first_task().status.state = TaskState::Starting), None);
        assert_eq!(found(|world| world.first_task().networks.clear()), None);
        assert_eq!(found(World::drop_services), None);
        let addressed = found(|world| world.virtual_ip("web", "front", "10.0.1.2"));
        assert_eq!(addressed.map(|it| it.at_least), Some(Duration::ZERO));
    }

    #[test]
    fn packets_are_led_to_a_task_where_its_networks_are() {
        let mut world = World::default();
        for (name, subnet) in
            [("front", "10.0.1.0/24"), ("back", "10.0.2.0/24"), ("far", "10.0.3.0/24")]
        {
            world.network(name, subnet);
        }
        world.join("back", 2, "10.0.2.3");
        world.join("far", 3, "10.0.3.3");
        world.service("web", &["front", "back"]);
        world.task("web", &[("front", "10.0.1.5"), ("back", "10.0.2.5")]);
        let state = world.state();
        let task = state.tasks().values().next().expect("one was made");
        assert_eq!(leading(&state, task), [World::node(1), World::node(2)].into());
    }
}
