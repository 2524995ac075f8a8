//! Makes containers from plans.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigIsolationEnum, HostConfigLogConfig, Mount, MountBindOptions,
    MountBindOptionsPropagationEnum, MountImageOptions, MountTmpfsOptions, MountType,
    MountVolumeOptions, MountVolumeOptionsDriverConfig, NetworkConnectRequest, NetworkingConfig,
    PortBinding, ResourcesUlimits,
};
use bollard::query_parameters::{CreateContainerOptions, ListContainersOptions};
use skep_core::agent::container::{FileMount, TASK_ID_LABEL};
use skep_core::agent::network::NetworkJoin;
use skep_core::agent::{ContainerPlan, Networking};
use skep_core::model::container::{self, Healthcheck, MountKind};
use skep_core::model::service::{PortConfig, PortProtocol};

use super::{DockerEngine, label_filter};
use crate::engine::{EngineError, Made};

/// First API version in which a container is made with several endpoints, each with a hardware address. An endpoint
/// that is connected later gets a random one.
const ENDPOINTS_SINCE: (usize, usize) = (1, 44);

impl DockerEngine {
    /// Makes the container and joins its networks; one that could not join all of them does not stay.
    pub(super) async fn create_container(&self, plan: &ContainerPlan) -> Result<Made, EngineError> {
        let client = self.client().await?;
        let version = client.client_version();
        let all = (version.major_version, version.minor_version) >= ENDPOINTS_SINCE;
        let options =
            CreateContainerOptions { name: Some(plan.name.clone()), ..Default::default() };
        let id = match client.create_container(Some(options), body(plan, all)).await {
            Ok(made) => made.id,
            Err(error) => {
                let error = self.failed(error);
                if !error.is_conflict() {
                    return Err(error);
                }
                let id = self.existing(plan).await?.ok_or(error)?;
                return Ok(Made { id, existed: true });
            }
        };
        let Networking::Joined(joins) = &plan.networking else {
            return Ok(Made { id, existed: false });
        };
        for join in joins.iter().skip(if all { joins.len() } else { 1 }) {
            let request = NetworkConnectRequest {
                container: id.clone(),
                endpoint_config: Some(endpoint(join, false)),
            };
            if let Err(error) = client.connect_network(&join.network, request).await {
                let error = self.failed(error);
                // What fails here is told by the first error; the name conflict of a retry would find the rest.
                let _ = crate::engine::Engine::remove(self, &id).await;
                return Err(error);
            }
        }
        Ok(Made { id, existed: false })
    }

    /// Finds the container of the plan's task under the plan's name.
    async fn existing(&self, plan: &ContainerPlan) -> Result<Option<String>, EngineError> {
        let Some(task) = plan.labels.get(TASK_ID_LABEL) else { return Ok(None) };
        let mut filters = label_filter(TASK_ID_LABEL, task);
        filters.insert("name".to_owned(), vec![format!("^/{}$", plan.name)]);
        let options =
            ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        let found = self.client().await?.list_containers(Some(options)).await;
        let found = found.map_err(|error| self.failed(error))?;
        Ok(found.into_iter().find_map(|container| container.id))
    }

    /// Tells whether a container has a terminal, whose output is not split into streams.
    pub(super) async fn has_tty(&self, container: &str) -> Result<bool, EngineError> {
        let found = self.client().await?.inspect_container(container, None).await;
        let found = found.map_err(|error| self.failed(error))?;
        Ok(found.config.and_then(|config| config.tty).unwrap_or_default())
    }
}

/// Returns the text unless it is empty.
fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

/// Returns the list unless it is empty.
fn list(values: &[String]) -> Option<Vec<String>> {
    (!values.is_empty()).then(|| values.to_vec())
}

