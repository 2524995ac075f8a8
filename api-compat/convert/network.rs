//! Networks between wire and model, and what a new one may hold.

use std::net::IpAddr;

use skep_core::labels::{self, Bearer};
use skep_core::model::network::{IpamConfig, IpamOptions, Network, NetworkSpec};
use skep_core::model::service::{PublishMode, Service};
use skep_core::model::task::TaskState;
use skep_core::model::{Annotations, Driver};
use skep_core::state::State;

use crate::error::{ApiError, Code};
use crate::json::Wording;
use crate::wire;
use crate::wire::network::{ConfigFrom, Ipam, NetworkCreateRequest, NetworkService, NetworkTask};
use crate::wire::time::Time;

/// Label that only built-in networks carry.
const PREDEFINED_LABEL: &str = "com.docker.swarm.predefined";

/// Longest name of a network.
const NAME_CHARS_MAX: usize = 63;

/// Shows a network as the cluster knows it.
pub fn to_wire(network: &Network) -> wire::network::Network {
    let spec = &network.spec;
    let allocated = network.allocation.as_ref();
    // Built-in networks have nothing to be allocated.
    let built_in = spec.driver.as_ref().filter(|_| spec.predefined);
    let driver = allocated.map(|allocation| &allocation.driver).or(built_in);
    let labels = &spec.annotations.labels;
    wire::network::Network {
        name: spec.annotations.name.clone(),
        id: network.id.to_string(),
        created: Time(network.meta.created_at),
        scope: "swarm",
        driver: driver.map(|driver| driver.name.clone()).unwrap_or_default(),
        enable_ipv4: Some(true),
        enable_ipv6: spec.ipv6,
        ipam: allocated.map(|allocation| ipam_to_wire(&allocation.ipam)).unwrap_or_default(),
        internal: spec.internal,
        attachable: spec.attachable,
        ingress: spec.ingress,
        config_from: ConfigFrom { network: spec.config_from.clone().unwrap_or_default() },
        config_only: false,
        containers: None,
        options: driver.map(|driver| driver.options.clone()),
        labels: (!labels.is_empty()).then(|| labels.clone()),
        services: None,
    }
}

fn ipam_to_wire(ipam: &IpamOptions) -> Ipam {
    let name = if ipam.driver.name.is_empty() { "default" } else { &ipam.driver.name };
    let mut options = ipam.driver.options.clone();
    if !options.is_empty() {
        // Docker's allocator leaves this mark where it was given options.
        options.insert("com.docker.network.ipam.serial".to_owned(), "true".to_owned());
    }
    Ipam {
        driver: name.to_owned(),
        options: (!options.is_empty()).then_some(options),
        config: Some(
            ipam.configs
                .iter()
                .map(|config| wire::network::IpamConfig {
                    subnet: config.subnet.clone(),
                    ip_range: config.range.clone(),
                    gateway: config.gateway.clone(),
                    auxiliary_addresses: Default::default(),
                })
                .collect(),
        ),
    }
}

/// Shows the services on a network and where their tasks run. `endpoint` finds the endpoint of a container of this node.
pub fn services_to_wire(
    state: &State,
    network: &Network,
    endpoint: impl Fn(&str) -> String,
) -> std::collections::BTreeMap<String, NetworkService> {
    let mut services = std::collections::BTreeMap::new();
    for service in state.services().values() {
        let tasks: Vec<NetworkTask> = state
            .service_tasks(&service.id)
            .filter(|task| task.status.state == TaskState::Running)
            .filter_map(|task| {
                let joined = task.networks.iter().find(|at| at.network.id == network.id)?;
                let (addr, _) = joined.addresses.first()?;
                let node = task.node.as_ref().and_then(|node| state.nodes().get(node));
                let container = task.status.container.as_ref();
                let host = node.map(|node| node.status.addr.clone()).unwrap_or_default();
                Some(NetworkTask {
                    name: task.name(),
                    endpoint_id: container.map(|held| endpoint(&held.id)).unwrap_or_default(),
                    endpoint_ip: addr.to_string(),
                    info: [("Host IP", host)].into(),
                })
            })
            .collect();
        let vips = service.endpoint.iter().flat_map(|endpoint| &endpoint.virtual_ips);
        let vip =
            vips.filter(|vip| vip.network == network.id).map(|vip| vip.addr.to_string()).next();
        if vip.is_none() && tasks.is_empty() {
            continue;
        }
        services.insert(
            service.spec.annotations.name.clone(),
            NetworkService {
                vip: vip.unwrap_or_else(|| "<nil>".to_owned()),
                ports: if network.spec.ingress { published(service) } else { Vec::new() },
                local_lb_index: 0,
                tasks,
            },
        );
    }
    services
}

