//! Labels by which users ask skep for what Docker has no word for. What begins like them and is none is refused: it would be
//! without effect and nobody would notice.

use std::time::Duration;

use crate::model::Labels;

/// How all of them begin.
const PREFIX: &str = "skep.";

/// Of services: how long a task waits at most for its connections to come to rest before it is stopped.
pub const DRAIN: &str = "skep.lb.drain";

/// Of nodes: for how long after its certificate ran out a node may ask for another one.
pub const CERTIFICATE_GRACE: &str = "skep.certificate-grace";

/// What carries labels that mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer {
    /// A service.
    Service,
    /// A node.
    Node,
}

/// Why labels are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabel {
    /// No label of skep's.
    #[error("unknown label {label:?}: the label of skep's here is {known}")]
    Unknown {
        /// Its name.
        label: String,
        /// The one there is.
        known: &'static str,
    },
    /// A value that is no time.
    #[error("invalid value {value:?} of label {label}: a time is written as in 30s, 1m30s or 720h")]
    Value {
        /// The label.
        label: &'static str,
        /// Its value.
        value: String,
    },
}

/// Checks the labels that are skep's.
///
/// # Errors
/// Names the first that is none, or whose value says nothing.
pub fn check(bearer: Bearer, labels: &Labels) -> Result<(), InvalidLabel> {
    let known = match bearer {
        Bearer::Service => DRAIN,
        Bearer::Node => CERTIFICATE_GRACE,
    };
    for (label, value) in labels.iter().filter(|(label, _)| is_ours(label)) {
        if label != known {
            return Err(InvalidLabel::Unknown { label: label.clone(), known });
        }
        if duration(value).is_none() {
            return Err(InvalidLabel::Value { label: known, value: value.clone() });
        }
    }
    Ok(())
}

/// Tells whether a label is for skep to know.
pub fn is_ours(label: &str) -> bool {
    label.starts_with(PREFIX)
}

/// Reads the time that a label gives, if it is there and says one.
pub fn duration_of(labels: &Labels, label: &str) -> Option<Duration> {
    labels.get(label).and_then(|value| duration(value))
}

/// Reads whole numbers with the units `ms`, `s`, `m`, `h` and `d`.
fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        rest = &rest[end..];
        total = total.checked_add(Duration::from_millis(number.checked_mul(unit)?))?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(label: &str, value: &str) -> Labels {
        [("other".to_owned(), "x".to_owned()), (label.to_owned(), value.to_owned())].into()
    }

    #[test]
    fn times_are_read_whole_or_not_at_all() {
        for (text, expect) in [
            ("0s", Some(0)),
            ("500ms", Some(500)),
            ("1m30s", Some(90_000)),
            ("720h", Some(2_592_000_000)),
            ("1d", Some(86_400_000)),
            ("", None),
            ("5", None),
            ("s", None),
            ("é", None),
            ("-5s", None),
            ("1.5s", None),
            ("5 s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(duration(text), expect.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn labels_that_would_do_nothing_are_refused() {
        let text = |bearer, label, value| match check(bearer, &labels(label, value)) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(text(Bearer::Service, "team", "a"), "ok");
        assert_eq!(text(Bearer::Service, DRAIN, "30s"), "ok");
        assert_eq!(text(Bearer::Node, CERTIFICATE_GRACE, "720h"), "ok");
        assert_eq!(
            text(Bearer::Service, "skep.lb.drian", "30s"),
            "unknown label \"skep.lb.drian\": the label of skep's here is skep.lb.drain"
        );
        assert_eq!(
            text(Bearer::Node, DRAIN, "30s"),
            "unknown label \"skep.lb.drain\": the label of skep's here is skep.certificate-grace"
        );
        assert_eq!(
            text(Bearer::Service, DRAIN, "soon"),
            "invalid value \"soon\" of label skep.lb.drain: a time is written as in 30s, 1m30s or 720h"
        );
    }
}