/// `all` puts all endpoints into the body, each with its hardware address, rather than only the first.
fn body(plan: &ContainerPlan, all: bool) -> ContainerCreateBody {
    let joins = match &plan.networking {
        Networking::Joined(joins) => joins.as_slice(),
        Networking::Default | Networking::Host => &[],
    };
    let joins = &joins[..joins.len().min(if all { usize::MAX } else { 1 })];
    let endpoints: HashMap<String, EndpointSettings> =
        joins.iter().map(|join| (join.network.clone(), endpoint(join, all))).collect();
    let ports: Vec<String> = plan.ports.iter().map(port_key).collect();
    ContainerCreateBody {
        image: Some(plan.image.clone()),
        labels: Some(plan.labels.clone().into_iter().collect()),
        entrypoint: list(&plan.entrypoint),
        cmd: list(&plan.cmd),
        env: list(&plan.env),
        hostname: text(&plan.hostname),
        working_dir: text(&plan.dir),
        user: text(&plan.user),
        tty: Some(plan.tty),
        open_stdin: Some(plan.open_stdin),
        stop_signal: text(&plan.stop_signal),
        stop_timeout: plan.stop_timeout_seconds,
        healthcheck: plan.healthcheck.as_ref().map(healthcheck),
        exposed_ports: (!ports.is_empty()).then_some(ports),
        networking_config: (!endpoints.is_empty())
            .then_some(NetworkingConfig { endpoints_config: Some(endpoints) }),
        host_config: Some(host_config(plan)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(plan: &ContainerPlan) -> HostConfig {
    let limit = |value: i64| (value != 0).then_some(value);
    let network_mode = match &plan.networking {
        Networking::Default => None,
        Networking::Host => Some("host".to_owned()),
        Networking::Joined(joins) => joins.first().map(|join| join.network.clone()),
    };
    let mounts: Vec<Mount> =
        plan.mounts.iter().map(mount).chain(plan.files.iter().map(file_mount)).collect();
    let isolation = match plan.isolation.as_str() {
        "default" => Some(HostConfigIsolationEnum::DEFAULT),
        "process" => Some(HostConfigIsolationEnum::PROCESS),
        "hyperv" => Some(HostConfigIsolationEnum::HYPERV),
        _ => None,
    };
    HostConfig {
        network_mode,
        mounts: (!mounts.is_empty()).then_some(mounts),
        nano_cpus: limit(plan.nano_cpus),
        memory: limit(plan.memory_bytes),
        memory_swap: plan.memory_swap_bytes,
        memory_swappiness: plan.memory_swappiness,
        pids_limit: limit(plan.pids),
        oom_score_adj: limit(plan.oom_score_adj),
        ulimits: Some(ulimits(plan)),
        sysctls: (!plan.sysctls.is_empty()).then(|| plan.sysctls.clone().into_iter().collect()),
        cap_add: list(&plan.capability_add),
        cap_drop: list(&plan.capability_drop),
        group_add: list(&plan.groups),
        security_opt: list(&plan.security_options),
        readonly_rootfs: Some(plan.read_only),
        init: plan.init,
        isolation,
        dns: list(&plan.dns.nameservers),
        dns_search: list(&plan.dns.search),
        dns_options: list(&plan.dns.options),
        extra_hosts: list(&plan.extra_hosts),
        log_config: plan.log_driver.as_ref().map(|driver| HostConfigLogConfig {
            typ: text(&driver.name),
            config: Some(driver.options.clone().into_iter().collect()),
        }),
        port_bindings: Some(port_bindings(&plan.ports)),
        ..HostConfig::default()
    }
}

fn ulimits(plan: &ContainerPlan) -> Vec<ResourcesUlimits> {
    let one = |limit: &container::Ulimit| ResourcesUlimits {
        name: Some(limit.name.clone()),
        soft: Some(limit.soft),
        hard: Some(limit.hard),
    };
    plan.ulimits.iter().map(one).collect()
}

fn port_key(port: &PortConfig) -> String {
    let protocol = match port.protocol {
        PortProtocol::Tcp => "tcp",
        PortProtocol::Udp => "udp",
        PortProtocol::Sctp => "sctp",
    };
    format!("{}/{protocol}", port.target)
}

fn port_bindings(ports: &[PortConfig]) -> HashMap<String, Option<Vec<PortBinding>>> {
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in ports {
        let number = if port.published == 0 { String::new() } else { port.published.to_string() };
        let binding = PortBinding { host_ip: None, host_port: Some(number) };
        bindings.entry(port_key(port)).or_default().get_or_insert_default().push(binding);
    }
    bindings
}

fn endpoint(join: &NetworkJoin, macs: bool) -> EndpointSettings {
    let fixed = join.ipv4.is_some() || join.ipv6.is_some();
    EndpointSettings {
        ipam_config: fixed.then(|| EndpointIpamConfig {
            ipv4_address: join.ipv4.map(|address| address.to_string()),
            ipv6_address: join.ipv6.map(|address| address.to_string()),
            link_local_ips: None,
        }),
        mac_address: join.mac.clone().filter(|_| macs),
        driver_opts: (!join.driver_options.is_empty())
            .then(|| join.driver_options.clone().into_iter().collect()),
        ..EndpointSettings::default()
    }
}

fn healthcheck(check: &Healthcheck) -> HealthConfig {
    let nanos = |time: std::time::Duration| {
        let nanos = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        (nanos != 0).then_some(nanos)
    };
    HealthConfig {
        test: list(&check.test),
        interval: nanos(check.interval),
        timeout: nanos(check.timeout),
        retries: (check.retries != 0).then(|| i64::from(check.retries)),
        start_period: nanos(check.start_period),
        start_interval: nanos(check.start_interval),
    }
}

fn file_mount(file: &FileMount) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(file.source.clone()),
        target: Some(file.target.clone()),
        read_only: Some(true),
        ..Mount::default()
    }
}

fn mount(mount: &container::Mount) -> Mount {
    let typ = match mount.kind {
        MountKind::Bind => MountType::BIND,
        MountKind::Volume => MountType::VOLUME,
        MountKind::Tmpfs => MountType::TMPFS,
        MountKind::NamedPipe => MountType::NPIPE,
        MountKind::Cluster => MountType::CLUSTER,
        MountKind::Image => MountType::IMAGE,
    };
    Mount {
        typ: Some(typ),
        source: text(&mount.source),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        bind_options: mount.bind.as_ref().map(bind_options),
        volume_options: mount.volume.as_ref().map(volume_options),
        image_options: mount
            .image
            .as_ref()
            .map(|options| MountImageOptions { subpath: text(&options.subpath) }),
        tmpfs_options: mount.tmpfs.as_ref().map(|options| MountTmpfsOptions {
            size_bytes: (options.size_bytes != 0).then_some(options.size_bytes),
            mode: (options.mode != 0).then(|| i64::from(options.mode)),
            options: (!options.options.is_empty()).then(|| options.options.clone()),
        }),
        ..Mount::default()
    }
}

/// Options that old engines do not know are left out unless asked for.
fn bind_options(options: &container::BindOptions) -> MountBindOptions {
    let propagation = match options.propagation.as_str() {
        "private" => Some(MountBindOptionsPropagationEnum::PRIVATE),
        "rprivate" => Some(MountBindOptionsPropagationEnum::RPRIVATE),
        "shared" => Some(MountBindOptionsPropagationEnum::SHARED),
        "rshared" => Some(MountBindOptionsPropagationEnum::RSHARED),
        "slave" => Some(MountBindOptionsPropagationEnum::SLAVE),
        "rslave" => Some(MountBindOptionsPropagationEnum::RSLAVE),
        _ => None,
    };
    let flag = |set: bool| set.then_some(true);
    MountBindOptions {
        propagation,
        non_recursive: flag(options.non_recursive),
        create_mountpoint: flag(options.create_mountpoint),
        read_only_non_recursive: flag(options.read_only_non_recursive),
        read_only_force_recursive: flag(options.read_only_force_recursive),
    }
}

fn volume_options(options: &container::VolumeOptions) -> MountVolumeOptions {
    MountVolumeOptions {
        no_copy: options.no_copy.then_some(true),
        labels: (!options.labels.is_empty()).then(|| options.labels.clone().into_iter().collect()),
        driver_config: options.driver.as_ref().map(|driver| MountVolumeOptionsDriverConfig {
            name: text(&driver.name),
            options: (!driver.options.is_empty())
                .then(|| driver.options.clone().into_iter().collect()),
        }),
        subpath: text(&options.subpath),
    }
}
