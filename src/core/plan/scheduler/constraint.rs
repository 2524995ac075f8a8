//! Placement constraints: parsing what users wrote, matching nodes (contract behaviour.md section 6). Chooses nothing.

use std::fmt;
use std::net::IpAddr;

use thiserror::Error;

use crate::model::node::{Node, Role};
use crate::model::service::TaskSpec;
use crate::net::cidr::Cidr;

/// Says why a text is not a constraint, in the words of the API.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidConstraint {
    /// There is neither `==` nor `!=`.
    #[error("constraint expected one operator from ==, !=")]
    NoOperator,
    /// The part before the operator is not a key.
    #[error("key '{0}' is invalid")]
    Key(String),
    /// The part after the operator is not a value.
    #[error("value '{0}' is invalid")]
    Value(String),
}

/// A condition on one property of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    key: Key,
    equal: bool,
    value: String,
}

/// A property of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Id,
    Hostname,
    Ip,
    Role,
    Os,
    Architecture,
    NodeLabel(String),
    EngineLabel(String),
    /// Anything else: no node matches.
    Unknown,
}

/// Parses an expression such as `node.role==manager`.
///
/// # Errors
/// Says which part is wrong.
pub fn parse(expression: &str) -> Result<Constraint, InvalidConstraint> {
    // An expression with both operators is split at the first `==`.
    let (key, equal, value) = match expression.split_once("==") {
        Some((key, value)) => (key, true, value),
        None => {
            let parts = expression.split_once("!=").ok_or(InvalidConstraint::NoOperator)?;
            (parts.0, false, parts.1)
        }
    };
    let (key, value) = (key.trim(), value.trim());
    if !is_key(key) {
        return Err(InvalidConstraint::Key(key.to_owned()));
    }
    if !is_value(value) {
        return Err(InvalidConstraint::Value(value.to_owned()));
    }
    Ok(Constraint { key: Key::parse(key), equal, value: value.to_owned() })
}

fn is_key(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let rest = chars.as_str();
    first
        && !rest.is_empty()
        && rest.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn is_value(text: &str) -> bool {
    const PUNCTUATION: &str = ":-_.*()?+[]\\^$|/ \t\n\r\x0c";
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || PUNCTUATION.contains(c))
}

impl Key {
    fn parse(text: &str) -> Self {
        // Keys are compared without regard to case, the names of labels with it.
        let suffix = |prefix: &str| {
            let head = text.get(..prefix.len())?;
            let tail = text.get(prefix.len()..)?;
            (head.eq_ignore_ascii_case(prefix) && !tail.is_empty()).then(|| tail.to_owned())
        };
        if let Some(label) = suffix("node.labels.") {
            return Self::NodeLabel(label);
        }
        if let Some(label) = suffix("engine.labels.") {
            return Self::EngineLabel(label);
        }
        match text.to_ascii_lowercase().as_str() {
            "node.id" => Self::Id,
            "node.hostname" => Self::Hostname,
            "node.ip" => Self::Ip,
            "node.role" => Self::Role,
            "node.platform.os" => Self::Os,
            "node.platform.arch" => Self::Architecture,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Key::Id => f.write_str("node.id"),
            Key::Hostname => f.write_str("node.hostname"),
            Key::Ip => f.write_str("node.ip"),
            Key::Role => f.write_str("node.role"),
            Key::Os => f.write_str("node.platform.os"),
            Key::Architecture => f.write_str("node.platform.arch"),
            Key::NodeLabel(name) => write!(f, "node.labels.{name}"),
            Key::EngineLabel(name) => write!(f, "engine.labels.{name}"),
            Key::Unknown => f.write_str("a key that no node has"),
        }?;
        write!(f, "{}{}", if self.equal { "==" } else { "!=" }, self.value)
    }
}

impl Constraint {
    /// Tells whether a node meets the condition.
    pub fn matches(&self, node: &Node) -> bool {
        let description = &node.description;
        let label = |labels: &crate::model::Labels, name: &str| {
            self.matches_text(labels.get(name).map_or("", String::as_str))
        };
        match &self.key {
            Key::Id => self.matches_text(node.id.as_str()),
            Key::Hostname => self.matches_text(&description.hostname),
            Key::Ip => self.matches_ip(&node.status.addr),
            Key::Role => self.matches_text(match node.role {
                Role::Worker => "worker",
                Role::Manager => "manager",
            }),
            Key::Os => self.matches_text(&description.os),
            Key::Architecture => self.matches_text(&description.architecture),
            Key::NodeLabel(name) => label(&node.spec.annotations.labels, name),
            Key::EngineLabel(name) => label(&description.engine_labels, name),
            Key::Unknown => false,
        }
    }

    /// Returns what the node has where the condition looks; absent if it has nothing there.
    fn actual(&self, node: &Node) -> Option<String> {
        let description = &node.description;
        match &self.key {
            Key::Id => Some(node.id.to_string()),
            Key::Hostname => Some(description.hostname.clone()),
            Key::Ip => Some(node.status.addr.clone()),
            Key::Role => Some(match node.role {
                Role::Worker => "worker".to_owned(),
                Role::Manager => "manager".to_owned(),
            }),
            Key::Os => Some(description.os.clone()),
            Key::Architecture => Some(description.architecture.clone()),
            Key::NodeLabel(name) => node.spec.annotations.labels.get(name).cloned(),
            Key::EngineLabel(name) => description.engine_labels.get(name).cloned(),
            Key::Unknown => None,
        }
    }

    fn matches_text(&self, actual: &str) -> bool {
        let same = actual == self.value || actual.to_lowercase() == self.value.to_lowercase();
        same == self.equal
    }

    /// Compares with an address or a subnet; anything else matches no node.
    fn matches_ip(&self, actual: &str) -> bool {
        let actual: Option<IpAddr> = actual.parse().ok();
        if let Ok(addr) = self.value.parse::<IpAddr>() {
            return (actual == Some(addr)) == self.equal;
        }
        let Ok(subnet) = self.value.parse::<Cidr>() else { return false };
        actual.is_some_and(|actual| subnet.contains(actual)) == self.equal
    }
}

/// The constraints of a spec.
#[derive(Debug, Default)]
pub(in crate::plan) struct Constraints(Vec<Constraint>);

impl Constraints {
    /// Reads the constraints of a spec. They were checked when it was stored; what cannot be read does not count.
    pub(in crate::plan) fn of(spec: &TaskSpec) -> Self {
        let texts = spec.placement.as_ref().map_or(&[][..], |placement| &placement.constraints);
        Self(texts.iter().filter_map(|text| parse(text).ok()).collect())
    }

    /// Tells whether a node meets all of them.
    pub(in crate::plan) fn match_node(&self, node: &Node) -> bool {
        self.0.iter().all(|constraint| constraint.matches(node))
    }

    /// Says of each condition what the node has and whether that meets it.
    pub(in crate::plan) fn figures(&self, node: &Node) -> String {
        if self.0.is_empty() {
            return "none".to_owned();
        }
        let one = |constraint: &Constraint| {
            let verdict = if constraint.matches(node) { "met" } else { "not met" };
            match constraint.actual(node) {
                Some(actual) => format!("{constraint}: {verdict}, the node has {actual:?}"),
                None => format!("{constraint}: {verdict}, the node has no such value"),
            }
        };
        self.0.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}
