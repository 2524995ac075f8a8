//! Packet rules, set in one transaction each time, and set again when others change them. What follows tasks and services is
//! told to the kernel itself, all else by nft.

use std::io;

use skep_core::net::TABLES;
use skep_core::net::changes::Changes;
use skep_core::net::ruleset::Ruleset;
use tracing::{debug, warn};

use super::batch::{Batch, batch};
use super::monitor::{Heard, Monitor};
use super::netfilter::Netfilter;
use super::{KernelError, program, program_retried};

const NFT: &str = "nft";

/// The rules in force.
pub struct Rules {
    /// What was set last; absent before the first time, and once others changed it.
    held: Option<Ruleset>,
    kernel: Option<Netfilter>,
    /// By which the kernel tells own changes from those of others.
    port: u32,
    monitor: Monitor,
}

impl Rules {
    /// Opens the way to the packet rules of this network namespace.
    ///
    /// # Errors
    /// Fails where the kernel has none.
    pub fn open() -> Result<Self, KernelError> {
        let kernel = Netfilter::open().map_err(KernelError::Rules)?;
        let monitor = Monitor::open().map_err(KernelError::Rules)?;
        Ok(Self { held: None, port: kernel.port, kernel: Some(kernel), monitor })
    }

    /// Puts rules in force.
    ///
    /// # Errors
    /// Says why they are not.
    pub async fn set(&mut self, wanted: &Ruleset) -> Result<(), KernelError> {
        self.were_changed();
        let held = self.held.take();
        let changes = held.as_ref().map_or_else(|| wanted.whole(TABLES), |it| wanted.since(it));
        let undisturbed = match self.tell(&changes).await {
            Err(error) if held.is_some() => {
                debug!(%error, "the packet rules are others than were set");
                self.write(wanted.whole(TABLES).to_string()).await?
            }
            outcome => outcome?,
        };
        // Where others were at it in the same moment, the next one to set them sets all.
        self.held = undisturbed.then(|| wanted.clone());
        Ok(())
    }

    /// Waits until others have changed the rules, which are set as a whole then.
    pub async fn changed(&mut self) {
        while self.monitor.next(self.port).await == Heard::default() {}
        self.forget();
    }

    /// Tells whether others have changed the rules, which are set as a whole then.
    pub fn were_changed(&mut self) -> bool {
        let changed = self.monitor.heard(self.port) != Heard::default();
        if changed {
            self.forget();
        }
        changed
    }

    fn forget(&mut self) {
        if self.held.take().is_some() {
            warn!("packet rules were changed by others and are set again");
        }
    }

    /// Carries changes out; tells whether nobody else changed anything meanwhile.
    async fn tell(&mut self, changes: &Changes<'_>) -> Result<bool, KernelError> {
        if changes.is_empty() {
            return Ok(true);
        }
        let Some(batch) = batch(changes) else { return self.write(changes.to_string()).await };
        self.send(batch).await?;
        Ok(self.monitor.heard(self.port) == Heard::default())
    }

    async fn send(&mut self, batch: Batch) -> Result<(), KernelError> {
        let kernel = match self.kernel.take() {
            Some(kernel) => kernel,
            None => Netfilter::open().map_err(KernelError::Rules)?,
        };
        self.port = kernel.port;
        // Another one's transaction may take long, and none begins before it has ended.
        let sent = tokio::task::spawn_blocking(move || {
            let outcome = kernel.carry_out(&batch);
            (kernel, outcome)
        });
        let (kernel, outcome) =
            sent.await.map_err(|it| KernelError::Rules(io::Error::other(it)))?;
        outcome.map_err(KernelError::Rules)?;
        self.kernel = Some(kernel);
        Ok(())
    }

    /// Lets nft carry a text out. Of more than is kept nobody knows whose it was.
    async fn write(&mut self, text: String) -> Result<bool, KernelError> {
        program_retried(NFT, &["-f", "-"], &text).await?;
        let heard = self.monitor.heard(self.port);
        Ok(heard.overrun || heard.transactions <= 1)
    }
}

/// Returns a table as nft prints it.
pub(super) async fn list(table: &str) -> Result<String, KernelError> {
    let args = ["list", "table"].into_iter().chain(table.split(' '));
    program(NFT, args.map(str::to_owned).collect(), String::new()).await
}
