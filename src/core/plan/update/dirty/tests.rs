//! Equal specs start no task, however they are written; different ones do.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::id::{ConfigId, SecretId};
use crate::model::Driver;
use crate::model::container::{
    BindOptions, ConfigReference, DnsConfig, FileTarget, Healthcheck, MountKind, Privileges,
    SecretReference, SelinuxContext, TmpfsOptions, Ulimit, VolumeOptions,
};
use crate::model::node::{GenericResource, Resources};
use crate::model::service::{Placement, PortProtocol, RestartPolicy, ServiceMode, ServiceSpec};
use crate::plan::tests::world::World;

/// What the same spec may be written with or without.
#[derive(Debug, Clone)]
struct Writing {
    /// Whether what is empty is given as empty.
    empties: bool,
    /// How far lists without an order are turned.
    turn: usize,
}

/// Which parts a spec has, a bit each.
type Parts = u32;

fn has(parts: Parts, bit: u32) -> bool {
    parts & (1 << bit) != 0
}

/// Gives a part if the spec has it, else what this writing puts in its place.
fn part<T: Default>(parts: Parts, bit: u32, writing: &Writing, made: T) -> Option<T> {
    if has(parts, bit) { Some(made) } else { writing.empties.then(T::default) }
}

fn turned<T>(mut list: Vec<T>, writing: &Writing) -> Vec<T> {
    if !list.is_empty() {
        let by = writing.turn % list.len();
        list.rotate_left(by);
    }
    list
}

fn file(name: &str) -> Option<FileTarget> {
    Some(FileTarget { name: name.to_owned(), ..FileTarget::default() })
}

fn mounts(parts: Parts, writing: &Writing) -> Vec<Mount> {
    let driver = Driver { name: "d".to_owned(), ..Driver::default() };
    let volume = VolumeOptions {
        no_copy: true,
        driver: part(parts, 0, writing, driver),
        ..VolumeOptions::default()
    };
    let bind = BindOptions { propagation: "shared".to_owned(), ..BindOptions::default() };
    let tmpfs = TmpfsOptions { size_bytes: 9, ..TmpfsOptions::default() };
    let mount = |target: &str, kind| Mount { target: target.to_owned(), kind, ..Mount::default() };
    let list = vec![
        Mount { volume: part(parts, 1, writing, volume), ..mount("/v", MountKind::Volume) },
        Mount { bind: part(parts, 2, writing, bind), ..mount("/b", MountKind::Bind) },
        Mount { tmpfs: part(parts, 3, writing, tmpfs), ..mount("/t", MountKind::Tmpfs) },
    ];
    turned(list, writing)
}

fn container(parts: Parts, writing: &Writing) -> ContainerSpec {
    let words = |words: [&str; 3]| turned(words.map(str::to_owned).to_vec(), writing);
    let ulimit = |name: &str| Ulimit { name: name.to_owned(), ..Ulimit::default() };
    let secret = |number| SecretReference {
        id: SecretId::from_entropy(number),
        file: file(&format!("s{number}")),
        ..SecretReference::default()
    };
    let config = |number| ConfigReference {
        id: ConfigId::from_entropy(number),
        file: file(&format!("c{number}")),
        ..ConfigReference::default()
    };
    let dns = DnsConfig { nameservers: vec!["9.9.9.9".to_owned()], ..DnsConfig::default() };
    let selinux = SelinuxContext { disable: true, ..SelinuxContext::default() };
    let privileges =
        Privileges { selinux: part(parts, 4, writing, selinux), ..Privileges::default() };
    let check = Healthcheck { retries: 2, ..Healthcheck::default() };
    ContainerSpec {
        image: "i".to_owned(),
        mounts: mounts(parts, writing),
        dns: part(parts, 5, writing, dns),
        privileges: part(parts, 6, writing, privileges),
        healthcheck: part(parts, 7, writing, check),
        capability_add: words(["A", "B", "C"]),
        capability_drop: words(["D", "E", "F"]),
        groups: words(["1", "2", "3"]),
        ulimits: turned(["a", "b"].map(ulimit).to_vec(), writing),
        secrets: turned([1, 2, 3].map(secret).to_vec(), writing),
        configs: turned([1, 2].map(config).to_vec(), writing),
        ..ContainerSpec::default()
    }
}

