//! Carries out a template's tree within bounds of steps, depth and memory. Parses nothing.

use super::functions::{self, Failure};
use super::number::Number;
use super::parse::Template;
use super::tree::{Branch, Command, Item, Operand, OperandKind, Pipeline};
use super::value::Value;
use super::{Payloads, TemplateError};

/// Longest output of one expansion, a little more than the largest payload.
const OUTPUT_MAX: usize = 4 << 20;

/// Most operations of one expansion.
const STEPS_MAX: usize = 1_000_000;

/// Most bytes that the values made on the way may come to.
const VALUES_MAX: usize = 32 << 20;

/// Deepest nesting of templates that call each other.
const CALLS_MAX: usize = 100;

/// What the rest of a loop does.
#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

type Run<T> = Result<T, TemplateError>;

pub(super) struct Machine<'t, 'a> {
    text: &'t str,
    template: &'t Template,
    payloads: Option<&'a dyn Payloads>,
    output: String,
    /// Variables by name, the innermost last.
    variables: Vec<(&'t str, Value<'a>)>,
    steps: usize,
    made: usize,
    calls: usize,
    /// The template under way, for errors.
    name: &'t str,
}

impl<'t, 'a> Machine<'t, 'a> {
    pub(super) fn run(
        text: &'t str,
        template: &'t Template,
        root: Value<'a>,
        payloads: Option<&'a dyn Payloads>,
    ) -> Run<String> {
        let mut machine = Self {
            text,
            template,
            payloads,
            output: String::new(),
            variables: vec![("$", root.clone())],
            steps: 0,
            made: 0,
            calls: 0,
            name: "expansion",
        };
        machine.items(&template.main, &root)?;
        Ok(machine.output)
    }