/// Says what a service publishes through the routing mesh.
fn published(service: &Service) -> Vec<String> {
    let ports = service.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    ports
        .filter(|port| port.mode == PublishMode::Ingress)
        .map(|port| format!("Target: {}, Publish: {}", port.target, port.published))
        .collect()
}

/// Reads the spec of a new network.
///
/// # Errors
/// Says what it may not hold.
pub fn spec_from_wire(
    request: NetworkCreateRequest,
    wording: Wording,
) -> Result<NetworkSpec, ApiError> {
    check(&request, wording)?;
    let bearer = if request.ingress { Bearer::Mesh } else { Bearer::Network };
    labels::check(bearer, &request.labels).map_err(|e| ApiError::bad_request(e.to_string()))?;
    let ipam = request.ipam.map(|ipam| IpamOptions {
        driver: Driver { name: ipam.driver, options: ipam.options.unwrap_or_default() },
        configs: ipam
            .config
            .unwrap_or_default()
            .into_iter()
            .map(|config| IpamConfig {
                subnet: config.subnet,
                range: config.ip_range,
                gateway: config.gateway,
                reserved: config.auxiliary_addresses,
            })
            .collect(),
    });
    let driver = Driver { name: "overlay".to_owned(), options: request.options };
    Ok(NetworkSpec {
        annotations: Annotations { name: request.name, labels: request.labels },
        driver: Some(driver),
        ipv6: request.enable_ipv6.unwrap_or(false),
        internal: request.internal,
        attachable: request.attachable,
        ingress: request.ingress,
        ipam,
        config_from: request.config_from.map(|from| from.network).filter(|name| !name.is_empty()),
        predefined: false,
    })
}

fn check(request: &NetworkCreateRequest, wording: Wording) -> Result<(), ApiError> {
    if request.enable_ipv4 == Some(false) {
        return Err(ApiError::bad_request("IPv4 cannot be disabled in a Swarm scoped network"));
    }
    if let Some(ipam) = &request.ipam {
        match wording {
            Wording::Current => check_ipam(ipam, request.enable_ipv6.unwrap_or(false))?,
            Wording::Old => check_ipam_as_before(ipam)?,
        }
    }
    check_name(&request.name)?;
    let ipam_driver = request.ipam.as_ref().map_or("", |ipam| ipam.driver.as_str());
    if !matches!(ipam_driver, "" | "default") {
        let text = format!("error during lookup of plugin {ipam_driver}");
        return Err(ApiError::invalid_argument(text));
    }
    if request.labels.contains_key(PREDEFINED_LABEL) {
        let text = format!(
            "label {PREDEFINED_LABEL} is for internally created predefined networks and cannot be applied by users"
        );
        return Err(ApiError::rpc(Code::PermissionDenied, text));
    }
    if request.ingress && request.attachable {
        return Err(ApiError::invalid_argument("ingress network cannot be attachable"));
    }
    if !request.driver.is_empty() && request.driver != "overlay" {
        if request.ingress {
            let text = "only overlay driver is currently supported for ingress network";
            return Err(ApiError::rpc(Code::Unimplemented, text));
        }
        return Err(ApiError::invalid_argument(format!("plugin {} not supported", request.driver)));
    }
    Ok(())
}

