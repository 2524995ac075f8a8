//! A node that the managers reach is never taken to be down.

use std::time::Duration;

use crate::sim::world::World;

pub(in crate::sim) const NAME: &str = "no verdict falls on a node that is reached";

/// How long all must have been well for a verdict to be wrong: a silence that counts, and the search for a new leader.
const WELL_FOR: Duration = Duration::from_secs(10);

/// Looks at the verdict of the leader at `place` that the node of the machine `at` is down.
pub(in crate::sim) fn check(world: &World, place: usize, at: usize) -> Option<String> {
    let now = world.now;
    let manager = world.machines[place].manager.as_ref()?;
    let leads_for = manager.ready.map_or(Duration::ZERO, |(_, since)| now.since(since));
    let well = |machine: usize| {
        let held = &world.machines[machine];
        held.is_up && now.since(held.trouble_until) >= WELL_FOR
    };
    let involved =
        (0..world.machines.len()).filter(|it| *it == at || world.machines[*it].manages());
    let involved: Vec<usize> = involved.collect();
    let reached = involved.iter().all(|one| {
        well(*one) && involved.iter().all(|other| world.net.well_for(*one, *other, now) >= WELL_FOR)
    });
    // Whoever becomes a manager, or none, opens another session.
    let settled = now.since(world.turned_at) >= WELL_FOR;
    (reached && settled && leads_for >= WELL_FOR)
        .then(|| format!("machine {at} is well, and down for machine {place}"))
}
