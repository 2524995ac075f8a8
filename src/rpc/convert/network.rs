//! Networks, attachments and endpoints for a node. Every network has its driver state, every attachment its network.

use std::net::IpAddr;

use skep_core::model::network::{IpamConfig, IpamOptions, Network};
use skep_core::model::service::{
    Endpoint, EndpointSpec, NetworkAttachment, PortConfig, PortProtocol, PublishMode,
    ResolutionMode,
};
use skep_core::model::task::TaskNetwork;

use super::super::proto;
use super::{annotations, driver, meta};

/// Engines attach tasks to a built-in network only if it has this label.
const PREDEFINED: &str = "com.docker.swarm.predefined";

const OVERLAY: &str = "overlay";

pub(super) fn attachment(from: &TaskNetwork) -> proto::NetworkAttachment {
    proto::NetworkAttachment {
        network: Some(network(&from.network)),
        addresses: from.addresses.iter().map(|(addr, length)| format!("{addr}/{length}")).collect(),
        aliases: from.aliases.clone(),
        driver_attachment_opts: std::collections::BTreeMap::new(),
    }
}

pub(super) fn attachment_config(from: &NetworkAttachment) -> proto::NetworkAttachmentConfig {
    proto::NetworkAttachmentConfig {
        target: from.target.to_string(),
        aliases: from.aliases.clone(),
        addresses: from.addresses.iter().map(ToString::to_string).collect(),
        driver_attachment_opts: from.driver_options.clone(),
    }
}

fn network(from: &Network) -> proto::Network {
    let named = from.spec.driver.as_ref().map(driver);
    let wanted = named
        .unwrap_or_else(|| proto::Driver { name: OVERLAY.to_owned(), ..proto::Driver::default() });
    let allocated = from.allocation.as_ref();
    let mut common = annotations(&from.spec.annotations);
    if from.spec.predefined {
        common.labels.insert(PREDEFINED.to_owned(), "true".to_owned());
    }
    proto::Network {
        id: from.id.to_string(),
        meta: Some(meta(from.meta)),
        spec: Some(proto::NetworkSpec {
            annotations: Some(common),
            driver_config: Some(wanted.clone()),
            ipv6_enabled: from.spec.ipv6,
            internal: from.spec.internal,
            ipam: from.spec.ipam.as_ref().map(ipam),
            attachable: from.spec.attachable,
            ingress: from.spec.ingress,
            config_from: from
                .spec
                .config_from
                .clone()
                .map(proto::network_spec::ConfigFrom::Network),
        }),
        // An engine ends itself over a driver without a name.
        driver_state: Some(
            allocated
                .map(|allocated| driver(&allocated.driver))
                .filter(|driver| !driver.name.is_empty())
                .unwrap_or(wanted),
        ),
        ipam: allocated.map(|allocated| ipam(&allocated.ipam)),
    }
}

fn ipam(from: &IpamOptions) -> proto::IpamOptions {
    let mut chosen = driver(&from.driver);
    if chosen.name.is_empty() {
        "default".clone_into(&mut chosen.name);
    }
    proto::IpamOptions {
        driver: Some(chosen),
        configs: from.configs.iter().map(ipam_config).collect(),
    }
}

fn ipam_config(from: &IpamConfig) -> proto::IpamConfig {
    let is_v6 = from.subnet.contains(':');
    let family = if is_v6 { proto::AddressFamily::Ipv6 } else { proto::AddressFamily::Ipv4 };
    proto::IpamConfig {
        family: family.into(),
        subnet: from.subnet.clone(),
        range: from.range.clone(),
        gateway: from.gateway.clone(),
        reserved: from.reserved.clone(),
    }
}

pub(super) fn endpoint(from: &Endpoint) -> proto::Endpoint {
    proto::Endpoint {
        spec: Some(endpoint_spec(&from.spec)),
        ports: from.ports.iter().map(port).collect(),
        virtual_ips: from
            .virtual_ips
            .iter()
            .map(|vip| proto::VirtualIp {
                network_id: vip.network.to_string(),
                addr: with_prefix(vip.addr, vip.prefix),
            })
            .collect(),
    }
}

fn with_prefix(addr: IpAddr, length: u8) -> String {
    format!("{addr}/{length}")
}

fn endpoint_spec(from: &EndpointSpec) -> proto::EndpointSpec {
    let mode = match from.mode {
        ResolutionMode::VirtualIp => proto::ResolutionMode::Vip,
        ResolutionMode::DnsRoundRobin => proto::ResolutionMode::DnsRr,
    };
    proto::EndpointSpec { mode: mode.into(), ports: from.ports.iter().map(port).collect() }
}

pub(super) fn port(from: &PortConfig) -> proto::PortConfig {
    let protocol = match from.protocol {
        PortProtocol::Tcp => proto::PortProtocol::Tcp,
        PortProtocol::Udp => proto::PortProtocol::Udp,
        PortProtocol::Sctp => proto::PortProtocol::Sctp,
    };
    let mode = match from.mode {
        PublishMode::Ingress => proto::PublishMode::Ingress,
        PublishMode::Host => proto::PublishMode::Host,
    };
    proto::PortConfig {
        name: from.name.clone(),
        protocol: protocol.into(),
        target_port: from.target.into(),
        published_port: from.published.into(),
        publish_mode: mode.into(),
    }
}

/// Reads a port that a node bound; `None` of one that no port can be.
pub(super) fn port_of(from: &proto::PortConfig) -> Option<PortConfig> {
    Some(PortConfig {
        name: String::new(),
        protocol: match proto::PortProtocol::try_from(from.protocol).ok()? {
            proto::PortProtocol::Tcp => PortProtocol::Tcp,
            proto::PortProtocol::Udp => PortProtocol::Udp,
            proto::PortProtocol::Sctp => PortProtocol::Sctp,
        },
        target: u16::try_from(from.target_port).ok()?,
        published: u16::try_from(from.published_port).ok()?,
        mode: match proto::PublishMode::try_from(from.publish_mode).ok()? {
            proto::PublishMode::Ingress => PublishMode::Ingress,
            proto::PublishMode::Host => PublishMode::Host,
        },
    })
}
