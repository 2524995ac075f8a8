//! The cluster between wire and model: settings merged as Docker merges them.

use std::time::Duration;

use skep_core::model::Sensitive;
use skep_core::model::cluster::{Cluster, ClusterSpec, ExternalCa};
use skep_core::model::node::Availability;

use crate::error::ApiError;
use crate::wire;
use crate::wire::swarm::{
    CaConfig, ClusterInfo, Dispatcher, EncryptionConfig, JoinTokens, Orchestration, Raft, Spec,
    Swarm, TaskDefaults, TlsInfo,
};

/// Shortest validity of a node certificate.
const CERT_EXPIRY_MIN: Duration = Duration::from_secs(3600);

/// Shows a cluster without its tokens.
pub fn info_to_wire(cluster: &Cluster) -> ClusterInfo {
    let pools = &cluster.address_pools;
    let (issuer_subject, issuer_public_key) = cluster.root_ca.issuer();
    ClusterInfo {
        id: cluster.id.to_string(),
        meta: cluster.meta.into(),
        spec: spec_to_wire(&cluster.spec),
        tls_info: TlsInfo {
            trust_root: cluster.root_ca.trusted_pem(),
            cert_issuer_subject: issuer_subject.to_vec(),
            cert_issuer_public_key: issuer_public_key.to_vec(),
        },
        root_rotation_in_progress: cluster.root_ca.rotation.is_some(),
        default_addr_pool: (!pools.is_empty()).then(|| pools.clone()),
        subnet_size: cluster.subnet_size,
        data_path_port: cluster.data_path_port,
    }
}

/// Shows a cluster with its tokens.
pub fn to_wire(cluster: &Cluster) -> Swarm {
    Swarm {
        info: info_to_wire(cluster),
        join_tokens: JoinTokens {
            worker: text(&cluster.tokens.worker),
            manager: text(&cluster.tokens.manager),
        },
    }
}

