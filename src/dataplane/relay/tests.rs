//! Tests of the relays with real sockets on loopback.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::*;
use crate::dataplane::fixture::{at, free_port, ip, until};

const DEADLINE: Duration = Duration::from_secs(20);

/// A task that answers each connection, once the client has said all, with its name and what it heard.
async fn tcp_task(name: &'static str) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback binds");
    let addr = listener.local_addr().expect("a bound socket has an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut heard = name.as_bytes().to_vec();
                if stream.read_to_end(&mut heard).await.is_ok() {
                    stream.write_all(&heard).await.expect("the client listens");
                }
            });
        }
    });
    (addr, tasks)
}

async fn udp_task(name: &'static str) -> (SocketAddr, JoinSet<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback binds");
    let addr = socket.local_addr().expect("a bound socket has an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut buffer = vec![0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let answer = [name.as_bytes(), &buffer[..length]].concat();
            socket.send_to(&answer, from).await.expect("loopback sends");
        }
    });
    (addr, tasks)
}

fn publish(relays: &mut Relays, protocol: PortProtocol, port: u16, backends: &[SocketAddr]) {
    relays.set(vec![Publication { protocol, port, place: None, backends: backends.to_vec() }]);
}

async fn connect(to: SocketAddr) -> TcpStream {
    until("the port is open", || async { TcpStream::connect(to).await.ok() }).await
}

/// Says something, half closes, and returns all that comes back.
async fn talk(mut stream: TcpStream, text: &str) -> std::io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    let mut heard = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut heard)).await??;
    Ok(heard)
}

async fn udp_client(to: SocketAddr) -> UdpSocket {
    let any = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(any).await.expect("loopback binds");
    socket.connect(to).await.expect("loopback connects");
    socket
}

