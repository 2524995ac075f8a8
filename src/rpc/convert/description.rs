//! What a node tells of itself, bounded.

use skep_core::model::Labels;
use skep_core::model::node::{
    Availability, GenericResource, HOST_ADDRESSES_MAX, NodeDescription, Role,
};
use skep_core::model::tunnel_key::TunnelKey;
use skep_core::net::cidr::Cidr;

use super::super::proto::{self, generic_resource::Resource};
use super::WireError;

const TEXT_BYTES_MAX: usize = 4096;
const LIST_MAX: usize = 1024;

/// Largest packets that a link may have: from what IPv6 asks of each (RFC 8200 section 5) to what IP can say.
const UNDERLAY_MTUS: std::ops::RangeInclusive<u32> = 1280..=65_535;

const ROOTS_BYTES_MAX: usize = 256 << 10;

/// Reads a node's description.
///
/// # Errors
/// When a part is larger than any honest one.
pub fn description(from: &proto::NodeDescription) -> Result<NodeDescription, WireError> {
    let platform = from.platform.clone().unwrap_or_default();
    let resources = from.resources.clone().unwrap_or_default();
    let engine = from.engine.clone().unwrap_or_default();
    let tls = from.tls_info.clone().unwrap_or_default();
    let skep = from.skep.clone().unwrap_or_default();
    if engine.plugins.len() > LIST_MAX || resources.generic.len() > LIST_MAX {
        return Err(WireError::TooLarge("the node's description"));
    }
    let mut plugins = Vec::with_capacity(engine.plugins.len());
    for plugin in engine.plugins {
        plugins.push((text(plugin.r#type, "a plugin")?, text(plugin.name, "a plugin")?));
    }
    plugins.sort();
    if tls.trust_root.len() > ROOTS_BYTES_MAX {
        return Err(WireError::TooLarge("the trusted root"));
    }
    let told = from.skep.is_some().then_some((skep.api_major, skep.api_minor));
    Ok(NodeDescription {
        engine_api: told.or_else(|| api_of(&engine.engine_version)),
        host_subnets: subnets(skep.host_subnets)?,
        host_addresses: skep
            .host_addresses
            .iter()
            .take(HOST_ADDRESSES_MAX)
            .filter_map(|addr| addr.parse().ok())
            .collect(),
        data_path: skep.data_path.parse().ok(),
        underlay_mtu: Some(skep.underlay_mtu).filter(|mtu| UNDERLAY_MTUS.contains(mtu)),
        tunnel_key: TunnelKey::read(&skep.tunnel_key),
        hostname: text(from.hostname.clone(), "the host name")?,
        architecture: text(platform.architecture, "the platform")?,
        os: text(platform.os, "the platform")?,
        nano_cpus: resources.nano_cpus.max(0),
        memory_bytes: resources.memory_bytes.max(0),
        generic_resources: resources.generic.into_iter().filter_map(generic).collect(),
        engine_version: text(engine.engine_version, "the engine's version")?,
        engine_labels: labels(engine.labels)?,
        plugins,
        trust_root_pem: String::from_utf8_lossy(&tls.trust_root).into_owned(),
        issuer_subject: bytes(tls.cert_issuer_subject)?,
        issuer_public_key: bytes(tls.cert_issuer_public_key)?,
    })
}

/// Builds what this node tells of itself.
pub fn wire_description(from: &NodeDescription) -> proto::NodeDescription {
    let plugin = |(kind, name): &(String, String)| proto::PluginDescription {
        r#type: kind.clone(),
        name: name.clone(),
    };
    let skep = from.engine_api.map(|(api_major, api_minor)| proto::SkepDescription {
        api_major,
        api_minor,
        host_subnets: from.host_subnets.clone(),
        host_addresses: from.host_addresses.iter().map(ToString::to_string).collect(),
        data_path: from.data_path.map(|addr| addr.to_string()).unwrap_or_default(),
        underlay_mtu: from.underlay_mtu.unwrap_or_default(),
        tunnel_key: from.tunnel_key.map(|key| key.0.to_vec()).unwrap_or_default(),
    });
    proto::NodeDescription {
        hostname: from.hostname.clone(),
        platform: Some(proto::Platform {
            architecture: from.architecture.clone(),
            os: from.os.clone(),
        }),
        resources: Some(proto::Resources {
            nano_cpus: from.nano_cpus,
            memory_bytes: from.memory_bytes,
            generic: from.generic_resources.iter().map(wire_generic).collect(),
        }),
        engine: Some(proto::EngineDescription {
            engine_version: from.engine_version.clone(),
            labels: from.engine_labels.clone(),
            plugins: from.plugins.iter().map(plugin).collect(),
        }),
        tls_info: Some(proto::NodeTlsInfo {
            trust_root: from.trust_root_pem.clone().into_bytes(),
            cert_issuer_subject: from.issuer_subject.clone(),
            cert_issuer_public_key: from.issuer_public_key.clone(),
        }),
        fips: false,
        skep,
    }
}

/// A subnet that cannot be read is no subnet to keep clear of.
fn subnets(from: Vec<String>) -> Result<Vec<String>, WireError> {
    if from.len() > LIST_MAX {
        return Err(WireError::TooLarge("the host's subnets"));
    }
    Ok(from.into_iter().filter(|subnet| subnet.parse::<Cidr>().is_ok()).collect())
}

/// Returns the API of an engine's release: nodes tell their engine's version alone. What the protocol can say to an engine
/// grew with it.
fn api_of(engine_version: &str) -> Option<(u32, u32)> {
    let release: u32 = engine_version.split('.').next()?.parse().ok()?;
    let minor = match release {
        0..20 => 40,
        20..23 => 41,
        23 => 42,
        24 => 43,
        25 => 44,
        26 => 45,
        27 => 46,
        28.. => 48,
    };
    Some((1, minor))
}

/// Reads a role.
///
/// # Errors
/// When it is none.
pub fn role_of(from: i32) -> Result<Role, WireError> {
    match proto::NodeRole::try_from(from) {
        Ok(proto::NodeRole::Worker) => Ok(Role::Worker),
        Ok(proto::NodeRole::Manager) => Ok(Role::Manager),
        Err(_) => Err(WireError::Invalid("the role")),
    }
}

/// Reads an availability.
///
/// # Errors
/// When it is none.
pub fn availability_of(from: i32) -> Result<Availability, WireError> {
    match proto::NodeAvailability::try_from(from) {
        Ok(proto::NodeAvailability::Active) => Ok(Availability::Active),
        Ok(proto::NodeAvailability::Pause) => Ok(Availability::Pause),
        Ok(proto::NodeAvailability::Drain) => Ok(Availability::Drain),
        Err(_) => Err(WireError::Invalid("the availability")),
    }
}

fn text(from: String, what: &'static str) -> Result<String, WireError> {
    if from.len() > TEXT_BYTES_MAX { Err(WireError::TooLarge(what)) } else { Ok(from) }
}

fn bytes(from: Vec<u8>) -> Result<Vec<u8>, WireError> {
    let fits = from.len() <= TEXT_BYTES_MAX;
    if fits { Ok(from) } else { Err(WireError::TooLarge("the certificate's issuer")) }
}

fn labels(from: Labels) -> Result<Labels, WireError> {
    let fits = |(key, value): (&String, &String)| key.len() + value.len() <= TEXT_BYTES_MAX;
    if from.len() > LIST_MAX || !from.iter().all(fits) {
        return Err(WireError::TooLarge("the engine's labels"));
    }
    Ok(from)
}

fn generic(from: proto::GenericResource) -> Option<GenericResource> {
    let short = |kind: &str| kind.len() <= TEXT_BYTES_MAX;
    match from.resource? {
        Resource::Named(it) if short(&it.kind) && short(&it.value) => {
            Some(GenericResource::Named { kind: it.kind, value: it.value })
        }
        Resource::Discrete(it) if short(&it.kind) => {
            Some(GenericResource::Discrete { kind: it.kind, value: it.value })
        }
        Resource::Named(_) | Resource::Discrete(_) => None,
    }
}

fn wire_generic(from: &GenericResource) -> proto::GenericResource {
    let resource = match from.clone() {
        GenericResource::Named { kind, value } => {
            Resource::Named(proto::NamedGenericResource { kind, value })
        }
        GenericResource::Discrete { kind, value } => {
            Resource::Discrete(proto::DiscreteGenericResource { kind, value })
        }
    };
    proto::GenericResource { resource: Some(resource) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_skep_tells_of_itself_arrives_whole() {
        let told = NodeDescription {
            hostname: "h1".to_owned(),
            architecture: "x86_64".to_owned(),
            os: "linux".to_owned(),
            nano_cpus: 2_000_000_000,
            memory_bytes: 1 << 30,
            generic_resources: vec![
                GenericResource::Discrete { kind: "gpu".to_owned(), value: 3 },
                GenericResource::Named { kind: "ssd".to_owned(), value: "a".to_owned() },
            ],
            engine_version: "28.5.2".to_owned(),
            engine_api: Some((1, 47)),
            host_subnets: vec!["10.1.0.0/16".to_owned()],
            host_addresses: vec!["2001:db8::1".parse().expect("it is one")],
            data_path: Some([192, 0, 2, 9].into()),
            underlay_mtu: Some(1400),
            tunnel_key: Some(TunnelKey([9; 32])),
            engine_labels: [("rack".to_owned(), "r1".to_owned())].into(),
            plugins: vec![("Network".to_owned(), "bridge".to_owned())],
            trust_root_pem: "pem".to_owned(),
            issuer_subject: vec![1, 2],
            issuer_public_key: vec![3],
        };
        assert_eq!(description(&wire_description(&told)), Ok(told));
    }
}