/// Checks that a name can stand in DNS.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_name(name: &str) -> Result<(), ApiError> {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.is_empty() {
        return Err(ApiError::invalid_argument("name must be provided"));
    }
    if !name.bytes().all(inner) || !ends(name.bytes().next()) || !ends(name.bytes().last()) {
        return Err(ApiError::invalid_argument("name must be valid as a DNS name component"));
    }
    if name.len() > NAME_CHARS_MAX {
        return Err(ApiError::invalid_argument("name must be 63 characters or fewer"));
    }
    Ok(())
}

/// A subnet as written: the address keeps its host bits.
#[derive(Clone, Copy)]
struct Prefix {
    addr: IpAddr,
    bits: u8,
}

impl Prefix {
    fn parse(text: &str) -> Option<Self> {
        let (addr, bits) = text.split_once('/')?;
        let addr: IpAddr = addr.parse().ok()?;
        let bits: u8 = bits.parse().ok()?;
        (bits <= if addr.is_ipv4() { 32 } else { 128 }).then_some(Self { addr, bits })
    }

    fn masked(self) -> Self {
        let addr = match self.addr {
            IpAddr::V4(addr) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4((addr.to_bits() & mask).into())
            }
            IpAddr::V6(addr) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6((addr.to_bits() & mask).into())
            }
        };
        Self { addr, bits: self.bits }
    }

    fn contains(self, addr: IpAddr) -> bool {
        addr.is_ipv4() == self.addr.is_ipv4()
            && Self { addr, bits: self.bits }.masked().addr == self.masked().addr
    }

    fn text(self) -> String {
        format!("{}/{}", self.addr, self.bits)
    }
}

/// Checks subnets, ranges and addresses, and names everything wrong at once, as Docker does.
fn check_ipam(ipam: &Ipam, ipv6: bool) -> Result<(), ApiError> {
    let mut wrong = Vec::new();
    for config in ipam.config.iter().flatten() {
        let Some(subnet) = Prefix::parse(&config.subnet) else {
            wrong.push(format!("invalid subnet {}: invalid CIDR block notation", config.subnet));
            continue;
        };
        if subnet.addr.is_ipv6() && !ipv6 {
            continue;
        }
        if subnet.masked().addr != subnet.addr {
            let should = subnet.masked().text();
            wrong.push(format!("invalid subnet {}: it should be {should}", subnet.text()));
        }
        wrong.extend(check_range(&config.ip_range, subnet));
        if let Some(text) = check_address(&config.gateway, subnet) {
            wrong.push(format!("invalid gateway {}: {text}", config.gateway));
        }
        for (name, addr) in &config.auxiliary_addresses {
            if let Some(text) = check_address(addr, subnet) {
                wrong.push(format!("invalid auxiliary address {name}: {text}"));
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("invalid network config:\n{}", wrong.join("\n"))))
}

/// Checks what engines before API 1.42 check, which stop at the first finding.
fn check_ipam_as_before(ipam: &Ipam) -> Result<(), ApiError> {
    let refuse =
        |text: String| Err(ApiError::invalid_argument(format!("ipam configuration: {text}")));
    for config in ipam.config.iter().flatten() {
        let given = &config.subnet;
        if Prefix::parse(given).is_none() {
            let text = format!("Invalid subnet {given} : invalid CIDR address: {given}");
            return Err(ApiError::internal(text));
        }
    }
    for config in ipam.config.iter().flatten() {
        let Some(subnet) = Prefix::parse(&config.subnet) else { continue };
        let (shown, range) = (subnet.masked().text(), &config.ip_range);
        if !range.is_empty() {
            let Some(parsed) = Prefix::parse(range) else {
                return refuse(format!("invalid range {range}"));
            };
            if !subnet.contains(parsed.addr) {
                return refuse(format!("subnet {shown} does not contain range {range}"));
            }
        }
        if !config.gateway.is_empty() {
            let Ok(gateway) = config.gateway.parse::<IpAddr>() else {
                return refuse(format!("invalid gateway {}", config.gateway));
            };
            if !subnet.contains(gateway) {
                let gateway = &config.gateway;
                return refuse(format!("subnet {shown} does not contain gateway {gateway}"));
            }
        }
    }
    Ok(())
}

const fn family(addr: IpAddr) -> &'static str {
    if addr.is_ipv4() { "parent subnet is an IPv4 block" } else { "parent subnet is an IPv6 block" }
}

