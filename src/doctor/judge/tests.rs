//! Tables: one fact changed on a machine where all is well, and the finding that comes of it.

use std::path::PathBuf;

use serde_json::json;
use skep_core::net::wire_link::Carrier;

use super::judge;
use crate::doctor::facts::*;
use crate::doctor::finding::Level::{self, Note, Problem, Warning};

fn healthy_engine() -> Server {
    Server {
        address: "unix:///var/run/docker.sock".to_owned(),
        reach: Reach::Answers,
        pid: Some(10),
        info: json!({
            "Swarm": {"LocalNodeState": "inactive"}, "CgroupDriver": "systemd", "CgroupVersion": "2",
            "LiveRestoreEnabled": true, "Driver": "overlay2", "OSType": "linux",
            "DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]],
        }),
        version: json!({"Version": "28.5.2", "ApiVersion": "1.51"}),
        ahead_millis: Some(3),
    }
}

fn healthy() -> Facts {
    let engine = healthy_engine();
    let daemon = Server {
        address: "unix:///run/skep/docker.sock".to_owned(),
        info: json!({"Swarm": {"LocalNodeState": "active", "NodeID": "n1"}}),
        ..engine.clone()
    };
    let modules = ["bridge", "br_netfilter", "vxlan", "nf_conntrack"];
    let room = Room { bytes: 100 << 30, bytes_free: 50 << 30, inodes: 1000, inodes_free: 900 };
    let disk = |what, ours| Disk {
        what,
        path: PathBuf::from("/var/lib"),
        ours,
        room: Ok(room),
        in_memory: false,
        sync_micros: ours.then_some((900, 3_000)),
    };
    Facts {
        now_unix: 1_000_000,
        root: true,
        engine,
        daemon,
        kernel: Kernel {
            modules: modules.map(|name| (name, Module::Here)).into(),
            ip_forward: Some(true),
            tun: true,
            carrier: Some(Carrier::Nobody),
            connections: Some((10, 1000)),
            nft: Nft::Works("nftables v1.0.6".to_owned()),
        },
        network: Some(Vec::new()),
        ports: vec![Port {
            what: "The cluster's port",
            protocol: "tcp",
            address: ([0, 0, 0, 0], 2377).into(),
            needed: Need::Now,
            state: PortState::Ours,
        }],
        clock: Clock { synchronised: Some(true), service: Some("chronyd".to_owned()) },
        disks: vec![disk("data", true), disk("engine", false)],
        data: Data {
            path: PathBuf::from("/var/lib/skep"),
            folder: Folder::Found { mode: 0o40700, owner: 0 },
            identity: Some(("n1".to_owned(), "c1".to_owned())),
            ..Data::default()
        },
        certificate: Some(Certificate {
            path: PathBuf::from("/var/lib/skep/certificates/swarm-node.crt"),
            content: Ok(Content {
                node: "n1".to_owned(),
                cluster: "c1".to_owned(),
                role: "manager",
                not_before: 0,
                not_after: 9_000_000,
                descends: true,
            }),
        }),
        files_max: Some(1 << 20),
        tmpfs: Tmpfs::Mounted,
        mounts: Mounts { engine: Some("mnt:[1]".to_owned()), ours: Some("mnt:[1]".to_owned()) },
    }
}

/// Changes one thing and expects exactly one finding that is not ok.
fn check(change: impl FnOnce(&mut Facts), level: Level, text: &str) {
    let mut facts = healthy();
    change(&mut facts);
    let bad: Vec<_> = judge(&facts).into_iter().filter(|f| f.level != Level::Ok).collect();
    let [finding] = bad.as_slice() else { panic!("one finding about '{text}', not {bad:#?}") };
    assert_eq!(finding.level, level, "{finding:?}");
    assert!(finding.what.contains(text), "'{text}' in {finding:?}");
    assert!(finding.advice.as_ref().is_some_and(|advice| advice.ends_with('.')), "{finding:?}");
}

