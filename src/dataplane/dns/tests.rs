//! Tests of the name servers: questions over real sockets on loopback, and packets of any kind.

use std::io::Write;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use proptest::prelude::*;
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

use super::message::{Decision, Transport, decide};
use super::*;
use crate::dataplane::fixture::{World, at, free_port, ip, node, until};

const DEADLINE: Duration = Duration::from_secs(20);

fn question(name: &str, kind: RecordType) -> Message {
    let mut name = Name::from_ascii(name).expect("the test writes a valid name");
    name.set_fqdn(true);
    let mut message = Message::query();
    message.metadata.id = 4711;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().expect("the message encodes")
}

fn parse(bytes: &[u8]) -> Message {
    Message::from_vec(bytes).expect("what we send can be read")
}

async fn ask_udp(from: &str, server: SocketAddr, message: &Message) -> Message {
    until("an answer", || async {
        let socket = UdpSocket::bind(at(from, 0)).await.expect("loopback binds");
        socket.connect(server).await.expect("loopback connects");
        socket.send(&bytes(message)).await.ok()?;
        let mut buffer = vec![0; 65_535];
        // The server may not be up yet, then the question is lost or refused.
        let received = timeout(Duration::from_secs(5), socket.recv(&mut buffer)).await.ok()?;
        Some(parse(&buffer[..received.ok()?]))
    })
    .await
}

async fn ask_tcp(from: &str, server: SocketAddr, message: &Message) -> Message {
    until("an answer", || async {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(at(from, 0)).expect("loopback binds");
        let mut stream = socket.connect(server).await.ok()?;
        upstream::write_framed(&mut stream, &bytes(message)).await.ok()?;
        Some(parse(&upstream::read_framed(&mut stream).await.ok()?))
    })
    .await
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    message.answers.iter().filter_map(|record| record.data.ip_addr()).collect()
}

fn resolv_conf(servers: &[SocketAddr]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    for server in servers {
        writeln!(file, "nameserver {server}").expect("the file is written");
    }
    file
}

fn start(world: &World, conf: &tempfile::NamedTempFile) -> (NameServers, SocketAddr) {
    let port = free_port();
    let mut servers = NameServers::new(port, conf.path().to_owned());
    let state = world.state();
    servers.set_table(NameTable::new(&state, &node(), false));
    let gateways = skep_core::net::bridges::gateways(&state, &node());
    let first = *gateways.first().expect("the world has a gateway");
    servers.set_addresses(gateways);
    (servers, SocketAddr::new(first, port))
}

/// A server that answers every question as told.
async fn fake_upstream(code: ResponseCode, forge: bool) -> (SocketAddr, JoinSet<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback binds");
    let addr = socket.local_addr().expect("a bound socket has an address");
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let request = parse(&buffer[..length]);
            let mut answer = Message::response(request.id, request.op_code);
            answer.queries = request.queries.clone();
            answer.metadata.response_code = code;
            if code == ResponseCode::NoError {
                let name = request.queries[0].name.clone();
                let data = RData::A(hickory_proto::rr::rdata::A::new(192, 0, 2, 7));
                answer.add_answer(hickory_proto::rr::Record::from_rdata(name, 60, data));
            }
            if forge {
                let mut other = answer.clone();
                other.metadata.id = request.id.wrapping_add(1);
                other.answers.clear();
                socket.send_to(&bytes(&other), from).await.expect("loopback sends");
                let mut other = answer.clone();
                other.queries = question("other.example.", RecordType::A).queries;
                socket.send_to(&bytes(&other), from).await.expect("loopback sends");
            }
            socket.send_to(&bytes(&answer), from).await.expect("loopback sends");
        }
    });
    (addr, task)
}

#[tokio::test]
async fn names_answer_over_udp_and_tcp() {
    let conf = resolv_conf(&[]);
    let (mut servers, server) = start(&World::new(41, &[5, 6]), &conf);
    let task = "127.0.41.5";
    let web = question("web.", RecordType::A);
    let first = ask_udp(task, server, &web).await;
    let second = ask_tcp(task, server, &web).await;
    for answer in [&first, &second] {
        let mut list = addresses(answer);
        list.sort();
        assert_eq!(list, [ip("127.0.41.5"), ip("127.0.41.6")]);
        assert_eq!((answer.id, answer.answers[0].ttl), (4711, 0));
        assert!(answer.recursion_available && answer.authoritative && !answer.truncation);
    }
    until("another address comes first", || async {
        (addresses(&ask_udp(task, server, &web).await) != addresses(&first)).then_some(())
    })
    .await;

    for (name, kind, code) in [
        ("web.", RecordType::AAAA, ResponseCode::NoError),
        ("web.", RecordType::MX, ResponseCode::NoError),
        ("WEB.skep.", RecordType::AAAA, ResponseCode::NoError),
        ("nothing.skep.", RecordType::A, ResponseCode::NXDomain),
        ("9.41.0.127.in-addr.arpa.", RecordType::PTR, ResponseCode::NXDomain),
        ("web.", RecordType::AXFR, ResponseCode::Refused),
        ("example.org.", RecordType::A, ResponseCode::ServFail),
    ] {
        let answer = ask_udp(task, server, &question(name, kind)).await;
        assert_eq!((answer.response_code, answer.answers.len()), (code, 0), "{name} {kind}");
    }
    let pointer = question("6.41.0.127.in-addr.arpa.", RecordType::PTR);
    let answer = ask_udp(task, server, &pointer).await;
    let RData::PTR(name) = &answer.answers[0].data else { panic!("not a name: {answer:?}") };
    assert!(name.0.to_ascii().starts_with("web."), "{name}");
    let stranger = ask_udp("127.9.9.9", server, &web).await;
    assert_eq!(stranger.response_code, ResponseCode::Refused);
    servers.stop().await;
}

