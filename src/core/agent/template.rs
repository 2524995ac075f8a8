//! Expands the templates Swarm allows in specs and payloads: fields, `index`, `join` and reads of payloads.
//! Conditions and loops are refused.

mod parse;

use std::borrow::Cow;

use thiserror::Error;

use super::container::NodeContext;
use crate::model::Labels;
use crate::model::service::Slot;
use crate::model::task::Task;
use parse::{Action, Command, Operand, Pipeline};

/// Longest output of one expansion, a little more than the largest payload.
const OUTPUT_MAX: usize = 4 << 20;

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
    let machine = Machine { context, payloads };
    let mut output = String::new();
    for action in parse::parse(text, payloads.is_some())? {
        match action {
            Action::Text(piece) => output.push_str(piece),
            Action::Print(pipeline) => output.push_str(&machine.pipeline(&pipeline)?.print()),
        }
        if output.len() > OUTPUT_MAX {
            return Err(TemplateError("template: expansion: output is too long".to_owned()));
        }
    }
    Ok(output)
}

/// A value while a template runs.
enum Value<'a> {
    Context,
    Service,
    Node,
    Platform,
    Task,
    Labels(&'a Labels),
    Text(Cow<'a, str>),
}

impl Value<'_> {
    fn print(&self) -> String {
        match self {
            Self::Text(text) => text.clone().into_owned(),
            Self::Labels(labels) => {
                let pairs: Vec<String> =
                    labels.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Self::Context | Self::Service | Self::Node | Self::Platform | Self::Task => {
                format!("{{{}}}", self.kind())
            }
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Context => "*template.Context",
            Self::Labels(_) => "map[string]string",
            Self::Text(_) => "string",
            Self::Service | Self::Node | Self::Platform | Self::Task => "struct",
        }
    }
}

struct Machine<'a> {
    context: &'a Context,
    payloads: Option<&'a dyn Payloads>,
}

impl<'a> Machine<'a> {
    fn pipeline(&self, pipeline: &Pipeline) -> Result<Value<'a>, TemplateError> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last)?);
        }
        last.ok_or_else(|| TemplateError("template: expansion:1: missing value".to_owned()))
    }

    fn command(
        &self,
        command: &Command,
        piped: Option<Value<'a>>,
    ) -> Result<Value<'a>, TemplateError> {
        let Operand::Function(name) = &command.operands[0] else {
            if command.operands.len() > 1 || piped.is_some() {
                let text = format!("can't give argument to non-function {}", command.source);
                return Err(command.error(&text));
            }
            return self.operand(&command.operands[0], command);
        };
        let mut arguments = Vec::new();
        for operand in &command.operands[1..] {
            arguments.push(self.operand(operand, command)?);
        }
        arguments.extend(piped);
        self.call(name, &arguments, command)
    }

    fn operand(&self, operand: &Operand, command: &Command) -> Result<Value<'a>, TemplateError> {
        match operand {
            Operand::Text(text) => Ok(Value::Text(Cow::Owned(text.clone()))),
            Operand::Nested(pipeline) => self.pipeline(pipeline),
            Operand::Function(name) => self.call(name, &[], command),
            Operand::Field(path) => {
                let mut value = Value::Context;
                for name in path {
                    value = self.field(&value, name).map_err(|text| command.error(&text))?;
                }
                Ok(value)
            }
        }
    }

    fn field(&self, value: &Value<'a>, name: &str) -> Result<Value<'a>, String> {
        let context = self.context;
        let text = |held: &'a str| Ok(Value::Text(Cow::Borrowed(held)));
        match (value, name) {
            (Value::Context, "Service") => Ok(Value::Service),
            (Value::Context, "Node") => Ok(Value::Node),
            (Value::Context, "Task") => Ok(Value::Task),
            (Value::Service, "ID") => text(&context.service_id),
            (Value::Service, "Name") => text(&context.service_name),
            (Value::Service, "Labels") => Ok(Value::Labels(&context.service_labels)),
            (Value::Node, "ID") => text(context.node.id.as_str()),
            (Value::Node, "Hostname") => text(&context.node.hostname),
            (Value::Node, "Platform") => Ok(Value::Platform),
            (Value::Platform, "OS") => text(&context.node.os),
            (Value::Platform, "Architecture") => text(&context.node.architecture),
            (Value::Task, "ID") => text(&context.task_id),
            (Value::Task, "Name") => text(&context.task_name),
            (Value::Task, "Slot") => text(&context.slot),
            (Value::Labels(labels), key) => match labels.get(key) {
                Some(held) => text(held),
                None => Err(format!("map has no entry for key \"{key}\"")),
            },
            _ => Err(format!("can't evaluate field {name} in type {}", value.kind())),
        }
    }

    fn call(
        &self,
        name: &str,
        arguments: &[Value<'a>],
        command: &Command,
    ) -> Result<Value<'a>, TemplateError> {
        match (name, arguments, self.payloads) {
            ("join", [separator, rest @ ..], _) => {
                let pieces: Vec<String> = rest.iter().map(Value::print).collect();
                Ok(Value::Text(Cow::Owned(pieces.join(&separator.print()))))
            }
            ("print", _, _) => {
                let pieces: Vec<String> = arguments.iter().map(Value::print).collect();
                Ok(Value::Text(Cow::Owned(pieces.concat())))
            }
            // As for any map, a key that is not there reads as the empty text.
            ("index", [Value::Labels(labels), Value::Text(key)], _) => {
                let held = labels.get(key.as_ref()).map_or("", String::as_str);
                Ok(Value::Text(Cow::Borrowed(held)))
            }
            ("secret", [Value::Text(target)], Some(payloads)) => payloads
                .secret(target)
                .map(|held| Value::Text(Cow::Owned(held.into_owned())))
                .map_err(|error| command.error(&format!("error calling secret: {error}"))),
            ("config", [Value::Text(target)], Some(payloads)) => payloads
                .config(target)
                .map(|held| Value::Text(Cow::Owned(held.into_owned())))
                .map_err(|error| command.error(&format!("error calling config: {error}"))),
            ("env", [Value::Text(variable)], Some(payloads)) => {
                Ok(Value::Text(Cow::Owned(payloads.env(variable).into_owned())))
            }
            _ => Err(command.error(&format!("wrong arguments for {name}"))),
        }
    }
}

#[cfg(test)]
mod tests;
