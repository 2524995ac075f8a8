//! Hears who changes skep's packet rules. Changes none.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use nix::errno::Errno;
use skep_core::net::TABLES;

use super::batch::{SUBSYSTEM, TABLE, family_of};
use crate::dataplane::attributes::{Message, find, with_heads};

/// The group that is told of all changes of packet rules (NFNLGRP_NFTABLES).
const CHANGES: u32 = 7;

/// The message that ends what is told of a transaction (NFT_MSG_NEWGEN).
const NEW_NUMBER: u16 = SUBSYSTEM << 8 | 15;

/// Length of what comes between a message's head and the attributes.
const FAMILY: usize = 4;

/// A socket that is told of all changes in this network namespace.
pub(super) struct Monitor {
    socket: TokioSocket,
    told: Told,
}

/// What was heard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Transactions that touched skep's tables.
    pub(super) transactions: usize,
    /// Whether there was more than could be kept.
    pub(super) overrun: bool,
}

impl Monitor {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        socket.socket_mut().bind_auto()?;
        socket.socket_mut().add_membership(CHANGES)?;
        Ok(Self { socket, told: Told::default() })
    }

    /// Waits until something was told, without what came from the socket `own`. Cancelling loses nothing.
    pub(super) async fn next(&mut self, own: u32) -> Heard {
        let first = self.socket.recv_from_full().await;
        let mut heard = Heard::default();
        if self.take(first, own, &mut heard) { self.rest(own, heard) } else { heard }
    }

    /// Returns what was told since it was last asked, without what came from the socket `own`.
    pub(super) fn heard(&mut self, own: u32) -> Heard {
        self.rest(own, Heard::default())
    }

    fn rest(&mut self, own: u32, mut heard: Heard) -> Heard {
        loop {
            let received = self.socket.socket_ref().recv_from_full();
            if !self.take(received, own, &mut heard) {
                // The end of what overran is lost too.
                self.told.touched &= !heard.overrun;
                return heard;
            }
        }
    }

    /// Tells whether there may be more.
    fn take(
        &mut self,
        received: io::Result<(Vec<u8>, SocketAddr)>,
        own: u32,
        heard: &mut Heard,
    ) -> bool {
        match received {
            Ok((bytes, _)) => heard.transactions += self.told.take(&bytes, own),
            Err(error) => {
                let errno = error.raw_os_error().map(Errno::from_raw);
                heard.overrun |= errno != Some(Errno::EAGAIN);
                return errno == Some(Errno::ENOBUFS);
            }
        }
        true
    }
}

/// What is told, which may end in the middle of a transaction.
#[derive(Default)]
struct Told {
    /// Whether that transaction touched any of skep's tables.
    touched: bool,
}

impl Told {
    /// Counts the transactions that end here and touched skep's tables.
    fn take(&mut self, bytes: &[u8], own: u32) -> usize {
        let mut count = 0;
        for message in with_heads(bytes).filter(|it| it.port != own) {
            if message.kind == NEW_NUMBER {
                count += usize::from(std::mem::take(&mut self.touched));
            } else {
                self.touched |= is_ours(message);
            }
        }
        count
    }
}

/// Tells whether a change is one of skep's tables, or of something in one.
fn is_ours(message: Message<'_>) -> bool {
    let Some((family, attributes)) = message.body.split_at_checked(FAMILY) else { return false };
    let name = find(attributes, &[TABLE]).and_then(|name| name.strip_suffix(&[0]));
    let is_that = |(word, table): (&str, &str)| {
        family_of(word) == family.first().copied() && name == Some(table.as_bytes())
    };
    message.kind >> 8 == SUBSYSTEM
        && TABLES.iter().filter_map(|table| table.split_once(' ')).any(is_that)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dataplane::attributes::{HEAD, put_name};

    const OWN: u32 = 7;

    fn message(kind: u16, port: u32, family: u8, table: &str) -> Vec<u8> {
        let mut bytes = vec![0; HEAD];
        bytes.extend([family, 0, 0, 0]);
        put_name(&mut bytes, TABLE, table);
        let length = u32::try_from(bytes.len()).expect("tests are short");
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[4..6].copy_from_slice(&(SUBSYSTEM << 8 | kind).to_ne_bytes());
        bytes[12..16].copy_from_slice(&port.to_ne_bytes());
        bytes
    }

    #[test]
    fn transactions_of_others_are_counted_once_each() {
        let rule = |port, family, table| message(6, port, family, table);
        let end = |port| message(15, port, 0, "");
        let mut told = Told::default();
        let count = |told: &mut Told, all: &[Vec<u8>]| told.take(&all.concat(), OWN);
        assert_eq!(count(&mut told, &[rule(1, 2, "skep"), rule(1, 2, "skep"), end(1)]), 1);
        assert_eq!(count(&mut told, &[rule(OWN, 2, "skep"), end(OWN)]), 0);
        assert_eq!(count(&mut told, &[rule(1, 1, "skep"), rule(1, 2, "filter"), end(1)]), 0);
        assert_eq!(count(&mut told, &[rule(1, 1, "skep_fw")]), 0, "it goes on");
        assert_eq!(count(&mut told, &[rule(1, 2, "nat"), end(1), rule(2, 10, "skep"), end(2)]), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _count = Told::default().take(&bytes, OWN);
        }
    }
}
