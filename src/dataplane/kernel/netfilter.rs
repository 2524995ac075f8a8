//! The socket to the kernel's packet rules, kept open: the kernel makes whoever closes one wait until it has cleared up what
//! was taken away, some 10 ms.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::batch::Batch;
use crate::dataplane::attributes::{ERROR, sequenced};

/// A request (flag 1) of the subsystem nf_tables (10), message GETGEN (16), of no family; no sequence, no port.
const GET_NUMBER: [u8; 20] = [20, 0, 0, 0, 16, 10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Head of the family, and that of the first attribute, the number (NFTA_GEN_ID, big-endian).
const NUMBER_AT: usize = 4 + 4;

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
}

impl Netfilter {
    pub(super) fn open() -> io::Result<Self> {
        let socket = open()?;
        // The kernel has answered when a request is sent. What is not there then never comes.
        socket.set_non_blocking(true)?;
        // An answer to what is refused need not repeat it.
        socket.set_cap_ack(true)?;
        Ok(Self { socket })
    }

    /// Returns the number of the kernel's packet rules, which each change of any of them raises.
    pub(super) fn number(&self) -> io::Result<u32> {
        self.socket.send(&GET_NUMBER, 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        let found = sequenced(&answer).find_map(|(_, _, body)| {
            body.get(NUMBER_AT..NUMBER_AT + 4)?.try_into().ok().map(u32::from_be_bytes)
        });
        found.ok_or_else(|| io::Error::other("the kernel's packet rules have no number"))
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
            for (kind, sequence, body) in sequenced(&answer) {
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
