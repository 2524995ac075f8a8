//! The only reader of the clock and of the system's randomness.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use skep_core::time::Timestamp;

/// Returns the time.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Returns the time since this process first asked, on a clock that neither jumps nor counts while the machine sleeps.
pub fn uptime() -> Timestamp {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let since = BEGUN.get_or_init(Instant::now).elapsed();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Returns 128 bits of entropy.
pub fn entropy() -> u128 {
    rand::random()
}

/// Fills an array with entropy.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    rand::random()
}

/// Returns a random part of a whole, 0 to 1.
pub fn random_fraction() -> f64 {
    f64::from(rand::random::<u8>()) / 255.0
}

/// Waits until `at`; returns at once if that is past.
pub async fn sleep_until(at: Timestamp) {
    tokio::time::sleep(at.since(now())).await;
}

/// Waits for a duration; for back-off only, never in place of an event.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}