fn task(parts: Parts, writing: &Writing) -> TaskSpec {
    let gpu =
        |value: &str| GenericResource::Named { kind: "g".to_owned(), value: value.to_owned() };
    let reserved = Resources {
        nano_cpus: 5,
        generic: turned(["1", "2"].map(gpu).to_vec(), writing),
        ..Resources::default()
    };
    let resources = ResourceRequirements {
        limits: part(parts, 8, writing, Resources { pids: 4, ..Resources::default() }),
        reservations: part(parts, 9, writing, reserved),
        ..ResourceRequirements::default()
    };
    let restart = RestartPolicy { max_attempts: 3, ..RestartPolicy::default() };
    let log = Driver { name: "none".to_owned(), ..Driver::default() };
    let placement = Placement { max_replicas: 7, ..Placement::default() };
    TaskSpec {
        runtime: Runtime::Container(Box::new(container(parts, writing))),
        resources: part(parts, 10, writing, resources),
        restart: part(parts, 11, writing, restart),
        log_driver: part(parts, 12, writing, log),
        placement: part(parts, 13, writing, placement),
        ..TaskSpec::default()
    }
}

fn ports(writing: &Writing) -> EndpointSpec {
    let port = |target| PortConfig { target, protocol: PortProtocol::Udp, ..PortConfig::default() };
    EndpointSpec { ports: turned([1, 2, 3].map(port).to_vec(), writing), ..EndpointSpec::default() }
}

fn writing() -> impl Strategy<Value = Writing> {
    (any::<bool>(), 0..3_usize).prop_map(|(empties, turn)| Writing { empties, turn })
}

proptest! {
    #[test]
    fn the_same_spec_written_otherwise_is_the_same_work(
        parts in any::<Parts>(), first in writing(), second in writing(),
    ) {
        let (one, other) = (task(parts, &first), task(parts, &second));
        prop_assert!(same_work(&one, &other), "{one:?}\n{other:?}");
        let ports = [ports(&first), ports(&second)];
        prop_assert_eq!(normal_endpoint(&ports[0]), normal_endpoint(&ports[1]));
    }

    #[test]
    fn a_part_more_or_less_is_other_work(
        parts in any::<Parts>(), bit in 7..13_u32, first in writing(), second in writing(),
    ) {
        // A part inside another shows only with it.
        let parts = if matches!(bit, 8 | 9) { parts | (1 << 10) } else { parts | (1 << 8) };
        let (one, other) = (task(parts, &first), task(parts ^ (1 << bit), &second));
        prop_assert!(!same_work(&one, &other), "bit {bit}");
    }

    #[test]
    fn an_update_with_an_equal_spec_starts_no_task(
        parts in any::<Parts>(), first in writing(), second in writing(),
    ) {
        let mut world = World::new(1);
        let edit = |spec: &mut ServiceSpec, work: &mut TaskSpec, writing: &Writing| {
            // What the state looks up is not the matter here; what it allocates is.
            *work = task(parts & !(1 << 9) & !(1 << 12), writing);
            if let Runtime::Container(container) = &mut work.runtime {
                container.secrets.clear();
                container.configs.clear();
                container.mounts.retain(|mount| mount.kind != MountKind::Volume);
            }
            spec.endpoint = Some(ports(writing));
        };
        let mode = ServiceMode::Replicated { replicas: 2 };
        let web = world.service("web", mode, |spec, work| edit(spec, work, &first));
        world.settle();
        let before: Vec<_> = world.state.tasks().keys().cloned().collect();
        prop_assert_eq!(before.len(), 2);
        world.update(&web, |spec, work| edit(spec, work, &second));
        world.settle();
        world.pass(Duration::from_secs(60));
        let after: Vec<_> = world.state.tasks().keys().cloned().collect();
        prop_assert_eq!(before, after);
    }
}
