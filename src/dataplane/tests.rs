//! Tests of the whole data plane: it follows the states it is shown.

use std::time::Duration;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use skep_core::model::service::PortProtocol;
use skep_core::model::task::TaskState;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::fixture::{World, at, free_port, ip, node, until};
use super::*;

async fn resolve(from: &str, server: std::net::SocketAddr) -> Option<Vec<IpAddr>> {
    let mut name = Name::from_ascii("tasks.web").ok()?;
    name.set_fqdn(true);
    let mut message = Message::query();
    message.add_query(Query::query(name, RecordType::A));
    let socket = UdpSocket::bind(at(from, 0)).await.ok()?;
    socket.connect(server).await.ok()?;
    socket.send(&message.to_vec().ok()?).await.ok()?;
    let mut buffer = vec![0; 512];
    let length = timeout(Duration::from_secs(2), socket.recv(&mut buffer)).await.ok()?.ok()?;
    let answer = Message::from_vec(&buffer[..length]).ok()?;
    let mut list: Vec<IpAddr> =
        answer.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
    list.sort();
    Some(list)
}

#[tokio::test]
async fn names_and_ports_follow_the_state() {
    let task = TcpListener::bind("127.0.51.6:0").await.expect("loopback binds");
    let target = task.local_addr().expect("a bound socket has an address").port();
    let settings = Settings {
        dns_port: free_port(),
        resolv_conf: "/nonexistent".into(),
        publish_on: Some(ip("127.0.0.1")),
        kernel: false,
    };
    let (server, port) = (at("127.0.51.1", settings.dns_port), at("127.0.0.1", free_port()));
    let mut world = World::new(51, &[5]);
    let (sender, states) = watch::channel(world.state());
    let shutdown = CancellationToken::new();
    let plane = DataPlane::new(settings, node(), ip("127.0.0.1"), Tell::default());
    let (_assigning, assigned) = watch::channel(None);
    let plane = tokio::spawn(plane.run(states, assigned, shutdown.clone()));
    let answer = |expect: Vec<IpAddr>| async move {
        until("the name has new addresses", || async {
            (resolve("127.0.51.5", server).await? == expect).then_some(())
        })
        .await;
    };
    answer(vec![ip("127.0.51.5")]).await;

    world.add_task(ip("127.0.51.6"));
    world.publish(PortProtocol::Tcp, port.port(), target);
    world.tasks[0].desired = TaskState::Shutdown;
    sender.send_replace(world.state());
    answer(vec![ip("127.0.51.6")]).await;
    let client = until("the port is open", || async { TcpStream::connect(port).await.ok() }).await;
    let (mut backend, _) = task.accept().await.expect("the relay connects");

    shutdown.cancel();
    timeout(Duration::from_secs(20), plane).await.expect("it stops").expect("it does not panic");
    drop(client);
    assert_eq!(backend.read(&mut [0; 8]).await.expect("the relay closes"), 0);
    assert!(TcpStream::connect(port).await.is_err());
}