async fn say(socket: &UdpSocket, text: &str) -> std::io::Result<String> {
    socket.send(text.as_bytes()).await?;
    let mut buffer = vec![0; 65_535];
    let length = timeout(Duration::from_secs(2), socket.recv(&mut buffer)).await??;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

async fn say_until(socket: &UdpSocket, text: &str, expect: &str) {
    until(expect, || async { (say(socket, text).await.ok()? == expect).then_some(()) }).await;
}

async fn refused(to: SocketAddr) {
    until("connections are refused", || async {
        let error = TcpStream::connect(to).await.err()?;
        (error.kind() == ErrorKind::ConnectionRefused).then_some(())
    })
    .await;
}

#[tokio::test]
async fn tcp_is_spread_half_closed_and_skips_tasks_that_refuse() {
    let ((a, _a), (b, _b)) = (tcp_task("a").await, tcp_task("b").await);
    let dead = at("127.0.0.1", free_port());
    let mut relays = Relays::new(Some(ip("127.0.0.1")));
    let port = at("127.0.0.1", free_port());
    publish(&mut relays, PortProtocol::Tcp, port.port(), &[a, dead, b]);
    let mut heard = Vec::new();
    for _ in 0..6 {
        heard.push(talk(connect(port).await, "!").await.expect("a task answers"));
    }
    heard.sort();
    heard.dedup();
    assert_eq!(heard, ["a!", "b!"]);
    let long = "x".repeat(1 << 20);
    let answer = talk(connect(port).await, &long).await.expect("a task answers");
    assert_eq!(answer.len(), 1 + (1 << 20));
    relays.stop().await;
}

#[tokio::test]
async fn connections_outlive_their_task_in_the_list_and_none_is_refused_at_once() {
    let task = TcpListener::bind("127.0.0.1:0").await.expect("loopback binds");
    let backend = task.local_addr().expect("a bound socket has an address");
    let mut relays = Relays::new(Some(ip("127.0.0.1")));
    let port = at("127.0.0.1", free_port());
    publish(&mut relays, PortProtocol::Tcp, port.port(), &[]);
    refused(port).await;
    publish(&mut relays, PortProtocol::Tcp, port.port(), &[backend]);
    let client = connect(port).await;
    let (mut served, _) = task.accept().await.expect("the relay connects");
    publish(&mut relays, PortProtocol::Tcp, port.port(), &[]);
    refused(port).await;
    relays.set(Vec::new());
    refused(port).await;
    served.write_all(b"still here").await.expect("the relay listens");
    served.shutdown().await.expect("the relay listens");
    assert_eq!(talk(client, "bye").await.expect("the task answers"), "still here");
    let mut heard = String::new();
    served.read_to_string(&mut heard).await.expect("the client said it all");
    assert_eq!(heard, "bye");
    relays.stop().await;
}

#[tokio::test]
async fn clients_are_reset_when_every_task_refuses() {
    let dead = at("127.0.0.1", free_port());
    let mut relays = Relays::new(Some(ip("127.0.0.1")));
    let port = at("127.0.0.1", free_port());
    publish(&mut relays, PortProtocol::Tcp, port.port(), &[dead]);
    let answer = talk(connect(port).await, "").await;
    assert!(answer.is_err(), "{answer:?}");
    relays.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_opened_once_it_is_free() {
    let (a, _a) = tcp_task("a").await;
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("loopback binds");
    let port = taken.local_addr().expect("a bound socket has an address");
    let mut relays = Relays::new(Some(ip("127.0.0.1")));
    publish(&mut relays, PortProtocol::Tcp, port.port(), &[a]);
    drop(connect(port).await);
    drop(taken);
    until("the port leads to the task", || async {
        let stream = TcpStream::connect(port).await.ok()?;
        (talk(stream, "").await.ok()? == "a").then_some(())
    })
    .await;
    relays.stop().await;
}

#[tokio::test]
async fn udp_clients_keep_a_task_and_move_when_it_goes() {
    let ((a, _a), (b, _b)) = (udp_task("a").await, udp_task("b").await);
    let mut relays = Relays::new(Some(ip("127.0.0.1")));
    let port = at("127.0.0.1", free_port());
    publish(&mut relays, PortProtocol::Udp, port.port(), &[a, b]);
    let first = udp_client(port).await;
    let own = until("an answer", || async { say(&first, "").await.ok() }).await;
    for _ in 0..4 {
        assert_eq!(say(&first, "").await.expect("the same task answers"), own);
    }
    let second = udp_client(port).await;
    let other = if own == "a" { "b" } else { "a" };
    assert_eq!(say(&second, "").await.expect("the other task answers"), other);

    let keep = if own == "a" { b } else { a };
    publish(&mut relays, PortProtocol::Udp, port.port(), &[keep]);
    say_until(&first, "?", &format!("{other}?")).await;
    publish(&mut relays, PortProtocol::Udp, port.port(), &[]);
    until("datagrams are refused", || async {
        let error = say(&first, "").await.err()?;
        (error.kind() == ErrorKind::ConnectionRefused).then_some(())
    })
    .await;
    relays.stop().await;
}

#[tokio::test]
async fn a_udp_task_that_refuses_is_left_for_the_next() {
    let (a, _a) = udp_task("a").await;
    let dead = at("127.0.0.1", free_port());
    let mut relays = Relays::new(Some(ip("127.0.0.1")));
    let port = at("127.0.0.1", free_port());
    publish(&mut relays, PortProtocol::Udp, port.port(), &[a, dead]);
    for _ in 0..3 {
        say_until(&udp_client(port).await, "!", "a!").await;
    }
    relays.stop().await;
}

#[tokio::test]
async fn all_addresses_of_both_families_are_served_and_answer_as_themselves() {
    let ((tcp, _tcp), (udp, _udp)) = (tcp_task("t").await, udp_task("u").await);
    let mut relays = Relays::new(None);
    let port = free_port();
    relays.set(vec![
        Publication { protocol: PortProtocol::Tcp, port, place: None, backends: vec![tcp] },
        Publication { protocol: PortProtocol::Udp, port, place: None, backends: vec![udp] },
        Publication { protocol: PortProtocol::Sctp, port, place: None, backends: vec![udp] },
    ]);
    let v6 = socket::wildcard(0).is_ipv6();
    for addr in ["127.0.0.1", "127.0.0.9", "::1"].into_iter().filter(|addr| v6 || *addr != "::1") {
        let to = at(addr, port);
        assert_eq!(talk(connect(to).await, "").await.expect("the task answers"), "t", "{addr}");
        // A connected socket hears only answers from the very address it asked.
        say_until(&udp_client(to).await, "", "u").await;
    }
    relays.stop().await;
}
