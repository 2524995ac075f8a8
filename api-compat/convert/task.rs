//! Tasks from the core's form to the API's. Clients never send tasks.

use skep_core::model::network::{IpamOptions, Network};
use skep_core::model::service::Slot;
use skep_core::model::task::{Task, TaskNetwork, TaskStatus};

use super::service::{port_written, resource_written, task_written};
use crate::wire::task as wire;
use crate::wire::time::Time;
use crate::wire::{Driver, Version};

/// Writes a task.
pub fn task(task: &Task) -> wire::Task {
    wire::Task {
        id: task.id.to_string(),
        version: Version { index: task.meta.version },
        created_at: Time(task.meta.created_at),
        updated_at: Time(task.meta.updated_at),
        name: String::new(),
        labels: std::collections::BTreeMap::new(),
        spec: task_written(&task.spec),
        service_id: task.service.as_ref().map(ToString::to_string).unwrap_or_default(),
        slot: match &task.slot {
            Slot::Number(number) => *number,
            Slot::Node(_) => 0,
        },
        node_id: task.node.as_ref().map(ToString::to_string).unwrap_or_default(),
        status: status(&task.status),
        desired_state: task.desired.as_str().to_owned(),
        networks_attachments: task.networks.iter().map(attachment).collect(),
        generic_resources: task.generic_resources.iter().map(resource_written).collect(),
        job_iteration: task.job_iteration.map(|index| Version { index }),
        volumes: Some(None),
    }
}

fn status(status: &TaskStatus) -> wire::TaskStatus {
    wire::TaskStatus {
        timestamp: Time(status.at),
        state: status.state.as_str().to_owned(),
        message: status.message.clone(),
        err: status.error.clone(),
        container_status: status.container.as_ref().map(|container| wire::ContainerStatus {
            container_id: container.id.clone(),
            pid: container.pid,
            exit_code: container.exit_code,
        }),
        port_status: wire::PortStatus { ports: status.ports.iter().map(port_written).collect() },
    }
}

fn attachment(attachment: &TaskNetwork) -> wire::NetworkAttachment {
    wire::NetworkAttachment {
        network: network(&attachment.network),
        addresses: attachment
            .addresses
            .iter()
            .map(|(addr, prefix)| format!("{addr}/{prefix}"))
            .collect(),
    }
}

fn network(network: &Network) -> wire::AttachedNetwork {
    let allocation = network.allocation.as_ref();
    wire::AttachedNetwork {
        id: network.id.to_string(),
        version: Version { index: network.meta.version },
        created_at: Time(network.meta.created_at),
        updated_at: Time(network.meta.updated_at),
        spec: network_spec(network),
        driver_state: allocation
            .map(|held| &held.driver)
            .or(network.spec.driver.as_ref().filter(|_| network.spec.predefined))
            .map(|driver| Driver::from(driver.clone()))
            .unwrap_or_default(),
        ipam_options: match allocation {
            Some(held) => Some(ipam(&held.ipam)),
            None => network.spec.predefined.then(wire::AttachedIpam::default),
        },
    }
}

fn network_spec(network: &Network) -> wire::AttachedNetworkSpec {
    let spec = &network.spec;
    let mut ipam_options = spec.ipam.as_ref().map(ipam);
    // Clients have always seen the gateways found for the subnets they asked for in the spec as well.
    if let (Some(asked), Some(allocation)) = (&mut ipam_options, &network.allocation)
        && !asked.configs.is_empty()
    {
        asked.configs = ipam(&allocation.ipam).configs;
    }
    let mut driver = spec.driver.clone().map(Driver::from);
    if spec.ingress {
        driver.get_or_insert_with(Driver::default);
        ipam_options.get_or_insert_with(wire::AttachedIpam::default);
    }
    wire::AttachedNetworkSpec {
        name: spec.annotations.name.clone(),
        labels: spec.annotations.labels.clone(),
        driver_configuration: driver,
        ipv6_enabled: spec.ipv6,
        internal: spec.internal,
        attachable: spec.attachable,
        ingress: spec.ingress,
        ipam_options,
        config_from: spec
            .config_from
            .as_ref()
            .map(|network| wire::ConfigFrom { network: network.clone() }),
        scope: "swarm".to_owned(),
    }
}

fn ipam(options: &IpamOptions) -> wire::AttachedIpam {
    wire::AttachedIpam {
        driver: options.driver.clone().into(),
        configs: options
            .configs
            .iter()
            .map(|config| wire::AttachedSubnet {
                subnet: config.subnet.clone(),
                range: config.range.clone(),
                gateway: config.gateway.clone(),
            })
            .collect(),
    }
}
