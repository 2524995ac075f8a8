//! Fills in published ports that users left open; one that a service has got it keeps.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::id::ServiceId;
use crate::model::service::{Endpoint, EndpointSpec, PortConfig, PortProtocol, PublishMode};
use crate::state::State;

/// Ports given to those who ask for any.
const AUTOMATIC: RangeInclusive<u16> = 30_000..=32_767;

/// Returns the ports of a specification, all numbers of the routing mesh filled in.
pub(super) fn fill(
    state: &State,
    service: &ServiceId,
    spec: &EndpointSpec,
    old: Option<&Endpoint>,
) -> Result<Vec<PortConfig>, String> {
    if spec.ports.is_empty() {
        return Ok(Vec::new());
    }
    let others = taken(state, service);
    let mut taken = others.clone();
    let on_mesh = |port: &&PortConfig| port.mode == PublishMode::Ingress && port.published != 0;
    for port in spec.ports.iter().filter(on_mesh) {
        if others.contains(&(port.protocol, port.published)) {
            return Err(format!("port {} is in use", port.published));
        }
        taken.insert((port.protocol, port.published));
    }
    // First what has been given, so that a new port does not take it away.
    let mut ports = spec.ports.clone();
    let open = |port: &PortConfig| port.mode == PublishMode::Ingress && port.published == 0;
    for port in ports.iter_mut().filter(|port| open(port)) {
        let kept = old.iter().flat_map(|old| &old.ports).find(|kept| {
            (kept.name.as_str(), kept.protocol, kept.target, kept.mode)
                == (port.name.as_str(), port.protocol, port.target, port.mode)
                && AUTOMATIC.contains(&kept.published)
                && !taken.contains(&(kept.protocol, kept.published))
        });
        if let Some(kept) = kept {
            port.published = kept.published;
            taken.insert((port.protocol, port.published));
        }
    }
    for port in ports.iter_mut().filter(|port| open(port)) {
        let free = AUTOMATIC.into_iter().find(|number| !taken.contains(&(port.protocol, *number)));
        port.published = free.ok_or("no port is left to publish")?;
        taken.insert((port.protocol, port.published));
    }
    Ok(ports)
}

/// Returns the ports that other services publish, in either mode: one number cannot mean two things on a node.
fn taken(state: &State, service: &ServiceId) -> BTreeSet<(PortProtocol, u16)> {
    let others = state.services().values().filter(|other| other.id != *service);
    others
        .flat_map(|other| {
            let allocated = other.endpoint.as_ref().map_or(&[][..], |endpoint| &endpoint.ports);
            let asked = other.spec.endpoint.as_ref().map_or(&[][..], |endpoint| &endpoint.ports);
            allocated.iter().chain(asked)
        })
        .filter(|port| port.published != 0)
        .map(|port| (port.protocol, port.published))
        .collect()
}
