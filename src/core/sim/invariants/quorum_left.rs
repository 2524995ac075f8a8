//! Nobody is taken out of the group if those who are left could not go on; and the group follows what users asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Broken;
use crate::model::node::Role;
use crate::sim::consensus::{Members, SILENCE_MAX};
use crate::sim::ledger::Ledger;
use crate::sim::machine::Machine;
use crate::sim::world::World;

pub(in crate::sim) const NAME: &str = "a group that changes keeps its majority";

/// How long the leader may take to notice that a member does not answer.
const NOTICED_AFTER: Duration = SILENCE_MAX.saturating_add(Duration::from_millis(500));

/// Looks at the group that the leader at `place` proposes.
pub(in crate::sim) fn check(world: &World, place: usize, members: &Members) -> Result<(), Broken> {
    let answers = |at: usize| {
        let machine = &world.machines[at];
        let dead = !machine.is_up || machine.paused_until > world.now;
        let quiet = world.net.cut_for(place, at, world.now).max(if dead {
            world.now.since(machine.trouble_since)
        } else {
            Duration::ZERO
        });
        at == place || quiet < NOTICED_AFTER
    };
    let answering = members.all.iter().filter(|(_, at)| answers(**at)).map(|(id, _)| *id);
    if members.agree(answering) {
        return Ok(());
    }
    Err((NAME, format!("too few of {members:?} answer machine {place}")))
}

/// Looks at the group of a world at rest.
pub(in crate::sim) fn check_rest(ledger: &Ledger, machines: &[Machine]) -> Result<(), Broken> {
    let managers = machines.iter().filter(|machine| machine.manages());
    let managing: BTreeSet<_> = managers.map(|machine| machine.node.id.clone()).collect();
    let nodes = ledger.state.nodes().values();
    let wanted: BTreeSet<_> =
        nodes.filter(|node| node.spec.role == Role::Manager).map(|node| node.id.clone()).collect();
    let ids = managing.len();
    if managing == wanted && ledger.members.voters.len() == ids {
        return Ok(());
    }
    let members = &ledger.members;
    Err((NAME, format!("{wanted:?} are to manage, {managing:?} do, {members:?} belong to it")))
}
