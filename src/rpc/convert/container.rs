//! What a container is made from, for a node.

use skep_core::model::Sensitive;
use skep_core::model::container::{
    BindOptions, ConfigReference, ContainerSpec, FileTarget, Healthcheck, Mount, MountKind,
    SecretReference, TmpfsOptions, VolumeOptions,
};

use super::super::proto;
use super::privileges::privileges;
use super::{driver, duration};

/// `pids_limit` stands among the limits in core and in the container on the wire.
pub(super) fn container(
    from: &ContainerSpec,
    registry_auth: &Sensitive,
    pids_limit: i64,
) -> proto::ContainerSpec {
    let isolation = match from.isolation.as_str() {
        "process" => proto::Isolation::Process,
        "hyperv" => proto::Isolation::Hyperv,
        _ => proto::Isolation::Default,
    };
    let registry_auth = String::from_utf8_lossy(&registry_auth.0).into_owned();
    proto::ContainerSpec {
        image: from.image.clone(),
        labels: from.labels.clone(),
        command: from.command.clone(),
        args: from.args.clone(),
        env: from.env.clone(),
        dir: from.dir.clone(),
        user: from.user.clone(),
        mounts: from.mounts.iter().map(mount).collect(),
        stop_grace_period: from.stop_grace_period.map(duration),
        pull_options: Some(proto::PullOptions { registry_auth }),
        groups: from.groups.clone(),
        secrets: from.secrets.iter().map(secret).collect(),
        tty: from.tty,
        hostname: from.hostname.clone(),
        dns_config: from.dns.as_ref().map(|dns| proto::DnsConfig {
            nameservers: dns.nameservers.clone(),
            search: dns.search.clone(),
            options: dns.options.clone(),
        }),
        healthcheck: from.healthcheck.as_ref().map(health),
        hosts: from.hosts.clone(),
        open_stdin: from.open_stdin,
        read_only: from.read_only,
        stop_signal: from.stop_signal.clone(),
        configs: from.configs.iter().map(config).collect(),
        privileges: from.privileges.as_ref().map(privileges),
        init: from.init,
        isolation: isolation.into(),
        pids_limit,
        sysctls: from.sysctls.clone(),
        capability_add: from.capability_add.clone(),
        capability_drop: from.capability_drop.clone(),
        ulimits: from
            .ulimits
            .iter()
            .map(|it| proto::Ulimit { name: it.name.clone(), soft: it.soft, hard: it.hard })
            .collect(),
        oom_score_adj: from.oom_score_adj,
    }
}

fn secret(from: &SecretReference) -> proto::SecretReference {
    proto::SecretReference {
        secret_id: from.id.to_string(),
        secret_name: from.name.clone(),
        target: from.file.as_ref().map(file).map(proto::secret_reference::Target::File),
    }
}

fn config(from: &ConfigReference) -> proto::ConfigReference {
    use proto::config_reference::Target;
    let file = from.file.as_ref().map(file).map(Target::File);
    proto::ConfigReference {
        config_id: from.id.to_string(),
        config_name: from.name.clone(),
        target: Some(file.unwrap_or(Target::Runtime(proto::RuntimeTarget {}))),
    }
}

fn file(from: &FileTarget) -> proto::FileTarget {
    proto::FileTarget {
        name: from.name.clone(),
        uid: from.uid.clone(),
        gid: from.gid.clone(),
        mode: from.mode,
    }
}

fn health(from: &Healthcheck) -> proto::HealthConfig {
    proto::HealthConfig {
        test: from.test.clone(),
        interval: Some(duration(from.interval)),
        timeout: Some(duration(from.timeout)),
        retries: i32::try_from(from.retries).unwrap_or(i32::MAX),
        start_period: Some(duration(from.start_period)),
        start_interval: Some(duration(from.start_interval)),
    }
}

fn mount(from: &Mount) -> proto::Mount {
    let kind = match from.kind {
        MountKind::Bind => proto::MountType::Bind,
        MountKind::Volume => proto::MountType::Volume,
        MountKind::Tmpfs => proto::MountType::Tmpfs,
        // The protocol has no word for images. The scheduler sends no such task to an engine; if it did, the engine must
        // refuse it, which it does with pipes, and not run it without the mount.
        MountKind::NamedPipe | MountKind::Image => proto::MountType::Npipe,
        MountKind::Cluster => proto::MountType::Cluster,
    };
    proto::Mount {
        r#type: kind.into(),
        source: from.source.clone(),
        target: from.target.clone(),
        readonly: from.read_only,
        bind_options: from.bind.as_ref().map(bind),
        volume_options: from.volume.as_ref().map(volume),
        tmpfs_options: from.tmpfs.as_ref().map(tmpfs),
    }
}

fn bind(from: &BindOptions) -> proto::BindOptions {
    let propagation = match from.propagation.as_str() {
        "private" => proto::Propagation::Private,
        "rshared" => proto::Propagation::RShared,
        "shared" => proto::Propagation::Shared,
        "rslave" => proto::Propagation::RSlave,
        "slave" => proto::Propagation::Slave,
        _ => proto::Propagation::RPrivate,
    };
    proto::BindOptions {
        propagation: propagation.into(),
        nonrecursive: from.non_recursive,
        createmountpoint: from.create_mountpoint,
        readonlynonrecursive: from.read_only_non_recursive,
        readonlyforcerecursive: from.read_only_force_recursive,
    }
}

fn volume(from: &VolumeOptions) -> proto::VolumeOptions {
    proto::VolumeOptions {
        nocopy: from.no_copy,
        labels: from.labels.clone(),
        driver_config: from.driver.as_ref().map(driver),
        subpath: from.subpath.clone(),
    }
}

fn tmpfs(from: &TmpfsOptions) -> proto::TmpfsOptions {
    // On the wire the options are one text: the API's lists as JSON.
    let options = if from.options.is_empty() {
        String::new()
    } else {
        serde_json::to_string(&from.options).unwrap_or_default()
    };
    proto::TmpfsOptions { size_bytes: from.size_bytes, mode: from.mode, options }
}
