//! The process that has the encrypted link, beside the daemon so that it outlives it. Its private key is made here, is in its
//! memory alone and ends with it. It does what the daemon asks, whichever came last.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use boringtun::x25519::StaticSecret;
use nix::sys::socket::{setsockopt, sockopt};
use skep_core::net::wireguard::{LINK, MTU, PORT, PREFIX};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tun_rs::{DeviceBuilder, SyncDevice};
use zeroize::Zeroizing;

use super::message::{Ask, Hello, VERSION, receive, send};
use super::tunnel::Tunnel;
use crate::clock;

/// Between two looks at the clock, for what WireGuard does after some time.
const LOOK_PERIOD: Duration = Duration::from_millis(250);

/// Packets that wait for their turn.
const BUFFER_BYTES: usize = 4 << 20;

/// Why there is no encrypted link, or no more.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The link cannot be made.
    #[error("cannot make the link {LINK}; it needs /dev/net/tun")]
    Link(#[source] io::Error),
    /// Its port is taken.
    #[error("cannot listen on UDP port {PORT} of {0}")]
    Port(Ipv4Addr, #[source] io::Error),
    /// Nobody can ask for anything.
    #[error("the standard input is no socket to listen on")]
    Input(#[source] io::Error),
    /// It was working until then.
    #[error("the link {LINK} broke")]
    Broke(#[source] io::Error),
}

/// Makes the link, and keeps it until it is asked to end. Takes those who ask on the socket that is its standard input.
///
/// # Errors
/// Says why there is no link, or no more.
pub async fn run(endpoint: Ipv4Addr, addr: Ipv4Addr) -> Result<(), ProcessError> {
    let asked = listener().map_err(ProcessError::Input)?;
    let udp = UdpSocket::bind((endpoint, PORT));
    let udp = udp.map_err(|error| ProcessError::Port(endpoint, error))?;
    // Smaller ones do too.
    let _ = setsockopt(&udp, sockopt::RcvBufForce, &BUFFER_BYTES);
    let _ = setsockopt(&udp, sockopt::SndBufForce, &BUFFER_BYTES);
    let device = device(addr).map_err(ProcessError::Link)?;
    let link = device.as_fd().try_clone_to_owned().map_err(ProcessError::Link)?;
    let seed = Zeroizing::new(clock::random_bytes::<32>());
    let tunnel = Tunnel::new(link, udp, addr, StaticSecret::from(*seed));
    let tunnel = Arc::new(tunnel.map_err(ProcessError::Link)?);
    let mut ended = start(&tunnel);
    let hello = Hello { version: VERSION, key: tunnel.key(), endpoint, addr };
    let mut looks = tokio::time::interval(LOOK_PERIOD);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut talks = JoinSet::new();
    loop {
        tokio::select! {
            end = ended.recv() => {
                let end = end.unwrap_or_else(|| io::Error::other("a thread failed"));
                return Err(ProcessError::Broke(end));
            }
            Ok((stream, _)) = asked.accept() => {
                talks.abort_all();
                talks.spawn(talk(stream, hello.clone(), tunnel.clone()));
            }
            Some(talked) = talks.join_next() => if matches!(talked, Ok(Ok(()))) { return Ok(()) },
            _ = looks.tick() => {
                tunnel.look_at_clock();
                // Somebody may have taken it down.
                if !device.is_running().unwrap_or(true) {
                    device.enabled(true).map_err(ProcessError::Broke)?;
                }
            }
        }
    }
}

fn listener() -> io::Result<UnixListener> {
    let input: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let listener = StdListener::from(input);
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Makes the link. It goes when this process does.
fn device(addr: Ipv4Addr) -> io::Result<SyncDevice> {
    let device = DeviceBuilder::new().name(LINK).mtu(MTU).ipv4(addr, PREFIX, None);
    let device = device.build_sync()?;
    device.set_nonblocking(true)?;
    Ok(device)
}

/// Starts the threads for packets; tells when one of them is at its end.
fn start(tunnel: &Arc<Tunnel>) -> mpsc::Receiver<io::Error> {
    let (ends, ended) = mpsc::channel(2);
    for run in [Tunnel::run_out, Tunnel::run_in] {
        let (tunnel, ends) = (tunnel.clone(), ends.clone());
        std::thread::spawn(move || {
            // One that panics drops its sender; the other one's says nothing then, so that is told first.
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&tunnel)));
            let error = match ended {
                Ok(Ok(())) => io::Error::other("a thread ended"),
                Ok(Err(error)) => error,
                Err(_) => io::Error::other("a thread failed"),
            };
            let _ = ends.blocking_send(error);
        });
    }
    ended
}

/// Does what one daemon asks; succeeds when that is to end.
async fn talk(mut stream: UnixStream, hello: Hello, tunnel: Arc<Tunnel>) -> io::Result<()> {
    send(&mut stream, &hello).await?;
    loop {
        match receive(&mut stream).await? {
            Ask::Peers(peers) => tunnel.set_peers(&peers.into_iter().collect()),
            Ask::End => return Ok(()),
        }
    }
}
