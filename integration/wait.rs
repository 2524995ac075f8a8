//! Waiting for a named condition with a deadline; the only place of this package that pauses.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(150);

/// An error of a probe that no waiting will mend.
#[derive(Debug)]
pub struct Hopeless(pub String);

impl std::fmt::Display for Hopeless {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Hopeless {}

/// Probes until it succeeds and returns its value. The probe's error is the state seen so far: the
/// last one is what a missed deadline reports. A [`Hopeless`] one ends the waiting at once.
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Result<T>,
) -> Result<T> {
    let began = Instant::now();
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(state) if began.elapsed() >= deadline || state.is::<Hopeless>() => {
                let waited = began.elapsed();
                bail!("waited {waited:.1?} in vain for: {what}\nlast state: {state:#}");
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