/// Returns a secret text.
pub fn text(secret: &Sensitive) -> String {
    String::from_utf8_lossy(&secret.0).into_owned()
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn spec_to_wire(spec: &ClusterSpec) -> Spec {
    Spec {
        name: spec.name.clone(),
        labels: spec.labels.clone(),
        orchestration: Orchestration {
            task_history_retention_limit: Some(spec.task_history_retention_limit),
        },
        raft: Raft {
            snapshot_interval: spec.snapshot_interval,
            keep_old_snapshots: Some(spec.keep_old_snapshots),
            log_entries_for_slow_followers: spec.log_entries_for_slow_followers,
            election_tick: i64::from(spec.election_tick),
            heartbeat_tick: i64::from(spec.heartbeat_tick),
        },
        dispatcher: Dispatcher { heartbeat_period: nanos(spec.heartbeat_period) },
        ca_config: CaConfig {
            node_cert_expiry: nanos(spec.node_cert_expiry),
            external_cas: spec.external_cas.iter().map(external_ca_to_wire).collect(),
            signing_ca_cert: String::new(),
            signing_ca_key: String::new(),
            force_rotate: spec.force_rotate,
        },
        task_defaults: TaskDefaults::default(),
        encryption_config: EncryptionConfig { auto_lock_managers: spec.auto_lock_managers },
    }
}

fn external_ca_to_wire(ca: &ExternalCa) -> wire::swarm::ExternalCa {
    wire::swarm::ExternalCa {
        protocol: ca.protocol.clone(),
        url: ca.url.clone(),
        options: ca.options.clone(),
        ca_cert: ca.ca_cert.clone(),
    }
}

/// Returns the spec of a new cluster: what the user gave over the defaults.
///
/// # Errors
/// Says what the spec may not hold.
pub fn spec_for_init(given: Spec) -> Result<ClusterSpec, ApiError> {
    merge(given, ClusterSpec::default())
}

/// Returns the spec of an update: what the user gave, and zero where nothing was given.
///
/// # Errors
/// Says what the spec may not hold.
pub fn spec_for_update(given: Spec) -> Result<ClusterSpec, ApiError> {
    let zero = ClusterSpec {
        task_history_retention_limit: 0,
        snapshot_interval: 0,
        log_entries_for_slow_followers: 0,
        election_tick: 0,
        heartbeat_tick: 0,
        heartbeat_period: Duration::ZERO,
        node_cert_expiry: Duration::ZERO,
        ..ClusterSpec::default()
    };
    merge(given, zero)
}

/// Puts what the user gave over `spec`; a zero keeps what is there.
fn merge(given: Spec, mut spec: ClusterSpec) -> Result<ClusterSpec, ApiError> {
    if !given.name.is_empty() && given.name != "default" {
        return Err(ApiError::bad_request("swarm spec must be named \"default\""));
    }
    if !given.labels.is_empty() {
        spec.labels = given.labels;
    }
    fn over<T: Default + PartialEq>(held: &mut T, given: T) {
        if given != T::default() {
            *held = given;
        }
    }
    let history = given.orchestration.task_history_retention_limit;
    spec.task_history_retention_limit = history.unwrap_or(spec.task_history_retention_limit);
    spec.keep_old_snapshots = given.raft.keep_old_snapshots.unwrap_or(spec.keep_old_snapshots);
    over(&mut spec.snapshot_interval, given.raft.snapshot_interval);
    over(&mut spec.log_entries_for_slow_followers, given.raft.log_entries_for_slow_followers);
    over(&mut spec.election_tick, ticks(given.raft.election_tick));
    over(&mut spec.heartbeat_tick, ticks(given.raft.heartbeat_tick));
    let heartbeat = u64::try_from(given.dispatcher.heartbeat_period).map_err(|_| {
        ApiError::invalid_argument("heartbeat time period cannot be a negative duration")
    })?;
    over(&mut spec.heartbeat_period, Duration::from_nanos(heartbeat));
    let expiry = Duration::from_nanos(u64::try_from(given.ca_config.node_cert_expiry).unwrap_or(1));
    if !expiry.is_zero() && expiry < CERT_EXPIRY_MIN {
        let text = "minimum certificate expiry time is: 1h0m0s";
        return Err(ApiError::invalid_argument(text));
    }
    over(&mut spec.node_cert_expiry, expiry);
    if given.ca_config.signing_ca_cert.is_empty() && !given.ca_config.signing_ca_key.is_empty() {
        return Err(ApiError::invalid_argument(
            "if a signing CA key is provided, the signing CA cert must also be provided",
        ));
    }
    over(&mut spec.signing_ca_cert, given.ca_config.signing_ca_cert);
    over(&mut spec.signing_ca_key, Sensitive(given.ca_config.signing_ca_key.into_bytes()));
    spec.force_rotate = given.ca_config.force_rotate;
    spec.external_cas =
        given.ca_config.external_cas.into_iter().map(external_ca).collect::<Result<_, _>>()?;
    spec.auto_lock_managers = given.encryption_config.auto_lock_managers;
    Ok(spec)
}

/// Keeps the low half of a number, as Docker does: a negative count becomes a huge one.
fn ticks(given: i64) -> u32 {
    u32::try_from(given & i64::from(u32::MAX)).unwrap_or(u32::MAX)
}

fn external_ca(ca: wire::swarm::ExternalCa) -> Result<ExternalCa, ApiError> {
    if !ca.protocol.is_empty() && !ca.protocol.eq_ignore_ascii_case("cfssl") {
        return Err(ApiError::bad_request(format!("invalid protocol: {:?}", ca.protocol)));
    }
    Ok(ExternalCa {
        protocol: "cfssl".to_owned(),
        url: ca.url,
        options: ca.options,
        ca_cert: ca.ca_cert,
    })
}

/// Reads an availability; empty is active.
///
/// # Errors
/// Refuses words that are none.
pub fn availability_or_active(word: &str) -> Result<Availability, ApiError> {
    if word.is_empty() { Ok(Availability::Active) } else { super::node::availability(word) }
}

/// Checks the pools, the subnet size and the data port of a new cluster.
///
/// # Errors
/// Says what is out of range.
pub fn check_addresses(pools: &[String], size: u32, port: u32) -> Result<(), ApiError> {
    if port != 0 && !(1024..=49151).contains(&port) {
        return Err(ApiError::internal(format!(
            "Datapath port number is not in valid range (1024-49151) : {port}"
        )));
    }
    if size > 29 {
        return Err(ApiError::internal(format!("subnet size is out of range: {size}")));
    }
    let size = if size == 0 { 24 } else { size };
    for pool in pools {
        let parsed = pool.split_once('/').and_then(|(addr, bits)| {
            let addr: std::net::IpAddr = addr.parse().ok()?;
            let bits: u32 = bits.parse().ok()?;
            (bits <= if addr.is_ipv4() { 32 } else { 128 }).then_some(bits)
        });
        match parsed {
            None => {
                return Err(ApiError::internal(format!(
                    "invalid base pool {pool}: invalid CIDR address: {pool}"
                )));
            }
            Some(bits) if size < bits => {
                return Err(ApiError::internal(format!(
                    "invalid CIDR: {pool:?}. Subnet size is too small for pool: {size}"
                )));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
