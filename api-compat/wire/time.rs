//! Times and durations as the API writes them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use skep_core::time::Timestamp;

/// What Go prints for a time that was never set.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A time in RFC 3339 with as many digits of a second as needed; "never" is Go's zero time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(self.0))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = String::deserialize(source)?;
        if text.is_empty() || text == NEVER {
            return Ok(Self::default());
        }
        parse_rfc3339(&text).map(Self).ok_or_else(|| D::Error::custom("time.Time"))
    }
}

/// Writes RFC 3339 with trailing zeros of the fraction left out.
pub fn format(at: Timestamp) -> String {
    if at.is_zero() {
        return NEVER.to_owned();
    }
    match jiff::Timestamp::from_nanosecond(i128::from(at.0)) {
        Ok(time) => time.to_string(),
        Err(_) => NEVER.to_owned(),
    }
}

/// Writes RFC 3339 with exactly nine digits of the fraction, as log lines have it.
pub fn format_nanos(at: Timestamp) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(at.0)) {
        Ok(time) => format!("{time:.9}"),
        Err(_) => NEVER.to_owned(),
    }
}

/// Reads RFC 3339.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().map(Timestamp)
}

/// Reads Unix seconds with an optional fraction, or RFC 3339, as `since` and `until` have them.
pub fn parse_moment(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if seconds.is_empty() || !digits(seconds) || !digits(fraction) {
        return parse_rfc3339(text);
    }
    let seconds: i64 = seconds.parse().ok()?;
    let padded: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: i64 = padded.parse().ok()?;
    // What lies beyond the last moment there is has not come either way.
    Some(Timestamp(seconds.saturating_mul(1_000_000_000).saturating_add(nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        let at = |seconds: i64, nanos: i64| Timestamp(seconds * 1_000_000_000 + nanos);
        assert_eq!(format(Timestamp(0)), "0001-01-01T00:00:00Z");
        assert_eq!(format(at(1_767_323_045, 0)), "2026-01-02T03:04:05Z");
        assert_eq!(format(at(1_767_323_045, 120_000_000)), "2026-01-02T03:04:05.12Z");
        assert_eq!(format(at(1_767_323_045, 123_456_789)), "2026-01-02T03:04:05.123456789Z");
        assert_eq!(format_nanos(at(1_767_323_045, 120_000_000)), "2026-01-02T03:04:05.120000000Z");
    }

    #[test]
    fn moments_are_read_in_every_form() {
        assert_eq!(parse_moment("12"), Some(Timestamp(12_000_000_000)));
        assert_eq!(parse_moment("12.5"), Some(Timestamp(12_500_000_000)));
        assert_eq!(parse_moment("12.000000001"), Some(Timestamp(12_000_000_001)));
        assert_eq!(parse_moment("1970-01-01T00:00:01Z"), Some(Timestamp(1_000_000_000)));
        assert_eq!(parse_moment("99999999999"), Some(Timestamp(i64::MAX)));
        assert_eq!(parse_moment("soon"), None);
        assert_eq!(parse_moment(""), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(nanos in 1_i64..i64::MAX) {
            prop_assert_eq!(parse_rfc3339(&format(Timestamp(nanos))), Some(Timestamp(nanos)));
        }

        #[test]
        fn no_moment_panics(text in "[0-9.TZ:-]{0,30}") {
            let _ = parse_moment(&text);
        }
    }
}
