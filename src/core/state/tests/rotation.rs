//! The replacement of a root: which nodes it asks, whom it waits for, how it ends.

use super::fixture::{World, node_id};
use crate::command::Command;
use crate::model::Sensitive;
use crate::model::cluster::{JoinTokens, RootCa, RootRotation};
use crate::model::node::{Availability, NodeAgent, NodeDescription, Role};
use crate::rotation::{is_complete, waits_for};
use crate::state::Rejected;

fn root(name: &str) -> RootCa {
    RootCa {
        certificate_pem: format!("<{name}>\n"),
        subject: b"swarm-ca".to_vec(),
        public_key: name.as_bytes().to_vec(),
        ..RootCa::default()
    }
}

/// Makes what the cluster holds of roots while nodes move from `a` to another one.
fn moving_to(name: &str) -> RootCa {
    let RootCa { certificate_pem, subject, public_key, .. } = root(name);
    let next = RootRotation { certificate_pem, subject, public_key, ..RootRotation::default() };
    RootCa { rotation: Some(Box::new(next)), ..root("a") }
}

fn hold(world: &mut World, root_ca: RootCa) {
    let (version, spec) = (world.cluster().meta.version, Box::new(world.cluster().spec.clone()));
    world.must(Command::UpdateCluster {
        version,
        spec,
        worker_token: None,
        manager_token: None,
        unlock_key: None,
        root_ca: Some(Box::new(root_ca)),
    });
}

/// Has a node tell whom it trusts and by whom it is certified.
fn tell(world: &mut World, number: u64, trusted: &str, issuer: &str) {
    let description = NodeDescription {
        trust_root_pem: trusted.to_owned(),
        issuer_subject: b"swarm-ca".to_vec(),
        issuer_public_key: issuer.as_bytes().to_vec(),
        ..NodeDescription::default()
    };
    world.must(Command::RegisterNode {
        id: node_id(number),
        description: Box::new(description),
        addr: String::new(),
        agent: NodeAgent::Engine,
        restarted: false,
    });
}

fn finish(world: &mut World, key: &str) -> Result<(), Rejected> {
    let token = |role: &str| Sensitive(format!("{role} {key}").into_bytes());
    let tokens = JoinTokens { worker: token("worker"), manager: token("manager") };
    let finish = Command::FinishRotation { public_key: key.as_bytes().to_vec(), tokens };
    world.apply(finish).map(drop)
}

/// Makes a cluster of three nodes that are certified by root `a`.
fn world() -> World {
    let mut world = World::new();
    hold(&mut world, root("a"));
    for number in [1, 2] {
        world.add_node(number, Role::Worker);
    }
    for number in 0..3 {
        tell(&mut world, number, "<a>\n", "a");
    }
    assert_eq!(asked(&world), []);
    world
}

/// Returns the numbers of the nodes that are to ask for another certificate.
fn asked(world: &World) -> Vec<u64> {
    (0..9)
        .filter(|number| {
            world.state.nodes().get(&node_id(*number)).is_some_and(|node| node.certificate.renew)
        })
        .collect()
}

fn renew(world: &mut World, number: u64) {
    world.must(Command::RenewNode { id: node_id(number), request: b"r".to_vec() });
}

#[test]
fn all_nodes_move_before_the_present_root_goes() {
    let mut world = world();
    hold(&mut world, moving_to("b"));
    assert_eq!(asked(&world), [0, 1, 2]);
    assert_eq!(world.cluster().root_ca.trusted_pem(), "<a>\n<b>\n");
    renew(&mut world, 0);
    assert_eq!(asked(&world), [1, 2]);
    // The certificate never arrived.
    tell(&mut world, 0, "<a>\n<b>\n", "a");
    assert_eq!(asked(&world), [0, 1, 2]);
    tell(&mut world, 0, "<a>\n<b>\n", "b");
    tell(&mut world, 1, "<a>\n<b>\n", "b");
    // Certified, but it would trust nobody once the present root is gone.
    tell(&mut world, 2, "<a>\n", "b");
    assert_eq!(asked(&world), []);
    assert_eq!(waits_for(&world.state).map(|node| &node.id).collect::<Vec<_>>(), [&node_id(2)]);
    assert_eq!(finish(&mut world, "b"), Err(Rejected::StalePlan));
    tell(&mut world, 2, "<a>\n<b>\n", "b");
    assert!(is_complete(&world.state));
    assert_eq!(finish(&mut world, "c"), Err(Rejected::StalePlan));
    assert_eq!(finish(&mut world, "b"), Ok(()));
    assert_eq!(world.cluster().root_ca, root("b"));
    assert_eq!(world.cluster().tokens.worker.0, b"worker b");
    assert_eq!(finish(&mut world, "b"), Err(Rejected::StalePlan));
    // What is old now does no harm any more.
    tell(&mut world, 2, "<a>\n<b>\n", "a");
    assert_eq!((asked(&world), is_complete(&world.state)), (Vec::new(), false));
}

#[test]
fn a_node_that_joins_is_waited_for_and_one_removed_is_not() {
    let mut world = world();
    hold(&mut world, moving_to("b"));
    for number in [0, 1] {
        tell(&mut world, number, "<a>\n<b>\n", "b");
    }
    world.must(Command::AdmitNode {
        id: node_id(3),
        role: Role::Worker,
        availability: Availability::Active,
        request: b"r".to_vec(),
    });
    world.must(Command::RemoveNode { id: node_id(2), force: true });
    assert!(!is_complete(&world.state));
    tell(&mut world, 3, "<a>\n", "b");
    assert!(!is_complete(&world.state));
    tell(&mut world, 3, "<a>\n<b>\n", "b");
    assert_eq!(finish(&mut world, "b"), Ok(()));
}

#[test]
fn another_rotation_begins_anew_and_an_end_calls_certificates_back() {
    let mut world = world();
    hold(&mut world, moving_to("b"));
    for number in 0..3 {
        tell(&mut world, number, "<a>\n<b>\n", "b");
    }
    hold(&mut world, moving_to("c"));
    assert_eq!((asked(&world), finish(&mut world, "b")), (vec![0, 1, 2], Err(Rejected::StalePlan)));
    tell(&mut world, 0, "<a>\n<c>\n", "c");
    hold(&mut world, root("a"));
    assert_eq!(asked(&world), [0, 1, 2]);
    for number in 0..3 {
        tell(&mut world, number, "<a>\n", "a");
    }
    assert_eq!((asked(&world), is_complete(&world.state)), (Vec::new(), false));
}