#[tokio::test]
async fn long_answers_are_cut_over_udp_only() {
    let hosts: Vec<u8> = (5..205).collect();
    let conf = resolv_conf(&[]);
    let (mut servers, server) = start(&World::new(42, &hosts), &conf);
    let mut web = question("web.", RecordType::A);
    let cut = ask_udp("127.0.42.5", server, &web).await;
    assert!(cut.truncation && (20..40).contains(&cut.answers.len()), "{}", cut.answers.len());
    let whole = ask_tcp("127.0.42.5", server, &web).await;
    assert!(!whole.truncation && whole.answers.len() == 200);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    web.set_edns(edns);
    let longer = ask_udp("127.0.42.5", server, &web).await;
    assert!(longer.truncation && longer.answers.len() > 60 && longer.edns.is_some());
    servers.stop().await;
}

#[tokio::test]
async fn outside_names_come_from_the_first_server_that_answers() {
    let (failing, _failing) = fake_upstream(ResponseCode::ServFail, false).await;
    let (good, _good) = fake_upstream(ResponseCode::NoError, true).await;
    let conf = resolv_conf(&[failing, good]);
    let (mut servers, server) = start(&World::new(43, &[5]), &conf);
    let answer = ask_udp("127.0.43.5", server, &question("example.org.", RecordType::A)).await;
    assert_eq!((answer.id, addresses(&answer)), (4711, vec![ip("192.0.2.7")]));
    assert_eq!(answer.answers.len(), 1);
    servers.stop().await;
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_not_looked_for_elsewhere() {
    let (missing, _missing) = fake_upstream(ResponseCode::NXDomain, false).await;
    let (good, _good) = fake_upstream(ResponseCode::NoError, false).await;
    let conf = resolv_conf(&[missing, good]);
    let (mut servers, server) = start(&World::new(44, &[5]), &conf);
    let answer = ask_udp("127.0.44.5", server, &question("example.org.", RecordType::A)).await;
    assert_eq!(answer.response_code, ResponseCode::NXDomain);
    servers.stop().await;
}

#[tokio::test]
async fn we_never_ask_ourselves() {
    let port = free_port();
    let world = World::new(45, &[5]);
    let conf = resolv_conf(&[at("127.0.45.1", port)]);
    let mut servers = NameServers::new(port, conf.path().to_owned());
    servers.set_table(NameTable::new(&world.state(), &node(), false));
    servers.set_addresses([ip("127.0.45.1")].into());
    let server = at("127.0.45.1", port);
    let answer = ask_udp("127.0.45.5", server, &question("example.org.", RecordType::A)).await;
    assert_eq!(answer.response_code, ResponseCode::ServFail);
    // The node itself, from its gateway address, learns our names only.
    let answer = ask_udp("127.0.45.1", server, &question("example.org.", RecordType::A)).await;
    assert_eq!(answer.response_code, ResponseCode::Refused);
    let answer = ask_udp("127.0.45.1", server, &question("web.", RecordType::A)).await;
    assert_eq!(addresses(&answer), [ip("127.0.45.5")]);
    servers.stop().await;
}

#[tokio::test]
async fn a_taken_address_is_served_once_it_is_free() {
    let world = World::new(46, &[5]);
    let port = free_port();
    let server = at("127.0.46.1", port);
    let taken = UdpSocket::bind(server).await.expect("loopback binds");
    let mut servers = NameServers::new(port, "/nonexistent".into());
    servers.set_table(NameTable::new(&world.state(), &node(), false));
    servers.set_addresses([ip("127.0.46.1"), ip("192.0.2.77")].into());
    drop(taken);
    let answer = ask_udp("127.0.46.5", server, &question("web.", RecordType::A)).await;
    assert_eq!(answer.answers.len(), 1);
    timeout(DEADLINE, servers.stop()).await.expect("stops, an address that never came included");
}

fn check_reply(packet: &[u8], transport: Transport) -> Result<(), TestCaseError> {
    let table = NameTable::new(&World::new(47, &[5, 6, 7]).state(), &node(), false);
    let reply = match decide(&table, ip("127.0.47.5"), packet, transport, 1) {
        Decision::Drop => return Ok(()),
        Decision::Reply(reply) => reply,
        Decision::Forward { failure, .. } => failure,
    };
    prop_assert!(transport == Transport::Tcp || reply.len() <= 1232);
    prop_assert_eq!(&reply[..2], &packet[..2]);
    prop_assert!(reply[2] & 0x80 != 0);
    prop_assert!(Message::from_vec(&reply).is_ok());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_packet_is_survived(packet in prop::collection::vec(any::<u8>(), 0..600)) {
        check_reply(&packet, Transport::Udp)?;
        check_reply(&packet, Transport::Tcp)?;
        message::answers(&packet, &packet);
    }

    #[test]
    fn any_damage_is_survived(
        kind in any::<u16>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        edns in any::<bool>(),
    ) {
        let mut message = question("tasks.web.skep.", RecordType::from(kind));
        if edns {
            message.set_edns(Edns::new());
        }
        let mut packet = bytes(&message);
        for (at, value) in damage {
            let at = at.index(packet.len());
            packet[at] = value;
        }
        check_reply(&packet, Transport::Udp)?;
        packet.truncate(cut.index(packet.len()));
        check_reply(&packet, Transport::Udp)?;
    }
}
