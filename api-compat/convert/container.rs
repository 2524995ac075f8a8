//! The container part of a task spec between the API's form and the core's. Checks words, not sense.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use skep_core::model::container as core;

use crate::error::ApiError;
use crate::wire::container as wire;

/// Reads nanoseconds; what is negative becomes zero, for validation has its own words for it.
pub(crate) fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// Writes nanoseconds, saturating.
pub(crate) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Reads the container part of a task spec.
pub(crate) fn to_core(spec: &wire::ContainerSpec) -> Result<core::ContainerSpec, ApiError> {
    let privileges = spec.privileges.as_ref().map(privileges_to_core).transpose()?;
    let configs = spec.configs.iter().map(config_to_core).collect::<Result<_, _>>()?;
    Ok(core::ContainerSpec {
        image: spec.image.clone(),
        labels: spec.labels.clone(),
        command: spec.command.clone(),
        args: spec.args.clone(),
        hostname: spec.hostname.clone(),
        env: spec.env.clone(),
        dir: spec.dir.clone(),
        user: spec.user.clone(),
        groups: spec.groups.clone(),
        privileges,
        init: spec.init,
        stop_signal: spec.stop_signal.clone(),
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        read_only: spec.read_only,
        mounts: spec.mounts.iter().map(mount_to_core).collect::<Result<_, _>>()?,
        stop_grace_period: spec.stop_grace_period.map(duration),
        healthcheck: spec.healthcheck.as_ref().map(healthcheck_to_core),
        hosts: spec.hosts.clone(),
        dns: spec.dns.as_ref().map(|dns| core::DnsConfig {
            nameservers: dns.nameservers.clone(),
            search: dns.search.clone(),
            options: dns.options.clone(),
        }),
        secrets: spec.secrets.iter().map(secret_to_core).collect(),
        configs,
        isolation: isolation(&spec.isolation),
        sysctls: spec.sysctls.clone(),
        capability_add: spec.capability_add.clone(),
        capability_drop: spec.capability_drop.clone(),
        ulimits: spec.ulimits.iter().map(ulimit_to_core).collect(),
        oom_score_adj: spec.oom_score_adj,
    })
}

/// Writes the container part of a task spec.
pub(crate) fn from_core(spec: &core::ContainerSpec) -> wire::ContainerSpec {
    wire::ContainerSpec {
        image: spec.image.clone(),
        labels: spec.labels.clone(),
        command: spec.command.clone(),
        args: spec.args.clone(),
        hostname: spec.hostname.clone(),
        env: spec.env.clone(),
        dir: spec.dir.clone(),
        user: spec.user.clone(),
        groups: spec.groups.clone(),
        privileges: spec.privileges.as_ref().map(privileges_from_core),
        init: spec.init,
        stop_signal: spec.stop_signal.clone(),
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        read_only: spec.read_only,
        mounts: spec.mounts.iter().map(mount_from_core).collect(),
        stop_grace_period: spec.stop_grace_period.map(nanos),
        healthcheck: spec.healthcheck.as_ref().map(healthcheck_from_core),
        hosts: spec.hosts.clone(),
        dns: spec.dns.as_ref().map(|dns| wire::DnsConfig {
            nameservers: dns.nameservers.clone(),
            search: dns.search.clone(),
            options: dns.options.clone(),
        }),
        secrets: spec.secrets.iter().map(secret_from_core).collect(),
        configs: spec.configs.iter().map(config_from_core).collect(),
        isolation: isolation(&spec.isolation),
        sysctls: spec.sysctls.clone(),
        capability_add: spec.capability_add.clone(),
        capability_drop: spec.capability_drop.clone(),
        ulimits: spec.ulimits.iter().map(ulimit_from_core).collect(),
        oom_score_adj: spec.oom_score_adj,
    }
}

/// Reads an isolation technology; what is not known is the default.
fn isolation(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "hyperv" | "process") { lower } else { "default".to_owned() }
}

fn privileges_to_core(privileges: &wire::Privileges) -> Result<core::Privileges, ApiError> {
    let credential_spec =
        privileges.credential_spec.as_ref().map(credential_spec_to_core).transpose()?;
    let seccomp = match &privileges.seccomp {
        None => None,
        Some(seccomp) => Some(core::Seccomp {
            mode: word_or_default(&seccomp.mode, &["unconfined", "custom"]),
            profile: STANDARD.decode(&seccomp.profile).map_err(|_| {
                ApiError::bad_request("invalid JSON: illegal base64 data in Seccomp.Profile")
            })?,
        }),
    };
    Ok(core::Privileges {
        credential_spec,
        selinux: privileges.selinux.as_ref().map(|context| core::SelinuxContext {
            disable: context.disable,
            user: context.user.clone(),
            role: context.role.clone(),
            kind: context.kind.clone(),
            level: context.level.clone(),
        }),
        seccomp,
        apparmor: privileges
            .apparmor
            .as_ref()
            .map(|apparmor| word_or_default(&apparmor.mode, &["disabled"])),
        no_new_privileges: privileges.no_new_privileges.unwrap_or(false),
    })
}