    fn items(&mut self, items: &'t [Item], dot: &Value<'a>) -> Run<Flow> {
        for item in items {
            let flow = self.item(item, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn item(&mut self, item: &'t Item, dot: &Value<'a>) -> Run<Flow> {
        self.step()?;
        match item {
            Item::Text(text) => self.write(text)?,
            Item::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.write(&value.print())?;
                }
            }
            Item::If(branch) => return self.condition(branch, dot, false),
            Item::With(branch) => return self.condition(branch, dot, true),
            Item::Range(branch) => return self.range(branch, dot),
            Item::Break => return Ok(Flow::Break),
            Item::Continue => return Ok(Flow::Continue),
            Item::Call { name, data, at } => self.call_template(name, data.as_ref(), *at, dot)?,
        }
        Ok(Flow::Next)
    }

    fn condition(&mut self, branch: &'t Branch, dot: &Value<'a>, moves: bool) -> Run<Flow> {
        let in_sight = self.variables.len();
        let value = self.pipeline(&branch.pipeline, dot)?;
        let flow = if !value.is_true() {
            self.items(&branch.otherwise, dot)?
        } else if moves {
            self.items(&branch.then, &value)?
        } else {
            self.items(&branch.then, dot)?
        };
        self.variables.truncate(in_sight);
        Ok(flow)
    }

    fn range(&mut self, branch: &'t Branch, dot: &Value<'a>) -> Run<Flow> {
        let in_sight = self.variables.len();
        let over = self.pipeline_value(&branch.pipeline, dot)?;
        let count = match &over {
            Value::Labels(labels) => labels.len(),
            Value::Int(count) => usize::try_from(*count).unwrap_or(0),
            Value::Nil => 0,
            other => {
                let text = format!("range can't iterate over {}", other.print());
                return Err(self.failed_after(&branch.pipeline, &text));
            }
        };
        let outer = self.items_of(&over, count, branch, dot)?;
        self.variables.truncate(in_sight);
        Ok(outer)
    }

    fn items_of(
        &mut self,
        over: &Value<'a>,
        count: usize,
        branch: &'t Branch,
        dot: &Value<'a>,
    ) -> Run<Flow> {
        if count == 0 {
            return self.items(&branch.otherwise, dot);
        }
        let in_sight = self.variables.len();
        // Whoever walks over labels does so in the order of their names.
        let mut labels = match over {
            Value::Labels(labels) => Some(labels.iter()),
            _ => None,
        };
        for place in 0..count {
            self.step()?;
            let place = Value::Int(i64::try_from(place).unwrap_or(i64::MAX));
            let pair = labels.as_mut().and_then(Iterator::next);
            let (key, element) = match pair {
                Some((key, value)) => (Value::text(key.as_str()), Value::text(value.as_str())),
                None => (place.clone(), place),
            };
            self.turn_variables(branch, key, &element)?;
            let flow = self.items(&branch.then, &element)?;
            self.variables.truncate(in_sight);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    /// One variable gets the element, of two the first its key.
    fn turn_variables(
        &mut self,
        branch: &'t Branch,
        key: Value<'a>,
        element: &Value<'a>,
    ) -> Run<()> {
        let pipeline = &branch.pipeline;
        let values = match pipeline.variables.as_slice() {
            [] => return Ok(()),
            [one] => vec![(one, element.clone())],
            [one, other, ..] => vec![(one, key), (other, element.clone())],
        };
        for (name, value) in values {
            if pipeline.assigns {
                self.assign(pipeline, name, value)?;
            } else {
                self.variables.push((name, value));
            }
        }
        Ok(())
    }

    fn call_template(
        &mut self,
        name: &'t str,
        data: Option<&'t Pipeline>,
        at: usize,
        dot: &Value<'a>,
    ) -> Run<()> {
        let Some(items) = self.template.named.get(name) else {
            let text = format!("template {name:?} not defined");
            return Err(self.failed(at, &format!("{{{{template {name:?}}}}}"), &text));
        };
        let data = match data {
            Some(pipeline) => self.pipeline(pipeline, dot)?,
            None => Value::Nil,
        };
        self.calls += 1;
        if self.calls > CALLS_MAX {
            let text = format!("exceeded maximum template depth ({CALLS_MAX})");
            return Err(self.failed(at, name, &text));
        }
        // It sees no variables but its own root.
        let outer = std::mem::replace(&mut self.variables, vec![("$", data.clone())]);
        let outer_name = std::mem::replace(&mut self.name, name);
        self.items(items, &data)?;
        self.name = outer_name;
        self.variables = outer;
        self.calls -= 1;
        Ok(())
    }

    /// Evaluates a pipeline and sets its variables.
    fn pipeline(&mut self, pipeline: &'t Pipeline, dot: &Value<'a>) -> Run<Value<'a>> {
        let value = self.pipeline_value(pipeline, dot)?;
        for name in &pipeline.variables {
            if pipeline.assigns {
                self.assign(pipeline, name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    fn assign(&mut self, pipeline: &Pipeline, name: &str, value: Value<'a>) -> Run<()> {
        let held = self.variables.iter_mut().rev().find(|(held, _)| *held == name);
        let Some(held) = held else {
            return Err(self.failed_after(pipeline, &format!("undefined variable: {name}")));
        };
        held.1 = value;
        Ok(())
    }

    fn pipeline_value(&mut self, pipeline: &'t Pipeline, dot: &Value<'a>) -> Run<Value<'a>> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    fn command(
        &mut self,
        command: &'t Command,
        piped: Option<Value<'a>>,
        dot: &Value<'a>,
    ) -> Run<Value<'a>> {
        self.step()?;
        let first = &command.operands[0];
        if let OperandKind::Function(name) = &first.kind {
            return self.function(name, command, piped, dot);
        }
        let has_arguments = command.operands.len() > 1 || piped.is_some();
        match &first.kind {
            OperandKind::Nil if !has_arguments => {
                Err(self.failed(first.at, "nil", "nil is not a command"))
            }
            OperandKind::Field(path) | OperandKind::Variable { fields: path, .. }
                if has_arguments && !path.is_empty() =>
            {
                let value = self.operand(first, dot)?;
                let name = path.last().map_or("", String::as_str);
                let text = match value {
                    Value::Text(_) if self.parent_is_map(first, dot)? => {
                        format!("{name} is not a method but has arguments")
                    }
                    _ => format!("{name} has arguments but cannot be invoked as function"),
                };
                Err(self.failed(first.at, &first.to_string(), &text))
            }
            _ if has_arguments => {
                let text = format!("can't give argument to non-function {first}");
                Err(self.failed(first.at, &first.to_string(), &text))
            }
            _ => self.operand(first, dot),
        }
    }

    fn parent_is_map(&mut self, operand: &'t Operand, dot: &Value<'a>) -> Run<bool> {
        let (mut value, path) = match &operand.kind {
            OperandKind::Field(path) => (dot.clone(), path),
            OperandKind::Variable { name, fields } => (self.variable(name), fields),
            _ => return Ok(false),
        };
        for name in &path[..path.len().saturating_sub(1)] {
            let found = value.field(name);
            value = found.map_err(|text| self.failed(operand.at, &operand.to_string(), &text))?;
        }
        Ok(matches!(value, Value::Labels(_)))
    }

    fn function(
        &mut self,
        name: &'t str,
        command: &'t Command,
        piped: Option<Value<'a>>,
        dot: &Value<'a>,
    ) -> Run<Value<'a>> {
        let count = command.operands.len() - 1 + usize::from(piped.is_some());
        functions::check_count(name, count)
            .map_err(|text| self.failed(command.operands[0].at, name, &text))?;
        if matches!(name, "and" | "or") {
            return self.short_circuit(name == "or", command, piped, dot);
        }
        let mut arguments = Vec::new();
        for (place, operand) in command.operands[1..].iter().enumerate() {
            let value = self.operand(operand, dot)?;
            if functions::takes_texts(name, place) {
                self.must_be_text(operand, &value)?;
            }
            arguments.push(value);
        }
        if let Some(value) = piped {
            if functions::takes_texts(name, arguments.len()) && !matches!(value, Value::Text(_)) {
                let text = format!("wrong type for value; expected string; got {}", value.kind());
                return Err(self.failed(command.operands[0].at, name, &text));
            }
            arguments.push(value);
        }
        let value = functions::call(name, &arguments, self.payloads).map_err(|failure| {
            let (Failure::Call(text) | Failure::Inside(text)) = &failure;
            let text = match &failure {
                Failure::Call(_) => text.clone(),
                Failure::Inside(_) => format!("error calling {name}: {text}"),
            };
            self.failed(command.at, &command.to_string(), &text)
        })?;
        self.made += value.size();
        if self.made > VALUES_MAX {
            return Err(TemplateError("template: expansion: too much memory used".to_owned()));
        }
        Ok(value)
    }

    /// The first argument that settles it is the outcome; those after it are not looked at.
    fn short_circuit(
        &mut self,
        until: bool,
        command: &'t Command,
        piped: Option<Value<'a>>,
        dot: &Value<'a>,
    ) -> Run<Value<'a>> {
        let mut last = None;
        for operand in &command.operands[1..] {
            let value = self.operand(operand, dot)?;
            if value.is_true() == until {
                return Ok(value);
            }
            last = Some(value);
        }
        Ok(piped.or(last).unwrap_or(Value::Nil))
    }

    fn must_be_text(&self, operand: &Operand, value: &Value<'a>) -> Run<()> {
        if matches!(value, Value::Text(_)) {
            return Ok(());
        }
        let constant = matches!(operand.kind, OperandKind::Bool(_) | OperandKind::Number { .. });
        let text = match &operand.kind {
            OperandKind::Nil => "cannot assign nil to string".to_owned(),
            _ if constant => format!("expected string; found {operand}"),
            _ => format!("wrong type for value; expected string; got {}", value.kind()),
        };
        Err(self.failed(operand.at, &operand.to_string(), &text))
    }

    fn operand(&mut self, operand: &'t Operand, dot: &Value<'a>) -> Run<Value<'a>> {
        self.step()?;
        let (mut value, path) = match &operand.kind {
            OperandKind::Bool(value) => return Ok(Value::Bool(*value)),
            OperandKind::Nil => return Ok(Value::Nil),
            OperandKind::Number { value: Number::Int(value), .. } => return Ok(Value::Int(*value)),
            OperandKind::Number { value: Number::Float(value), .. } => {
                return Ok(Value::Float(*value));
            }
            OperandKind::Text { value, .. } => return Ok(Value::text(value.clone())),
            OperandKind::Dot => return Ok(dot.clone()),
            OperandKind::Nested(pipeline) => return self.pipeline(pipeline, dot),
            OperandKind::Function(name) => return self.bare_function(name, operand),
            OperandKind::Field(path) => (dot.clone(), path),
            OperandKind::Variable { name, fields } => (self.variable(name), fields),
            OperandKind::Chain(inner, path) => (self.operand(inner, dot)?, path),
        };
        for name in path {
            let found = value.field(name);
            value = found.map_err(|text| match &operand.kind {
                OperandKind::Chain(inner, _) => match &inner.kind {
                    OperandKind::Nested(pipeline) => self.failed_after(pipeline, &text),
                    _ => self.failed(inner.at, &inner.to_string(), &text),
                },
                _ => self.failed(operand.at, &operand.to_string(), &text),
            })?;
        }
        Ok(value)
    }

    /// A function among the arguments of another is called without any of its own.
    fn bare_function(&self, name: &str, operand: &Operand) -> Run<Value<'a>> {
        let failed = |text: String| self.failed(operand.at, name, &text);
        functions::check_count(name, 0).map_err(failed)?;
        functions::call(name, &[], self.payloads).map_err(|failure| match failure {
            Failure::Call(text) => self.failed(operand.at, name, &text),
            Failure::Inside(text) => {
                self.failed(operand.at, name, &format!("error calling {name}: {text}"))
            }
        })
    }

