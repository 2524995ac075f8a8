//! Tests of the steps to the kernel's encrypted link: one thing changed on a link that is as it should be.

use super::*;

fn peer(number: u8) -> (TunnelKey, WirePeer) {
    let peer = WirePeer { endpoint: [192, 0, 2, number].into(), addr: [240, 0, 2, number].into() };
    (TunnelKey([number; 32]), peer)
}

fn wanted() -> WireGuard {
    WireGuard {
        endpoint: [192, 0, 2, 1].into(),
        addr: [240, 0, 2, 1].into(),
        peers: [peer(2), peer(3)].into(),
    }
}

fn settled() -> WireLink {
    WireLink {
        up: true,
        mtu: MTU.into(),
        addrs: [(wanted().addr, PREFIX)].into(),
        port: PORT,
        peers: [peer(2), peer(3)].map(|(key, peer)| (key, Some(peer))).into(),
    }
}

fn check(change: impl FnOnce(&mut WireLink), steps: &[WireOp]) {
    let mut link = settled();
    change(&mut link);
    assert_eq!(wire_steps(Some(&wanted()), &link), steps);
}

fn set(number: u8) -> WireOp {
    let (key, peer) = peer(number);
    WireOp::SetPeer(key, peer)
}

#[test]
fn what_differs_is_set_and_nothing_else() {
    check(|_| {}, &[]);
    check(|link| link.mtu = 1500, &[WireOp::SetMtu(MTU)]);
    check(|link| link.port = 1, &[WireOp::SetPort(PORT)]);
    check(|link| link.addrs.clear(), &[WireOp::AddAddr(wanted().addr)]);
    let strange = Ipv4Addr::new(10, 0, 0, 1);
    let add_strange = |link: &mut WireLink| {
        link.addrs.insert((strange, 24));
    };
    check(add_strange, &[WireOp::RemoveAddr(strange, 24)]);
    let remove = |link: &mut WireLink| {
        link.peers.remove(&peer(2).0);
    };
    check(remove, &[set(2)]);
    let spoil = |link: &mut WireLink| {
        link.peers.insert(peer(3).0, None);
    };
    check(spoil, &[set(3)]);
    let move_one = |link: &mut WireLink| {
        link.peers.insert(peer(3).0, Some(peer(4).1));
    };
    check(move_one, &[set(3)]);
}

/// The address goes to whoever has the new key, so the old key goes first.
#[test]
fn a_new_key_takes_the_place_of_an_old_one() {
    let old = TunnelKey([9; 32]);
    let renew = |link: &mut WireLink| {
        let held = link.peers.remove(&peer(2).0).flatten();
        link.peers.insert(old, held);
    };
    check(renew, &[WireOp::RemovePeer(old), set(2)]);
}

#[test]
fn who_was_down_begins_all_sessions_anew() {
    check(|link| link.up = false, &[WireOp::TakeUp, set(2), set(3)]);
}

#[test]
fn a_link_just_made_gets_all_of_it() {
    let steps = wire_steps(Some(&wanted()), &WireLink { port: PORT, ..WireLink::default() });
    let expected =
        [WireOp::AddAddr(wanted().addr), WireOp::SetMtu(MTU), WireOp::TakeUp, set(2), set(3)];
    assert_eq!(steps, expected);
}

#[test]
fn without_a_network_that_needs_it_the_nodes_go() {
    let steps = wire_steps(None, &settled());
    assert_eq!(steps, [peer(2), peer(3)].map(|(key, _)| WireOp::RemovePeer(key)));
    assert_eq!(wire_steps(None, &WireLink::default()), []);
}
