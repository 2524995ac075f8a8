//! Expands the templates Swarm allows in specs and payloads: Go's template language over a task's context, with the
//! functions `join` and, in payloads, `secret`, `config` and `env`. Every expansion is bounded.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of tokens, operands and values, few are fit for a place and all others are refused alike"
)]

mod functions;
mod number;
mod parse;
mod printf;
mod run;
mod token;
mod tree;
mod value;

use std::borrow::Cow;

use thiserror::Error;

use super::container::NodeContext;
use crate::model::Labels;
use crate::model::service::Slot;
use crate::model::task::Task;
pub(super) use printf::quote;
use run::Machine;
use value::Value;

/// Says why a template cannot be expanded, in the words of the template engine users know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct TemplateError(pub String);

/// What templates can read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    /// `.Service.ID`.
    pub service_id: String,
    /// `.Service.Name`.
    pub service_name: String,
    /// `.Service.Labels`.
    pub service_labels: Labels,
    /// `.Node`.
    pub node: NodeContext,
    /// `.Task.ID`.
    pub task_id: String,
    /// `.Task.Name`.
    pub task_name: String,
    /// `.Task.Slot`: a number, or the node's id for global services.
    pub slot: String,
}

impl Context {
    /// Collects what the templates of `task` can read on `node`.
    pub fn new(task: &Task, node: &NodeContext) -> Self {
        Self {
            service_id: task.service.as_ref().map(ToString::to_string).unwrap_or_default(),
            service_name: task.service_annotations.name.clone(),
            service_labels: task.service_annotations.labels.clone(),
            node: node.clone(),
            task_id: task.id.to_string(),
            task_name: task.name(),
            slot: match (&task.slot, &task.node) {
                // A job's first slot is none, as in the task's name.
                (Slot::Number(0), Some(node)) | (Slot::Node(node), _) => node.to_string(),
                (Slot::Number(number), _) => number.to_string(),
            },
        }
    }
}

/// Payloads and variables that the template of a payload can read.
pub trait Payloads {
    /// Returns the data of the secret mounted as `target`.
    fn secret(&self, target: &str) -> Result<Cow<'_, str>, TemplateError>;
    /// Returns the data of the config mounted as `target`.
    fn config(&self, target: &str) -> Result<Cow<'_, str>, TemplateError>;
    /// Returns the value of a variable of the container; empty if it has none of that name.
    fn env(&self, name: &str) -> Cow<'_, str>;
}

/// Expands a template of a spec.
pub fn expand(text: &str, context: &Context) -> Result<String, TemplateError> {
    run(text, context, None)
}

/// Expands the template of a payload.
pub fn expand_payload(
    text: &str,
    context: &Context,
    payloads: &dyn Payloads,
) -> Result<String, TemplateError> {
    run(text, context, Some(payloads))
}

fn run(
    text: &str,
    context: &Context,
    payloads: Option<&dyn Payloads>,
) -> Result<String, TemplateError> {
    if !text.contains("{{") {
        return Ok(text.to_owned());
    }
    let template = parse::parse(text, payloads.is_some())?;
    Machine::run(text, &template, Value::Context(context, payloads.is_some()), payloads)
}

#[cfg(test)]
mod tests;
