//! Packet rules, set in one transaction each time, and found again when others take them away. What follows tasks and
//! services is told to the kernel itself, all else by nft.

use std::io;

use skep_core::net::TABLES;
use skep_core::net::ruleset::Ruleset;
use tracing::{debug, warn};

use super::batch::{Batch, batch};
use super::netfilter::Netfilter;
use super::{KernelError, program, program_retried};

const NFT: &str = "nft";

/// The rules in force.
#[derive(Default)]
pub struct Rules {
    /// What was set last; absent before the first time, and once something else was found.
    held: Option<Ruleset>,
    /// The number of the kernel's rules when these were known to be as they were set.
    number: Option<u32>,
    /// How the tables look when they are; absent until the first look after a change.
    seen: Option<Vec<String>>,
    /// The way to the kernel, once it was needed.
    kernel: Option<Netfilter>,
}

impl Rules {
    /// Puts rules in force.
    ///
    /// # Errors
    /// Says why they are not.
    pub async fn set(&mut self, wanted: &Ruleset) -> Result<(), KernelError> {
        let held = self.held.take();
        let changes = held.as_ref().map_or_else(|| wanted.whole(TABLES), |it| wanted.since(it));
        if !changes.is_empty() {
            let outcome = match batch(&changes) {
                Some(batch) => self.send(batch).await,
                None => program(NFT, file_args(), changes.to_string()).await.map(drop),
            };
            match outcome {
                Err(error) if held.is_some() => {
                    debug!(%error, "the packet rules are others than were set");
                    let text = wanted.whole(TABLES).to_string();
                    program_retried(NFT, &["-f", "-"], &text).await?;
                }
                outcome => outcome?,
            }
            (self.number, self.seen) = (self.generation(), None);
        }
        self.held = Some(wanted.clone());
        Ok(())
    }

    /// Tells the kernel.
    async fn send(&mut self, batch: Batch) -> Result<(), KernelError> {
        let kernel = self.kernel.take().map_or_else(Netfilter::open, Ok);
        let kernel = kernel.map_err(KernelError::Socket)?;
        // Another one's transaction may take long, and none begins before it has ended.
        let sent = tokio::task::spawn_blocking(move || {
            let outcome = kernel.carry_out(&batch);
            (kernel, outcome)
        });
        let (kernel, outcome) =
            sent.await.map_err(|it| KernelError::Socket(io::Error::other(it)))?;
        outcome.map_err(KernelError::Rules)?;
        self.kernel = Some(kernel);
        Ok(())
    }

    /// Returns the number of the kernel's packet rules, where it can be told.
    fn generation(&mut self) -> Option<u32> {
        let kernel = self.kernel.take().or_else(|| Netfilter::open().ok())?;
        let number = kernel.number().ok()?;
        self.kernel = Some(kernel);
        Some(number)
    }

    /// Finds out whether the rules are still as they were set. Where that cannot be told they are set again.
    pub(super) async fn look_again(&mut self) {
        if self.held.is_none() {
            return;
        }
        let number = self.generation();
        if number.is_some() && number == self.number && self.seen.is_some() {
            return;
        }
        let mut listed = Vec::new();
        for table in self.held.iter().flat_map(|held| held.tables.keys()) {
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
            (self.held, self.number, self.seen) = (None, None, None);
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