/// Returns the word if it is one of those, else `default`.
fn word_or_default(word: &str, known: &[&str]) -> String {
    if known.contains(&word) { word.to_owned() } else { "default".to_owned() }
}

fn credential_spec_to_core(spec: &wire::CredentialSpec) -> Result<core::CredentialSpec, ApiError> {
    let given: Vec<&str> =
        [(&spec.config, "\"config\""), (&spec.file, "\"file\""), (&spec.registry, "\"registry\"")]
            .into_iter()
            .filter(|(value, _)| !value.is_empty())
            .map(|(_, name)| name)
            .collect();
    let problem = match given.as_slice() {
        [_] => {
            return Ok(core::CredentialSpec {
                config: spec.config.clone(),
                file: spec.file.clone(),
                registry: spec.registry.clone(),
            });
        }
        [first, second] => {
            format!("cannot specify both {first} and {second} credential specs")
        }
        [first, second, third] => {
            format!("cannot specify both {first}, {second}, and {third} credential specs")
        }
        _ => "must either provide \"file\", \"registry\", or \"config\" for credential spec"
            .to_owned(),
    };
    Err(ApiError::bad_request(format!("invalid CredentialSpec: {problem}")))
}

fn privileges_from_core(privileges: &core::Privileges) -> wire::Privileges {
    wire::Privileges {
        credential_spec: privileges.credential_spec.as_ref().map(|spec| wire::CredentialSpec {
            config: spec.config.clone(),
            file: spec.file.clone(),
            registry: spec.registry.clone(),
        }),
        selinux: privileges.selinux.as_ref().map(|context| wire::SelinuxContext {
            disable: context.disable,
            user: context.user.clone(),
            role: context.role.clone(),
            kind: context.kind.clone(),
            level: context.level.clone(),
        }),
        seccomp: privileges.seccomp.as_ref().map(|seccomp| wire::Seccomp {
            mode: seccomp.mode.clone(),
            profile: STANDARD.encode(&seccomp.profile),
        }),
        apparmor: privileges.apparmor.as_ref().map(|mode| wire::AppArmor { mode: mode.clone() }),
        no_new_privileges: Some(privileges.no_new_privileges),
    }
}

fn mount_to_core(mount: &wire::Mount) -> Result<core::Mount, ApiError> {
    let kind = match mount.kind.to_ascii_lowercase().as_str() {
        "" | "bind" => core::MountKind::Bind,
        "volume" => core::MountKind::Volume,
        "tmpfs" => core::MountKind::Tmpfs,
        "npipe" => core::MountKind::NamedPipe,
        "cluster" | "csi" => core::MountKind::Cluster,
        "image" => core::MountKind::Image,
        _ => return Err(ApiError::bad_request(format!("invalid MountType: {:?}", mount.kind))),
    };
    let bind = match &mount.bind_options {
        Some(options) if *options != wire::BindOptions::default() => Some(bind_to_core(options)?),
        Some(_) | None => None,
    };
    Ok(core::Mount {
        kind,
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        bind,
        volume: mount.volume_options.as_ref().map(|options| core::VolumeOptions {
            no_copy: options.no_copy,
            labels: options.labels.clone(),
            subpath: options.subpath.clone(),
            driver: options.driver_config.clone().map(Into::into),
        }),
        tmpfs: mount.tmpfs_options.as_ref().map(|options| core::TmpfsOptions {
            size_bytes: options.size_bytes,
            mode: options.mode,
            options: options.options.clone(),
        }),
        image: mount
            .image_options
            .as_ref()
            .map(|options| core::ImageOptions { subpath: options.subpath.clone() }),
    })
}

fn bind_to_core(options: &wire::BindOptions) -> Result<core::BindOptions, ApiError> {
    const WORDS: [&str; 6] = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];
    let propagation = options.propagation.to_ascii_lowercase();
    let propagation = match propagation.as_str() {
        "" => "rprivate".to_owned(),
        word if WORDS.contains(&word) => propagation,
        _ => {
            let text = format!("invalid MountPropagation: {:?}", options.propagation);
            return Err(ApiError::bad_request(text));
        }
    };
    Ok(core::BindOptions {
        propagation,
        non_recursive: options.non_recursive,
        create_mountpoint: options.create_mountpoint,
        read_only_non_recursive: options.read_only_non_recursive,
        read_only_force_recursive: options.read_only_force_recursive,
    })
}

