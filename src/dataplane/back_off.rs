//! When to try again to open a socket, and when to tell. Opens none.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tracing::{info, warn};

use crate::clock;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// A socket of ours that is being closed may be in the way for a moment; that is nobody's business.
const SILENT_FAILURES: u32 = 2;

/// Failures in a row to open one socket.
pub struct BackOff {
    what: &'static str,
    addr: SocketAddr,
    failures: u32,
}

impl BackOff {
    pub const fn new(what: &'static str, addr: SocketAddr) -> Self {
        Self { what, addr, failures: 0 }
    }

    pub fn failed(&mut self, error: &io::Error) {
        self.failures = self.failures.saturating_add(1);
        if self.failures == SILENT_FAILURES + 1 {
            warn!(
                socket.addr = %self.addr,
                error = %error,
                "cannot open {}: stop the program that holds it (see `ss -lntup`) or publish \
                 another port; trying again every few seconds",
                self.what
            );
        }
    }

    pub fn succeeded(&mut self) {
        if self.failures > SILENT_FAILURES {
            info!(socket.addr = %self.addr, "{} is open now", self.what);
        }
        self.failures = 0;
    }

    /// Waits before the next attempt.
    pub async fn wait(&self) {
        let factor = 1_u32 << self.failures.saturating_sub(1).min(8);
        clock::sleep((FIRST * factor).min(LONGEST)).await;
    }
}
