//! Gives networks subnets, services addresses and ports, tasks addresses. What it cannot give it explains; it never takes
//! back: what an object held is free as soon as the object no longer needs it.

mod addresses;
pub(super) mod gateways;
mod ports;
mod services;
pub(super) mod subnets;
mod tasks;

use super::draft::Draft;
use crate::command::{Change, NetworkPatch};
use crate::model::network::Network;
use crate::model::service::{EndpointSpec, PublishMode, Service};

pub(super) fn plan(draft: &mut Draft) {
    if draft.is_complete() {
        subnets::plan(draft);
    }
    services::plan(draft);
    tasks::plan(draft);
    note_last_addresses(draft);
}

/// Remembers where each network's numbering has come to, so that an address is not given again at once.
fn note_last_addresses(draft: &mut Draft) {
    for (id, addr) in std::mem::take(&mut draft.cursors) {
        let known = draft.state.networks().get(&id);
        if known.is_some_and(|network| network.last_address != Some(addr)) {
            let patch = NetworkPatch { id, last_address: Some(addr), ..NetworkPatch::default() };
            draft.push(Change::PatchNetwork(Box::new(patch)));
        }
    }
}

/// Tells whether the cluster gives out a network's addresses. Built-in networks and those of other drivers belong to the nodes.
fn is_overlay(network: &Network) -> bool {
    let driver = network.spec.driver.as_ref().map_or("", |driver| driver.name.as_str());
    !network.spec.predefined && (driver.is_empty() || driver == "overlay")
}

/// Returns how a service is to be reached.
fn endpoint_spec(service: &Service) -> EndpointSpec {
    service.spec.endpoint.clone().unwrap_or_default()
}

/// Tells whether a service publishes ports on the routing mesh.
fn publishes(spec: &EndpointSpec) -> bool {
    spec.ports.iter().any(|port| port.mode == PublishMode::Ingress)
}
