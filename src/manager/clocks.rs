//! The clocks of the other managers: each tells the time with every frame of consensus and its answer. What is to be made of
//! it, the core says.

use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use skep_core::clocks::{Apart, Clocks};
use skep_core::time::Timestamp;

use crate::clock;

/// The header of both ways: a member's id and the seconds since 1970 by its clock, `ID:SECONDS`.
pub const HEADER: &str = "skep-clock";

/// What one manager knows of the others' clocks.
pub struct PeerClocks {
    member: u64,
    known: Mutex<Clocks>,
}

impl PeerClocks {
    /// Knows nothing yet; this manager is `member`.
    pub fn new(member: u64) -> Self {
        Self { member, known: Mutex::default() }
    }

    /// Returns what to tell others.
    pub fn tell(&self) -> Option<HeaderValue> {
        let seconds = clock::now().0 / 1_000_000_000;
        HeaderValue::try_from(format!("{}:{seconds}", self.member)).ok()
    }

    /// Takes in what another one tells; anything else in its place is passed over.
    pub fn hear(&self, headers: &HeaderMap) {
        let told = headers.get(HEADER).and_then(|told| told.to_str().ok());
        let told = told.and_then(|told| told.split_once(':'));
        let parsed = told.and_then(|(id, secs)| Some((id.parse().ok()?, secs.parse().ok()?)));
        if let Some((member, seconds)) = parsed.filter(|(member, _)| *member != self.member) {
            self.known.lock().hear(member, Timestamp::from_secs(seconds), clock::uptime());
        }
    }

    /// Judges this manager's clock.
    ///
    /// # Errors
    /// Says that it may be wrong.
    pub fn judge(&self) -> Result<(), Apart> {
        self.known.lock().judge(clock::now(), clock::uptime())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(told: &str) -> HeaderMap {
        let value = HeaderValue::from_bytes(told.as_bytes()).expect("no line ends");
        [(http::HeaderName::from_static(HEADER), value)].into_iter().collect()
    }

    #[test]
    fn what_one_tells_another_hears() {
        let (here, there) = (PeerClocks::new(1), PeerClocks::new(2));
        let told = there.tell().expect("digits");
        here.hear(&headers(told.to_str().expect("text")));
        assert_eq!(here.judge(), Ok(()));
        // Its own words come back, then nonsense, then another time.
        here.hear(&headers("1:5"));
        for nonsense in
            ["", ":", "2:", "2:x", "-2:5", "2:5:5", "2:99999999999999999999", "\u{e9}:1"]
        {
            here.hear(&headers(nonsense));
        }
        assert_eq!(here.judge(), Ok(()));
        here.hear(&headers("2:5"));
        assert!(here.judge().is_err());
        here.hear(&headers(&format!("2:{}", i64::MIN)));
        assert!(here.judge().is_err());
    }
}
