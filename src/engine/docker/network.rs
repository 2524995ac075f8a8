//! Networks on the engine, found by their labels.

use bollard::models::{ConfigReference, Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;
use skep_core::agent::NetworkPlan;
use skep_core::agent::network::{NETWORK_LABEL, NODE_LABEL};
use skep_core::id::NodeId;

use super::{DockerEngine, label_filter};
use crate::engine::{EngineError, EngineNetwork};

/// First API version whose bridges know the gateway mode `nat-unprotected`.
const GATEWAY_MODES_SINCE: (usize, usize) = (1, 48);

impl DockerEngine {
    pub(super) async fn networks_of(
        &self,
        node: &NodeId,
    ) -> Result<Vec<EngineNetwork>, EngineError> {
        let filters = Some(label_filter(NODE_LABEL, node.as_str()));
        let found = self.client().await?.list_networks(Some(ListNetworksOptions { filters })).await;
        let found = found.map_err(|error| self.failed(error))?;
        let networks = found.into_iter().filter_map(|network| {
            let labels = network.labels.unwrap_or_default();
            let id = labels.get(NETWORK_LABEL).and_then(|id| id.parse().ok());
            Some(EngineNetwork { engine_id: network.id?, network: id })
        });
        Ok(networks.collect())
    }

    async fn find_network(&self, plan: &NetworkPlan) -> Result<Option<String>, EngineError> {
        let mut filters = label_filter(NETWORK_LABEL, plan.id.as_str());
        if let (Some(labels), Some(node)) = (filters.get_mut("label"), plan.labels.get(NODE_LABEL))
        {
            labels.push(format!("{NODE_LABEL}={node}"));
        }
        let options = ListNetworksOptions { filters: Some(filters) };
        let found = self.client().await?.list_networks(Some(options)).await;
        let found = found.map_err(|error| self.failed(error))?;
        Ok(found.into_iter().find_map(|network| network.id))
    }

    /// Finds the network or makes it; of two who make it at once, one finds the other's.
    pub(super) async fn ensure(&self, plan: &NetworkPlan) -> Result<String, EngineError> {
        if let Some(found) = self.find_network(plan).await? {
            return Ok(found);
        }
        let client = self.client().await?;
        let version = client.client_version();
        let modes = (version.major_version, version.minor_version) >= GATEWAY_MODES_SINCE;
        match client.create_network(request(plan, modes)).await {
            Ok(made) => Ok(made.id),
            Err(error) => {
                let error = self.failed(error);
                match self.find_network(plan).await? {
                    Some(found) => Ok(found),
                    None => Err(error),
                }
            }
        }
    }
}

fn request(plan: &NetworkPlan, gateway_modes: bool) -> NetworkCreateRequest {
    let configs: Vec<IpamConfig> = plan
        .subnets
        .iter()
        .map(|(subnet, gateway)| IpamConfig {
            subnet: Some(subnet.clone()).filter(|text| !text.is_empty()),
            gateway: Some(gateway.clone()).filter(|text| !text.is_empty()),
            ..IpamConfig::default()
        })
        .collect();
    let options = plan
        .options
        .iter()
        .filter(|(key, _)| gateway_modes || !key.contains("gateway_mode"))
        .map(|(key, value)| (key.clone(), value.clone()));
    NetworkCreateRequest {
        name: plan.name.clone(),
        driver: Some(plan.driver.clone()).filter(|name| !name.is_empty()),
        internal: Some(plan.internal),
        attachable: Some(true),
        config_from: plan
            .config_from
            .clone()
            .map(|network| ConfigReference { network: Some(network) }),
        ipam: (!configs.is_empty()).then(|| Ipam { config: Some(configs), ..Ipam::default() }),
        enable_ipv6: Some(plan.ipv6),
        options: Some(options.collect()),
        labels: Some(plan.labels.clone().into_iter().collect()),
        ..NetworkCreateRequest::default()
    }
}
