//! Asks other servers for outside names. Caches nothing.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tracing::debug;

use super::message::{self, Transport};
use crate::clock;
use crate::dataplane::socket::any_like;

/// The engine's own resolver in the container gives up after 4 seconds: the time for all servers is less.
const PATIENCE: Duration = Duration::from_millis(3600);
const SERVERS_MAX: usize = 3;
const RESOLV_CONF_BYTES_MAX: u64 = 64 * 1024;
const DNS_PORT: u16 = 53;

/// Returns the servers that a file in the form of resolv.conf lists; none when it cannot be read.
pub async fn listed(path: &Path) -> Vec<SocketAddr> {
    let mut text = String::new();
    let read = async {
        let file = tokio::fs::File::open(path).await?;
        file.take(RESOLV_CONF_BYTES_MAX).read_to_string(&mut text).await
    };
    if let Err(error) = read.await {
        debug!(path = %path.display(), %error, "no list of name servers");
    }
    parse(&text)
}

fn parse(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .filter_map(at)
        .collect()
}

/// Reads an address, with the port if it is not the usual one.
fn at(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse().ok()?, DNS_PORT)))
}

/// Returns a server of the usual port.
pub const fn usual(addr: IpAddr) -> SocketAddr {
    SocketAddr::new(addr, DNS_PORT)
}

/// Asks the servers in turn; absent when none answered. What we serve ourselves is never asked.
pub async fn ask(
    servers: &[SocketAddr],
    own: &BTreeSet<IpAddr>,
    packet: &[u8],
    transport: Transport,
) -> Option<Vec<u8>> {
    let others = servers.iter().filter(|server| !own.contains(&server.ip().to_canonical()));
    let mut attempts: Vec<SocketAddr> = others.copied().take(SERVERS_MAX).collect();
    if let [only] = attempts[..] {
        attempts.push(only);
    }
    let each = PATIENCE / u32::try_from(attempts.len()).unwrap_or(1).max(1);
    let mut failure = None;
    for server in attempts {
        let asked = async {
            match transport {
                Transport::Udp => over_udp(server, packet).await,
                Transport::Tcp => over_tcp(server, packet).await,
            }
        };
        match timeout(each, asked).await {
            Ok(Ok(answer)) if message::is_failure(&answer) => failure = Some(answer),
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => debug!(%server, %error, "name server failed"),
            Err(_) => debug!(%server, "name server did not answer in time"),
        }
    }
    failure
}

/// Puts another id into a message, for an answer from the outside must be hard to guess.
fn with_id(packet: &[u8], id: [u8; 2]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet.iter_mut().zip(id).for_each(|(byte, new)| *byte = new);
    packet
}

fn id_of(packet: &[u8]) -> [u8; 2] {
    packet.first_chunk().copied().unwrap_or_default()
}

async fn over_udp(server: SocketAddr, packet: &[u8]) -> io::Result<Vec<u8>> {
    let question = with_id(packet, clock::random_bytes());
    let socket = UdpSocket::bind(any_like(server.ip())).await?;
    socket.connect(server).await?;
    socket.send(&question).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if message::answers(&buffer[..length], &question) {
            return Ok(with_id(&buffer[..length], id_of(packet)));
        }
    }
}

async fn over_tcp(server: SocketAddr, packet: &[u8]) -> io::Result<Vec<u8>> {
    let question = with_id(packet, clock::random_bytes());
    let mut stream = TcpStream::connect(server).await?;
    write_framed(&mut stream, &question).await?;
    let answer = read_framed(&mut stream).await?;
    if !message::answers(&answer, &question) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(with_id(&answer, id_of(packet)))
}

/// Reads one message with its length before it.
pub async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Writes one message with its length before it.
pub async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    stream.write_all(&bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read_leniently() {
        let text = "# comment\nsearch a b\nnameserver 1.1.1.1\n nameserver\t2606::1 x\nnameserver\n\
                    nameserver bad\noptions ndots:0\nnameserver 127.0.0.1:5353\n";
        let shown: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["1.1.1.1:53", "[2606::1]:53", "127.0.0.1:5353"]);
    }
}
