//! Values while a template runs: what they are, how they print, which count as true. Calls nothing.

use std::borrow::Cow;

use super::Context;
use crate::model::Labels;

/// A value. The structures are parts of the context.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Labels(&'a Labels),
    /// The whole; the flag tells that of a payload.
    Context(&'a Context, bool),
    Service(&'a Context),
    Node(&'a Context),
    Platform(&'a Context),
    Task(&'a Context),
}

impl<'a> Value<'a> {
    pub(super) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// Prints as Go's `%v`.
    pub(super) fn print(&self) -> String {
        match self {
            Self::Nil => "<no value>".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => super::printf::shortest(*value),
            Self::Text(text) => text.clone().into_owned(),
            Self::Labels(labels) => {
                let pairs: Vec<String> =
                    labels.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Self::Context(context, _) => {
                let parts = [Self::Service(context), Self::Node(context), Self::Task(context)];
                format!("{{{}}}", parts.map(|part| part.print()).join(" "))
            }
            Self::Service(context) => format!(
                "{{{} {} {}}}",
                context.service_id,
                context.service_name,
                Self::Labels(&context.service_labels).print()
            ),
            Self::Node(context) => format!(
                "{{{} {} {}}}",
                context.node.id,
                context.node.hostname,
                Self::Platform(context).print()
            ),
            Self::Platform(context) => {
                format!("{{{} {}}}", context.node.architecture, context.node.os)
            }
            Self::Task(context) => {
                format!("{{{} {} {}}}", context.task_id, context.task_name, context.slot)
            }
        }
    }

    /// Returns the name of the type, as Go writes it.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Labels(_) => "map[string]string",
            Self::Context(_, false) => "*template.Context",
            Self::Context(_, true) => "*template.PayloadContext",
            Self::Service(_) => "struct { ID string; Name string; Labels map[string]string }",
            Self::Node(_) => "struct { ID string; Hostname string; Platform template.Platform }",
            Self::Platform(_) => "template.Platform",
            Self::Task(_) => "struct { ID string; Name string; Slot string }",
        }
    }

    /// Tells whether it counts as true: whatever is not empty and not zero.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Labels(labels) => !labels.is_empty(),
            Self::Context(..)
            | Self::Service(_)
            | Self::Node(_)
            | Self::Platform(_)
            | Self::Task(_) => true,
        }
    }

    /// Returns a field, or says why there is none.
    pub(super) fn field(&self, name: &str) -> Result<Self, String> {
        let text = |held: &'a str| Ok(Self::text(held));
        match (self, name) {
            (Self::Context(context, _), "Service") => Ok(Self::Service(context)),
            (Self::Context(context, _), "Node") => Ok(Self::Node(context)),
            (Self::Context(context, _), "Task") => Ok(Self::Task(context)),
            (Self::Service(context), "ID") => text(&context.service_id),
            (Self::Service(context), "Name") => text(&context.service_name),
            (Self::Service(context), "Labels") => Ok(Self::Labels(&context.service_labels)),
            (Self::Node(context), "ID") => text(context.node.id.as_str()),
            (Self::Node(context), "Hostname") => text(&context.node.hostname),
            (Self::Node(context), "Platform") => Ok(Self::Platform(context)),
            (Self::Platform(context), "OS") => text(&context.node.os),
            (Self::Platform(context), "Architecture") => text(&context.node.architecture),
            (Self::Task(context), "ID") => text(&context.task_id),
            (Self::Task(context), "Name") => text(&context.task_name),
            (Self::Task(context), "Slot") => text(&context.slot),
            (Self::Labels(labels), key) => match labels.get(key) {
                Some(held) => text(held),
                None => Err(format!("map has no entry for key {key:?}")),
            },
            (Self::Nil, _) => Err(format!("nil data; no entry for key {name:?}")),
            _ => Err(format!("can't evaluate field {name} in type {}", self.kind())),
        }
    }

    /// Rough size in memory, for what a template may use.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Text(Cow::Owned(text)) => text.len(),
            _ => 0,
        }
    }
}