    fn variable(&self, name: &str) -> Value<'a> {
        let held = self.variables.iter().rev().find(|(held, _)| *held == name);
        held.map_or(Value::Nil, |(_, value)| value.clone())
    }

    fn write(&mut self, text: &str) -> Run<()> {
        if self.output.len() + text.len() > OUTPUT_MAX {
            return Err(TemplateError("template: expansion: output is too long".to_owned()));
        }
        self.output.push_str(text);
        Ok(())
    }

    fn step(&mut self) -> Run<()> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(TemplateError("template: expansion: takes too many steps".to_owned()));
        }
        Ok(())
    }

    /// Makes an error that names the last value of a pipeline.
    fn failed_after(&self, pipeline: &Pipeline, text: &str) -> TemplateError {
        match pipeline.commands.last().and_then(|command| command.operands.last()) {
            Some(operand) => self.failed(operand.at, &operand.to_string(), text),
            None => self.failed(0, "", text),
        }
    }

    /// Makes an error that names the place.
    fn failed(&self, at: usize, source: &str, text: &str) -> TemplateError {
        let name = self.name;
        let before = &self.text.as_bytes()[..at];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count();
        TemplateError(format!(
            "template: expansion:{line}:{column}: executing \"{name}\" at <{source}>: {text}"
        ))
    }
}