#[test]
fn a_healthy_machine_has_no_finding() {
    let bad: Vec<_> = judge(&healthy()).into_iter().filter(|f| f.level != Level::Ok).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn the_port_of_tunnels_may_be_theirs() {
    let mut facts = healthy();
    facts.ports[0].state = PortState::Kernel { tunnels: true };
    let bad: Vec<_> = judge(&facts).into_iter().filter(|f| f.level != Level::Ok).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn engines() {
    check(|f| f.engine.reach = Reach::Missing, Problem, "No Docker Engine listens");
    check(|f| f.engine.reach = Reach::Deaf, Problem, "nobody answers");
    check(|f| f.engine.reach = Reach::Forbidden, Problem, "may not use");
    check(|f| f.engine.reach = Reach::Failed("x".to_owned()), Problem, "cannot be asked: x");
    check(|f| f.engine.version["ApiVersion"] = json!("1.40"), Problem, "skep needs 1.41");
    check(|f| f.engine.version["ApiVersion"] = json!(null), Problem, "skep needs 1.41");
    let state =
        |state| move |f: &mut Facts| f.engine.info["Swarm"]["LocalNodeState"] = json!(state);
    check(state("active"), Problem, "own swarm mode is active");
    check(state("locked"), Problem, "own swarm mode is locked");
    check(|f| f.engine.info["CgroupVersion"] = json!("1"), Note, "version 1");
    check(|f| f.engine.info["CgroupDriver"] = json!("none"), Problem, "no cgroups");
    check(|f| f.engine.info["SecurityOptions"] = json!(["name=rootless"]), Problem, "rootless");
    check(|f| f.engine.info["LiveRestoreEnabled"] = json!(false), Note, "live-restore is off");
    check(|f| f.engine.info["Driver"] = json!("vfs"), Warning, "vfs");
    check(|f| f.engine.info["DriverStatus"][1][1] = json!("false"), Problem, "d_type");
    check(
        |f| f.engine.info["Warnings"] = json!(["WARNING: No swap limit support"]),
        Note,
        "No swap",
    );
    check(|f| f.engine.ahead_millis = Some(-5_000), Warning, "5 s behind");
    check(|f| f.engine.ahead_millis = Some(90_000), Problem, "90 s ahead of");
    check(|f| f.mounts.engine = Some("mnt:[2]".to_owned()), Problem, "different mount");
    check(|f| f.mounts.engine = None, Note, "could not be told");
}

#[test]
fn daemons() {
    check(|f| f.daemon.reach = Reach::Missing, Note, "No skep daemon");
    check(|f| f.daemon.reach = Reach::Deaf, Note, "is gone");
    check(|f| f.daemon.reach = Reach::Failed("x".to_owned()), Problem, "cannot be asked");
    let state =
        |state| move |f: &mut Facts| f.daemon.info["Swarm"]["LocalNodeState"] = json!(state);
    check(state("inactive"), Note, "in no cluster");
    check(state("locked"), Warning, "locked");
    check(state("error"), Problem, "state error");
}

#[test]
fn kernels() {
    let without = |name, module| {
        move |f: &mut Facts| {
            f.kernel.modules.insert(name, module);
        }
    };
    check(without("bridge", Module::Absent), Problem, "no bridge");
    check(without("vxlan", Module::Absent), Warning, "no vxlan");
    check(without("vxlan", Module::Unknown), Note, "could not be told");
    check(|f| f.kernel.ip_forward = Some(false), Problem, "IP forwarding is off");
    check(|f| f.kernel.tun = false, Note, "TUN");
    let process_despite_kernel = |f: &mut Facts| {
        f.kernel.carrier = Some(Carrier::Process);
        f.kernel.modules.insert("wireguard", Module::Loadable);
    };
    check(process_despite_kernel, Note, "the kernel has WireGuard");
    check(|f| f.kernel.connections = Some((950, 1000)), Warning, "950 of 1000");
    check(|f| f.kernel.nft = Nft::NoProgram, Warning, "nft is missing");
    check(|f| f.kernel.nft = Nft::Fails("no".to_owned()), Warning, "does not take");
    let amiss = |count: usize| {
        move |f: &mut Facts| f.network = Some(vec!["tunnel skv4097 is not there".to_owned(); count])
    };
    check(amiss(1), Problem, "cluster wants it: tunnel skv4097 is not there.");
    check(amiss(7), Problem, "not there; and 2 more.");
}

#[test]
fn ports_clocks_and_limits() {
    let port = |state| move |f: &mut Facts| f.ports[0].state = state;
    check(
        port(PortState::Taken(Some("nginx (process 7)".to_owned()))),
        Problem,
        "by nginx (process 7)",
    );
    check(port(PortState::Taken(None)), Problem, "only root can see");
    check(port(PortState::Kernel { tunnels: false }), Problem, "by the kernel, for example");
    check(port(PortState::NoSuchAddress), Problem, "does not have any more");
    let taken = |needed| {
        move |f: &mut Facts| {
            f.ports[0].state = PortState::Taken(None);
            f.ports[0].needed = needed;
        }
    };
    check(taken(Need::SeveralNodes), Warning, "taken");
    check(taken(Need::StockNodes), Note, "taken");
    check(|f| f.clock.synchronised = Some(false), Warning, "not synchronised");
    check(|f| f.clock = Clock::default(), Warning, "Nothing keeps the clock");
    check(|f| f.files_max = Some(1024), Warning, "1024 files");
    check(|f| f.tmpfs = Tmpfs::Fails("no".to_owned()), Problem, "in memory");
}

#[test]
fn disks() {
    let room = |disk: usize, bytes_free| {
        move |f: &mut Facts| {
            f.disks[disk].room = Ok(Room { bytes: 1 << 40, bytes_free, inodes: 0, inodes_free: 0 });
        }
    };
    check(room(0, 1 << 20), Problem, "skep refuses changes");
    check(room(0, 100 << 20), Warning, "nearly full");
    check(room(1, 1 << 30), Warning, "nearly full");
    check(room(1, 1 << 20), Problem, "no room");
    check(|f| f.disks[1].room = Err("hidden".to_owned()), Note, "hidden");
    check(|f| f.disks[0].in_memory = true, Warning, "in memory");
    check(
        |f| f.disks[0].sync_micros = Some((25_000, 90_000)),
        Warning,
        "25.00 ms (worst 90.00 ms)",
    );
    check(
        |f| {
            if let Ok(room) = &mut f.disks[0].room {
                room.inodes_free = 20;
            }
        },
        Warning,
        "20 of 1000 inodes",
    );
}

#[test]
fn data_and_certificates() {
    check(|f| f.data.folder = Folder::Found { mode: 0o40755, owner: 0 }, Warning, "mode 755");
    check(|f| f.data.folder = Folder::Found { mode: 0o40700, owner: 1000 }, Note, "user 1000");
    check(|f| f.data.folder = Folder::Failed("x".to_owned()), Problem, "cannot be used");
    check(|f| f.data.damage.push("x is damaged".to_owned()), Problem, "x is damaged");
    check(|f| f.data.locked = true, Note, "locked");
    let content = |change: fn(&mut Content)| {
        move |f: &mut Facts| {
            if let Some(Certificate { content: Ok(content), .. }) = &mut f.certificate {
                change(content);
            }
        }
    };
    check(content(|c| c.not_after = 1_000_000 - 7_200), Problem, "expired 2 hours ago");
    check(content(|c| c.not_before = 1_000_060), Problem, "begins to count in 60 seconds");
    check(content(|c| c.not_after = 1_003_600), Warning, "expires in 60 minutes");
    check(content(|c| c.descends = false), Problem, "not signed by the root");
    check(content(|c| c.node = "n2".to_owned()), Problem, "node n2");
    check(
        |f| {
            if let Some(certificate) = &mut f.certificate {
                certificate.content = Err("no PEM".to_owned());
            }
        },
        Problem,
        "no PEM",
    );
}

#[test]
fn what_only_root_sees_is_said() {
    let mut facts = healthy();
    facts.root = false;
    facts.mounts = Mounts::default();
    facts.data.folder = Folder::Forbidden;
    facts.tmpfs = Tmpfs::Untried;
    facts.files_max = None;
    facts.kernel.nft = Nft::Untried("nftables v1.0.6".to_owned());
    let unseen = judge(&facts);
    let notes: Vec<_> = unseen.iter().filter(|finding| finding.level == Note).collect();
    assert_eq!(notes.len(), 5, "{notes:#?}");
    assert!(unseen.iter().all(|finding| finding.level <= Note), "{unseen:#?}");
}
