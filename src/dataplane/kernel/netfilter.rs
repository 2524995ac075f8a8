//! The socket by which packet rules are changed, kept open: the kernel makes whoever closes one wait until it has cleared up
//! what was taken away, some 10 ms.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::batch::Batch;
use crate::dataplane::attributes::{ERROR, Message, with_heads};

/// Opens a socket to the kernel's packet filter.
pub(super) fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// The way to the packet rules of this network namespace.
pub(super) struct Netfilter {
    socket: Socket,
    /// By which the kernel says whose a change was.
    pub(super) port: u32,
}

impl Netfilter {
    pub(super) fn open() -> io::Result<Self> {
        let socket = open()?;
        // The kernel has answered when a request is sent. What is not there then never comes.
        socket.set_non_blocking(true)?;
        // An answer to what is refused need not repeat it.
        socket.set_cap_ack(true)?;
        let mut addr = SocketAddr::new(0, 0);
        socket.get_address(&mut addr)?;
        Ok(Self { socket, port: addr.port_number() })
    }

    /// Carries out a batch, all of it or nothing.
    ///
    /// # Errors
    /// Says what the kernel refused first, or that it cannot be told what became of it.
    pub(super) fn carry_out(&self, batch: &Batch) -> io::Result<()> {
        self.socket.send(&batch.bytes, 0)?;
        let mut outcome = Ok(());
        loop {
            let (answer, _) = self.socket.recv_from_full()?;
            for Message { kind, sequence, body, .. } in with_heads(&answer) {
                let Some(code) = body.get(..4).filter(|_| kind == ERROR) else { continue };
                let code = code.try_into().map_or(0, i32::from_ne_bytes);
                if code != 0 && outcome.is_ok() {
                    outcome = Err(io::Error::from_raw_os_error(code.saturating_neg()));
                }
                // What is wrong with all of it is said of the beginning, and ends it.
                if sequence == batch.last || sequence == 0 {
                    return outcome;
                }
            }
        }
    }
}
