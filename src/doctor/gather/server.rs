//! Asks whoever serves Docker's API on a socket.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::Value;
use skep::clock;
use skep::config::Address;
use skep_core::time::Timestamp;

use crate::doctor::facts::{Reach, Server};
use crate::status;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
const NANOS_A_MILLI: i64 = 1_000_000;

/// Looks at one server.
pub async fn look(address: &Address) -> Server {
    let mut server = Server { address: address.to_string(), ..Server::default() };
    let (reach, pid) = connect(address).await;
    server.reach = reach;
    server.pid = pid;
    if server.reach != Reach::Answers {
        return server;
    }
    let asked = clock::now();
    match get(address, "/info").await {
        Ok(info) => server.ahead_millis = ahead(&info, asked, clock::now()),
        Err(reason) => {
            server.reach = Reach::Failed(reason);
            return server;
        }
    }
    // What is not answered stays empty and is judged as such.
    server.info = get(address, "/info").await.unwrap_or_default();
    server.version = get(address, "/version").await.unwrap_or_default();
    server
}

/// Asks a cluster for the port of its overlay networks.
pub async fn data_path_port(daemon: &Server, address: Option<&Address>) -> Option<u16> {
    if daemon.reach != Reach::Answers {
        return None;
    }
    let swarm = get(address?, "/swarm").await.ok()?;
    u16::try_from(swarm["DataPathPort"].as_u64()?).ok().filter(|port| *port != 0)
}

/// Asks a daemon in a cluster what is amiss with the host's network.
pub async fn network(daemon: &Server, address: Option<&Address>) -> Option<Vec<String>> {
    if daemon.reach != Reach::Answers || daemon.info["Swarm"]["LocalNodeState"] != "active" {
        return None;
    }
    let report = get(address?, "/skep/net").await.ok()?;
    let amiss = report["Amiss"].as_array()?;
    Some(amiss.iter().filter_map(|line| line.as_str().map(str::to_owned)).collect())
}

async fn get(address: &Address, path: &str) -> Result<Value, String> {
    match tokio::time::timeout(PATIENCE, status::get(address, path)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err(format!("it does not answer {path} within {} s", PATIENCE.as_secs())),
    }
}

async fn connect(address: &Address) -> (Reach, Option<i32>) {
    let connected = match address {
        Address::Unix(path) => tokio::net::UnixStream::connect(path)
            .await
            .map(|stream| stream.peer_cred().ok().and_then(|peer| peer.pid())),
        Address::Tcp(host) => {
            let connecting = tokio::net::TcpStream::connect(host);
            match tokio::time::timeout(PATIENCE, connecting).await {
                Ok(connected) => connected.map(|_| None),
                Err(_) => Err(ErrorKind::TimedOut.into()),
            }
        }
    };
    match connected {
        Ok(pid) => (Reach::Answers, pid),
        Err(error) => (unreached(address, &error), None),
    }
}

fn unreached(address: &Address, error: &std::io::Error) -> Reach {
    let kind = error.kind();
    let local = matches!(address, Address::Unix(_));
    if kind == ErrorKind::NotFound || (kind == ErrorKind::ConnectionRefused && !local) {
        Reach::Missing
    } else if kind == ErrorKind::ConnectionRefused {
        Reach::Deaf
    } else if kind == ErrorKind::PermissionDenied {
        Reach::Forbidden
    } else {
        Reach::Failed(error.to_string())
    }
}

/// By how much the server's clock is ahead, as far as the time the question took lets one tell.
fn ahead(info: &Value, asked: Timestamp, answered: Timestamp) -> Option<i64> {
    let theirs: jiff::Timestamp = info["SystemTime"].as_str()?.parse().ok()?;
    let theirs = i64::try_from(theirs.as_nanosecond()).ok()?;
    let difference = if theirs < asked.0 { theirs - asked.0 } else { (theirs - answered.0).max(0) };
    Some(difference / NANOS_A_MILLI)
}