fn check_range(text: &str, subnet: Prefix) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let Some(range) = Prefix::parse(text) else {
        return Some(format!("invalid ip-range {text}: invalid CIDR block notation"));
    };
    let shown = range.text();
    if range.addr.is_ipv4() != subnet.addr.is_ipv4() {
        return Some(format!("invalid ip-range {shown}: {}", family(subnet.addr)));
    }
    if range.bits < subnet.bits {
        let parent = subnet.text();
        return Some(format!(
            "invalid ip-range {shown}: CIDR block is bigger than its parent subnet {parent}"
        ));
    }
    if range.masked().addr != range.addr {
        return Some(format!("invalid ip-range {shown}: it should be {}", range.masked().text()));
    }
    (!subnet.contains(range.addr)).then(|| {
        format!(
            "invalid ip-range {shown}: parent subnet {} doesn't contain ip-range",
            subnet.text()
        )
    })
}

fn check_address(text: &str, subnet: Prefix) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let Ok(addr) = text.parse::<IpAddr>() else { return Some("invalid address".to_owned()) };
    if addr.is_ipv4() != subnet.addr.is_ipv4() {
        return Some(family(subnet.addr).to_owned());
    }
    (!subnet.contains(addr))
        .then(|| format!("parent subnet {} doesn't contain this address", subnet.text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_subnet(subnet: &str, range: &str, gateway: &str) -> Result<(), String> {
        let config = wire::network::IpamConfig {
            subnet: subnet.into(),
            ip_range: range.into(),
            gateway: gateway.into(),
            auxiliary_addresses: Default::default(),
        };
        let ipam = Ipam { config: Some(vec![config]), ..Ipam::default() };
        check_ipam(&ipam, false).map_err(|error| error.message)
    }

    #[test]
    fn subnets_are_checked() {
        assert_eq!(check_subnet("10.93.0.0/24", "10.93.0.128/25", "10.93.0.1"), Ok(()));
        for (subnet, range, gateway, text) in [
            ("nonsense", "", "", "invalid subnet nonsense: invalid CIDR block notation"),
            ("10.0.0.1/24", "", "", "invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24"),
            (
                "10.0.0.0/24",
                "10.0.0.0/16",
                "",
                "invalid ip-range 10.0.0.0/16: CIDR block is bigger than its parent subnet 10.0.0.0/24",
            ),
            (
                "10.0.0.0/24",
                "",
                "10.9.0.1",
                "invalid gateway 10.9.0.1: parent subnet 10.0.0.0/24 doesn't contain this address",
            ),
        ] {
            let expected = format!("invalid network config:\n{text}");
            assert_eq!(check_subnet(subnet, range, gateway), Err(expected));
        }
    }

    #[test]
    fn names_must_fit_dns() {
        assert_eq!(check_name("my_net-1"), Ok(()));
        for bad in ["bad name", "-x", "x-", "a.b"] {
            let text = "rpc error: code = InvalidArgument desc = name must be valid as a DNS name component";
            assert_eq!(check_name(bad).expect_err(bad).message, text);
        }
        assert!(check_name(&"x".repeat(64)).is_err());
    }
}
