//! What templates consist of, and how its parts are written in errors. Evaluates nothing.

use std::fmt::{self, Display, Formatter};

use super::number::Number;

/// A piece of a template.
#[derive(Debug)]
pub(super) enum Item {
    /// Goes out as it is.
    Text(String),
    /// Goes out evaluated, unless it only sets a variable.
    Print(Pipeline),
    /// `if` and its other branch.
    If(Branch),
    /// `with`.
    With(Branch),
    /// `range`.
    Range(Branch),
    /// Leaves the innermost `range`.
    Break,
    /// Goes on with the next turn of the innermost `range`.
    Continue,
    /// Carries out a named template.
    Call { name: String, data: Option<Pipeline>, at: usize },
}

/// A condition or a set, and what it governs.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pipeline: Pipeline,
    pub(super) then: Vec<Item>,
    pub(super) otherwise: Vec<Item>,
}

/// Commands, each fed with what the one before came to.
#[derive(Debug)]
pub(super) struct Pipeline {
    /// Variables that get the outcome.
    pub(super) variables: Vec<String>,
    /// Whether these exist already.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// A value, or a function and its arguments; never empty.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
    pub(super) at: usize,
}

/// A value as written.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) kind: OperandKind,
    /// Where errors place it.
    pub(super) at: usize,
}

#[derive(Debug)]
pub(super) enum OperandKind {
    Bool(bool),
    Nil,
    Number {
        value: Number,
        source: String,
    },
    Text {
        value: String,
        source: String,
    },
    Dot,
    Field(Vec<String>),
    Variable {
        name: String,
        fields: Vec<String>,
    },
    Function(String),
    Nested(Pipeline),
    /// Fields of something in parentheses.
    Chain(Box<Operand>, Vec<String>),
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            OperandKind::Bool(value) => write!(f, "{value}"),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Number { source, .. } | OperandKind::Text { source, .. } => {
                f.write_str(source)
            }
            OperandKind::Dot => f.write_str("."),
            OperandKind::Field(path) => write_fields(f, path),
            OperandKind::Variable { name, fields } => {
                f.write_str(name)?;
                write_fields(f, fields)
            }
            OperandKind::Function(name) => f.write_str(name),
            OperandKind::Nested(pipeline) => write!(f, "({pipeline})"),
            OperandKind::Chain(inner, fields) => {
                write!(f, "{inner}")?;
                write_fields(f, fields)
            }
        }
    }
}

fn write_fields(f: &mut Formatter<'_>, fields: &[String]) -> fmt::Result {
    fields.iter().try_for_each(|field| write!(f, ".{field}"))
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (place, operand) in self.operands.iter().enumerate() {
            write!(f, "{}{operand}", if place == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl Display for Pipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.variables.join(", "))?;
        }
        for (place, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if place == 0 { "" } else { " | " })?;
        }
        Ok(())
    }
}
