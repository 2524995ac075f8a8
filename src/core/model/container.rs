//! What a service's tasks run: the part of a spec that becomes a container.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Driver, Labels};
use crate::id::{ConfigId, SecretId};
use crate::time::option_nanos;

/// The container part of a task spec (contract objects.md section 4).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Image reference exactly as sent.
    pub image: String,
    /// Labels of the container.
    pub labels: Labels,
    /// Replaces the image's entrypoint.
    pub command: Vec<String>,
    /// Arguments.
    pub args: Vec<String>,
    /// Host name, may hold a template.
    pub hostname: String,
    /// `NAME=value`, values may hold templates.
    pub env: Vec<String>,
    /// Working directory.
    pub dir: String,
    /// `user[:group]`.
    pub user: String,
    /// Further groups.
    pub groups: Vec<String>,
    /// Security settings.
    pub privileges: Option<Privileges>,
    /// Whether an init process runs; `None` leaves it to the engine.
    pub init: Option<bool>,
    /// Signal that asks the container to stop.
    pub stop_signal: String,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its standard input stays open.
    pub open_stdin: bool,
    /// Whether its root file system is read-only.
    pub read_only: bool,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Time between the stop signal and the kill.
    #[serde(with = "option_nanos")]
    pub stop_grace_period: Option<Duration>,
    /// Health check.
    pub healthcheck: Option<Healthcheck>,
    /// Entries of /etc/hosts, `IP name [alias]`.
    pub hosts: Vec<String>,
    /// Name resolution; `Some` also when sent empty.
    pub dns: Option<DnsConfig>,
    /// Secrets to mount.
    pub secrets: Vec<SecretReference>,
    /// Configs to mount.
    pub configs: Vec<ConfigReference>,
    /// Isolation technology, lower case; `default` when not given.
    pub isolation: String,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Capabilities added.
    pub capability_add: Vec<String>,
    /// Capabilities removed.
    pub capability_drop: Vec<String>,
    /// Resource limits of the process.
    pub ulimits: Vec<Ulimit>,
    /// Adjustment of the kernel's out-of-memory score.
    pub oom_score_adj: i64,
}

/// Security settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Privileges {
    /// Credential spec of managed service accounts.
    pub credential_spec: Option<CredentialSpec>,
    /// SELinux labels.
    pub selinux: Option<SelinuxContext>,
    /// System call filter.
    pub seccomp: Option<Seccomp>,
    /// AppArmor mode, `default` or `disabled`.
    pub apparmor: Option<String>,
    /// Whether privileges can be gained.
    pub no_new_privileges: bool,
}

/// Where a credential spec lies; exactly one is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CredentialSpec {
    /// Id of a config.
    pub config: String,
    /// File name.
    pub file: String,
    /// Registry value.
    pub registry: String,
}

/// SELinux labels.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SelinuxContext {
    /// Turns labelling off.
    pub disable: bool,
    /// User label.
    pub user: String,
    /// Role label.
    pub role: String,
    /// Type label.
    pub kind: String,
    /// Level label.
    pub level: String,
}

/// System call filter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Seccomp {
    /// `default`, `unconfined` or `custom`.
    pub mode: String,
    /// Profile of mode `custom`.
    #[serde(with = "serde_bytes")]
    pub profile: Vec<u8>,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// Volume name or host path, may hold a template.
    pub source: String,
    /// Path in the container, may hold a template.
    pub target: String,
    /// Whether it cannot be written to.
    pub read_only: bool,
    /// Options of bind mounts.
    pub bind: Option<BindOptions>,
    /// Options of volumes.
    pub volume: Option<VolumeOptions>,
    /// Options of tmpfs.
    pub tmpfs: Option<TmpfsOptions>,
    /// Options of images.
    pub image: Option<ImageOptions>,
}

/// What a mount mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum MountKind {
    /// A host path.
    #[default]
    Bind,
    /// A volume.
    Volume,
    /// Memory.
    Tmpfs,
    /// A Windows named pipe.
    NamedPipe,
    /// A cluster volume.
    Cluster,
    /// The files of an image.
    Image,
}

/// Options of bind mounts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BindOptions {
    /// `rprivate`, `private`, `rshared`, `shared`, `rslave`, `slave` or empty.
    pub propagation: String,
    /// Leaves submounts out.
    pub non_recursive: bool,
    /// Makes the host path if missing.
    pub create_mountpoint: bool,
    /// Only the top is read-only.
    pub read_only_non_recursive: bool,
    /// Fails if submounts cannot be made read-only.
    pub read_only_force_recursive: bool,
}

/// Options of volumes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeOptions {
    /// Does not fill a new volume from the image.
    pub no_copy: bool,
    /// Labels of a new volume.
    pub labels: Labels,
    /// Path inside the volume.
    pub subpath: String,
    /// Driver of a new volume.
    pub driver: Option<Driver>,
}

/// Options of tmpfs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TmpfsOptions {
    /// Size; 0 for no limit.
    pub size_bytes: i64,
    /// Mode bits; 0 for the default.
    pub mode: u32,
    /// Further options, `[name]` or `[name, value]`.
    pub options: Vec<Vec<String>>,
}

/// Options of mounted images.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageOptions {
    /// Path inside the image.
    pub subpath: String,
}

/// A health check; zero durations mean the engine's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Healthcheck {
    /// First `NONE`, `CMD` or `CMD-SHELL`; empty inherits the image's.
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(with = "crate::time::nanos")]
    pub interval: Duration,
    /// Longest run of a check.
    #[serde(with = "crate::time::nanos")]
    pub timeout: Duration,
    /// During which failures do not count.
    #[serde(with = "crate::time::nanos")]
    pub start_period: Duration,
    /// Between checks in the start period.
    #[serde(with = "crate::time::nanos")]
    pub start_interval: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

/// Name resolution inside the container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsConfig {
    /// Servers.
    pub nameservers: Vec<String>,
    /// Search domains.
    pub search: Vec<String>,
    /// Resolver options.
    pub options: Vec<String>,
}

/// The file a secret or config becomes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FileTarget {
    /// Name or absolute path.
    pub name: String,
    /// Owner, a number as text.
    pub uid: String,
    /// Group, a number as text.
    pub gid: String,
    /// Permission bits.
    pub mode: u32,
}

/// A secret that a task mounts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SecretReference {
    /// The secret.
    pub id: SecretId,
    /// Its name, which must match.
    pub name: String,
    /// The file.
    pub file: Option<FileTarget>,
}

/// A config that a task mounts or that its runtime reads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigReference {
    /// The config.
    pub id: ConfigId,
    /// Its name, which must match.
    pub name: String,
    /// The file; `None` when only the runtime reads it.
    pub file: Option<FileTarget>,
}

/// A resource limit of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ulimit {
    /// For example `nofile`.
    pub name: String,
    /// Hard limit.
    pub hard: i64,
    /// Soft limit.
    pub soft: i64,
}
