//! Tests of the encrypted link's packets: two of them over loopback, with pairs of sockets in place of links.

use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Duration;

use super::*;

/// What is tried again, or never comes, takes so long.
const LIMIT: Duration = Duration::from_secs(20);
const NEVER: Duration = Duration::from_millis(300);

fn addr(number: u8) -> Ipv4Addr {
    [240, 0, 0, number].into()
}

fn endpoint(number: u8) -> Ipv4Addr {
    [127, 0, 71, number].into()
}

/// A tunnel and the host's side of its link. Its threads end with the test's process.
fn start(number: u8, port: u16) -> (Arc<Tunnel>, UnixDatagram) {
    let (link, host) = UnixDatagram::pair().expect("sockets are made");
    link.set_nonblocking(true).expect("it can be");
    host.set_read_timeout(Some(LIMIT)).expect("it can be");
    let udp = UdpSocket::bind((endpoint(number), port)).expect("the port is free");
    let secret = StaticSecret::from([number; 32]);
    let tunnel = Tunnel::new(link.into(), udp, addr(number), secret).expect("it has a port");
    let tunnel = Arc::new(tunnel);
    let (sender, receiver) = (tunnel.clone(), tunnel.clone());
    thread::spawn(move || sender.run_out());
    thread::spawn(move || receiver.run_in());
    (tunnel, host)
}

fn told(tunnels: &[(u8, &Tunnel)]) -> BTreeMap<TunnelKey, WirePeer> {
    let peer = |number| WirePeer { endpoint: endpoint(number), addr: addr(number) };
    tunnels.iter().map(|(number, tunnel)| (tunnel.key(), peer(*number))).collect()
}

fn packet(from: u8, to: u8, text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEADER_BYTES + text.len()).expect("it is short");
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0; 8]);
    packet.extend(addr(from).octets());
    packet.extend(addr(to).octets());
    packet.extend(text);
    packet
}

fn heard(host: &UnixDatagram) -> Option<Vec<u8>> {
    let mut buffer = [0; PACKET_BYTES_MAX];
    host.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec())
}

#[test]
fn packets_arrive_from_whom_they_say_they_are() {
    let (one, host_one) = start(1, 0);
    let (two, host_two) = start(2, one.port);
    one.set_peers(&told(&[(2, &two)]));
    two.set_peers(&told(&[(1, &one)]));
    for text in [&b"hello"[..], &[7; 1400]] {
        host_one.send(&packet(1, 2, text)).expect("the link takes it");
        assert_eq!(heard(&host_two), Some(packet(1, 2, text)));
        host_two.send(&packet(2, 1, text)).expect("the link takes it");
        assert_eq!(heard(&host_one), Some(packet(2, 1, text)));
    }
    // Another node's address, another node as the goal, nobody's, no packet at all.
    for bad in [packet(3, 2, b"x"), packet(1, 3, b"x"), b"x".to_vec(), packet(1, 2, &[0; 1500])] {
        host_one.send(&bad).expect("the link takes it");
    }
    // One that has the wrong key is not heard.
    let (three, host_three) = start(3, one.port);
    three.set_peers(&told(&[(1, &one)]));
    let other = Tunnel { secret: StaticSecret::from([9; 32]), ..quiet(&one) };
    one.set_peers(&told(&[(2, &two), (3, &other)]));
    host_three.send(&packet(3, 1, b"x")).expect("the link takes it");
    host_one.set_read_timeout(Some(NEVER)).expect("it can be");
    assert_eq!(heard(&host_one), None);
    host_two.set_read_timeout(Some(NEVER)).expect("it can be");
    assert_eq!(heard(&host_two), None);
    // With the right one it is, and sessions with others went on.
    host_one.set_read_timeout(Some(LIMIT)).expect("it can be");
    one.set_peers(&told(&[(2, &two), (3, &three)]));
    assert_eq!(heard(&host_one), Some(packet(3, 1, b"x")));
    host_two.send(&packet(2, 1, b"still")).expect("the link takes it");
    assert_eq!(heard(&host_one), Some(packet(2, 1, b"still")));
}

/// A tunnel that only has a key.
fn quiet(like: &Tunnel) -> Tunnel {
    let (link, _) = UnixDatagram::pair().expect("sockets are made");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    Tunnel::new(link.into(), udp, like.addr, like.secret.clone()).expect("it has a port")
}

#[test]
fn a_new_key_takes_over_at_once() {
    let (one, host_one) = start(11, 0);
    let (two, host_two) = start(12, one.port);
    one.set_peers(&told(&[(12, &two)]));
    two.set_peers(&told(&[(11, &one)]));
    host_one.send(&packet(11, 12, b"a")).expect("the link takes it");
    assert_eq!(heard(&host_two), Some(packet(11, 12, b"a")));
    // The node's process is another one, on another port of the test's.
    let renewed = Tunnel { secret: StaticSecret::from([99; 32]), ..quiet(&two) };
    one.set_peers(&told(&[(12, &renewed)]));
    host_one.send(&packet(11, 12, b"b")).expect("the link takes it");
    host_two.set_read_timeout(Some(NEVER)).expect("it can be");
    assert_eq!(heard(&host_two), None, "the old one cannot read what is for the new one");
    host_two.set_read_timeout(Some(LIMIT)).expect("it can be");
    one.set_peers(&told(&[(12, &two)]));
    host_one.send(&packet(11, 12, b"c")).expect("the link takes it");
    assert_eq!(heard(&host_two), Some(packet(11, 12, b"c")));
}