fn mount_from_core(mount: &core::Mount) -> wire::Mount {
    let kind = match mount.kind {
        core::MountKind::Bind => "bind",
        core::MountKind::Volume => "volume",
        core::MountKind::Tmpfs => "tmpfs",
        core::MountKind::NamedPipe => "npipe",
        core::MountKind::Cluster => "cluster",
        core::MountKind::Image => "image",
    };
    wire::Mount {
        kind: kind.to_owned(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        bind_options: mount.bind.as_ref().map(|options| wire::BindOptions {
            propagation: options.propagation.clone(),
            non_recursive: options.non_recursive,
            create_mountpoint: options.create_mountpoint,
            read_only_non_recursive: options.read_only_non_recursive,
            read_only_force_recursive: options.read_only_force_recursive,
        }),
        volume_options: mount.volume.as_ref().map(|options| wire::VolumeOptions {
            no_copy: options.no_copy,
            labels: options.labels.clone(),
            subpath: options.subpath.clone(),
            driver_config: options.driver.clone().map(Into::into),
        }),
        image_options: mount
            .image
            .as_ref()
            .map(|options| wire::ImageOptions { subpath: options.subpath.clone() }),
        tmpfs_options: mount.tmpfs.as_ref().map(|options| wire::TmpfsOptions {
            size_bytes: options.size_bytes,
            mode: options.mode,
            options: options.options.clone(),
        }),
    }
}

fn healthcheck_to_core(check: &wire::Healthcheck) -> core::Healthcheck {
    core::Healthcheck {
        test: check.test.clone(),
        interval: duration(check.interval),
        timeout: duration(check.timeout),
        start_period: duration(check.start_period),
        start_interval: duration(check.start_interval),
        retries: u32::try_from(check.retries.max(0)).unwrap_or(u32::MAX),
    }
}

fn healthcheck_from_core(check: &core::Healthcheck) -> wire::Healthcheck {
    wire::Healthcheck {
        test: check.test.clone(),
        interval: nanos(check.interval),
        timeout: nanos(check.timeout),
        start_period: nanos(check.start_period),
        start_interval: nanos(check.start_interval),
        retries: check.retries.into(),
    }
}

fn file_to_core(file: &wire::FileTarget) -> core::FileTarget {
    core::FileTarget {
        name: file.name.clone(),
        uid: file.uid.clone(),
        gid: file.gid.clone(),
        mode: file.mode,
    }
}

fn file_from_core(file: &core::FileTarget) -> wire::FileTarget {
    wire::FileTarget {
        name: file.name.clone(),
        uid: file.uid.clone(),
        gid: file.gid.clone(),
        mode: file.mode,
    }
}

/// Reads a reference. What cannot be an id becomes the empty id, which names no object.
fn secret_to_core(reference: &wire::SecretReference) -> core::SecretReference {
    core::SecretReference {
        id: reference.secret_id.parse().unwrap_or_default(),
        name: reference.secret_name.clone(),
        file: reference.file.as_ref().map(file_to_core),
    }
}

fn secret_from_core(reference: &core::SecretReference) -> wire::SecretReference {
    wire::SecretReference {
        file: reference.file.as_ref().map(file_from_core),
        secret_id: reference.id.to_string(),
        secret_name: reference.name.clone(),
    }
}

/// Reads a reference. What cannot be an id becomes the empty id, which names no object.
fn config_to_core(reference: &wire::ConfigReference) -> Result<core::ConfigReference, ApiError> {
    let problem = match (&reference.file, &reference.runtime) {
        (Some(_), None) | (None, Some(_)) => {
            return Ok(core::ConfigReference {
                id: reference.config_id.parse().unwrap_or_default(),
                name: reference.config_name.clone(),
                file: reference.file.as_ref().map(file_to_core),
            });
        }
        (None, None) => "either File or Runtime should be set",
        (Some(_), Some(_)) => "cannot specify both File and Runtime",
    };
    Err(ApiError::bad_request(format!("invalid Config: {problem}")))
}

fn config_from_core(reference: &core::ConfigReference) -> wire::ConfigReference {
    wire::ConfigReference {
        file: reference.file.as_ref().map(file_from_core),
        runtime: reference.file.is_none().then(wire::RuntimeTarget::default),
        config_id: reference.id.to_string(),
        config_name: reference.name.clone(),
    }
}

fn ulimit_to_core(limit: &wire::Ulimit) -> core::Ulimit {
    core::Ulimit { name: limit.name.clone(), hard: limit.hard, soft: limit.soft }
}

fn ulimit_from_core(limit: &core::Ulimit) -> wire::Ulimit {
    wire::Ulimit { name: limit.name.clone(), hard: limit.hard, soft: limit.soft }
}
