//! Gives services their virtual addresses and published ports.

use std::sync::Arc;

use super::{addresses, endpoint_spec, is_overlay, ports, publishes};
use crate::command::ServicePatch;
use crate::id::NetworkId;
use crate::model::network::Network;
use crate::model::service::{Endpoint, ResolutionMode, Service, VirtualIp};
use crate::plan::draft::Draft;
use crate::state::State;

pub(super) fn plan(draft: &mut Draft) {
    for service in draft.services() {
        if !is_up_to_date(&draft.state, &service)
            && let Err(why) = allocate(draft, &service)
        {
            draft.explain(Some(&service.id), None, why);
        }
    }
}

/// Tells whether a service has all that its spec asks for.
pub(super) fn is_up_to_date(state: &State, service: &Service) -> bool {
    let Some(endpoint) = &service.endpoint else { return false };
    let spec_is_met = match &service.spec.endpoint {
        Some(spec) => endpoint.spec == *spec,
        None => endpoint.spec == crate::model::service::EndpointSpec::default(),
    };
    spec_is_met
        && networks_of(state, service).is_ok_and(|networks| {
            networks.len() == endpoint.virtual_ips.len()
                && networks.iter().zip(&endpoint.virtual_ips).all(|(id, vip)| *id == vip.network)
        })
}

/// Returns the networks that a service has an address on, the routing mesh first.
fn networks_of(state: &State, service: &Service) -> Result<Vec<NetworkId>, String> {
    let mut networks: Vec<NetworkId> = Vec::new();
    let spec = endpoint_spec(service);
    match spec.mode {
        ResolutionMode::DnsRoundRobin => return Ok(networks),
        ResolutionMode::VirtualIp => {}
    }
    for network in joined(state, service)? {
        if !is_overlay(&network) || networks.contains(&network.id) {
            continue;
        }
        if network.allocation.is_none() {
            return Err(format!("network {} has no subnet", network.spec.annotations.name));
        }
        networks.push(network.id.clone());
    }
    Ok(networks)
}

/// Returns the networks that the tasks of a service join, the routing mesh first.
pub(super) fn joined(state: &State, service: &Service) -> Result<Vec<Arc<Network>>, String> {
    let mut networks = Vec::new();
    if publishes(&endpoint_spec(service)) {
        let ingress = state.networks().values().find(|network| network.spec.ingress);
        networks.push(ingress.ok_or("there is no ingress network")?.clone());
    }
    for attachment in &service.spec.task.networks {
        let network = state.networks().get(&attachment.target);
        networks.push(network.ok_or_else(|| format!("no network {}", attachment.target))?.clone());
    }
    Ok(networks)
}

fn allocate(draft: &mut Draft, service: &Service) -> Result<(), String> {
    let spec = endpoint_spec(service);
    let old = service.endpoint.as_ref();
    let ports = ports::fill(&draft.state, &service.id, &spec, old)?;
    let mut virtual_ips = Vec::new();
    let mut new = Vec::new();
    for network in networks_of(&draft.state, service)? {
        let kept = old.iter().flat_map(|old| &old.virtual_ips).find(|vip| vip.network == network);
        if let Some(kept) = kept {
            virtual_ips.push(kept.clone());
            continue;
        }
        let (addr, prefix) = addresses::next_free(draft, &network)
            .ok_or_else(|| addresses::shortage(draft, &network))?;
        new.push((network.clone(), addr));
        virtual_ips.push(VirtualIp { network, addr, prefix });
    }
    draft.patch_service(ServicePatch {
        id: service.id.clone(),
        endpoint: Some(Endpoint { spec, ports, virtual_ips }),
        ..ServicePatch::default()
    });
    for (network, addr) in new {
        addresses::took(draft, &network, addr);
    }
    Ok(())
}
