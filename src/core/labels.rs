//! Labels by which users ask skep for what Docker has no word for. What begins like them and is none is refused: it would be
//! without effect and nobody would notice.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::Labels;

/// How all of them begin.
const PREFIX: &str = "skep.";

/// Of services: how long a task waits at most for its connections to come to rest before it is stopped.
pub const DRAIN: &str = "skep.lb.drain";

/// Of services: where on each node their ports of the routing mesh are open, an interface or an address; all of it without.
pub const PUBLISH_INTERFACE: &str = "skep.publish.interface";

/// Of nodes: for how long after its certificate ran out a node may ask for another one.
pub const CERTIFICATE_GRACE: &str = "skep.certificate-grace";

/// Of the network of the routing mesh: which networks are encrypted that nobody asks it for, with [`ENCRYPT_ALL`] itself and
/// all overlays that are made while it is there.
pub const ENCRYPT: &str = "skep.encrypt";

/// Its one value.
pub const ENCRYPT_ALL: &str = "all";

/// What carries labels that mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer {
    /// A service.
    Service,
    /// A node.
    Node,
    /// The network of the routing mesh.
    Mesh,
    /// Another network.
    Network,
}

/// Where a published port is open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// At this address, on nodes that have it.
    Address(IpAddr),
    /// For what comes in by the interface of that name, on nodes that have one.
    Interface(String),
}

/// Why labels are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabel {
    /// No label of skep's.
    #[error("unknown label {label:?}: those of skep's here are {known}")]
    Unknown {
        /// Its name.
        label: String,
        /// Those there are.
        known: &'static str,
    },
    /// A value that is no time.
    #[error("invalid value {value:?} of label {label}: a time is written as in 30s, 1m30s or 720h")]
    Time {
        /// The label.
        label: &'static str,
        /// Its value.
        value: String,
    },
    /// A label of the mesh's network on another one.
    #[error(
        "label {0} is for the network of the routing mesh, made with --ingress, and holds for all"
    )]
    Misplaced(&'static str),
    /// A value other than the one there is.
    #[error("invalid value {value:?} of label {label}: it is {wanted:?} or not there")]
    Word {
        /// The label.
        label: &'static str,
        /// Its value.
        value: String,
        /// The one there is.
        wanted: &'static str,
    },
    /// A value that is no place.
    #[error(
        "invalid value {value:?} of label {label}: an interface or an address of one is wanted, as in eth0 or 192.0.2.7"
    )]
    Place {
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
    for (label, value) in labels.iter().filter(|(label, _)| is_ours(label)) {
        let value = value.clone();
        match (bearer, label.as_str()) {
            (Bearer::Service, DRAIN) if duration(&value).is_none() => {
                return Err(InvalidLabel::Time { label: DRAIN, value });
            }
            (Bearer::Service, PUBLISH_INTERFACE) if place(&value).is_none() => {
                return Err(InvalidLabel::Place { label: PUBLISH_INTERFACE, value });
            }
            (Bearer::Node, CERTIFICATE_GRACE) if duration(&value).is_none() => {
                return Err(InvalidLabel::Time { label: CERTIFICATE_GRACE, value });
            }
            (Bearer::Mesh, ENCRYPT) if value != ENCRYPT_ALL => {
                return Err(InvalidLabel::Word { label: ENCRYPT, value, wanted: ENCRYPT_ALL });
            }
            (Bearer::Network, ENCRYPT) => return Err(InvalidLabel::Misplaced(ENCRYPT)),
            (Bearer::Service, DRAIN | PUBLISH_INTERFACE)
            | (Bearer::Node, CERTIFICATE_GRACE)
            | (Bearer::Mesh, ENCRYPT) => {}
            (Bearer::Service, _) => {
                let known = "skep.lb.drain and skep.publish.interface";
                return Err(InvalidLabel::Unknown { label: label.clone(), known });
            }
            (Bearer::Mesh | Bearer::Network, _) => {
                let known = ENCRYPT;
                return Err(InvalidLabel::Unknown { label: label.clone(), known });
            }
            (Bearer::Node, _) => {
                let known = CERTIFICATE_GRACE;
                return Err(InvalidLabel::Unknown { label: label.clone(), known });
            }
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

/// Returns where the ports of a service are open; everywhere if its label says nothing.
pub fn place_of(labels: &Labels) -> Option<Place> {
    labels.get(PUBLISH_INTERFACE).and_then(|value| place(value))
}

/// Reads an address, or the name of an interface as far as one can stand in packet rules: 15 bytes of letters, digits and
/// some marks, none of which means anything there.
fn place(text: &str) -> Option<Place> {
    /// Longest name that the kernel gives an interface (IFNAMSIZ less its end).
    const NAME_BYTES_MAX: usize = 15;
    if let Ok(addr) = text.parse() {
        return Some(Place::Address(addr));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    let is_name = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits);
    // What looks like an address and is none is a slip.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (is_name && !is_number).then(|| Place::Interface(text.to_owned()))
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
            "unknown label \"skep.lb.drian\": those of skep's here are skep.lb.drain and skep.publish.interface"
        );
        assert_eq!(
            text(Bearer::Node, DRAIN, "30s"),
            "unknown label \"skep.lb.drain\": those of skep's here are skep.certificate-grace"
        );
        assert_eq!(text(Bearer::Mesh, ENCRYPT, "all"), "ok");
        assert_eq!(
            text(Bearer::Mesh, ENCRYPT, "some"),
            "invalid value \"some\" of label skep.encrypt: it is \"all\" or not there"
        );
        assert_eq!(
            text(Bearer::Network, ENCRYPT, "all"),
            "label skep.encrypt is for the network of the routing mesh, made with --ingress, and holds for all"
        );
        assert_eq!(
            text(Bearer::Network, "skep.mtu", "1"),
            "unknown label \"skep.mtu\": those of skep's here are skep.encrypt"
        );
        assert_eq!(
            text(Bearer::Service, DRAIN, "soon"),
            "invalid value \"soon\" of label skep.lb.drain: a time is written as in 30s, 1m30s or 720h"
        );
    }

    #[test]
    fn places_are_addresses_or_names_of_interfaces() {
        let interface = |name: &str| Some(Place::Interface(name.to_owned()));
        for (text, expect) in [
            ("eth0", interface("eth0")),
            ("br-1a.20@x", interface("br-1a.20@x")),
            ("192.0.2.7", Some(Place::Address([192, 0, 2, 7].into()))),
            ("::1", Some(Place::Address(std::net::Ipv6Addr::LOCALHOST.into()))),
            ("", None),
            ("192.0.2", None),
            ("sixteen-letters-", None),
            ("eth0\" accept", None),
            ("eth0;", None),
            ("\u{e9}th0", None),
        ] {
            assert_eq!(place(text), expect, "{text}");
        }
        let refused = check(Bearer::Service, &labels(PUBLISH_INTERFACE, "eth0 eth1"));
        assert!(matches!(refused, Err(InvalidLabel::Place { .. })), "{refused:?}");
    }
}
