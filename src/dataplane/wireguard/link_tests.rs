//! The kernel's link, with real packets between network namespaces that are made for it, where the kernel has WireGuard. Where
//! it has none, it says so.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Instant;

use boringtun::x25519::StaticSecret;
use skep_core::net::wireguard::addr_of;

use super::super::fixture::{
    NEVER, PAUSE, SOON, Space, arrives, told, underlay, wanted, with_wireguard,
};
use super::super::tunnel::Tunnel;
use super::*;

/// Both kernels' links, that know each other.
fn start(one: &Space, two: &Space, family: WireFamily) -> [KernelLink; 2] {
    let mut first = one.run(KernelLink::start(&one.handle, family)).expect("a link is made");
    let mut second = two.run(KernelLink::start(&two.handle, family)).expect("a link is made");
    let (to_second, to_first) = (told(2, second.key()), told(1, first.key()));
    assert!(one.run(first.follow(Some(&wanted(1, to_second)))).expect("it follows"));
    assert!(two.run(second.follow(Some(&wanted(2, to_first)))).expect("it follows"));
    [first, second]
}

#[test]
fn the_next_daemon_finds_the_link_and_its_key() {
    with_wireguard(|one, two, family| {
        let [first, second] = start(&one, &two, family);
        let (here, there) = (one.socket(), two.socket());
        assert!(arrives(&here, &there, SOON) && arrives(&there, &here, SOON));
        let found = one.run(KernelLink::find(&one.handle)).expect("it looks");
        let mut found = found.expect("it finds it");
        assert_eq!(found.key(), first.key());
        let seen = one.run(carrier(&one.handle)).expect("it looks");
        let Carrier::Kernel(link) = seen else { panic!("{seen:?}") };
        let wanted = wanted(1, told(2, second.key()));
        assert_eq!(wire_steps(Some(&wanted), &link), []);
        // Without a network that needs it the link stays, and knows nobody.
        assert!(one.run(found.follow(None)).expect("it follows"));
        assert!(!arrives(&here, &there, NEVER));
        one.run(found.end());
        assert_eq!(one.run(carrier(&one.handle)).expect("it looks"), Carrier::Nobody);
        assert!(one.run(KernelLink::find(&one.handle)).expect("it looks").is_none());
    });
}

#[test]
fn what_others_change_is_put_back() {
    with_wireguard(|one, two, family| {
        let [mut first, second] = start(&one, &two, family);
        let (here, there) = (one.socket(), two.socket());
        assert!(arrives(&here, &there, SOON));
        let index = one.run(one.index(LINK));
        let wanted = wanted(1, told(2, second.key()));
        let forget = [WireOp::RemovePeer(second.key())];
        one.enter();
        family.set_peers(index, &forget).expect("it forgets");
        assert!(!arrives(&here, &there, NEVER));
        assert!(one.run(first.follow(Some(&wanted))).expect("it follows"));
        assert!(arrives(&here, &there, SOON));
        one.enter();
        family.set_port(index, 4000).expect("it listens elsewhere");
        one.run(async {
            let down = LinkUnspec::new_with_index(index).down().mtu(1280).build();
            one.handle.link().set(down).execute().await.expect("it goes down");
        });
        assert!(one.run(first.follow(Some(&wanted))).expect("it follows"));
        assert!(arrives(&there, &here, SOON) && arrives(&here, &there, SOON));
        let seen = one.run(carrier(&one.handle)).expect("it looks");
        let Carrier::Kernel(link) = seen else { panic!("{seen:?}") };
        assert_eq!(wire_steps(Some(&wanted), &link), []);
        // A link that is gone is not this one, nor is another one of its name.
        one.run(remove(&one.handle)).expect("it goes");
        assert!(!one.run(first.follow(Some(&wanted))).expect("it looks"));
        one.run(KernelLink::start(&one.handle, family)).expect("a link is made");
        assert!(!one.run(first.follow(Some(&wanted))).expect("it looks"));
    });
}

#[test]
fn another_key_takes_over_at_once() {
    with_wireguard(|one, two, family| {
        let [mut first, second] = start(&one, &two, family);
        let here = one.socket();
        assert!(arrives(&here, &two.socket(), SOON));
        two.run(second.end());
        let mut second = two.run(KernelLink::start(&two.handle, family)).expect("a link is made");
        let to_second = told(2, second.key());
        let to_first = told(1, first.key());
        assert!(one.run(first.follow(Some(&wanted(1, to_second)))).expect("it follows"));
        assert!(two.run(second.follow(Some(&wanted(2, to_first)))).expect("it follows"));
        let there = two.socket();
        assert!(arrives(&here, &there, SOON) && arrives(&there, &here, SOON));
        // The node's address may change under its key.
        let moved = WireGuard { addr: [240, 9, 9, 9].into(), ..wanted(2, told(1, first.key())) };
        assert!(two.run(second.follow(Some(&moved))).expect("it follows"));
        let seen = two.run(carrier(&two.handle)).expect("it looks");
        let Carrier::Kernel(link) = seen else { panic!("{seen:?}") };
        assert_eq!(link.addrs, [(moved.addr, PREFIX)].into());
    });
}

/// A process on the other host, as on one whose kernel has no WireGuard.
#[test]
fn the_kernel_talks_with_a_process() {
    with_wireguard(|one, two, family| {
        let mut first = one.run(KernelLink::start(&one.handle, family)).expect("a link is made");
        let (link, host) = UnixDatagram::pair().expect("sockets are made");
        link.set_nonblocking(true).expect("it can be");
        host.set_read_timeout(Some(PAUSE)).expect("it can be");
        two.enter();
        let udp = UdpSocket::bind((underlay(2), PORT)).expect("the port is free");
        let secret = StaticSecret::from([2; 32]);
        let tunnel = Tunnel::new(link.into(), udp, addr_of(underlay(2)), secret);
        let tunnel = Arc::new(tunnel.expect("it has a port"));
        let (sender, receiver) = (tunnel.clone(), tunnel.clone());
        std::thread::spawn(move || sender.run_out());
        std::thread::spawn(move || receiver.run_in());
        let to_second = told(2, tunnel.key());
        assert!(one.run(first.follow(Some(&wanted(1, to_second)))).expect("it follows"));
        tunnel.set_peers(&told(1, first.key()));
        let (here, begun) = (one.socket(), Instant::now());
        let mut packet = [0; 2048];
        let heard = loop {
            assert!(begun.elapsed() < SOON, "nothing came");
            here.send_to(b"hello", (addr_of(underlay(2)), 7)).expect("it is sent");
            match host.recv(&mut packet) {
                Ok(length) => break packet[..length].to_vec(),
                Err(_) => continue,
            }
        };
        assert!(heard.ends_with(b"hello"), "{heard:?}");
        // Sent back to where it came from: addresses are swapped, sums over them stay.
        let answer = [&heard[..12], &heard[16..20], &heard[12..16], &heard[20..]].concat();
        host.send(&answer).expect("the link takes it");
        here.set_read_timeout(Some(SOON)).expect("it can be");
        let mut buffer = [0; 64];
        let (length, from) = here.recv_from(&mut buffer).expect("it comes");
        assert_eq!((&buffer[..length], from.ip()), (&b"hello"[..], addr_of(underlay(2)).into()));
    });
}
