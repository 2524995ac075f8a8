//! Packet rules, set by nft in one transaction each time, and found again when others take them away.

use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use skep_core::net::TABLES;
use skep_core::net::ruleset::Ruleset;
use tracing::warn;

use super::{KernelError, program, program_retried};

const NFT: &str = "nft";

/// The rules in force.
#[derive(Default)]
pub(super) struct Rules {
    /// What was set last; absent before the first time, and once something else was found.
    held: Option<Ruleset>,
    /// The number of the kernel's rules when these were known to be as they were set.
    number: Option<u32>,
    /// How the tables look when they are; absent until the first look after a change.
    seen: Option<Vec<String>>,
}

impl Rules {
    /// Puts rules in force.
    pub(super) async fn set(&mut self, wanted: &Ruleset) -> Result<(), KernelError> {
        let text = match &self.held {
            Some(held) => wanted.since(held),
            None => wanted.whole(TABLES),
        };
        if text.is_empty() {
            return Ok(());
        }
        let shorter = self.held.take().is_some();
        let mut outcome = program(NFT, file_args(), text).await;
        if outcome.is_err() && shorter {
            outcome = program_retried(NFT, &["-f", "-"], &wanted.whole(TABLES)).await;
        }
        outcome?;
        self.held = Some(wanted.clone());
        (self.number, self.seen) = (generation(), None);
        Ok(())
    }

    /// Finds out whether the rules are still as they were set. Where that cannot be told they are set again.
    pub(super) async fn look_again(&mut self) {
        let Some(held) = &self.held else { return };
        let number = generation();
        if number.is_some() && number == self.number && self.seen.is_some() {
            return;
        }
        let mut listed = Vec::new();
        for table in held.tables.keys() {
            listed.push(list(table).await.unwrap_or_default());
        }
        let unchanged = match &self.seen {
            Some(seen) => *seen == listed,
            None => number.is_some() && number == self.number,
        };
        if !unchanged {
            if self.seen.is_some() {
                warn!("packet rules were changed by others and are set again");
            }
            *self = Self::default();
            return;
        }
        // Others may have changed theirs while these were listed: the next look tells.
        (self.number, self.seen) = (number, Some(listed));
    }
}

/// Returns a table as nft prints it.
pub(super) async fn list(table: &str) -> Result<String, KernelError> {
    let args = ["list", "table"].into_iter().chain(table.split(' '));
    program(NFT, args.map(str::to_owned).collect(), String::new()).await
}

fn file_args() -> Vec<String> {
    ["-f", "-"].map(str::to_owned).to_vec()
}

/// Returns the number of the kernel's packet rules, which each change of any of them raises.
fn generation() -> Option<u32> {
    /// A request (flag 1) of the subsystem nf_tables (10), message GETGEN (16), of no family; no sequence, no port.
    const REQUEST: [u8; 20] = [20, 0, 0, 0, 16, 10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    /// Heads of the message, and of its first attribute, the number (NFTA_GEN_ID, big-endian).
    const NUMBER_AT: usize = 16 + 4 + 4;
    let mut socket = Socket::new(NETLINK_NETFILTER).ok()?;
    socket.bind_auto().ok()?;
    socket.connect(&netlink_sys::SocketAddr::new(0, 0)).ok()?;
    socket.send(&REQUEST, 0).ok()?;
    let (answer, _) = socket.recv_from_full().ok()?;
    let number = answer.get(NUMBER_AT..NUMBER_AT + 4)?;
    Some(u32::from_be_bytes(number.try_into().ok()?))
}
